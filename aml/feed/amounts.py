"""Columns of decimal amounts to whole minor units, exactly: by columns where that is plain, else text by text."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.domain.money import MOST_DIGITS, Defect, to_minor
from aml.feed.gaps import filled, nullable, present

_EXACT: Final = pl.Decimal(38, 18)
# A text no longer than this has 18 digits at most, so that the decimal above holds it whole.
_PLAIN: Final = 19
_TOO_MANY: Final = 10**MOST_DIGITS


def minor_column(
    values: pl.Series, places: npt.NDArray[np.int8], signed: bool = False
) -> tuple[pl.Series, dict[int, Defect]]:
    """Minor units (Int64, null where absent or defective) and the defects by row.

    `values` is text, decimal or whole numbers of the currency; `places` the decimals of each row's currency, below 0
    where it is unknown (such rows give null and no defect). With `signed`, zero and less are allowed.
    """
    exact = values.cast(_EXACT, strict=False)
    plain = present(exact)
    if values.dtype == pl.String:
        plain &= filled(values.str.len_bytes(), 0) <= _PLAIN
    result = np.zeros(len(values), np.int64)
    good = np.zeros(len(values), np.bool_)
    known = present(values) & (places >= 0)
    for number in np.unique(places[known]).tolist():
        rows = np.flatnonzero(known & (places == number) & plain)
        minor = _scaled(exact if rows.size == len(values) else exact.gather(rows), number)
        least = 1 - _TOO_MANY if signed else 1
        result[rows] = whole = filled(minor, 0)
        good[rows] = present(minor) & (whole >= least) & (whole < _TOO_MANY)
    defects: dict[int, Defect] = {}
    for row in np.flatnonzero(known & ~good).tolist():
        found = _one(str(values[row]), int(places[row]), signed)
        if isinstance(found, Defect):
            defects[row] = found
        else:
            result[row], good[row] = found, True
    return nullable(values.name, result, good), defects


def _scaled(exact: pl.Series, places: int) -> pl.Series:
    """Int64 minor units, null where digits would be lost."""
    cut = exact.cast(pl.Decimal(38, places), strict=False)
    whole = filled(cut.cast(_EXACT, strict=False) == exact, False)
    minor = cut.to_physical().cast(pl.Int64, strict=False)
    return minor if whole.all() else minor.set(pl.Series(~whole), None)


def _one(text: str, places: int, signed: bool) -> int | Defect:
    text = text.strip()
    if not signed:
        return to_minor(text, places)
    found = to_minor(text.removeprefix("-"), places)
    if found is Defect.ZERO:
        return 0
    return -found if isinstance(found, int) and text.startswith("-") else found
