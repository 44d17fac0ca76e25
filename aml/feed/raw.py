"""What passes between the readers and the validator: columns as they were read, and the verdicts on their rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from aml.domain.transaction import RejectCode
from aml.feed.fields import RULES_READ
from aml.feed.gaps import Mask

_SHOWN = 60  # characters of a value that a detail quotes


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that could not be read: reason, where it stood (row or line, from 1), words, its own bytes."""

    code: RejectCode
    source: str
    place: int
    detail: str
    original: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a feed: canonical transactions, rejects, warnings by field; read = both together.

    `bytes_done` of `bytes_total` (None where unknown) tell how far the reading of the file has come.
    """

    transactions: pl.DataFrame
    rejects: list[Reject]
    warnings: Counter[str]
    read: int
    bytes_done: int
    bytes_total: int | None


@dataclass(slots=True)
class Verdicts:
    """What is wrong with rows: the first defect that makes one unreadable, and fields left out with a warning."""

    found: dict[int, tuple[RejectCode, str]] = field(default_factory=dict)
    warnings: Counter[str] = field(default_factory=Counter)
    kept: dict[int, dict[str, Any]] = field(default_factory=dict)

    def reject(self, row: int, code: RejectCode, detail: str) -> None:
        """The row cannot be read; an earlier verdict stands."""
        self.found.setdefault(row, (code, detail))

    def reject_where(self, mask: Mask, code: RejectCode, words: Callable[[int], str]) -> None:
        """Reject the rows that the mask marks."""
        for row in np.flatnonzero(mask).tolist():
            if row not in self.found:
                self.found[row] = (code, words(row))

    def warn(self, row: int, name: str, value: Any) -> None:
        """The row's field is left out; what stood there is kept."""
        self.warnings[name] += 1
        self.kept.setdefault(row, {})[name] = value

    def defect(self, row: int, name: str, value: Any, code: RejectCode, what: str) -> None:
        """A defect of one field: the row's end if rules read the field, else a warning."""
        if name in RULES_READ:
            self.reject(row, code, f"{name}: {quoted(value)} {what}")
        else:
            self.warn(row, name, value)

    def warn_where(self, mask: Mask, name: str, values: pl.Series) -> None:
        """Leave out the field of the rows that the mask marks."""
        for row in np.flatnonzero(mask).tolist():
            self.warn(row, name, values[row])

    def defects(self, mask: Mask, name: str, values: pl.Series, code: RejectCode, what: str) -> None:
        """A defect of one field in every row that the mask marks."""
        for row in np.flatnonzero(mask).tolist():
            self.defect(row, name, values[row], code, what)


def quoted(value: Any) -> str:
    """A value as errors show it, cut short."""
    text = f"'{value}'" if isinstance(value, str) else f"{value}"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


@dataclass(slots=True)
class Raw:
    """Rows as they were read.

    `frame` has columns by our flat names, text or typed, absent ones left out; `place` and `original` by row. Fields
    that we do not know are in `beside`, as whole columns, and in `extra`, by row. `failed` are rejects that never
    became rows. `padded`: the columns in which a text may be empty or have blanks around it; None: any.
    """

    frame: pl.DataFrame
    place: pl.Series
    original: Callable[[int], bytes]
    verdicts: Verdicts = field(default_factory=Verdicts)
    extra: dict[int, dict[str, Any]] = field(default_factory=dict)
    failed: list[Reject] = field(default_factory=list)
    done: int = 0
    beside: pl.DataFrame = field(default_factory=pl.DataFrame)
    padded: frozenset[str] | None = None

    @property
    def read(self) -> int:
        """Records read."""
        return self.place.len() + len(self.failed)
