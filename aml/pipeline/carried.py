"""Records as a shard reads them: what `resolve` fixed and what is judged and counted, as plain arrays.

A frame of a few rows costs more to ask than its answers; arrays of the same rows do not. The record itself travels
beside them, and is looked at where somebody wants to see it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.engine.columns import ABSENT, Flag
from aml.engine.identity import NO_TIME
from aml.engine.intern import NONE, TextRows, text_rows
from aml.engine.keys import Keys
from aml.feed.gaps import filled
from aml.pipeline.holders import Mask
from aml.pipeline.resolved import (
    FACTS,
    HAS_BATCH,
    HAS_BRANCH,
    HAS_CREDIT,
    HAS_DEBIT,
    HAS_SEQUENCE,
    HAS_TERMINAL,
    VISITS,
)

Array = npt.NDArray[Any]
_HASHES: Final = ("key", "content", "family", "target", "debit", "credit", "conductor", "branch", "terminal", "batch")
NUMBERS: Final[dict[str, np.dtype[Any]]] = {
    name: np.dtype(kind)
    for kind, names in {
        "u8": tuple(f"{name}_{half}" for name in _HASHES for half in ("hi", "lo")),
        # t, received: UTC µs; sequence: of the source; offset, partition, index: where it stood in its topic; seen: of
        # one that is judged once more, the watermark it was judged by, UTC µs
        "i8": ("t", "received", "seen", "offset", "sequence", "amount", "debit_value", "credit_value",
               "debit_turnover", "credit_turnover"),
        "i4": ("partition", "index", "revision", "day", "unit_day", "shard", "debit_opened", "credit_opened"),
        "u4": ("flags",
               # codes of words; 0 none
               "institution", "source", "currency", "debit_institution", "credit_institution"),
        "u1": ("sides", "ours", "has", "instrument", "channel"),
        "i1": ("debit_segment", "credit_segment"),
        "?": ("everywhere", "debit_cash_intensive", "credit_cash_intensive", "debit_customer", "credit_customer"),
    }.items()
    for name in names
}  # fmt: skip
TEXTS: Final[tuple[str, ...]] = ("id", "debit", "credit", "conductor")  # the transaction's id, and names of holders
ENDS: Final = {"debit": "originator", "credit": "beneficiary"}
_ABSENT: Final = {
    "t": ("executed_at", NO_TIME), "sequence": ("source_sequence", 0), "amount": ("amount", NONE),
    "debit_value": ("debit_value", 0), "credit_value": ("credit_value", 0), "revision": ("revision", 1),
    "instrument": ("instrument", ABSENT), "channel": ("channel", ABSENT),
}  # fmt: skip
_PARTS: Final = {"branch": HAS_BRANCH, "terminal": HAS_TERMINAL, "batch": HAS_BATCH}


@dataclass(slots=True)
class Carried:
    """n records by columns (see NUMBERS; one that is not there is 0 throughout), by texts (see TEXTS; one that is not
    there is null throughout), and the words that codes stand for.

    parties: whether a party table told what is known of the holders.
    """

    n: int
    columns: dict[str, Array]
    texts: dict[str, TextRows]
    words: list[str | None]
    parties: bool = False

    def __getitem__(self, name: str) -> Array:
        """A column."""
        held = self.columns.get(name)
        if held is None:
            held = self.columns[name] = np.zeros(self.n, NUMBERS[name])
        return held

    def key(self, name: str) -> Keys:
        """Keys that travelled: `key` orders, `content` is of all that the record says, the others name."""
        return self[f"{name}_hi"], self[f"{name}_lo"]

    def has(self, name: str) -> Mask:
        """Which records name a branch, a terminal or a batch."""
        has: Mask = (self["has"] & _PARTS[name]) != 0
        return has

    @property
    def sequenced(self) -> Mask:
        """Which records bear a number of their source."""
        has: Mask = (self["has"] & HAS_SEQUENCE) != 0
        return has

    def flags(self, home: Mask) -> npt.NDArray[np.uint32]:
        """Flags; away from home a record moves nothing, but acts on what it is about."""
        return np.where(home, self["flags"], self["flags"] & np.uint32(~int(Flag.MOVES) & 0xFFFFFFFF))

    def legs(self) -> tuple[Mask, Mask, Mask]:
        """Which records have a debit leg, a credit leg, and are visits."""
        sides = self["sides"]
        return (sides & HAS_DEBIT) != 0, (sides & HAS_CREDIT) != 0, (sides & VISITS) != 0

    def facts(self, side: str) -> dict[str, Array] | None:
        """What the party table knew of a side's holder; None where there was none."""
        return {name: self[f"{side}_{name}"] for name in FACTS} if self.parties else None

    def text(self, name: str) -> TextRows:
        """A text of each record: sizes [n, 1] and bytes."""
        held = self.texts.get(name)
        return (np.full((self.n, 1), NONE, np.int32), np.empty(0, np.uint8)) if held is None else held

    def holders(self, side: str, rows: npt.NDArray[np.integer]) -> TextRows:
        """Texts of the holders of some records on a side, or of their conductors, as `HOLDER_TEXTS` names them."""
        sizes, data = text_rows(*self.text(side), rows)
        words = [b"" if word is None else word.encode() for word in self.words]
        ends = np.cumsum(np.maximum(sizes[:, 0], 0)).tolist()
        raw, start, made = data.tobytes(), 0, []
        tenants = self["institution"][rows].tolist()
        theirs = tenants if side == "conductor" else self[f"{side}_institution"][rows].tolist()
        customers = [True] * len(ends) if side == "conductor" else self[f"{side}_customer"][rows].tolist()
        for tenant, other, customer, end in zip(tenants, theirs, customers, ends, strict=True):
            made += [words[tenant], words[other], b"customer" if customer else b"account", raw[start:end]]
            start = end
        lengths = np.array([len(one) for one in made], np.int32).reshape(-1, 4)
        return lengths, np.frombuffer(b"".join(made), np.uint8)

    def places(self) -> list[tuple[int, int, int]]:
        """Partition, offset and place in the message of each record."""
        columns = (self[name].tolist() for name in ("partition", "offset", "index"))
        return list(zip(*columns, strict=True))

    def take(self, rows: npt.NDArray[np.integer]) -> Carried:
        """Some records, in the order asked for."""
        return Carried(
            rows.size, {name: column[rows] for name, column in self.columns.items()},
            {name: text_rows(*held, rows) for name, held in self.texts.items()}, self.words, self.parties,
        )  # fmt: skip


