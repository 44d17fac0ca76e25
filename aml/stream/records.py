"""The records that a shard accepted, whole: the latest in memory, all others in the segments of its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.engine.intern import text_rows
from aml.pipeline.carried import ENDS, Carried
from aml.pipeline.resolved import FACTS
from aml.store.archive import Archive, write_segment
from aml.store.runs import StateFile
from aml.stream.block import Block

# Of what the intake fixed, what is kept beside a record: with the record it says all that a shard ever reads of it.
KEPT: Final = ("debit_hi", "debit_lo", "credit_hi", "credit_lo", "flags", "day", "unit_day", "sides", "ours", "shard")
KNOWN: Final = tuple(f"{side}_{name}" for side in ENDS for name in FACTS)  # where the party table told anything
SEEN: Final = "_seen"  # the watermark when it was judged, UTC µs; NO_TIME where there was none
PLACE: Final = {"partition": "partition", "offset": "offset", "index": "element", "received": "received_at"}
LOOSE: Final = 256  # blocks that are held as they came, at most
LOOSE_ROWS: Final = 1 << 13
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Loose:
    """The accepted rows of a block as it came: most are never looked at before they are written."""

    block: Block
    rows: I64  # of the block
    topic: str
    seen: I64  # by row the watermark that it was judged by

    @property
    def height(self) -> int:
        """How many."""
        return self.rows.size

    def frame(self) -> pl.DataFrame:
        """The records, with what is kept beside them."""
        frame, columns = self.block.frame(), self.block.rows
        if self.rows.size < columns.n:
            frame, columns = frame[self.rows], columns.take(self.rows)
        kept = KEPT + KNOWN if columns.parties else KEPT
        return frame.with_columns(
            *(pl.Series(f"_{name}", columns[name]) for name in kept),
            *(_linked(side, end, frame, columns) for side, end in ENDS.items()),
            pl.lit(self.topic).alias("topic"),
            *(pl.Series(name, columns[column]) for column, name in PLACE.items()),
            pl.Series("content_hi", columns["content_hi"]), pl.Series("content_lo", columns["content_lo"]),
            pl.Series(SEEN, self.seen),
        )  # fmt: skip

    def some(self, rows: npt.NDArray[np.integer]) -> pl.DataFrame:
        """A few of the records: the columns that hold anything, and where they stood."""
        at = self.rows[rows]
        columns = self.block.rows
        told: pl.DataFrame = self.block.told()[at.astype(np.uint32)]
        return told.hstack([
            pl.Series("topic", [self.topic] * at.size),
            *(pl.Series(name, columns[column][at]) for column, name in PLACE.items()),
            pl.Series("content_hi", columns["content_hi"][at]), pl.Series("content_lo", columns["content_lo"][at]),
        ])  # fmt: skip


def _linked(side: str, end: str, frame: pl.DataFrame, columns: Carried) -> pl.Series:
    """The customer to whom the party table linked a side's account, where the record names none."""
    linked = columns[f"{side}_customer"] & frame.get_column(f"{end}_customer").is_null().to_numpy()
    names: list[str | None] = [None] * columns.n
    sizes, data = text_rows(*columns.text(side), np.flatnonzero(linked)) if linked.any() else (None, None)
    if sizes is not None and data is not None:
        raw, at = data.tobytes(), 0
        for row, size in zip(np.flatnonzero(linked).tolist(), sizes[:, 0].tolist(), strict=True):
            names[row] = raw[at : at + size].decode()
            at += size
    return pl.Series(f"_{side}_customer", names, pl.String)


Piece = Loose | pl.DataFrame


def _frame(piece: Piece) -> pl.DataFrame:
    return piece.frame() if isinstance(piece, Loose) else piece


def _joined(pieces: Sequence[Piece]) -> pl.DataFrame:
    return pl.concat([_frame(piece) for piece in pieces], how="diagonal")


@dataclass(frozen=True, slots=True)
class Sealed:
    """Records on their way to the disk: rows [first, last), of blocks at offsets from `legs_from` on."""

    first: int
    last: int
    pieces: tuple[Piece, ...]
    epoch: int
    legs_from: int

    def write(self, folder: Path) -> StateFile:
        """Write them as a segment. The name bears the epoch: an owner that was replaced writes beside, not over.
        Raises OSError."""
        return write_segment(folder, self.first, self.last, _joined(self.pieces), f"-e{self.epoch}")


class ShardRecords(Archive):
    """An archive that never waits for the disk: what is not written yet is read from memory."""

    def __init__(self, folder: Path, files: Sequence[StateFile] = (), legs_from: int = 0) -> None:
        super().__init__(folder, files)
        self.files = list(files)
        self._sealed: list[Sealed] = []
        self._pieces: list[Piece] = []
        self._loose: list[Loose] = []  # the last of these
        self._legs_from = legs_from

    @property
    def held(self) -> int:
        """Rows in memory that nobody writes yet."""
        return self._held_rows

    @property
    def rows(self) -> int:
        """Rows appended so far."""
        return super().rows + sum(one.last - one.first for one in self._sealed)

    def add(self, block: Block, rows: I64, topic: str, seen: I64) -> None:
        """Add the accepted rows of a block, with where they stood in their topic. seen: see `Loose`."""
        if not rows.size:
            return
        self._loose.append(Loose(block, rows, topic, seen))
        self._pieces.append(self._loose[-1])
        self._held_rows += rows.size
        if len(self._loose) == LOOSE or sum(one.height for one in self._loose) >= LOOSE_ROWS:
            # A block takes more room than its records do.
            self._pieces[-len(self._loose) :] = [_joined(self._loose)]
            self._loose = []

    def seal(self, epoch: int, legs_to: int) -> Sealed | None:
        """Let what is held wait for the disk; None where nothing is. legs_to: where the shard stands in the legs."""
        if not self._held_rows:
            return None
        first = self.rows - self._held_rows
        sealed = Sealed(first, first + self._held_rows, tuple(self._pieces), epoch, self._legs_from)
        self._sealed.append(sealed)
        self._pieces, self._loose, self._held_rows, self._legs_from = [], [], 0, legs_to
        return sealed

    def adopt(self, file: StateFile) -> None:
        """A sealed part is on the disk: the oldest first."""
        sealed = self._sealed.pop(0)
        self._segments.append((sealed.first, sealed.last, file.name))
        self.files.append(file)

    def unseal(self) -> None:
        """What was sealed last could not be written: hold it again."""
        sealed = self._sealed.pop()
        self._pieces[:0] = sealed.pieces
        self._held_rows += sealed.last - sealed.first
        self._legs_from = sealed.legs_from

    def take(self, rows: I64, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The records of these rows, rising; columns that hold nothing may be left out."""
        parts = self.parts(rows)
        parts = parts if columns is None else [part.select(columns) for part in parts]
        return pl.concat(parts, how="diagonal") if parts else pl.DataFrame()

    def parts(self, rows: I64) -> list[pl.DataFrame]:
        """The records of these rows, rising, as they lie: one part may have columns that another has not."""
        written = self._segments[-1][1] if self._segments else 0
        parts = [super().take(rows[rows < written])] if np.any(rows < written) else []
        at = written
        for piece in [piece for one in self._sealed for piece in one.pieces] + self._pieces:
            first, at = at, at + piece.height
            low, high = np.searchsorted(rows, (first, at))
            if low < high:
                wanted = rows[low:high] - first
                parts.append(piece.some(wanted) if isinstance(piece, Loose) else piece[wanted.astype(np.uint32)])
        return parts
