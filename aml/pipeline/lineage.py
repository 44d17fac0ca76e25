"""What the archive keeps beside a record: where and when it was read, and what acceptance fixed for good.

Holders, days and party rows are decided once, by the record and the party table of that day, and are never looked up
again; from here they come back when rules or models change and all that was accepted is judged anew.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.engine.columns import ABSENT, NONE
from aml.engine.keys import Fields, order_key
from aml.pipeline.accept import Arrivals

OWN: Final = "_"  # begins the names of columns that are acceptance's, not the record's
TRANSACTION: Final = "_transaction"
FIXED: Final = (
    "debit_holder", "credit_holder", "conductor_holder", "flags", "day", "unit_day", "branch", "terminal", "conductor",
    "batch", "debit_party", "credit_party",
)  # fmt: skip
Columns = dict[str, npt.NDArray[Any]]


def with_lineage(arrivals: Arrivals, received_at: int) -> pl.DataFrame:
    """The accepted records with `received_at` (UTC µs), their content hash, and what acceptance fixed."""
    frame, moves = arrivals.accepted, arrivals.transaction >= 0
    series = [
        pl.Series("content_hi", arrivals.content[0]),
        pl.Series("content_lo", arrivals.content[1]),
        pl.Series(TRANSACTION, arrivals.transaction),
    ]
    for name in FIXED:
        column = arrivals.columns[name]
        if not moves.all():
            spread = np.full(moves.size, 0 if name == "flags" else NONE, column.dtype)
            spread[moves] = column
            column = spread
        series.append(pl.Series(OWN + name, column))
    return frame.with_columns(pl.lit(received_at, pl.Int64).alias("received_at"), *series)


def columns_of(segment: pl.DataFrame, first_row: int) -> Columns:
    """The columns of the segment's movements as acceptance made them (`engine.columns.TRANSACTION`)."""
    moves = segment.get_column(TRANSACTION).to_numpy() >= 0
    frame = segment.filter(pl.Series(moves))
    hi, lo = order_key(frame, Fields(frame))
    columns: Columns = {"key_hi": hi, "key_lo": lo, "row": first_row + np.flatnonzero(moves)}
    columns["t"] = frame.get_column("executed_at").to_numpy()
    for name in ("debit_value", "credit_value"):
        columns[name] = frame.get_column(name).to_numpy()
    for name in ("instrument", "channel"):
        columns[name] = frame.get_column(name).fill_null(ABSENT).to_numpy()
    return columns | {name: frame.get_column(OWN + name).to_numpy() for name in FIXED}
