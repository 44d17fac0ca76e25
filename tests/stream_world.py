"""A deterministic world for the protocol: intakes, workers, topics and a database in one process, under one seed.

Everybody is a generator that gives way at every point where a crash, a delay or somebody else's turn may come. Topics
and the database are plain objects; what the program itself does in a step is the program's own code.
"""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from aml.pipeline.inforce import Judgement
from aml.pipeline.parties import Parties, PartyRows
from aml.pipeline.resolved import resolve
from aml.pipeline.watermark import LATENESS
from aml.store.stream_rows import ShardRow
from aml.stream.block import unpack_block
from aml.stream.decode import Decoded, Message
from aml.stream.frozen import adopt, freeze
from aml.stream.intake import Assigned, IntakeCore
from aml.stream.mail import bundled, unpack_letters
from aml.stream.rebuild import Archived, Rebuilt, archived, legacy_of, read_on
from aml.stream.shard import Shard, ShardTerms, Step
from aml.stream.takeover import LEGS, RECORDS, take_over
from aml.stream.wire import RejectRow
from tests import canonical
from tests.naive.fast import Fast, compiled, frame_of, scoring
from tests.property.test_engine import LATE

TOPIC = "aml.transactions.v1"
NOW = 1_900_000_000_000_000


POISON = b"!"


class Numbered:
    """Reads messages that hold numbers of rows instead of JSON; POISON is what cannot be read."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.frame = frame_of(rows).with_columns(pl.lit(TOPIC).alias("source"))

    def decode(self, messages: Sequence[Message]) -> Decoded:
        parts, rejects = [self.frame[:0].with_columns(_at([], [], []))], []
        for m in messages:
            assert m.value is not None
            if m.value == POISON:
                rejects.append(RejectRow(
                    m.topic, m.partition, m.offset, 0, "main", TOPIC, "2030-03-17", "not_json", "poison", m.value
                ))  # fmt: skip
                continue
            numbers = [int(text) for text in m.value.split(b" ")]
            n = len(numbers)
            parts.append(self.frame[numbers].with_columns(_at([m.partition] * n, [m.offset] * n, list(range(n)))))
        return Decoded(pl.concat(parts), rejects)


def _at(partition: list[int], offset: list[int], index: list[int]) -> list[pl.Series]:
    return [
        pl.Series("_partition", partition, pl.Int32), pl.Series("_offset", offset, pl.Int64),
        pl.Series("_index", index, pl.Int32), pl.Series("_received", np.full(len(index), NOW), pl.Int64),
    ]  # fmt: skip


class Topics:
    """The internal topics, by kind and shard."""

    def __init__(self, shards: int) -> None:
        self.logs: dict[str, list[list[bytes]]] = {kind: [[] for _ in range(shards)] for kind in (LEGS, RECORDS)}

    def send(self, kind: str, shard: int, value: bytes) -> None:
        self.logs[kind][shard].append(value)

    def flush(self) -> None:
        """Everything is acknowledged at once."""

    def ends(self, shard: int) -> tuple[int, int]:
        return len(self.logs[LEGS][shard]), len(self.logs[RECORDS][shard])

    def begins(self, shard: int) -> tuple[int, int]:
        return 0, 0

    def read(self, kind: str, shard: int, first: int, last: int) -> Iterator[tuple[int, bytes]]:
        yield from enumerate(self.logs[kind][shard][first:last], first)


class Store:
    """The database: offsets by compare-and-set, what stands of findings, counts, evidence."""

    def __init__(self, shards: int) -> None:
        self.rows = [ShardRow(shard, 0, 0, 0, None, "", 0, 0, {}) for shard in range(shards)]
        self.findings: dict[str, Any] = {}
        self.counts: Counter[Any] = Counter()
        self.evidence: set[str] = set()

    def own(self, shard: int, seen: int) -> ShardRow:
        self.rows[shard] = replace(self.rows[shard], epoch=max(self.rows[shard].epoch, seen) + 1)
        return self.rows[shard]

    def commit(self, steps: Sequence[Step]) -> set[int]:
        lost = set()
        for step in steps:
            move, row = step.move, self.rows[step.move.shard]
            if (row.epoch, row.legs, row.records) != (move.epoch, move.legs_from, move.records_from):
                lost.add(move.shard)
                continue
            self.rows[move.shard] = replace(row, legs=move.legs_to, records=move.records_to)
            for change in step.changes:
                if change.finding is None:
                    self.findings.pop(change.finding_id, None)
                else:
                    self.findings[change.finding_id] = change.finding
            for key, n in step.tally.counts.items():
                self.counts[key.outcome] += n
            self.evidence |= {record.transaction_id for record in step.evidence}
        return lost


def judged(stream: Any) -> dict[Any, Any]:
    """The findings of one process that reads a stream as it is."""
    base = Fast.open(stream.profile, stream.parties)
    base.take(stream.rows)
    return base.findings()


def arrivals(stream: Any, chance: random.Random) -> list[Any]:
    """A stream's rows in some disorder, a few of them twice."""
    rows = sorted(stream.rows, key=lambda row: row["executed_at"] + chance.randrange(LATE))
    return rows + (chance.choices(rows, k=chance.randint(0, 5)) if rows else [])


