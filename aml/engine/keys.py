"""One fixed 128-bit hash of a row's fields, by columns: the order key, the content hash, the names of holders.

Definition (never to change: order and identity stand on it). A field's hash is MurmurHash3 x64 128, seed 0, over its
bytes: text as UTF-8; a number, date (days since 1970-01-01) or truth value as 8 bytes, little-endian. A row's hash is
the sum, modulo 2^64 in each half, over its fields that are not null of ``mix(h1 + (i+1) * A), mix(h2 + (i+1) * B)``,
where i is the field's index, mix is MurmurHash3's 64-bit finaliser, and A and B are the constants below. A null field
adds nothing, so a column that nobody fills costs nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.engine.tables import inner, kernel

U64 = npt.NDArray[np.uint64]
Keys = tuple[U64, U64]
Value = str | int | bool | dt.date | None

A: Final = 0x9E3779B97F4A7C15  # 2^64 divided by the golden ratio
B: Final = 0xC2B2AE3D27D4EB4F  # a prime of xxHash64
C1: Final = 0x87C37B91114253D5  # MurmurHash3's own
C2: Final = 0x4CF5AD432745937F
M64: Final = (1 << 64) - 1

# Everything the bank said, in the order of the canonical frame. Left out: where the record stood (source,
# source_sequence, place) and what was computed from a rate file (debit_value, credit_value): the same record, sent
# again or read with newer rates, is a duplicate and no conflict. New columns go at the end.
CONTENT: Final = (
    "transaction_id", "institution", "revision", "void", "executed_at", "time_precision", "booking_date", "value_date",
    "amount", "currency", "credit_amount", "credit_currency", "instrument", "channel", "initiated_by", "status",
    "relation", "entry_side",
    "originator_account", "originator_customer", "originator_name", "originator_country", "originator_institution",
    "originator_method", "originator_ultimate", "originator_balance_after",
    "beneficiary_account", "beneficiary_customer", "beneficiary_name", "beneficiary_country", "beneficiary_institution",
    "beneficiary_method", "beneficiary_ultimate", "beneficiary_balance_after",
    "intermediaries", "branch", "terminal", "teller", "conductor", "conductor_name", "on_behalf_of", "merchant",
    "merchant_category", "device", "ip", "relates_to", "batch_id", "batch_lump", "purpose", "end_to_end_id", "uetr",
    "extra",
)  # fmt: skip


@inner
def _mix(z: np.uint64) -> np.uint64:
    z ^= z >> np.uint64(33)
    z *= np.uint64(0xFF51AFD7ED558CCD)
    z ^= z >> np.uint64(33)
    z *= np.uint64(0xC4CEB9FE1A85EC53)
    return z ^ (z >> np.uint64(33))


@inner
def _rotate(z: np.uint64, by: int) -> np.uint64:
    return (z << np.uint64(by)) | (z >> np.uint64(64 - by))


@inner
def _word(data: np.ndarray, at: int, n: int) -> np.uint64:
    z = np.uint64(0)
    for k in range(n):
        z |= np.uint64(data[at + k]) << np.uint64(8 * k)
    return z


@inner
def _word8(data: np.ndarray, at: int) -> np.uint64:
    low = np.uint64(data[at]) | np.uint64(data[at + 1]) << np.uint64(8)
    low |= np.uint64(data[at + 2]) << np.uint64(16) | np.uint64(data[at + 3]) << np.uint64(24)
    high = np.uint64(data[at + 4]) | np.uint64(data[at + 5]) << np.uint64(8)
    high |= np.uint64(data[at + 6]) << np.uint64(16) | np.uint64(data[at + 7]) << np.uint64(24)
    return low | high << np.uint64(32)


@inner
def _finish(h1: np.uint64, h2: np.uint64, size: int) -> tuple[np.uint64, np.uint64]:
    h1 ^= np.uint64(size)
    h2 ^= np.uint64(size)
    h1 += h2
    h2 += h1
    h1 = _mix(h1)
    h2 = _mix(h2)
    h1 += h2
    h2 += h1
    return h1, h2


@inner
def _murmur(data: np.ndarray, at: int, size: int) -> tuple[np.uint64, np.uint64]:
    c1 = np.uint64(C1)
    c2 = np.uint64(C2)
    h1 = np.uint64(0)
    h2 = np.uint64(0)
    end = at + size - size % 16
    while at < end:
        h1 ^= _rotate(_word8(data, at) * c1, 31) * c2
        h1 = (_rotate(h1, 27) + h2) * np.uint64(5) + np.uint64(0x52DCE729)
        h2 ^= _rotate(_word8(data, at + 8) * c2, 33) * c1
        h2 = (_rotate(h2, 31) + h1) * np.uint64(5) + np.uint64(0x38495AB5)
        at += 16
    tail = size % 16
    if tail > 8:
        h2 ^= _rotate(_word(data, at + 8, tail - 8) * c2, 33) * c1
    if tail >= 8:
        h1 ^= _rotate(_word8(data, at) * c1, 31) * c2
    elif tail > 0:
        h1 ^= _rotate(_word(data, at, tail) * c1, 31) * c2
    return _finish(h1, h2, size)


@kernel
def _hash_texts(ends: np.ndarray, data: np.ndarray, hi: np.ndarray, lo: np.ndarray) -> None:
    start = 0
    last = 0
    size_before = -1
    for row in range(ends.size):
        size = ends[row] - start
        same = size == size_before
        if same:
            for k in range(size):
                if data[start + k] != data[last + k]:
                    same = False
                    break
        if same:
            hi[row] = hi[row - 1]
            lo[row] = lo[row - 1]
        else:
            hi[row], lo[row] = _murmur(data, start, size)
        last = start
        size_before = size
        start = ends[row]


@kernel
def _hash_numbers(values: np.ndarray, hi: np.ndarray, lo: np.ndarray) -> None:
    for row in range(values.size):
        h1 = _rotate(np.uint64(values[row]) * np.uint64(C1), 31) * np.uint64(C2)
        hi[row], lo[row] = _finish(h1, np.uint64(0), 8)


@kernel
def _add_field(hi: np.ndarray, lo: np.ndarray, h1: np.ndarray, h2: np.ndarray, present: np.ndarray, index: int) -> None:
    a = np.uint64(index + 1) * np.uint64(A)
    b = np.uint64(index + 1) * np.uint64(B)
    for row in range(hi.size):
        if present.size == 0 or present[row]:
            hi[row] += _mix(h1[row] + a)
            lo[row] += _mix(h2[row] + b)


_FEW: Final = 1 << 13


class Fields:
    """The fields of one frame, each hashed at most once, whichever keys are made of them.

    `present` masks are empty where no value is null. Text, integer, Boolean and Date columns are taken.
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self.rows = frame.height
        self._hashes: dict[str, tuple[U64, U64, npt.NDArray[np.bool_]] | None] = {}

    def hashes(self, name: str) -> tuple[U64, U64, npt.NDArray[np.bool_]] | None:
        """(first half, second half, present) of the column; None where it is null throughout."""
        if name not in self._hashes:
            if not self._hashes and self.rows <= _FEW:
                self._hash_all()
            else:
                self._hashes[name] = self._hash(self.frame.get_column(name))
        return self._hashes[name]

    def _hash_all(self) -> None:
        """All columns at once: of few rows a question to the frame costs more than its answer."""
        # Hashes that stand beside a record, and what is fixed about it, are no fields.
        kinds = {n: kind for n, kind in self.frame.schema.items() if kind != pl.UInt64 and not n.startswith("_")}
        self._hashes = dict.fromkeys(kinds)
        if not self.rows:
            return
        # One thread: to wake another costs more than what it would take over.
        ask = self.frame.select_seq
        nulls = {name: self.frame.get_column(name).null_count() for name in kinds}
        held = {name: n for name, n in nulls.items() if n < self.rows}
        texts = [name for name in held if kinds[name] == pl.String]
        rest = [name for name in held if kinds[name] != pl.String]
        sizes = ask(pl.col(texts).str.len_bytes().fill_null(0))
        joined = ask(pl.col(texts).str.join("")).row(0) if texts else ()
        some = [name for name in held if held[name]]
        present = ask(pl.col(some).is_not_null())
        everywhere = np.empty(0, np.bool_)
        for name in held:
            self._hashes[name] = (
                np.empty(self.rows, np.uint64), np.empty(self.rows, np.uint64),
                present.get_column(name).to_numpy() if held[name] else everywhere,
            )  # fmt: skip
        for name, data in zip(texts, joined, strict=True):
            ends = np.cumsum(sizes.get_column(name).to_numpy(), dtype=np.int64)
            _hash_texts(ends, np.frombuffer(data.encode(), np.uint8), *self._hashes[name][:2])  # type: ignore[index]
        for name in rest:
            _hash_numbers(_numbers(self.frame.get_column(name)), *self._hashes[name][:2])  # type: ignore[index]

    def present(self, name: str) -> npt.NDArray[np.bool_]:
        """Which rows have the field."""
        got = self.hashes(name)
        if got is None:
            return np.zeros(self.rows, np.bool_)
        return got[2] if got[2].size else np.ones(self.rows, np.bool_)

    def _hash(self, column: pl.Series) -> tuple[U64, U64, npt.NDArray[np.bool_]] | None:
        nulls = column.null_count()
        if nulls == column.len():
            return None
        hi, lo = np.empty(self.rows, np.uint64), np.empty(self.rows, np.uint64)
        present = column.is_not_null().to_numpy() if nulls else np.empty(0, np.bool_)
        if column.dtype == pl.String:
            sizes = column.str.len_bytes().fill_null(0).to_numpy()
            data = np.frombuffer(column.str.join("").item().encode(), np.uint8)
            _hash_texts(np.cumsum(sizes, dtype=np.int64), data, hi, lo)
        else:
            _hash_numbers(_numbers(column), hi, lo)
        return hi, lo, present

    def key(self, parts: Sequence[tuple[int, str]]) -> Keys:
        """The row hash over (field index, column) parts; a column stands for the field of any index."""
        hi, lo = np.zeros(self.rows, np.uint64), np.zeros(self.rows, np.uint64)
        for index, name in parts:
            got = self.hashes(name)
            if got is not None:
                _add_field(hi, lo, *got, index)
        return hi, lo

    def add(self, key: Keys, index: int, name: str, where: npt.NDArray[np.bool_]) -> None:
        """Add one field to the keys of the rows of `where` that have it, in place."""
        got = self.hashes(name)
        if got is not None:
            _add_field(*key, got[0], got[1], where & got[2] if got[2].size else where, index)


