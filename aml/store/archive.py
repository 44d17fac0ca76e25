"""The archive: every accepted record whole, in append-only Parquet segments, read by row number."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.domain.errors import StoreError
from aml.domain.transaction import CANONICAL
from aml.store.files import sha256_of, write_whole
from aml.store.runs import StateFile

KIND: Final = "segment"
SEGMENT_ROWS: Final = 1 << 18  # small enough to be read whole for a few records
_GROUP_ROWS: Final = 1 << 16
_NAME: Final = re.compile(r"segment-(\d{12})-(\d{12})(?:-e\d+)?\.parquet")

I64 = npt.NDArray[np.int64]


class Archive:
    """The segments of one database. Rows are numbered from 0 in order of acceptance; a segment never changes.

    `append` holds records until a segment is full, `flush` writes what is left; `take_added` hands over the files that
    the next checkpoint must name. What no checkpoint names is swept when the next run begins.
    """

    def __init__(self, folder: Path, files: Sequence[StateFile] = ()) -> None:
        self._folder = folder
        self._segments: list[tuple[int, int, str]] = sorted((*_range(file.name), file.name) for file in files)
        _check_whole(self._segments, folder)
        self._added: list[StateFile] = []
        self._held: list[pl.DataFrame] = []
        self._held_rows = 0

    @property
    def rows(self) -> int:
        """Rows appended so far."""
        return (self._segments[-1][1] if self._segments else 0) + self._held_rows

    def append(self, frame: pl.DataFrame) -> None:
        """Add records behind the last. Raises OSError."""
        if frame.height:
            self._held.append(frame)
            self._held_rows += frame.height
        if self._held_rows >= SEGMENT_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what is held as one more segment, fsynced. Raises OSError."""
        if not self._held_rows:
            return
        first = self.rows - self._held_rows
        last = self.rows
        file = write_segment(self._folder, first, last, pl.concat(self._held, how="vertical"))
        self._held, self._held_rows = [], 0
        self._segments.append((first, last, file.name))
        self._added.append(file)

    def take_added(self) -> list[StateFile]:
        """The segments written since this was last asked."""
        added, self._added = self._added, []
        return added

    def take(self, rows: I64, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The records of these rows, in the order asked for; `columns` of them, default all. All must be flushed."""
        order = np.argsort(rows, kind="stable")
        ordered, parts = rows[order], []
        for first, last, name in self._segments:
            start, stop = np.searchsorted(ordered, (first, last))
            if start < stop:
                scanned = pl.scan_parquet(self._folder / name)
                chosen = (scanned if columns is None else scanned.select(columns)).collect()
                parts.append(chosen[(ordered[start:stop] - first).astype(np.uint32)])
        if not parts:
            return self._empty(columns)
        back = np.empty(rows.size, np.uint32)
        back[order] = np.arange(rows.size, dtype=np.uint32)
        return pl.concat(parts, how="diagonal")[back]

    def scan(self, first: int, columns: Sequence[str]) -> list[tuple[int, pl.LazyFrame]]:
        """Every flushed segment that holds rows from `first` on: the number of its first row, and its columns."""
        return [
            (start, pl.scan_parquet(self._folder / name).select(columns))
            for start, stop, name in self._segments
            if stop > first
        ]

    def segments(self) -> Iterator[tuple[int, pl.DataFrame]]:
        """Every flushed segment whole, with all columns of a record, and the number of its first row."""
        for first, _, name in self._segments:
            yield first, _whole(pl.read_parquet(self._folder / name))

    def _empty(self, columns: Sequence[str] | None) -> pl.DataFrame:
        return pl.DataFrame(schema=dict.fromkeys(columns or ("transaction_id",), pl.String))


def write_segment(folder: Path, first: int, last: int, frame: pl.DataFrame, mark: str = "") -> StateFile:
    """Write rows [first, last) as a segment, fsynced; `mark` goes into its name. Raises OSError."""
    path = folder / f"segment-{first:012d}-{last:012d}{mark}.parquet"
    filled = _filled(frame)
    write_whole(
        path,
        lambda out: filled.write_parquet(
            out, compression="zstd", compression_level=1, statistics=False, row_group_size=_GROUP_ROWS
        ),
    )
    return StateFile(path.name, KIND, sha256_of(path), path.stat().st_size, last - first)


def _filled(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns that hold anything: most banks fill half of them, and an empty one costs as much as another."""
    return frame.select([column for column in frame if column.null_count() < frame.height])


def _whole(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with the columns of a record that it left out."""
    missing = [pl.lit(None, kind).alias(name) for name, kind in CANONICAL.items() if name not in frame.columns]
    return frame.with_columns(missing)


def _range(name: str) -> tuple[int, int]:
    found = _NAME.fullmatch(name)
    if found is None:
        raise StoreError(f"archive segment {name}: has a name that this version does not know: upgrade aml")
    return int(found[1]), int(found[2])


def _check_whole(segments: Sequence[tuple[int, int, str]], folder: Path) -> None:
    expected = 0
    for first, last, name in segments:
        if first != expected:
            told = f"rows {expected} to {first} are in no segment before {name}"
            raise StoreError(f"state folder {folder}: {told}: restore it together with its database")
        expected = last
