"""Where the shards of a stream stand, and what they count: written in the one transaction that moves their offsets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, func, insert, select, text, update

from aml.domain.errors import StoreError
from aml.store.encoding import from_json, to_json
from aml.store.sequences import Numbers, add_numbers, fold_sequences
from aml.store.statements import add_to, dialect_insert, insert_new
from aml.store.stream_tables import (
    leases,
    stream_counts,
    stream_manifests,
    stream_reused,
    stream_shards,
    stream_sources,
    stream_totals,
)

_SHARDS_LOCK: Final = 0x616D6C03


@dataclass(frozen=True, slots=True)
class ShardRow:
    """Where one shard stands: `legs` and `records` are the next offsets to read, `state` what moved with them."""

    shard: int
    epoch: int
    legs: int
    records: int
    archived_to: int | None
    owner: str
    taken_at: int
    updated_at: int
    state: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Move:
    """One shard's step: it stands only if shard, epoch and both offsets are still as the owner read them.

    archived_to: None leaves it as it is.
    """

    shard: int
    epoch: int
    legs_from: int
    legs_to: int
    records_from: int
    records_to: int
    state: Mapping[str, Any]
    archived_to: int | None = None


class CountKey(NamedTuple):
    """What a count is of. day: UTC, of the broker's timestamp; outcome: see `stream_counts`."""

    topic: str
    partition: int
    institution: str
    source: str
    day: str
    outcome: str


class TotalKey(NamedTuple):
    """What a total is of. hour: 2026-03-02T14 (UTC) of executed_at, empty where it is not known."""

    institution: str
    source: str
    hour: str
    currency: str


@dataclass(frozen=True, slots=True)
class SourceRow:
    """How far a partition of a source topic is covered; reached_at: its latest broker timestamp, UTC µs."""

    topic: str
    partition: int
    first: int
    next: int
    partitions: int
    reached_at: int
    ended: bool
    shard: int