def _numbers(column: pl.Series) -> npt.NDArray[np.int64]:
    whole = column.cast(pl.Int64)
    return (whole.fill_null(0) if whole.null_count() else whole).to_numpy()


def hash_numbers(columns: Sequence[npt.NDArray[np.int64]]) -> Keys:
    """128-bit hashes of rows of whole numbers; a field's index is its place."""
    rows = columns[0].size
    hi, lo = np.zeros(rows, np.uint64), np.zeros(rows, np.uint64)
    for index, column in enumerate(columns):
        h1, h2 = np.empty(rows, np.uint64), np.empty(rows, np.uint64)
        _hash_numbers(column, h1, h2)
        _add_field(hi, lo, h1, h2, np.empty(0, np.bool_), index)
    return hi, lo


def hash_texts(sizes: npt.NDArray[np.int32], data: npt.NDArray[np.uint8]) -> Keys:
    """128-bit hashes of rows of one text each, none of them null: as `hash_columns` of the column."""
    keys = np.zeros(sizes.size, np.uint64), np.zeros(sizes.size, np.uint64)
    halves = np.empty(sizes.size, np.uint64), np.empty(sizes.size, np.uint64)
    _hash_texts(np.cumsum(sizes, dtype=np.int64), data, *halves)
    _add_field(*keys, *halves, np.empty(0, np.bool_), 0)
    return keys


