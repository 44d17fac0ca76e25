"""What the database knows of a stream's completeness: what was consumed and what became of it, over all shards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, func, select

from aml.store.dead_letters import BAD_MANIFEST
from aml.store.encoding import from_json
from aml.store.outbox import count_unsent
from aml.store.sequences import Sequence, load_sequences
from aml.store.stream import Manifest, ReusedId, ShardRow, SourceRow, TotalKey, load_shards
from aml.store.stream_tables import stream_counts, stream_manifests, stream_reused, stream_sources, stream_totals
from aml.store.tables import dead_letters

CONSUMED: Final = "consumed"
SCORED: Final = "scored"
DUPLICATE: Final = "duplicate"
LATE: Final = "late"
REJECTED: Final = "rejected:"
_SHOWN: Final = 100


@dataclass(slots=True)
class Tally:
    """Elements consumed, and what became of them. `late` are some of the scored."""

    consumed: int = 0
    scored: int = 0
    duplicates: int = 0
    late: int = 0
    rejected: dict[str, int] = field(default_factory=dict)

    @property
    def accounted(self) -> int:
        """Scored + duplicates + all rejected."""
        return self.scored + self.duplicates + sum(self.rejected.values())

    def add(self, other: Tally) -> None:
        """Add another's counts to these."""
        self.consumed += other.consumed
        self.scored += other.scored
        self.duplicates += other.duplicates
        self.late += other.late
        for code, number in other.rejected.items():
            self.rejected[code] = self.rejected.get(code, 0) + number


@dataclass(frozen=True, slots=True)
class Counted:
    """The tally of one partition of a source topic, institution, source and day (UTC, of the broker's timestamp)."""

    topic: str
    partition: int
    institution: str
    source: str
    day: str
    tally: Tally


@dataclass(frozen=True, slots=True)
class Known:
    """All that the database knows, of one moment. totals: (records, sum in minor units) of what was scored;
    bad_manifests: messages that should have been manifests."""

    shards: list[ShardRow]
    sources: list[SourceRow]
    counts: list[Counted]
    totals: dict[TotalKey, tuple[int, int]]
    manifests: list[Manifest]
    sequences: list[Sequence]
    reused: int
    reused_shown: list[ReusedId]
    unsent: int
    bad_manifests: int = 0


def load_known(connection: Connection) -> Known:
    """What the database knows. The connection sees one state throughout."""
    return Known(
        load_shards(connection),
        load_sources(connection),
        load_counts(connection),
        load_totals(connection),
        load_manifests(connection),
        load_sequences(connection, _SHOWN),
        connection.execute(select(func.count()).select_from(stream_reused)).scalar_one(),
        load_reused(connection, _SHOWN),
        count_unsent(connection),
        connection.execute(_bad_manifests()).scalar_one(),
    )


def _bad_manifests() -> Select[int]:
    return select(func.count()).select_from(dead_letters).where(dead_letters.c.code == BAD_MANIFEST)


def load_counts(connection: Connection) -> list[Counted]:
    """The counts of all shards together, in the order of topic, partition, institution, source and day."""
    c = stream_counts.c
    key = (c.topic, c.partition, c.institution, c.source, c.day)
    query = select(*key, c.outcome, func.sum(c.value)).group_by(*key, c.outcome).order_by(*key, c.outcome)
    found: dict[tuple[str, int, str, str, str], Tally] = {}
    for topic, partition, institution, source, day, outcome, value in connection.execute(query):
        _tell(found.setdefault((topic, partition, institution, source, day), Tally()), outcome, int(value))
    return [Counted(*place, summed) for place, summed in found.items()]


def _tell(tally: Tally, outcome: str, value: int) -> None:
    if outcome.startswith(REJECTED):
        tally.rejected[outcome.removeprefix(REJECTED)] = value
    elif outcome == CONSUMED:
        tally.consumed = value
    elif outcome == SCORED:
        tally.scored = value
    elif outcome == DUPLICATE:
        tally.duplicates = value
    elif outcome == LATE:
        tally.late = value
    else:
        raise ValueError(f"stream_counts: {outcome!r} is no outcome")


def tally(counts: Iterable[Counted]) -> Tally:
    """All of these counts together."""
    summed = Tally()
    for counted in counts:
        summed.add(counted.tally)
    return summed


def load_totals(connection: Connection) -> dict[TotalKey, tuple[int, int]]:
    """(records, sum in minor units) of what all shards scored."""
    c = stream_totals.c
    key = (c.institution, c.source, c.hour, c.currency)
    query = select(*key, func.sum(c.records), func.sum(c.billions), func.sum(c.units)).group_by(*key).order_by(*key)
    return {
        TotalKey(*place): (int(records), int(billions) * 10**9 + int(units))
        for *place, records, billions, units in connection.execute(query)
    }


def load_sources(connection: Connection) -> list[SourceRow]:
    """How far every partition of the source topics is covered."""
    query = select(stream_sources).order_by(stream_sources.c.topic, stream_sources.c.partition)
    return [_source(row) for row in connection.execute(query)]


def _source(row: Row[Any]) -> SourceRow:
    return SourceRow(
        row.topic,
        row.partition,
        row.first_offset,
        row.next_offset,
        row.partitions,
        row.reached_at,
        bool(row.ended),
        row.shard,
    )


def load_manifests(connection: Connection) -> list[Manifest]:
    """What the bank says it sent."""
    c = stream_manifests.c
    return [
        Manifest(
            row.institution,
            row.source,
            row.name,
            row.records,
            from_json(row.sums),
            row.first_id,
            row.last_id,
            row.first_hour,
            row.last_hour,
            row.sha256,
        )
        for row in connection.execute(select(stream_manifests).order_by(c.institution, c.source, c.name))
    ]


def load_reused(connection: Connection, limit: int) -> list[ReusedId]:
    """Ids that stand twice, the newest first."""
    c = stream_reused.c
    query = select(stream_reused).order_by(c.received_at.desc(), c.institution, c.transaction_id).limit(limit)
    return [
        ReusedId(
            row.institution,
            row.transaction_id,
            row.topic,
            row.partition,
            row.message_offset,
            row.element,
            row.received_at,
        )
        for row in connection.execute(query)
    ]
