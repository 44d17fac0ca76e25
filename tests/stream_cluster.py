"""Shards in one process, their letters in queues that deliver as chance has it: in order from one shard to another."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from aml.engine.engine import FindingKey, LegRows
from aml.learn.features import NAMES
from aml.pipeline.carried import carry
from aml.pipeline.parties import Parties, PartyRows
from aml.pipeline.resolved import EVERYWHERE, SHARD, resolve
from aml.stream.core import Core, Turn
from aml.stream.mail import RECORD, Head, Letter, unpack_letter
from aml.stream.post import write_letters
from tests import canonical
from tests.naive.fast import compiled, frame_of, scoring

WEEK = 7 * 86_400_000_000


def told(legs: LegRows, k: int) -> dict[str, float]:
    """What models read of a leg: its features and the segments of both ends."""
    peers = {"sender": float(legs.sender[k]), "receiver": float(legs.receiver[k])}
    return dict(zip(NAMES, legs.x[k].tolist(), strict=True)) | peers


class Cluster:
    """Cores of all shards, and the post between them."""

    def __init__(self, profile: str, parties: Sequence[Mapping[str, Any]], shards: int, chance: random.Random) -> None:
        held = compiled(profile)
        table = canonical.parties([dict(row) for row in parties]) if parties else None
        self.parties = None if table is None else Parties(table, PartyRows())
        self.compiled, self.chance, self.of = held, chance, shards
        self.cores = [Core(held, scoring(), me, shards, lateness=WEEK) for me in range(shards)]
        self.post: dict[tuple[int, int], deque[bytes]] = {}
        self.keys: list[set[FindingKey]] = [set() for _ in self.cores]
        self.rows: list[dict[tuple[int, int], dict[str, float]]] = [{} for _ in self.cores]
        self.offset = 0

    def block(self, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
        """The rows as the intake packs them, each under coordinates of its own."""
        frame = resolve(frame_of(rows), self.compiled.profile, self.parties, self.of)
        n = frame.height
        offsets = pl.Series("_offset", self.offset + np.arange(n) // 3, dtype=pl.Int64)
        self.offset += n
        return frame.with_columns(
            pl.lit(0, pl.Int32).alias("_partition"), offsets, pl.Series("_index", np.arange(n) % 3, dtype=pl.Int32),
            pl.lit(0, pl.Int64).alias("_received"),
        )  # fmt: skip

    def take(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Hand a block to every shard, and deliver some letters."""
        block = self.block(rows)
        for core in self.chance.sample(self.cores, self.of):
            mine = block.filter((pl.col(SHARD) == core.me) | pl.col(EVERYWHERE))
            self.turn(core, mine, self.some(core.me))

    def some(self, to: int) -> list[Letter]:
        """Some of the letters that wait for a shard: any of any sender's first ones."""
        letters = []
        for (_, receiver), queue in sorted(self.post.items()):
            if receiver == to:
                letters += [unpack_letter(queue.popleft()) for _ in range(self.chance.randint(0, len(queue)))]
        return letters

    def settle(self) -> None:
        """Deliver until nobody has anything to say."""
        for _ in range(1000):
            waiting = [core for core in self.cores if any(q for (_, to), q in self.post.items() if to == core.me)]
            if not waiting:
                return
            core = self.chance.choice(waiting)
            letters = self.some(core.me)
            if letters:
                self.turn(core, None, letters)
        raise AssertionError("the shards never come to rest")

    def turn(self, core: Core, rows: pl.DataFrame | None, letters: list[Letter]) -> Turn:
        if rows is not None and rows.height:
            half = self.chance.randint(0, rows.height)
            for part in (rows[:half], rows[half:]):
                if part.height:
                    carried = carry(part)
                    core.admit(carried, core.acceptor.watermarks_of(carried))
        done = core.turn(letters, all_told=self.chance.random() < 0.1)
        for to, letter in write_letters(core, lambda to: Head(core.me, 1, to, RECORD, 0), done.out):
            self.post.setdefault((core.me, to), deque()).append(letter)
        self.keys[core.me] |= done.keys
        legs = done.applied.rows
        for k, (number, side) in enumerate(zip(legs.tx.tolist(), legs.side.tolist(), strict=True)):
            self.rows[core.me][number, side] = told(legs, k)
        return done

    def findings(self) -> dict[tuple[str, tuple[str, str, str], str], Any]:
        """The findings that hold, by rule, subject and week, each told by the shard of its subject."""
        made: dict[Any, Any] = {}
        for core, keys in zip(self.cores, self.keys, strict=True):
            for change in core.changes(keys):
                f = change.change.finding
                if f is not None:
                    key = f.rule, (f.subject.party_institution, str(f.subject.kind), f.subject.id), f.week.isoformat()
                    assert key not in made
                    made[key] = f
        return made

    def features(self) -> dict[tuple[str, int], dict[str, float]]:
        """Features by transaction and side (1 debit), the latest word on each leg that stands."""
        out: dict[tuple[str, int], dict[str, float]] = {}
        for core, rows in zip(self.cores, self.rows, strict=True):
            for (number, side), features in rows.items():
                row = core.engine.transactions.of(np.array([number]))[0]
                if row["debit_at" if side else "credit_at"] >= 0:
                    place = int(core.engine.transactions.places(np.array([number]))[0])
                    out[core.movements.ids.row(place)[0], side] = features
        return out
