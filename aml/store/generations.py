"""Shards made anew: the one transaction that ends a generation of them and begins the next.

While they are made, and until their topics are, nobody may work: the lease RESIZING says so to every worker that
starts, whatever ended the one who resizes.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select, update

from aml.domain.errors import StoreError
from aml.store.completeness import SCORED
from aml.store.encoding import to_json
from aml.store.statements import insert_all, update_all
from aml.store.stream import load_shards
from aml.store.stream_rows import Segment, ShardRow
from aml.store.stream_tables import leases, outbox, stream_counts, stream_reused, stream_segments, stream_shards
from aml.store.tables import alerts

RESIZING: Final = "resizing"
_FOR_EVER: Final = 1 << 62
_MADE: Final = "topics of "  # and the number of shards: all is made but their topics


@dataclass(frozen=True, slots=True)
class Resizing:
    """That shards are being made anew. made: how many, where only their topics are left to be made."""

    made: int | None


def resizing(connection: Connection, now: int) -> Resizing | None:
    """Whether shards are being made anew. now: UTC µs."""
    query = select(leases.c.owner).where(leases.c.name == RESIZING, leases.c.until > now)
    owner = connection.execute(query).scalar()
    if owner is None:
        return None
    return Resizing(int(owner.removeprefix(_MADE)) if owner.startswith(_MADE) else None)


def hold(connection: Connection) -> None:
    """From now on no worker starts."""
    connection.execute(delete(leases).where(leases.c.name == RESIZING))
    connection.execute(insert(leases), {"name": RESIZING, "owner": "archive", "until": _FOR_EVER})


def let_go(connection: Connection) -> None:
    """Workers may start again."""
    connection.execute(delete(leases).where(leases.c.name == RESIZING))


def scored(connection: Connection) -> tuple[int, int]:
    """How many records all shards ever scored, and how many ids are known to have stood twice."""
    value = select(func.coalesce(func.sum(stream_counts.c.value), 0)).where(stream_counts.c.outcome == SCORED)
    twice = select(func.count()).select_from(stream_reused)
    return int(connection.execute(value).scalar_one()), connection.execute(twice).scalar_one()


def named_segments(connection: Connection) -> dict[str, tuple[int, str]]:
    """The segments that the database names: the shard and the hash of each."""
    c = stream_segments.c
    return {name: (shard, sha) for name, shard, sha in connection.execute(select(c.name, c.shard, c.sha256))}


def succeed(
    connection: Connection, old: Sequence[ShardRow], shards: int, in_force: str, segments: Iterable[Segment], now: int
) -> None:  # fmt: skip
    """Put so many new shards, at the begin of their topics, in the place of the old ones, and their archive.

    in_force: hash of what they were judged by.

    Epochs go on above all that were. Raises StoreError where an old shard does not stand where it stood.
    """
    connection.execute(select(stream_shards.c.shard).order_by(stream_shards.c.shard).with_for_update())
    if load_shards(connection) != list(old):
        raise StoreError("a worker took a shard meanwhile: stop all workers, and resize again; nothing was changed")
    newest = max(old, key=lambda row: row.updated_at)
    row = {
        "epoch": max(one.epoch for one in old), "legs_offset": 0, "records_offset": 0, "archived_to": 0, "owner": "",
        "taken_at": now, "updated_at": now, "state": to_json(newest.state | {"in_force": in_force}),
        "generation": newest.generation + 1,
    }  # fmt: skip
    connection.execute(delete(stream_shards))
    connection.execute(insert(stream_shards), [{"shard": shard, **row} for shard in range(shards)])
    connection.execute(delete(stream_segments))
    insert_all(connection, stream_segments, [{**asdict(segment), "archived_at": now} for segment in segments])
    _move_outbox(connection, shards)
    connection.execute(update(leases).where(leases.c.name == RESIZING).values(owner=f"{_MADE}{shards}"))


def _move_outbox(connection: Connection, shards: int) -> None:
    """What is to be told, or was of late, falls to the shards that now have its subjects."""
    query = select(outbox.c.outbox_id, alerts.c.subject_key).join(alerts, alerts.c.alert_id == outbox.c.alert_id)
    moved = [{"outbox_id": row, "shard": uuid.UUID(subject).int % shards} for row, subject in connection.execute(query)]
    update_all(connection, outbox, moved, ("outbox_id",))
