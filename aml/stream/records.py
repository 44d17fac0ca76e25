"""The records that a shard accepted, whole: the latest in memory, all others in the segments of its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.domain.transaction import CANONICAL
from aml.pipeline.accept import Arrivals
from aml.pipeline.resolved import SHARD
from aml.store.archive import Archive, write_segment
from aml.store.runs import StateFile

# Of what the intake fixed, what every block has.
KEPT: Final = (
    "_debit_hi", "_debit_lo", "_credit_hi", "_credit_lo", "_flags", "_day", "_unit_day", "_sides", "_ours", SHARD,
)  # fmt: skip
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sealed:
    """Records on their way to the disk: rows [first, last), of blocks at offsets from `legs_from` on."""

    first: int
    last: int
    frame: pl.DataFrame
    epoch: int
    legs_from: int

    def write(self, folder: Path) -> StateFile:
        """Write them as a segment. The name bears the epoch: an owner that was replaced writes beside, not over.
        Raises OSError."""
        return write_segment(folder, self.first, self.last, self.frame, f"-e{self.epoch}")


class ShardRecords(Archive):
    """An archive that never waits for the disk: what is not written yet is read from memory."""

    def __init__(self, folder: Path, files: Sequence[StateFile] = (), legs_from: int = 0) -> None:
        super().__init__(folder, files)
        self.files = list(files)
        self._sealed: list[Sealed] = []
        self._legs_from = legs_from

    @property
    def held(self) -> int:
        """Rows in memory that nobody writes yet."""
        return self._held_rows

    @property
    def rows(self) -> int:
        """Rows appended so far."""
        return super().rows + sum(one.last - one.first for one in self._sealed)

    def add(self, arrivals: Arrivals, topic: str) -> None:
        """Add what was accepted, with where it stood in its topic."""
        if not arrivals.accepted.height:
            return
        self._held.append(
            arrivals.accepted.select(
                *CANONICAL, *KEPT,
                pl.lit(topic).alias("topic"), pl.col("_partition").alias("partition"),
                pl.col("_offset").alias("offset"), pl.col("_index").alias("element"),
                pl.col("_received").alias("received_at"),
                pl.Series("content_hi", arrivals.content[0]), pl.Series("content_lo", arrivals.content[1]),
            )
        )  # fmt: skip
        self._held_rows += arrivals.accepted.height

    def seal(self, epoch: int, legs_to: int) -> Sealed | None:
        """Let what is held wait for the disk; None where nothing is. legs_to: where the shard stands in the legs."""
        if not self._held_rows:
            return None
        first = self.rows - self._held_rows
        frame = pl.concat(self._held, how="diagonal")
        sealed = Sealed(first, first + self._held_rows, frame, epoch, self._legs_from)
        self._sealed.append(sealed)
        self._held, self._held_rows, self._legs_from = [], 0, legs_to
        return sealed

    def adopt(self, file: StateFile) -> None:
        """A sealed part is on the disk: the oldest first."""
        sealed = self._sealed.pop(0)
        self._segments.append((sealed.first, sealed.last, file.name))
        self.files.append(file)

    def unseal(self) -> None:
        """What was sealed last could not be written: hold it again."""
        sealed = self._sealed.pop()
        self._held.insert(0, sealed.frame)
        self._held_rows += sealed.last - sealed.first
        self._legs_from = sealed.legs_from

    def take(self, rows: I64, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The records of these rows, rising."""
        written = self._segments[-1][1] if self._segments else 0
        parts = [super().take(rows[rows < written], columns)] if np.any(rows < written) else []
        if len(self._held) > 1:
            self._held = [pl.concat(self._held, how="diagonal")]
        loose = [(one.first, one.last, one.frame) for one in self._sealed]
        loose += [(self.rows - self._held_rows, self.rows, frame) for frame in self._held]
        for first, last, frame in loose:
            mine = rows[(rows >= first) & (rows < last)]
            if mine.size:
                some = frame if columns is None else frame.select(columns)
                parts.append(some[(mine - first).astype(np.uint32)])
        return pl.concat(parts, how="diagonal") if parts else pl.DataFrame()
