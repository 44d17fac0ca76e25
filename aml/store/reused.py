"""Ids that stand twice: found in what the shards archived, since no shard sees what another one accepted.

One record stands once whatever segments hold it: its coordinates in the source topic tell. Of one id, revision and
institution two records stand only under different first accounts, or where the account had moved to another shard
between them; the first to come keeps the name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl
from sqlalchemy import Connection, select

from aml.store.stream_rows import ReusedId
from aml.store.stream_tables import stream_segments

KEPT: Final = 14 * 86_400_000_000  # µs: as far back as ids are compared
AT_ONCE: Final = 4_000_000  # records that are compared at once
_ID: Final = ("institution", "transaction_id", "revision")
_PLACE: Final = ("received_at", "topic", "partition", "offset", "element")
_KINDS: Final = {
    "institution": pl.String(), "transaction_id": pl.String(), "revision": pl.Int32(), "void": pl.Boolean(),
}  # fmt: skip


@dataclass(slots=True)
class Compared:
    """What was found, in the order in which it came; missing: segments that lie elsewhere and were not looked at."""

    reused: list[ReusedId] = field(default_factory=list)
    missing: int = 0


def find_reused(connection: Connection, folder: Path, now: int) -> Compared:
    """Compare the ids of all records that shards archived in the last 14 days. now: UTC µs; folder: the state's.

    What is still in the workers' memory is compared next time. Raises OSError or polars' own where a segment cannot be
    read.
    """
    c = stream_segments.c
    rows = connection.execute(select(c.name, c.rows).where(c.archived_at >= now - KEPT).order_by(c.name)).all()
    there = [row for row in rows if (folder / row.name).is_file()]
    done = Compared(missing=len(rows) - len(there))
    if there:
        parts = -(-sum(row.rows for row in there) // AT_ONCE)
        frames = [_scan(folder / row.name) for row in there]
        done.reused = sorted(_found(frames, parts), key=lambda one: (one.received_at, one.partition, one.offset))
    return done


def _scan(path: Path) -> pl.LazyFrame:
    """What names the records of a segment; a column that held nothing was not written."""
    frame = pl.scan_parquet(path)
    held = frame.collect_schema().names()
    absent = [pl.lit(None, kind).alias(name) for name, kind in _KINDS.items() if name not in held]
    void = pl.col("void").fill_null(value=False)
    return frame.with_columns(absent).filter(~void).select(*_ID[:2], pl.col("revision").fill_null(1), *_PLACE)


def _found(frames: Sequence[pl.LazyFrame], parts: int) -> Iterator[ReusedId]:
    """Those that came after the first of their id; by parts of all ids, so that memory stays bounded."""
    for part in range(parts):
        mine = [f.filter(pl.col("transaction_id").hash(0) % parts == part) for f in frames]
        some = pl.concat(mine).unique([*_ID, *_PLACE[1:]]).collect()
        twice = some.filter(pl.len().over(_ID) > 1).sort(*_ID, *_PLACE)
        later = twice.filter(pl.int_range(pl.len()).over(_ID) > 0)
        for row in later.iter_rows(named=True):
            yield ReusedId(
                row["institution"], row["transaction_id"], row["topic"], row["partition"], row["offset"],
                row["element"], row["received_at"],
            )  # fmt: skip
