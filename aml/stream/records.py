"""The records that a shard accepted, whole: the latest in memory, all others in the segments of its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.domain.transaction import CANONICAL
from aml.pipeline.accept import Arrivals
from aml.pipeline.resolved import SHARD
from aml.store.archive import Archive
from aml.store.runs import StateFile

# Of what the intake fixed, what every block has.
KEPT: Final = (
    "_debit_hi", "_debit_lo", "_credit_hi", "_credit_lo", "_flags", "_day", "_unit_day", "_sides", "_ours", SHARD,
)  # fmt: skip
I64 = npt.NDArray[np.int64]


class ShardRecords(Archive):
    """An archive that also reads what it has not written yet: a stream cannot wait for the disk."""

    def __init__(self, folder: Path, files: Sequence[StateFile] = ()) -> None:
        super().__init__(folder, files)
        self.files = list(files)

    def append(self, arrivals: Arrivals | pl.DataFrame, topic: str = "") -> None:
        """Add what was accepted, with where it stood in its topic."""
        if isinstance(arrivals, pl.DataFrame):
            super().append(arrivals)
            return
        super().append(
            arrivals.accepted.select(
                *CANONICAL, *KEPT,
                pl.lit(topic).alias("topic"), pl.col("_partition").alias("partition"),
                pl.col("_offset").alias("offset"), pl.col("_index").alias("element"),
                pl.col("_received").alias("received_at"),
                pl.Series("content_hi", arrivals.content[0]), pl.Series("content_lo", arrivals.content[1]),
            )
        )  # fmt: skip

    def flush(self) -> None:
        """Write what is held as one more segment, fsynced. Raises OSError."""
        super().flush()
        self.files += self.take_added()

    def take(self, rows: I64, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The records of these rows, rising."""
        written = self.rows - self._held_rows
        parts = [super().take(rows[rows < written], columns)] if np.any(rows < written) else []
        if np.any(rows >= written):
            self._held = [pl.concat(self._held, how="diagonal")]
            held = self._held[0] if columns is None else self._held[0].select(columns)
            parts.append(held[(rows[rows >= written] - written).astype(np.uint32)])
        return pl.concat(parts, how="diagonal") if parts else pl.DataFrame()