@dataclass(frozen=True, slots=True)
class ReusedId:
    """An id that came a second time, under another first account."""

    institution: str
    transaction_id: str
    topic: str
    partition: int
    offset: int
    element: int
    received_at: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the bank says it sent: sums in minor units by currency, hours of executed_at; None: the whole source."""

    institution: str
    source: str
    name: str
    records: int
    sums: Mapping[str, int]
    first_id: str | None = None
    last_id: str | None = None
    first_hour: str | None = None
    last_hour: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """Who holds a lease, until when (UTC µs)."""

    owner: str
    until: int


class StreamStore:
    """Writes where a stream stands within one transaction.

    Locks are taken in the order of the calls: `take_over` or `advance` first, then subjects and alerts, then counts.
    """

    def __init__(self, connection: Connection, now: int) -> None:
        self._connection = connection
        self._now = now

    def begin(self, shards: int) -> list[ShardRow]:
        """The rows of so many shards, made where there are none yet.

        Raises StoreError where the database was begun with another number.
        """
        if self._connection.dialect.name == "postgresql":
            self._connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SHARDS_LOCK})
        found = self.shards()
        if found and len(found) != shards:
            raise StoreError(
                f"the database was begun with {len(found)} shards, the topics have {shards}: "
                "give it its own topics, or change the number with `aml shards resize`"
            )
        if not found:
            empty = {"epoch": 0, "legs_offset": 0, "records_offset": 0, "archived_to": None, "owner": ""}
            times = {"taken_at": self._now, "updated_at": self._now, "state": "{}"}
            self._connection.execute(
                insert(stream_shards), [{"shard": shard, **empty, **times} for shard in range(shards)]
            )
            found = self.shards()
        return found

    def shards(self) -> list[ShardRow]:
        """Every shard in its order; none where the database has no stream."""
        return load_shards(self._connection)

    def take_over(self, shard: int, owner: str, seen: int = 0) -> ShardRow:
        """Make `owner` the shard's owner under the next epoch, above any that was `seen`, and say where it stands.

        Whoever takes several in one transaction takes them in their order. Raises StoreError where there is no such
        shard.
        """
        query = select(stream_shards).where(stream_shards.c.shard == shard)
        row = self._connection.execute(query.with_for_update()).first()
        if row is None:
            raise StoreError(f"shard {shard}: the database has none of this number: the stream was not begun here")
        changed = {"epoch": max(row.epoch, seen) + 1, "owner": owner, "taken_at": self._now}
        self._connection.execute(update(stream_shards).where(stream_shards.c.shard == shard).values(**changed))
        return _shard(self._connection.execute(query).one())

    def seen_epoch(self, shard: int, epoch: int) -> int:
        """Raise the epoch of a database that was restored above one that others have seen; returns the new one.

        Everybody who owned the shard before, whatever he read, fails from now on.
        """
        query = select(stream_shards.c.owner).where(stream_shards.c.shard == shard)
        owner = self._connection.execute(query).scalar()
        return self.take_over(shard, owner or "", epoch).epoch

    def advance(self, moves: Sequence[Move]) -> set[int]:
        """Move shards, in their order; returns those that another owner moved or took meanwhile: drop them.

        The rows of the others stay locked until the transaction ends.
        """
        return {move.shard for move in sorted(moves, key=lambda move: move.shard) if not self._moved(move)}

    def _moved(self, move: Move) -> bool:
        c = stream_shards.c
        changed: dict[str, Any] = {
            "legs_offset": move.legs_to,
            "records_offset": move.records_to,
            "updated_at": self._now,
            "state": to_json(move.state),
        }
        if move.archived_to is not None:
            changed["archived_to"] = move.archived_to
        statement = update(stream_shards).where(
            c.shard == move.shard,
            c.epoch == move.epoch,
            c.legs_offset == move.legs_from,
            c.records_offset == move.records_from,
        )
        return self._connection.execute(statement.values(**changed)).rowcount == 1

    def count(self, shard: int, counted: Mapping[CountKey, int]) -> None:
        """Add to the shard's own counts."""
        rows = [
            {"shard": shard, **_clean(key._asdict()), "value": counted[key]} for key in sorted(counted) if counted[key]
        ]
        add_to(self._connection, stream_counts, _merged(rows, ("value",)), ("value",))

    def total(self, shard: int, totals: Mapping[TotalKey, tuple[int, int]]) -> None:
        """Add (records, sum of their amounts in minor units) to the shard's own totals of what was scored."""
        rows = [
            {
                "shard": shard,
                **_clean(key._asdict()),
                "records": totals[key][0],
                "billions": totals[key][1] // 10**9,
                "units": totals[key][1] % 10**9,
            }
            for key in sorted(totals)
        ]
        added = ("records", "billions", "units")
        add_to(self._connection, stream_totals, _merged(rows, added), added)

    def sequences(self, shard: int, numbers: Mapping[tuple[str, str], Numbers]) -> None:
        """Note the source_sequence numbers that came, each any number of times, by (institution, source)."""
        add_numbers(self._connection, shard, {(_text(i), _text(s)): found for (i, s), found in numbers.items()})

    def fold_sequences(self) -> int:
        """Let the numbers of unbroken runs take no room, now and then; returns how many rows that saved."""
        return fold_sequences(self._connection)

    def sources(self, reached: Iterable[SourceRow]) -> None:
        """Note how far partitions of source topics are covered; `first` stays as it was first noted."""
        rows = [
            {
                "topic": row.topic,
                "partition": row.partition,
                "first_offset": row.first,
                "next_offset": row.next,
                "partitions": row.partitions,
                "reached_at": row.reached_at,
                "ended": row.ended,
                "shard": row.shard,
            }
            for row in sorted(reached, key=lambda row: (row.topic, row.partition))
        ]
        if not rows:
            return
        statement = dialect_insert(self._connection, stream_sources)
        new, old = statement.excluded, stream_sources.c
        # A range without messages has no timestamp: what was reached stays.
        latest = func.greatest if self._connection.dialect.name == "postgresql" else func.max
        changed = {name: new[name] for name in ("next_offset", "partitions", "ended", "shard")}
        changed["reached_at"] = latest(old.reached_at, new.reached_at)
        self._connection.execute(
            statement.on_conflict_do_update(index_elements=["topic", "partition"], set_=changed), rows
        )

    def reused(self, found: Iterable[ReusedId]) -> int:
        """Name ids that stand twice; returns how many were not named before."""
        rows = [
            {
                **_clean({name: getattr(row, name) for name in ("institution", "transaction_id", "topic")}),
                "partition": row.partition,
                "message_offset": row.offset,
                "element": row.element,
                "received_at": row.received_at,
            }
            for row in found
        ]
        return insert_new(self._connection, stream_reused, rows)

    def manifests(self, received: Iterable[Manifest]) -> None:
        """Keep what the bank says it sent; a manifest of the same name replaces the one before."""
        by_key = {(m.institution, m.source, m.name): m for m in received}
        rows = [
            {
                **_clean({name: getattr(by_key[key], name) for name in _MANIFEST}),
                "sums": to_json(by_key[key].sums),
                "received_at": self._now,
            }
            for key in sorted(by_key)
        ]
        if not rows:
            return
        statement = dialect_insert(self._connection, stream_manifests)
        changed = {name: statement.excluded[name] for name in rows[0] if name not in ("institution", "source", "name")}
        self._connection.execute(
            statement.on_conflict_do_update(index_elements=["institution", "source", "name"], set_=changed), rows
        )

    def lease(self, name: str, owner: str, seconds: float) -> Lease:
        """Take or renew a lease, if nobody else holds it; returns who holds it now: look whether it is you."""
        until = self._now + round(seconds * 1e6)
        statement = dialect_insert(self._connection, leases).values(name=name, owner=owner, until=until)
        self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=["name"],
                set_={"owner": statement.excluded.owner, "until": statement.excluded.until},
                where=(leases.c.owner == owner) | (leases.c.until <= self._now),
            )
        )
        held = select(leases.c.owner, leases.c.until).where(leases.c.name == name)
        return Lease(*self._connection.execute(held).one())

    def release(self, name: str, owner: str) -> None:
        """Give a lease up, if it is the owner's."""
        self._connection.execute(
            update(leases).where(leases.c.name == name, leases.c.owner == owner).values(until=self._now)
        )


