"""The party table as its topic tells it: rows come in over time, and a record knows those that came before it did.

So who holds an account is a function of the record's message and of the log of rows, whenever an intake reads them. The
latest message of a key counts, as compaction keeps it; one without value takes its rows away.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, Protocol

import numpy as np
import polars as pl

from aml.domain.errors import AmlError
from aml.domain.party import PARTIES
from aml.feed.parties import parse_parties
from aml.pipeline.parties import Parties, PartyRows
from aml.stream.forms import Message, lay_out

_ENDS: Final = ("originator", "beneficiary")
_SCHEMA: Final[dict[str, Any]] = {
    **PARTIES, "_key": pl.Binary(), "_at": pl.Int64(), "_partition": pl.Int64(), "_offset": pl.Int64(),
    "_gone": pl.Boolean(),
}  # fmt: skip
_log: Final = logging.getLogger("aml.intake")
Resolver = Callable[[pl.DataFrame, Parties | None], pl.DataFrame]


class Rows(Protocol):
    """Where party rows come from."""

    def read(self) -> Sequence[Message] | None:
        """What came since the last time, to the topic's end as it is now; None where that cannot be known."""


class PartyFeed:
    """The rows read so far. tenant: the institution of rows without one; currency: of their turnover."""

    def __init__(self, rows: Rows, tenant: str, currency: str) -> None:
        self._rows, self._tenant, self._currency = rows, tenant, currency
        self._log = pl.DataFrame(schema=_SCHEMA)
        self._now: Parties | None = None
        self._latest = -1  # time of the newest row, µs
        self.refused = 0  # rows that could not be read

    def refresh(self) -> bool:
        """Read what came since the last time; False where that cannot be known: no record may be judged then."""
        messages = self._rows.read()
        if messages is None:
            return False
        parts = list(self._read(messages))
        if not parts:
            return True
        self._log = pl.concat([self._log, *parts]).sort("_at", "_partition", "_offset", maintain_order=True)
        self._latest = int(self._log.get_column("_at")[-1])
        self._now = _table(self._log)
        return True

    def resolve(self, frame: pl.DataFrame, resolver: Resolver) -> pl.DataFrame:
        """The frame resolved, every record by the rows that came not after its message (`_received`)."""
        at = frame.get_column("_received").to_numpy()
        if self._latest <= at.min(initial=self._latest):
            return resolver(frame, self._now)
        about = self._about(frame)
        # Whether there is a table at all counts for every record, the rows' content only for those that they name.
        cuts = np.unique(np.append(about.get_column("_at").to_numpy(), self._log.get_column("_at")[0]))
        bounds = [-1, *cuts[(cuts > at.min()) & (cuts <= at.max())].tolist(), int(at.max()) + 1]
        places, parts = [], []
        for first, last in pairwise(bounds):
            mine = np.flatnonzero((at >= first) & (at < last))
            if mine.size:
                places.append(mine)
                known = int(at[mine[0]])
                table = None if known < self._log.get_column("_at")[0] else _table(about, known)
                parts.append(resolver(frame[mine], table))
        whole = _filled(pl.concat(parts, how="diagonal"))
        return whole[np.argsort(np.concatenate(places), kind="stable")]

    def _about(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows that may say something about the frame's accounts and customers."""
        rows = self._log
        accounts = pl.concat([frame.get_column(f"{end}_account").alias("a") for end in _ENDS]).drop_nulls().unique()
        of_accounts = pl.col("account").is_in(accounts.implode())
        # A tombstone names nobody: it counts for those of whom an earlier row of its key told.
        keys = rows.filter(of_accounts).get_column("_key").unique()
        named = [frame.get_column(f"{end}_customer").alias("c") for end in _ENDS]
        linked = rows.filter(of_accounts).get_column("customer").alias("c")
        customers = pl.concat([*named, frame.get_column("conductor").alias("c"), linked]).drop_nulls().unique()
        of_customers = pl.col("customer").is_in(customers.implode())
        keys = pl.concat([keys, rows.filter(of_customers).get_column("_key")]).unique()
        return rows.filter(of_accounts | of_customers | pl.col("_key").is_in(keys.implode()))

    def _read(self, messages: Sequence[Message]) -> Iterator[pl.DataFrame]:
        """The rows of messages, all at once; by halves where one cannot be read: alone it is refused."""
        if not messages:
            return
        try:
            frame = self._frame(messages)
        except AmlError as error:
            if len(messages) > 1:
                half = len(messages) // 2
                yield from self._read(messages[:half])
                yield from self._read(messages[half:])
                return
            self.refused += 1
            # The row's content stays out of the log: it is somebody's.
            _log.warning("a party row was refused: %s", str(error).split(": ", 2)[:2])
            return
        yield frame

    def _frame(self, messages: Sequence[Message]) -> pl.DataFrame:
        """The rows of messages that can all be read; a message without value is one row that says so."""
        sheet = lay_out(m for m in messages if m.value)
        if sheet.failed:
            raise AmlError(f"{_place(messages[0])}: {sheet.failed[0].detail}")
        rows = parse_parties(sheet.lines, _place(messages[0]), self._tenant, self._currency)
        told = [n for n, m in enumerate(messages) if m.value]
        gone = [n for n, m in enumerate(messages) if not m.value]
        of = [*(told[n] for n in sheet.message), *gone]
        return pl.concat([rows, rows.clear(len(gone))]).with_columns(
            pl.Series("_key", [m.key if m.key is not None else _place(m).encode() for m in messages], pl.Binary())[of],
            pl.Series("_at", [m.at for m in messages], pl.Int64())[of],
            pl.Series("_partition", [m.partition for m in messages], pl.Int64())[of],
            pl.Series("_offset", [m.offset for m in messages], pl.Int64())[of],
            pl.Series("_gone", [False] * len(sheet.message) + [True] * len(gone)),
        )


def _place(m: Message) -> str:
    return f"{m.topic}[{m.partition}]:{m.offset}"


def _filled(frame: pl.DataFrame) -> pl.DataFrame:
    """What only some parts of a frame have: nothing is known of a holder before there is a table."""
    nothing = PartyRows().facts(np.array([-1], np.int32))
    facts = {f"_{end}_{name}": value[0] for end in ("debit", "credit") for name, value in nothing.items()}
    lacking = [name for name in facts if name in frame.columns and frame.get_column(name).null_count()]
    return frame.with_columns(pl.col(name).fill_null(pl.lit(facts[name], frame.schema[name])) for name in lacking)


def _table(log: pl.DataFrame, at: int | None = None) -> Parties:
    """The table as it was at a time (µs), else as it is: of each key the latest message's rows."""
    seen = log if at is None else log.filter(pl.col("_at") <= at)
    newest = pl.struct("_partition", "_offset")
    rows = seen.filter((newest == newest.last().over("_key")) & ~pl.col("_gone"))
    return Parties(rows.select(list(PARTIES)), PartyRows())