@dataclass
class World:
    """One run of the protocol under a seed."""

    profile: str
    parties: Sequence[Mapping[str, Any]]
    rows: Sequence[Mapping[str, Any]]
    chance: random.Random
    folder: Path

    def __post_init__(self) -> None:
        chance = self.chance
        self.shards = chance.choice((1, 2, 3, 5))
        self.partitions = chance.choice((1, 2, 3))
        held = compiled(self.profile)
        self.judgement = Judgement(held, scoring(), None, ())
        table = canonical.parties([dict(row) for row in self.parties]) if self.parties else None
        known = None if table is None else Parties(table, PartyRows())
        self.resolve = lambda frame: resolve(frame, held.profile, known, self.shards)
        self.decoder = Numbered(self.rows)
        self.source: list[list[Message]] = [[] for _ in range(self.partitions)]
        self.group = [0] * self.partitions  # offsets that the intakes committed
        self.topics, self.store = Topics(self.shards), Store(self.shards)
        self.owner: dict[int, int] = {}  # who the broker says owns a shard, a worker's number
        self.crashes = self.poisoned = self.restores = self.generation = 0
        self.said: list[str] = []

    def publish(self, value: bytes) -> None:
        """One message, to a partition as chance has it."""
        self.publish_to(self.chance.randrange(self.partitions), value)

    def publish_to(self, partition: int, value: bytes) -> None:
        """One message to this partition."""
        log = self.source[partition]
        log.append(Message(TOPIC, partition, len(log), NOW, None, value))

    def found(self) -> dict[Any, Any]:
        """The findings that stand, by rule, subject and week."""
        return {
            (f.rule, (f.subject.party_institution, str(f.subject.kind), f.subject.id), f.week.isoformat()): f
            for f in self.store.findings.values()
        }

    # ------------------------------------------------------------------ who acts

    def intake(self, partitions: Sequence[int]) -> Iterator[None]:
        """An intake of some partitions, from where the group stands."""
        core = IntakeCore("sim", self.shards, self.decoder, self.resolve)  # type: ignore[arg-type]
        at = {p: self.group[p] for p in partitions}
        core.assign({(TOPIC, p): offset for p, offset in at.items()})
        while True:
            yield from self.flush(core, at)

    def flush(self, core: IntakeCore, at: dict[int, int]) -> Iterator[None]:
        """One flush of an intake that has come so far in its partitions."""
        for p in at:
            some = self.source[p][at[p] : at[p] + self.chance.randint(0, 3)]
            core.take(some)
            at[p] += len(some)
        yield
        known = {(TOPIC, p): Assigned(self.partitions, at[p] == len(self.source[p])) for p in at}
        flushed = core.flush(NOW, known)
        for shard, block in enumerate(flushed.blocks):
            self.topics.send(LEGS, shard, block)
            yield
        for (_, p), offset in flushed.offsets.items():
            self.group[p] = max(self.group[p], offset)
        yield

    def worker(self, me: int) -> Iterator[None]:
        """A worker: whatever it is assigned it takes over; whatever was taken from it, it drops when it notices."""
        held: dict[int, Shard] = {}
        while True:
            for number in [n for n, who in sorted(self.owner.items()) if who == me and n not in held]:
                terms = self.terms(number)
                held[number] = take_over(terms, "sim", self.store.own, self.topics, NOW, self.said.append)
                yield
            if self.chance.random() < 0.5:  # a revoke is noticed late or never: a zombie's commit must fail
                held = {n: shard for n, shard in held.items() if self.owner.get(n) == me}
            yield from self.work(held)
            yield
            if held and self.chance.random() < 0.1:
                shard = self.chance.choice(list(held.values()))
                frozen = freeze(shard)
                if self.chance.random() < 0.5:
                    yield from self.work(held)  # steps go on while it is written
                if held.get(shard.terms.shard) is shard:
                    adopt(shard, frozen.write("sim"))
                yield

    def work(self, held: dict[int, Shard]) -> Iterator[None]:
        """One step of a worker's shards."""
        steps = []
        for number, shard in held.items():
            blocks, letters = self.inputs(shard, number)
            if blocks or letters:
                steps.append(shard.step(blocks, letters, NOW))
        yield
        for to, message in bundled(letter for step in steps for letter in step.letters):
            self.topics.send(RECORDS, to, message)
            yield
        for lost in self.store.commit(steps):
            del held[lost]
        yield

    def inputs(self, shard: Shard, number: int) -> tuple[list[Any], list[Any]]:
        """What a shard reads next: some of both topics."""
        legs, records = (self.topics.logs[kind][number] for kind in (LEGS, RECORDS))
        # Kafka hands out both topics as it likes: one may lag far behind the other.
        n, m = (self.chance.choice((0, most)) for most in (self.chance.randint(0, 4), self.chance.randint(0, 12)))
        blocks = list(enumerate(legs))[shard.at[0] : shard.at[0] + n]
        letters = list(enumerate(records))[shard.at[1] : shard.at[1] + m] if shard.hears else []
        return (
            [(offset, unpack_block(value)) for offset, value in blocks],
            [(offset, unpack_letters(value)) for offset, value in letters],
        )

    # ------------------------------------------------------------------ what happens

    def run(self, some: range | None = None) -> None:
        """Publish, crash, rebalance and deliver as chance has it; then let everything come to rest.

        some: the rows that are sent, default all.
        """
        chance = self.chance
        lines = [b"%d" % number for number in (range(len(self.rows)) if some is None else some)]
        workers: dict[int, Iterator[None]] = {}
        backup: Store | None = None
        self.rebalance(range(chance.randint(1, 3)))
        intakes = self.new_intakes()
        while lines or chance.random() < 0.9:
            if lines and chance.random() < 0.3:
                n = chance.choice((1, 1, 2, 5))
                self.publish(b" ".join(lines[:n]))
                del lines[:n]
                if chance.random() < 0.05:
                    self.publish(POISON)
                    self.poisoned += 1
            if chance.random() < 0.04:
                self.crashes += 1
                workers.pop(chance.choice([*workers, 0]), None)  # its memory is gone; it comes again as itself
            if chance.random() < 0.03:
                self.crashes += 1
                intakes = self.new_intakes(overlap=intakes if chance.random() < 0.3 else ())
            if chance.random() < 0.04:
                self.rebalance(range(chance.randint(1, 3)))
            if chance.random() < 0.05:
                backup = copy.deepcopy(self.store)
            if backup is not None and chance.random() < 0.03:
                # Workers are stopped, the database is an older one; topics and snapshots are as they are.
                workers.clear()
                self.store = copy.deepcopy(backup)
                self.restores += 1
            for number in set(self.owner.values()) - workers.keys():
                workers[number] = self.worker(number)
            next(chance.choice([*workers.values(), *intakes]))
        self.rest(workers, intakes)

    def rest(self, workers: dict[int, Iterator[None]], intakes: Sequence[Iterator[None]]) -> None:
        """No more faults: everybody acts in turn until nobody has anything left."""
        for number in set(self.owner.values()) - workers.keys():
            workers[number] = self.worker(number)
        for _ in range(20_000):
            if self.group == [len(log) for log in self.source]:
                intakes = ()
            ends = [self.topics.ends(shard) for shard in range(self.shards)]
            if not intakes and ends == [(row.legs, row.records) for row in self.store.rows]:
                return
            for actor in (*workers.values(), *intakes):
                next(actor)
        raise AssertionError("the world never comes to rest")

    def terms(self, number: int) -> ShardTerms:
        """What one of the shards in force is made for."""
        folder = self.folder / f"g{self.generation}-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        return ShardTerms(number, self.shards, self.judgement, LATENESS, folder)

    def drain(self) -> None:
        """A last flush, whole, as an intake makes before it ends; then let everything come to rest."""
        core = IntakeCore("sim", self.shards, self.decoder, self.resolve)  # type: ignore[arg-type]
        core.assign({(TOPIC, p): offset for p, offset in enumerate(self.group)})
        for _ in self.flush(core, dict(enumerate(self.group))):
            pass
        self.rest({}, ())

    def resize(self, shards: int, at_once: int) -> Rebuilt:
        """At rest: another number of shards, as `aml shards resize` makes them."""
        self.drain()
        old = [Shard(self.terms(row.shard)) for row in self.store.rows]
        segments = []
        for shard, row in zip(old, self.store.rows, strict=True):
            files = read_on(shard, row, "sim", self.topics, self.said.append)
            segments += [Archived(shard.terms.folder / file.name, row.shard) for file in files]
        legacy = legacy_of(old)
        self.generation, self.shards = self.generation + 1, shards
        made = Rebuilt([self.terms(n) for n in range(shards)], NOW)
        for frame in archived(segments, at_once):
            made.take(frame)
        made.end(legacy, self.store.rows, "sim")
        epoch = max(row.epoch for row in self.store.rows)
        rows = [replace(row, epoch=epoch, generation=self.generation) for row in Store(shards).rows]
        self.topics, self.store.rows = Topics(shards), rows
        return made

    def rebalance(self, workers: Sequence[int]) -> None:
        self.owner = {shard: self.chance.choice(workers) for shard in range(self.shards)}

    def new_intakes(self, overlap: Sequence[Iterator[None]] = ()) -> list[Iterator[None]]:
        """Intakes over all partitions; now and then an old one goes on beside them for a while."""
        split = self.chance.randint(0, self.partitions)
        parts = [part for part in (range(split), range(split, self.partitions)) if len(part)]
        return [*(self.intake(part) for part in parts), *list(overlap)[:1]]