def load_shards(connection: Connection) -> list[ShardRow]:
    """Every shard in its order; none where the database has no stream."""
    return [_shard(row) for row in connection.execute(select(stream_shards).order_by(stream_shards.c.shard))]


_MANIFEST: Final = (
    "institution", "source", "name", "records", "first_id", "last_id", "first_hour", "last_hour", "sha256",
)  # fmt: skip


def _shard(row: Row[Any]) -> ShardRow:
    return ShardRow(
        row.shard,
        row.epoch,
        row.legs_offset,
        row.records_offset,
        row.archived_to,
        row.owner,
        row.taken_at,
        row.updated_at,
        from_json(row.state),
    )


def _clean(texts: dict[str, Any]) -> dict[str, Any]:
    """The same with NULs, which PostgreSQL's texts cannot hold, written out."""
    return {name: _text(value) if isinstance(value, str) else value for name, value in texts.items()}


def _text(text: str) -> str:
    return text.replace("\0", "\\0")


def _merged(rows: list[dict[str, Any]], added: tuple[str, ...]) -> list[dict[str, Any]]:
    """The rows, those of one key made one: cleaning may have made keys equal."""
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = tuple(value for name, value in row.items() if name not in added)
        if key in merged:
            for name in added:
                merged[key][name] += row[name]
        else:
            merged[key] = row
    return list(merged.values())