def hash_columns(frame: pl.DataFrame, names: Sequence[str]) -> Keys:
    """128-bit hashes, as two uint64 arrays, of the named columns of each row; a field's index is its place in names."""
    return Fields(frame).key(list(enumerate(names)))


def order_key(frame: pl.DataFrame, fields: Fields | None = None) -> Keys:
    """The key that orders transactions of one instant: tenant, first account, transaction_id.

    The first account is the originator's institution (default the tenant) and account, else customer; else the
    beneficiary's; else the conductor, at the tenant. Field indices: tenant 0, institution 1, account 2, customer 3,
    conductor 4, transaction_id 5.
    """
    fields = fields or Fields(frame)
    key = fields.key([(0, "institution"), (5, "transaction_id")])
    open_ = np.ones(frame.height, np.bool_)
    for end in ("originator", "beneficiary"):
        for index, what in ((2, "account"), (3, "customer")):
            mine = open_ & fields.present(f"{end}_{what}")
            if mine.any():
                fields.add(key, index, f"{end}_{what}", mine)
                add_institution(fields, key, 1, f"{end}_institution", mine)
                open_ &= ~mine
    if open_.any():
        fields.add(key, 4, "conductor", open_)
        fields.add(key, 1, "institution", open_ & fields.present("conductor"))
    return key


