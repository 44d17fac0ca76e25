"""The letters between shards: visits, facts of payments, hits on subjects elsewhere, records wanted as evidence.

A letter carries a table of holders and one of transactions, by which all else in it is said: a number in a letter is a
place in those tables. Everything is told whole, in place of what the same shard told before: a letter that comes again
changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
import numpy as np

from aml.engine.layout import TRAIL
from aml.stream.wire import RECORDS, Array, pack, pack_arrays, pack_bundle, unpack, unpack_arrays, unpack_bundle

RECORD, MARKER, ROUND = 0, 1, 2  # kinds of letter
BUNDLE_BYTES: Final = 4 << 20  # a message holds so much, but one letter at least

HOLDER: Final = np.dtype([("hi", "u8"), ("lo", "u8"), ("ours", "?")])
TRANSACTION: Final = np.dtype(
    [
        ("ref_hi", "u8"), ("ref_lo", "u8"), ("hi", "u8"), ("lo", "u8"), ("t", "i8"),
        ("debit_value", "i8"), ("credit_value", "i8"),
        ("debit_holder", "i4"), ("credit_holder", "i4"), ("conductor_holder", "i4"), ("conductor", "i4"),
        ("debit_tag", "u4"), ("credit_tag", "u4"), ("debit_q", "i4"), ("credit_q", "i4"), ("day", "i4"),
        ("unit_day", "i4"),
        ("branch_hi", "u8"), ("branch_lo", "u8"), ("terminal_hi", "u8"), ("terminal_lo", "u8"),
        ("batch_hi", "u8"), ("batch_lo", "u8"), ("has", "u1"),  # bits: branch, terminal, batch
        ("debit_turnover", "i8"), ("debit_opened", "i4"), ("debit_segment_known", "i1"), ("debit_cash", "?"),
        ("credit_turnover", "i8"), ("credit_opened", "i4"), ("credit_segment_known", "i1"), ("credit_cash", "?"),
        ("instrument", "u1"), ("home", "i2"),
        ("debit_segment", "i1"), ("debit_known", "i4"), ("behind", "u1"),  # as the sender knows them
    ]
)  # fmt: skip
VISIT: Final = np.dtype([("tx", "i4"), ("enters", "?")])
FACT: Final = np.dtype(
    [("tx", "i4"), ("segment", "i1"), ("known", "i4"), ("behind", "u1"), ("n_trails", "i4"), ("n_payers", "i4")]
)
SEGMENT: Final = np.dtype([("tx", "i4"), ("segment", "i1")])
FINDING: Final = np.dtype([("rule", "i4"), ("subject", "i4"), ("week", "i4"), ("hits", "i4")])
HIT: Final = np.dtype(
    [("detector", "i4"), ("owner", "i4"), ("tx", "i4"), ("segment", "i4"), ("opens", "?"), ("steps", "i4"),
     ("evidence", "i4")]
)  # fmt: skip
TABLES: Final[dict[str, np.dtype[Any]]] = {
    "holders": HOLDER, "transactions": TRANSACTION, "visits": VISIT, "facts": FACT, "trails": TRAIL,
    "payers": np.dtype("i4"), "segments": SEGMENT, "findings": FINDING, "hits": HIT, "measured": np.dtype("f8"),
    "evidence": np.dtype("i4"),
    # of holders and transactions: sizes (of holders four each) and bytes of their texts
    "holder_sizes": np.dtype("i4"), "holder_texts": np.dtype("u1"),
    "id_sizes": np.dtype("i4"), "ids": np.dtype("u1"),
    "wanted": np.dtype([("hi", "u8"), ("lo", "u8")]),
}  # fmt: skip


class Head(msgspec.Struct, array_like=True, frozen=True):
    """Of a letter: who sent it under which epoch, to whom; a MARKER has no more, a ROUND the sender's floors."""

    sender: int
    epoch: int
    to: int
    kind: int
    at: int  # the sender's clock, UTC µs: for latency alone
    institution: str = ""
    tables: list[tuple[str, int]] = []
    floors: dict[str, list[int]] = {}  # of ROUND


class Letter(msgspec.Struct, frozen=True):
    """A letter: its head and its tables by name, empty where it has nothing of the kind."""

    head: Head
    tables: dict[str, Array]

    def of(self, name: str) -> Array:
        """A table of the letter."""
        held = self.tables.get(name)
        return np.zeros(0, TABLES[name]) if held is None else held


def pack_letter(head: Head, tables: dict[str, Array]) -> bytes:
    """The bytes of a letter."""
    told, data = pack_arrays({name: table for name, table in tables.items() if table.size})
    return pack(RECORDS, msgspec.structs.replace(head, tables=told), [data])


def unpack_letter(value: bytes) -> Letter:
    """The letter of these bytes. Raises AmlError for what is none."""
    head, (data,) = unpack(RECORDS, value, Head)
    return Letter(head, unpack_arrays(head.tables, data, TABLES))


def bundled(letters: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """(receiver, message): letters of a worker's shards to the same receiver as few messages, in their order."""
    by_receiver: dict[int, list[bytes]] = {}
    for to, letter in letters:
        by_receiver.setdefault(to, []).append(letter)
    for to, waiting in by_receiver.items():
        held: list[bytes] = []
        size = 0
        for letter in waiting:
            if held and size + len(letter) > BUNDLE_BYTES:
                yield to, pack_bundle(held)
                held, size = [], 0
            held.append(letter)
            size += len(letter)
        yield to, pack_bundle(held)


def unpack_letters(value: bytes) -> list[Letter]:
    """The letters that a message of `aml.records.v1` holds. Raises AmlError for what is none."""
    return [unpack_letter(letter) for letter in unpack_bundle(value)]
