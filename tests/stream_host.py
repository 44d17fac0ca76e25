"""Intake and shards in one process over a real database: the service without Kafka, its topics as lists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from aml.feed.rates import NO_RATES
from aml.feed.validate import Terms
from aml.pipeline.inforce import Judgement
from aml.pipeline.parties import Parties, PartyRows
from aml.pipeline.resolved import resolve
from aml.pipeline.watermark import LATENESS
from aml.store.database import Database
from aml.stream.block import unpack_block
from aml.stream.commit import commit
from aml.stream.decode import Decoder, Message
from aml.stream.intake import Assigned, IntakeCore
from aml.stream.mail import unpack_letter
from aml.stream.shard import Shard, ShardTerms

TOPIC = "aml.transactions.v1"


class Hosted:
    """All shards of a stream with one source partition, in step."""

    def __init__(
        self, judgement: Judgement, database: Database, folder: Path, shards: int, parties: pl.DataFrame | None,
        now: int, lateness: int = LATENESS,
    ) -> None:  # fmt: skip
        self.judgement, self.database, self.now = judgement, database, now
        profile = judgement.compiled.profile
        table = None if parties is None else Parties(parties, PartyRows())
        decoder = Decoder(Terms(TOPIC, "main", now, profile.currency, NO_RATES))
        self.core = IntakeCore("hosted", shards, decoder, lambda frame: resolve(frame, profile, table, shards))
        self.core.assign({(TOPIC, 0): 0})
        self.sent = 0
        with database.begin() as uow:
            uow.stream.begin(shards)
        self.shards: list[Shard] = []
        for number in range(shards):
            place = folder / f"shard-{number:03d}"
            place.mkdir(parents=True, exist_ok=True)
            with database.begin() as uow:
                row = uow.stream.take_over(number, "hosted")
            shard = Shard(ShardTerms(number, shards, judgement, lateness, place))
            shard.own(row, (0, 0))
            self.shards.append(shard)
        self.legs: list[list[bytes]] = [[] for _ in range(shards)]
        self.letters: list[list[list[bytes]]] = [[] for _ in range(shards)]

    def take(self, lines: Sequence[bytes], batch: int) -> None:
        """Messages of so many records each, through the intake and one turn of all shards."""
        for n in range(0, len(lines), batch):
            value = b"\n".join(lines[n : n + batch])
            self.core.take([Message(TOPIC, 0, self.sent, self.now, None, value)])
            self.sent += 1
        for shard, block in enumerate(self.core.flush(self.now, {(TOPIC, 0): Assigned(1, False)}).blocks):
            self.legs[shard].append(block)
        self.turn()

    def turn(self) -> bool:
        """One step of every shard that has something, and its commit; whether there was any."""
        steps = []
        for number, shard in enumerate(self.shards):
            blocks = [(shard.at[0] + k, unpack_block(v)) for k, v in enumerate(self.legs[number])]
            letters = [(shard.at[1] + k, [unpack_letter(v) for v in some]) for k, some in
                       enumerate(self.letters[number])]  # fmt: skip
            if blocks or letters:
                self.legs[number], self.letters[number] = [], []
                steps.append(shard.step(blocks, letters, self.now))
        for step in steps:
            for to, letter in step.letters:
                self.letters[to].append([letter])
        if steps:
            assert not commit(self.database, steps, self.judgement.scoring).lost
        return bool(steps)

    def rest(self) -> None:
        """Until nobody has anything to say."""
        while self.turn():
            pass