def carry(frame: pl.DataFrame) -> Carried:
    """What shards need of a frame that `resolve` made and that bears coordinates."""
    told = frame.select_seq(_told(frame))
    # Of a customer whom the party table links travels that there is one, and his name among the texts.
    customers = {name: told.get_column(name).to_numpy() for name in ("debit_customer", "credit_customer")}
    columns = {
        name: customers[name] if name in customers else filled(frame.get_column(f"_{name}"), 0)
        for name in NUMBERS
        if f"_{name}" in frame.columns
    }
    for name, (column, absent) in _ABSENT.items():
        columns[name] = filled(frame.get_column(column), absent)
    columns |= customers
    words: dict[str | None, int] = {None: 0}
    for name in ("institution", "source", "currency"):
        columns[name] = _coded(told.get_column(name), words)
    for name in ("debit_institution", "credit_institution"):
        columns[name] = _coded(told.get_column(name), words) if name in told.columns else columns["institution"]
    columns = {name: column for name, column in columns.items() if column.any()}
    return Carried(frame.height, columns, _laid_out(told), list(words), "_debit_segment" in frame.columns)


def _told(frame: pl.DataFrame) -> list[pl.Expr]:
    """Texts of records and their holders: a holder goes by its customer, told or linked, else by its account.

    Its institution is left out where nobody names another than the record's own.
    """
    made = [pl.col("transaction_id").alias("id"), pl.col("institution"), pl.col("source"), pl.col("currency")]
    for side, end in ENDS.items():
        customer = pl.col(f"{end}_customer")
        if f"_{side}_customer" in frame.columns:
            customer = pl.coalesce(customer, f"_{side}_customer")
        made += [pl.coalesce(customer, f"{end}_account").alias(side), customer.is_not_null().alias(f"{side}_customer")]
        if frame.get_column(f"{end}_institution").null_count() < frame.height:
            made.append(pl.coalesce(f"{end}_institution", "institution").alias(f"{side}_institution"))
    return [*made, pl.col("conductor")]


def _coded(column: pl.Series, words: dict[str | None, int]) -> Array:
    """The code of each word; new words are numbered in the order in which they come."""
    # Hardly a flush has more than a few: its words are looked up once each.
    codes = {word: words.setdefault(word, len(words)) for word in dict.fromkeys(column.to_list())}
    if len(codes) == 1:
        return np.full(column.len(), next(iter(codes.values())), np.uint32)
    return column.replace_strict(codes, return_dtype=pl.UInt32).to_numpy()


def _laid_out(told: pl.DataFrame) -> dict[str, TextRows]:
    """The texts of which there are any."""
    names = [name for name in TEXTS if told.get_column(name).null_count() < told.height]
    sizes = told.select_seq(pl.col(names).str.len_bytes().cast(pl.Int32).fill_null(NONE))
    joined = told.select_seq(pl.col(names).str.join("")).row(0)
    return {
        name: (sizes.get_column(name).to_numpy().reshape(-1, 1), np.frombuffer(data.encode(), np.uint8))
        for name, data in zip(names, joined, strict=True)
    }
