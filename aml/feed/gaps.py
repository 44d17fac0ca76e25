"""Columns in which some rows have nothing: asked of polars only where some have and some have not, else known.

A question to a column costs what a few thousand of its rows cost.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

Mask = npt.NDArray[np.bool_]


def present(values: pl.Series) -> Mask:
    """Which rows have a value."""
    nulls = values.null_count()
    if 0 < nulls < len(values):
        return values.is_not_null().to_numpy()
    return np.full(len(values), not nulls)


def filled(values: pl.Series, absent: int) -> npt.NDArray[Any]:
    """Numbers or truth values, `absent` where there is none."""
    nulls = values.null_count()
    if 0 < nulls < len(values):
        values = values.fill_null(absent)
    elif nulls:
        values = pl.Series([absent], dtype=values.dtype).new_from_index(0, nulls)
    return values.to_numpy()


def lost(values: pl.Series, read: pl.Series) -> Mask:
    """Which rows had a value from which nothing was read."""
    if values.null_count() == read.null_count():
        return np.zeros(len(values), np.bool_)
    return present(values) & ~present(read)


def nullable(name: str, values: npt.NDArray[Any], has: Mask) -> pl.Series:
    """The values as a column, null in the other rows."""
    column = pl.Series(name, values)
    return column if has.all() else column.set(pl.Series(~has), None)
