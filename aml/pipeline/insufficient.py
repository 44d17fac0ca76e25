"""Counts the records that a rule would count and cannot judge, for lack of a field that it needs.

The count is a function of the set of accepted records: one that a later revision replaces or a void takes back stays
counted, since what it lacked was lacking.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.detect.compile import Compiled
from aml.detect.needs import Columns, Tags, lacking


class Insufficient:
    """The count of each rule that needs something, over all batches."""

    def __init__(self, compiled: Compiled) -> None:
        self._compiled = compiled
        self._numbers = np.zeros(len(compiled.needs), np.int64)
        self._fields = sorted({name for need in compiled.needs for group in need.groups for name in group})

    @property
    def counts(self) -> dict[str, int]:
        """Insufficient records by rule; rules that lack nothing are left out."""
        numbers = zip(self._compiled.needs, self._numbers.tolist(), strict=True)
        return {need.rule: number for need, number in numbers if number}

    def take(
        self, records: pl.DataFrame, moves: npt.NDArray[np.bool_], columns: Columns, tags: Tags,
        segment: npt.NDArray[np.int8],
    ) -> None:  # fmt: skip
        """Take a batch. records: accepted, whole; moves: which of them are movements, whose columns and tags these are;
        segment: of each row of the party table."""
        if not self._compiled.needs or not columns["t"].size:
            return
        movements = records.select(self._fields)
        if not moves.all():
            movements = movements.filter(pl.Series(moves))
        found = lacking(self._compiled, movements, columns, tags, segment)
        self._numbers += [np.count_nonzero(lacks) for lacks in found.values()]

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything, for a snapshot; it fits only the rules that counted."""
        return {"numbers": self._numbers.copy()}

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take over what `state` gave."""
        self._numbers = state["numbers"].copy()