def add_institution(fields: Fields, key: Keys, index: int, name: str, where: npt.NDArray[np.bool_]) -> None:
    """Add a party's institution to the keys of the rows of `where`: the named column, else the tenant."""
    fields.add(key, index, name, where)
    fields.add(key, index, "institution", where & ~fields.present(name))


def family_key(frame: pl.DataFrame, name: str = "transaction_id", fields: Fields | None = None) -> Keys:
    """The key of (tenant, transaction_id), by which revisions, voids and reversals find the record they act on."""
    return (fields or Fields(frame)).key([(0, "institution"), (1, name)])


def content_hash(frame: pl.DataFrame, fields: Fields | None = None) -> Keys:
    """Hash of all that the record says (see CONTENT); equal content has equal hashes in any batch and format."""
    return (fields or Fields(frame)).key(list(enumerate(CONTENT)))


def murmur(data: bytes) -> tuple[int, int]:
    """MurmurHash3 x64 128, seed 0, in plain Python: the definition that the columns must agree with."""
    h1 = h2 = 0
    body = len(data) - len(data) % 16
    for at in range(0, body, 16):
        k1, k2 = (int.from_bytes(data[at + p : at + p + 8], "little") for p in (0, 8))
        h1 ^= _turn(k1 * C1, 31) * C2 & M64
        h1 = ((_turn(h1, 27) + h2) * 5 + 0x52DCE729) & M64
        h2 ^= _turn(k2 * C2, 33) * C1 & M64
        h2 = ((_turn(h2, 31) + h1) * 5 + 0x38495AB5) & M64
    h2 ^= _turn(int.from_bytes(data[body + 8 :], "little") * C2, 33) * C1 & M64
    h1 ^= _turn(int.from_bytes(data[body : body + 8], "little") * C1, 31) * C2 & M64
    h1, h2 = h1 ^ len(data), h2 ^ len(data)
    h1 = (h1 + h2) & M64
    h2 = (h2 + h1) & M64
    h1, h2 = _final(h1), _final(h2)
    h1 = (h1 + h2) & M64
    return h1, (h2 + h1) & M64


def hash_row(values: Sequence[Value]) -> tuple[int, int]:
    """The row hash of one row's values in plain Python; equals `hash_columns` of a frame with that row."""
    hi = lo = 0
    for i, value in enumerate(values):
        if value is None:
            continue
        h1, h2 = murmur(_bytes(value))
        hi = (hi + _final(h1 + (i + 1) * A & M64)) & M64
        lo = (lo + _final(h2 + (i + 1) * B & M64)) & M64
    return hi, lo


def _bytes(value: str | int | bool | dt.date) -> bytes:
    if isinstance(value, str):
        return value.encode()
    number = (value - dt.date(1970, 1, 1)).days if isinstance(value, dt.date) else int(value)
    return number.to_bytes(8, "little", signed=True)


def _turn(z: int, by: int) -> int:
    z &= M64
    return (z << by | z >> (64 - by)) & M64


def _final(z: int) -> int:
    z = (z ^ z >> 33) * 0xFF51AFD7ED558CCD & M64
    z = (z ^ z >> 33) * 0xC4CEB9FE1A85EC53 & M64
    return z ^ z >> 33
