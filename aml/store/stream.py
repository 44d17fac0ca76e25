"""Where the shards of a stream stand, and what they count: written in the one transaction that moves their offsets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, func, insert, select, text, update

from aml.domain.errors import StoreError
from aml.store.encoding import from_json, to_json
from aml.store.sequences import Numbers, add_numbers, fold_sequences
from aml.store.statements import add_to, dialect_insert, insert_new
from aml.store.stream_rows import CountKey, Lease, Manifest, Move, ReusedId, Segment, ShardRow, SourceRow, TotalKey
from aml.store.stream_tables import (
    leases,
    stream_counts,
    stream_manifests,
    stream_reused,
    stream_segments,
    stream_shards,
    stream_sources,
    stream_totals,
)

__all__ = [
    "CountKey",
    "Lease",
    "Manifest",
    "Move",
    "ReusedId",
    "Segment",
    "ShardRow",
    "SourceRow",
    "StreamStore",
    "TotalKey",
    "load_shards",
]

_SHARDS_LOCK: Final = 0x616D6C03


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
        """Move shards, locking them in their order; returns those that another owner moved or took meanwhile: drop
        them.

        The rows stay locked until the transaction ends.
        """
        c = stream_shards.c
        wanted = {move.shard: move for move in moves}
        query = select(c.shard, c.epoch, c.legs_offset, c.records_offset, c.archived_to).where(c.shard.in_(wanted))
        rows = []
        for shard, *found, archived_to in self._connection.execute(query.order_by(c.shard).with_for_update()):
            move = wanted[shard]
            if found == [move.epoch, move.legs_from, move.records_from]:
                archived = archived_to if move.archived_to is None else move.archived_to
                rows.append({**_moved(move), "archived_to": archived, "updated_at": self._now})
        if rows:
            self._connection.execute(_MOVE, rows)
        return set(wanted) - {row["moved"] for row in rows}

    def count(self, shard: int, counted: Mapping[CountKey, int]) -> None:
        """Add to the shard's own counts."""
        self.count_all({shard: counted})

    def count_all(self, counted: Mapping[int, Mapping[CountKey, int]]) -> None:
        """Add to the counts of several shards at once: so it costs a third."""
        rows = [
            {"shard": shard, **_clean(key._asdict()), "value": value}
            for shard in sorted(counted)
            for key, value in sorted(counted[shard].items())
            if value
        ]
        add_to(self._connection, stream_counts, _merged(rows, ("value",)), ("value",))

    def total(self, shard: int, totals: Mapping[TotalKey, tuple[int, int]]) -> None:
        """Add (records, sum of their amounts in minor units) to the shard's own totals of what was scored."""
        self.total_all({shard: totals})

    def total_all(self, totals: Mapping[int, Mapping[TotalKey, tuple[int, int]]]) -> None:
        """Add to the totals of several shards at once."""
        rows = [
            {
                "shard": shard,
                **_clean(key._asdict()),
                "records": records,
                "billions": amount // 10**9,
                "units": amount % 10**9,
            }
            for shard in sorted(totals)
            for key, (records, amount) in sorted(totals[shard].items())
        ]
        added = ("records", "billions", "units")
        add_to(self._connection, stream_totals, _merged(rows, added), added)

    def sequences(self, shard: int, numbers: Mapping[tuple[str, str], Numbers]) -> None:
        """Note the source_sequence numbers that came, each any number of times, by (institution, source)."""
        self.sequences_all({shard: numbers})

    def sequences_all(self, numbers: Mapping[int, Mapping[tuple[str, str], Numbers]]) -> None:
        """Note the numbers that came to several shards at once."""
        add_numbers(
            self._connection,
            {(shard, _text(i), _text(s)): found for shard, mine in numbers.items() for (i, s), found in mine.items()},
        )

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

    def segments(self, written: Iterable[Segment]) -> None:
        """Name segments of the archive, which are on the disk: readers see no others."""
        rows = [{**asdict(segment), "archived_at": self._now} for segment in written]
        insert_new(self._connection, stream_segments, rows)

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


# Only after its row was locked and compared.
_MOVE: Final = (
    update(stream_shards)
    .where(stream_shards.c.shard == bindparam("moved"))
    .values({name: bindparam(name) for name in ("legs_offset", "records_offset", "archived_to", "updated_at", "state")})
)


def _moved(move: Move) -> dict[str, Any]:
    offsets = {"legs_offset": move.legs_to, "records_offset": move.records_to}
    return {"moved": move.shard, **offsets, "state": to_json(move.state)}


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
        row.generation,
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
