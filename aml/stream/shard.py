"""One shard of a stream: blocks and letters in, in their order; letters, findings and counts out, to be committed.

A step changes the shard's memory at once and gives back all that must be written. The host first has its letters
acknowledged, then commits the step by compare-and-set; if somebody else moved the shard meanwhile, it is dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from aml.domain.errors import AmlError
from aml.domain.finding import FindingChange
from aml.engine.arrays import distinct
from aml.engine.engine import FindingKey
from aml.engine.identity import NO_TIME, Outcome
from aml.engine.layout import DAY
from aml.learn.features import Legs
from aml.pipeline.evidence import evidence_records
from aml.pipeline.inforce import Judgement
from aml.pipeline.scored import ScoreBook
from aml.pipeline.strange import LegFacts, ModelFindings, first_seen
from aml.store.findings import EvidenceRecord
from aml.store.stream import Move, Segment, ShardRow
from aml.stream.block import Block
from aml.stream.core import Core, Turn
from aml.stream.drift import sampled
from aml.stream.mail import MARKER, RECORD, ROUND, Head, Letter, bundled, pack_letter
from aml.stream.post import Outgoing, write_letters
from aml.stream.progress import SourceProgress
from aml.stream.records import ShardRecords
from aml.stream.settling import Floors, settled
from aml.stream.snapshot import in_force
from aml.stream.tally import Tally

I64 = npt.NDArray[np.int64]
NOWHERE: Final = -1
_ONE_IN: Final = 8
_log: Final = logging.getLogger("aml.worker")


@dataclass(frozen=True, slots=True)
class ShardTerms:
    """What a shard is made for: its number of all, what it judges by, the lateness in µs, its folder."""

    shard: int
    shards: int
    judgement: Judgement
    lateness: int
    folder: Path


@dataclass(slots=True)
class Step:
    """What a step did. letters: bytes by receiver; received: broker timestamps of one in eight payments, UTC µs;
    sample: some of the legs that the models read."""

    move: Move
    letters: list[tuple[int, bytes]] = field(default_factory=list)
    changes: list[FindingChange] = field(default_factory=list)
    evidence: list[EvidenceRecord] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    received: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    sample: Legs | None = None


class Shard:
    """A shard that some worker owns under an epoch."""

    def __init__(self, terms: ShardTerms) -> None:
        judgement = terms.judgement
        self.terms = terms
        self._in_force = in_force(judgement)
        self.core = Core(
            judgement.compiled, judgement.scoring, terms.shard, terms.shards, lateness=terms.lateness,
            folder=terms.folder,
        )  # fmt: skip
        self.records = ShardRecords(terms.folder)
        self.book = None if judgement.models is None else ScoreBook(judgement.models)
        self.strange = None if judgement.models is None else ModelFindings(judgement.models, judgement.scoring)
        if self.book is not None:
            self.book.instruments = self.core.instruments
        self.epoch = 0
        self.at = (0, 0)  # next offsets of the legs and the records
        self.covered: dict[tuple[str, int], int] = {}  # next offset by source partition
        self.epochs: dict[int, int] = {}  # highest epoch seen by sender
        self.floors = Floors(terms.shard, terms.shards)
        self.forgot_at: dict[str, int] = {}  # by institution up to where memory was let go
        self.tenants: dict[str, int] = {}  # acceptance's numbers of institutions
        self.told: set[int] = set()  # transactions whose record is evidence already, by number
        self.all_told_to = (0, 0)  # until these offsets everything that is evaluated is told
        self.kept: list[Segment] = []  # segments on the disk that no commit has named
        self._replayed: set[FindingKey] = set()  # findings that a silent replay touched: told with the next step

    def own(self, row: ShardRow, ends: tuple[int, int]) -> None:
        """Own the shard under the epoch of its row. ends: of both inputs, read after the markers were acknowledged."""
        if self.at != (row.legs, row.records):
            raise AmlError(
                f"shard {self.terms.shard} stands at {self.at}, the database at {(row.legs, row.records)}: replay first"
            )
        self.epoch, self.all_told_to = row.epoch, ends

    @property
    def hears(self) -> bool:
        """Whether letters may be read: not before all payments that earlier owners told the others of are known here.

        What lies in the legs beyond the end that was read at the takeover, nobody can have told of.
        """
        return self.at[0] >= self.all_told_to[0]

    def markers(self, epoch: int, now: int) -> list[tuple[int, bytes]]:
        """What every shard is told at a takeover, before anything else under the new epoch: messages by receiver."""
        me, of = self.terms.shard, self.terms.shards
        return list(bundled((to, pack_letter(Head(me, epoch, to, MARKER, now), {})) for to in range(of)))

    def step(
        self, blocks: Sequence[tuple[int, Block]], letters: Sequence[tuple[int, Sequence[Letter]]], now: int, *,
        silent: bool = False,
    ) -> Step:  # fmt: skip
        """Take what came, each message with its offset, and evaluate once. silent: a replay of what was committed.

        Raises AmlError where the inputs have a hole: then the shard must not go on.
        """
        start = self.at
        tally = Tally()
        for offset, block in blocks:
            self._take(offset, block, tally)
        heard = self._letters(letters)
        all_told = start[0] < self.all_told_to[0] or start[1] < self.all_told_to[1]
        turn = self.core.turn(heard, all_told=all_told)
        self._score(turn)
        self._replayed |= turn.keys
        if silent:
            return Step(Move(self.terms.shard, self.epoch, *start, *self.at, {}))
        keys, self._replayed = self._replayed, set()
        changes = self.core.changes(keys) + (self.strange.changes(self.core) if self.strange is not None else [])
        own, wanted = self._evidence([row for change in changes for row in change.rows])
        asked = turn.asked[turn.asked >= 0]
        for to, numbers in wanted.items():
            turn.out.setdefault(to, Outgoing()).wanted = numbers
        step = Step(
            self._move(start, now),
            changes=[change.change for change in changes], tally=tally, received=_received(blocks),
            sample=None if self.book is None else sampled(turn.applied.rows, self.core.instruments.all),
        )  # fmt: skip
        step.segments, self.kept = self.kept, []
        head = Head(self.terms.shard, self.epoch, 0, RECORD, now)
        step.letters = write_letters(self.core, lambda to: msgspec.structs.replace(head, to=to), turn.out)
        step.evidence = self._records_of(distinct(own, asked))
        step.letters += self._settle(now)
        return step

    # ------------------------------------------------------------------ what came

    def read(self, blocks: Iterable[tuple[int, Block]]) -> None:
        """Take blocks for their records alone: nothing is evaluated."""
        for offset, block in blocks:
            self._take(offset, block, Tally())

    def _take(self, offset: int, block: Block, tally: Tally) -> None:
        """Judge the rows of a block that no earlier one had; then progress and coverage move on."""
        self.at = (_next(self.at[0], offset, "aml.legs", self.terms.shard), self.at[1])
        if block.head.shards != self.terms.shards:
            # What it covers counts as not handed over: whoever goes on behind it is told by the hole.
            told = (self.terms.shard, block.head.intake, block.head.shards, self.terms.shards)
            _log.warning("shard %d: leaves out a block of %s, which packs for %d shards, not %d: restart it", *told)
            return
        tally.take_head(block.head, self.covered)
        rows = block.rows
        kept = np.ones(rows.n, np.bool_)
        for part in block.head.ranges:
            covered = self.covered.get((part.topic, part.partition), part.first)
            if part.first > covered:
                raise AmlError(
                    f"shard {self.terms.shard}: {part.topic}[{part.partition}] goes on at {part.first}, covered is "
                    f"{covered}: messages between were never handed over; set the intake's group back to {covered}"
                )
            if rows.n and part.first < covered:
                kept &= (rows["partition"] != part.partition) | (rows["offset"] >= covered)
        if kept.any():
            some = block if kept.all() else block.only(np.flatnonzero(kept))
            self._judge(some, block.head.ranges[0].topic, tally)
        for part in block.head.ranges:
            key = (part.topic, part.partition)
            covered = self.covered.get(key, part.first)
            if part.next >= covered:  # one that ends below knows less than what was said already
                self._progress(part)
            self.covered[key] = max(covered, part.next)

    def _judge(self, block: Block, topic: str, tally: Tally) -> None:
        """Accept rows, count what was judged at home, and keep accepted records whole."""
        rows = block.rows
        before = self.core.acceptor.watermarks_of(rows)
        outcome = self.core.admit(rows, before).outcome
        home = rows["shard"] == self.terms.shard
        tally.take_rows(topic, rows, outcome, home, (rows["t"] != NO_TIME) & (rows["t"] < before))
        refused = np.flatnonzero(home & (outcome > Outcome.DUPLICATE))
        if refused.size:
            tally.refuse(topic, block, refused, outcome[refused])
        fresh = np.flatnonzero(outcome == Outcome.NEW)
        self.records.add(block, fresh, topic, before[fresh])

    def _progress(self, part: Any) -> None:
        progress = self.core.acceptor.progress
        assert isinstance(progress, SourceProgress)
        progress.expect(part.partitions)
        names = sorted(part.highest)
        numbers = self._tenants_of(names)
        pairs = [(number, t, key) for name, number in zip(names, numbers, strict=True) for t, key in part.highest[name]]
        tenants, t, keys = zip(*pairs, strict=True) if pairs else ((), (), ())
        progress.reach(
            part.partition, np.array(tenants, np.int32), np.array(t, np.int64), np.array(keys, np.uint64),
            part.reached_at, part.ended_at,
        )

    def _tenants_of(self, names: list[str]) -> list[int]:
        """Acceptance's numbers of institutions."""
        fresh = [name for name in names if name not in self.tenants]
        if fresh:
            numbers = self.core.acceptor.numbers("tenant", fresh, np.arange(len(fresh), dtype=np.uint32))
            self.tenants |= dict(zip(fresh, numbers.tolist(), strict=True))
        return [self.tenants[name] for name in names]

    def _letters(self, messages: Sequence[tuple[int, Sequence[Letter]]]) -> list[Letter]:
        """The letters of owners that nobody has replaced."""
        heard = []
        for offset, letters in messages:
            self.at = (self.at[0], _next(self.at[1], offset, "aml.records", self.terms.shard))
            for letter in letters:
                head = letter.head
                known = self.epochs.get(head.sender, 0)
                self.epochs[head.sender] = max(known, head.epoch)
                if head.epoch >= known and head.kind == RECORD:
                    heard.append(letter)
                elif head.epoch >= known and head.kind == ROUND:
                    self.floors.hear(head.sender, head.floors)
        return heard

    # ------------------------------------------------------------------ what is over

    def _settle(self, now: int) -> list[tuple[int, bytes]]:
        """Let go what is settled, and tell the others the floors where they moved; all that changed was told."""
        own = self.floors.own(self.watermarks())
        reached = settled(own)
        if any(at >= self.forgot_at.get(name, NO_TIME) + DAY for name, at in reached.items()):
            self.forgot_at = reached
            self._forget(reached)
        if not self.floors.news(own):
            return []
        me, of = self.terms.shard, self.terms.shards
        head = Head(me, self.epoch, 0, ROUND, now, floors=own)
        return [(to, pack_letter(msgspec.structs.replace(head, to=to), {})) for to in range(of) if to != me]

    def _forget(self, reached: Mapping[str, int]) -> None:
        marks = np.full(max(self.tenants.values(), default=-1) + 1, NO_TIME)
        for name, at in reached.items():
            marks[self.tenants[name]] = at
        if self.core.forget(marks):
            held = self.core.engine.transactions
            numbers = held.numbers(np.arange(held.n))
            self.told &= set(numbers.tolist())

    # ------------------------------------------------------------------ what becomes of it

    def _score(self, turn: Turn) -> None:
        """Let the models read the legs that ran."""
        if self.book is None or self.strange is None:
            return
        engine, legs = self.core.engine, turn.applied.rows
        self.book.drop(turn.left.astype(np.int32))
        surprise = self.book.take(legs, self.core.instruments.all)
        facts = LegFacts(engine.transactions.count, {}, legs, engine.transactions, first_seen(engine))
        self.strange.take(turn.left.astype(np.int32), legs, surprise, facts, self.core.instruments)

    def _evidence(self, named: Iterable[int]) -> tuple[I64, dict[int, I64]]:
        """Transactions that findings name for the first time: those at home here, and the others by their homes."""
        fresh = np.array(sorted(set(named) - self.told), np.int64)
        self.told |= set(fresh.tolist())
        home = self.core.movements.rows["home"][self.core.engine.transactions.places(fresh)]
        others = {int(to): fresh[home == to] for to in distinct(home[home != self.terms.shard]).tolist()}
        return fresh[home == self.terms.shard], others

    def _records_of(self, numbers: I64) -> list[EvidenceRecord]:
        rows = self.core.movements.rows["row"][self.core.engine.transactions.places(numbers)]
        rows = distinct(rows[rows != NOWHERE])  # one that was let go long ago, and is told of again
        return [record for part in self.records.parts(rows) for record in evidence_records(part)]

    def _move(self, start: tuple[int, int], now: int) -> Move:
        archived_to = max((segment.legs_to for segment in self.kept), default=None)
        state = self._state(now)
        return Move(self.terms.shard, self.epoch, start[0], self.at[0], start[1], self.at[1], state, archived_to)

    def _state(self, now: int) -> dict[str, Any]:
        covered = {f"{topic}:{partition}": offset for (topic, partition), offset in sorted(self.covered.items())}
        return {"watermarks": self.watermarks(), "covered": covered, "at": now, "in_force": self._in_force}

    def watermarks(self) -> dict[str, int]:
        """Watermark in UTC µs of each institution that has one."""
        marks = self.core.acceptor.watermarks
        return {name: marks[number] for name, number in sorted(self.tenants.items()) if number in marks}


def _next(at: int, offset: int, topic: str, shard: int) -> int:
    if offset != at:
        raise AmlError(
            f"shard {shard}: {topic} goes on at offset {offset}, {at} was expected: the topic lost messages, or "
            "another wrote to it; restore the topic, or begin anew with a new database"
        )
    return offset + 1


def _received(blocks: Sequence[tuple[int, Block]]) -> I64:
    """Chosen by their coordinates: as many of a long step as of short ones."""
    held = [block.rows for _, block in blocks if block.rows.n]
    parts = [rows["received"][(rows["offset"] + rows["index"]) % _ONE_IN == 0] for rows in held]
    return np.concatenate([np.zeros(0, np.int64), *parts])
