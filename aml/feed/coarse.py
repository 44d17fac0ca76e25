"""Feeds without ids, or with steps for a clock, as their mapping says: there the file's order is data."""

from __future__ import annotations

import datetime as dt

import polars as pl

from aml.domain.transaction import Precision, RejectCode
from aml.feed.mapping import STEPS, Mapping
from aml.feed.numbering import Occurrences, Ticks, content_of
from aml.feed.raw import Verdicts, quoted
from aml.feed.times import localised

_EPOCH = dt.date(1970, 1, 1)


class Coarse:
    """Names and places the records of one file; it remembers what came before."""

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping
        self._step = next((pattern for pattern in mapping.time_formats if pattern in STEPS), None)
        self._occurrences, self._ticks = Occurrences(), Ticks()

    def placed(self, theirs: pl.DataFrame, ours: pl.DataFrame, verdicts: Verdicts) -> pl.DataFrame:
        """Our columns with ids and times where the mapping makes them; `theirs` are the columns as they stand."""
        if self._mapping.ids == "content" and theirs.height:
            known = set(self._mapping.wanted())
            content = content_of(theirs, [name for name in theirs.columns if name in known])
            ids = pl.Series("transaction_id", self._occurrences.names(content), dtype=pl.String)
            ours = ours.with_columns(ids)
        if self._step is not None and "executed_at" in ours.columns:
            ours = ours.with_columns(self._times(ours.get_column("executed_at"), self._step, verdicts))
        return ours

    def _times(self, steps: pl.Series, step: str, verdicts: Verdicts) -> list[pl.Series]:
        """The moment of each step, and the row's place within it as microseconds."""
        texts = steps.cast(pl.String).str.strip_chars()
        numbers = texts.cast(pl.Int64, strict=False)
        for row in (numbers.is_null() & texts.is_not_null() & (texts != "")).arg_true():
            told = f"executed_at: {quoted(texts[row])} is no number of steps"
            verdicts.reject(row, RejectCode.TIME_UNREADABLE, told)
        assert self._mapping.start is not None
        first = (dt.date.fromisoformat(self._mapping.start) - _EPOCH).days * STEPS["step_days"]
        ticks = first + numbers.fill_null(0).to_numpy() * STEPS[step]
        if self._mapping.zone is not None:
            ticks = localised(ticks, self._mapping.zone).fill_null(0).to_numpy()
        at = pl.Series("executed_at", ticks + self._ticks.places(ticks)).cast(pl.Datetime("us", "UTC"))
        precision = Precision.DAY if step == "step_days" else Precision.MINUTE
        word = pl.Series("time_precision", [precision.name.lower()]).new_from_index(0, len(steps))
        return [at.set(numbers.is_null(), None), word.alias("time_precision")]


def is_coarse(mapping: Mapping) -> bool:
    """Whether a mapping makes ids or times."""
    return mapping.ids == "content" or any(pattern in STEPS for pattern in mapping.time_formats)
