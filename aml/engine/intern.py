"""From 128-bit keys to small dense numbers, given out in order of first appearance, by growing hash tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.engine.keys import U64
from aml.engine.tables import inner, kernel

I32 = npt.NDArray[np.int32]
TextRows = tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]
"""Rows of texts: sizes [n, columns] in bytes, -1 for null, and the bytes row by row."""
NONE: Final = -1
_LEAST: Final = 1 << 10
_BLOCK: Final = 1 << 14


@inner
def seek(slots: np.ndarray, known_hi: np.ndarray, known_lo: np.ndarray, hi: int, lo: int) -> np.int64:
    """Slot of the key, or the free slot where it belongs; `slots` holds ids, -1 where free, a power of 2 of them."""
    mask = np.uint64(slots.size - 1)
    slot = (hi ^ (lo >> np.uint64(32))) & mask
    while True:
        held = slots[slot]
        if held < 0 or (known_hi[held] == hi and known_lo[held] == lo):
            return np.int64(slot)
        slot = (slot + np.uint64(1)) & mask


@kernel
def _place(slots: np.ndarray, known_hi: np.ndarray, known_lo: np.ndarray, n: int) -> None:
    mask = np.uint64(slots.size - 1)
    for held in range(n):
        slot = (known_hi[held] ^ (known_lo[held] >> np.uint64(32))) & mask
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = held


@kernel
def _give(
    slots: np.ndarray, known_hi: np.ndarray, known_lo: np.ndarray, n: int,
    hi: np.ndarray, lo: np.ndarray, want: np.ndarray, ids: np.ndarray, fresh: np.ndarray,
) -> int:  # fmt: skip
    added = 0
    for row in range(hi.size):
        if want.size and not want[row]:
            ids[row] = -1
            continue
        slot = seek(slots, known_hi, known_lo, hi[row], lo[row])
        if slots[slot] < 0:
            slots[slot] = n + added
            known_hi[n + added] = hi[row]
            known_lo[n + added] = lo[row]
            fresh[added] = row
            added += 1
        ids[row] = slots[slot]
    return added


@kernel
def _look(
    slots: np.ndarray, known_hi: np.ndarray, known_lo: np.ndarray, hi: np.ndarray, lo: np.ndarray, ids: np.ndarray
) -> None:
    for row in range(hi.size):
        ids[row] = slots[seek(slots, known_hi, known_lo, hi[row], lo[row])]


def grown(array: np.ndarray, used: int, need: int) -> np.ndarray:
    """The array, or one at least twice as long that begins with its first `used` rows and holds `need`."""
    if need <= array.shape[0]:
        return array
    larger = np.empty((max(need, array.shape[0] * 2), *array.shape[1:]), array.dtype)
    larger[:used] = array[:used]
    return larger


def table_for(hi: U64, lo: U64, n: int, room: int) -> I32:
    """An open-addressing table at most half full with `room` ids, holding the first `n` keys."""
    size = _LEAST
    while size < 2 * room:
        size *= 2
    slots = np.full(size, NONE, np.int32)
    _place(slots, hi, lo, n)
    return slots


class Interner:
    """Numbers 0, 1, 2 … for 128-bit keys, in order of first appearance; nothing is ever forgotten."""

    def __init__(self) -> None:
        self.n = 0
        self.hi = np.empty(_LEAST, np.uint64)
        self.lo = np.empty(_LEAST, np.uint64)
        self._slots = np.full(_LEAST * 2, NONE, np.int32)

    def __len__(self) -> int:
        return self.n

    def ids(self, hi: U64, lo: U64, where: npt.NDArray[np.bool_] | None = None) -> I32:
        """The number of each key, new ones given in order; -1 in the rows outside `where`."""
        return self.ids_and_new(hi, lo, where)[0]

    def ids_and_new(self, hi: U64, lo: U64, where: npt.NDArray[np.bool_] | None = None) -> tuple[I32, I32]:
        """As `ids`, and the row of first appearance of each number given out now, in their order."""
        want = np.empty(0, np.bool_) if where is None else where
        ids, firsts = np.empty(hi.size, np.int32), [np.empty(0, np.int32)]
        for at in range(0, hi.size, _BLOCK):  # by blocks: room is made for what is new, not for all that is asked
            block = slice(at, at + _BLOCK)
            fresh = np.empty(min(_BLOCK, hi.size - at), np.int32)
            self._make_room(self.n + fresh.size)
            added = _give(self._slots, self.hi, self.lo, self.n, hi[block], lo[block], want[block], ids[block], fresh)
            self.n += added
            firsts.append(fresh[:added] + np.int32(at))
        return ids, np.concatenate(firsts)

    def find(self, hi: U64, lo: U64) -> I32:
        """The number of each key, -1 where it has none; gives out nothing."""
        ids = np.empty(hi.size, np.int32)
        _look(self._slots, self.hi, self.lo, hi, lo, ids)
        return ids

    def _make_room(self, need: int) -> None:
        self.hi, self.lo = grown(self.hi, self.n, need), grown(self.lo, self.n, need)
        if 2 * need > self._slots.size:
            self._slots = table_for(self.hi, self.lo, self.n, need)

    def state(self) -> dict[str, np.ndarray]:
        """The keys by number; the table is made again from them."""
        return {"hi": self.hi[: self.n].copy(), "lo": self.lo[: self.n].copy()}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray]) -> Interner:
        """The interner whose `state` this is."""
        self = cls()
        self.n = state["hi"].size
        self.hi, self.lo = grown(self.hi, 0, self.n), grown(self.lo, 0, self.n)
        self.hi[: self.n], self.lo[: self.n] = state["hi"], state["lo"]
        self._slots = table_for(self.hi, self.lo, self.n, self.n)
        return self


class Texts:
    """Rows of text by number, appended to in order (what the numbers of an interner stand for).

    Bytes of all rows lie one after another, a row's columns too; sizes are in bytes, -1 for null.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.n = 0
        self._sizes = np.empty((_LEAST, len(names)), np.int32)
        self._ends = np.zeros(_LEAST + 1, np.int64)  # [n] where row n begins, [n + 1] where it ends
        self._data = np.empty(1 << 14, np.uint8)

    def __len__(self) -> int:
        return self.n

    def append(self, rows: pl.DataFrame) -> None:
        """Add rows with the columns `names`, text or null."""
        if rows.height:
            self.add(*laid_out(rows, self.names))

    def add(self, sizes: npt.NDArray[np.int32], data: npt.NDArray[np.uint8]) -> None:
        """Add rows as `take` gives them."""
        n, m, used = self.n, sizes.shape[0], int(self._ends[self.n])
        self._sizes, self._ends = grown(self._sizes, n, n + m), grown(self._ends, n + 1, n + m + 1)
        self._data = grown(self._data, used, used + data.size)
        self._sizes[n : n + m] = sizes
        self._ends[n + 1 : n + m + 1] = used + np.cumsum(np.maximum(sizes, 0).sum(axis=1, dtype=np.int64))
        self._data[used : used + data.size] = data
        self.n = n + m

    def take(self, numbers: npt.NDArray[np.integer]) -> TextRows:
        """Sizes [n, columns] and bytes of rows."""
        first, after = self._ends[numbers], self._ends[numbers + 1]
        data = np.empty(int((after - first).sum()), np.uint8)
        copy_runs(self._data, first, after, data)
        return self._sizes[numbers], data

    def column(self, name: str) -> TextRows:
        """Sizes [n] and bytes of one column."""
        k = self.names.index(name)
        sizes = np.maximum(self._sizes[: self.n], 0)
        first = self._ends[: self.n] + sizes[:, :k].sum(axis=1, dtype=np.int64)
        data = np.empty(int(sizes[:, k].sum(dtype=np.int64)), np.uint8)
        copy_runs(self._data, first, first + sizes[:, k], data)
        return self._sizes[: self.n, k], data

    def row(self, number: int) -> tuple[Any, ...]:
        """One row: its texts, None for null."""
        at, made = int(self._ends[number]), []
        for size in self._sizes[number].tolist():
            made.append(None if size < 0 else self._data[at : at + size].tobytes().decode())
            at += max(size, 0)
        return tuple(made)

    @property
    def frame(self) -> pl.DataFrame:
        """All rows; the row's place is its number."""
        raw, at, rows = self._data.tobytes(), 0, []
        for size in self._sizes[: self.n].ravel().tolist():
            rows.append(None if size < 0 else raw[at : at + size].decode())
            at += max(size, 0)
        wide = len(self.names)
        return pl.DataFrame({name: pl.Series(rows[k::wide], dtype=pl.String) for k, name in enumerate(self.names)})

    def state(self) -> dict[str, np.ndarray]:
        """Sizes and bytes of all rows."""
        return {"sizes": self._sizes[: self.n].copy(), "bytes": self._data[: self._ends[self.n]].copy()}

    @classmethod
    def from_state(cls, names: tuple[str, ...], state: Mapping[str, np.ndarray]) -> Texts:
        """The texts whose `state` this is."""
        self = cls(names)
        self.add(state["sizes"], state["bytes"])
        return self


def text_rows(
    sizes: npt.NDArray[np.int32], data: npt.NDArray[np.uint8], rows: npt.NDArray[np.integer]
) -> TextRows:
    """Some rows of texts, in the order asked for."""
    lengths = np.maximum(sizes, 0).sum(axis=1, dtype=np.int64)
    after = np.cumsum(lengths)[rows]
    first = after - lengths[rows]
    out = np.empty(int((after - first).sum()), np.uint8)
    copy_runs(data, first, after, out)
    return sizes[rows], out


def laid_out(rows: pl.DataFrame, names: Sequence[str]) -> TextRows:
    """Sizes [n, names] of text columns (bytes, -1 for null), and their bytes row by row."""
    sizes = rows.select(pl.col(names).str.len_bytes().cast(pl.Int32).fill_null(-1)).to_numpy()
    whole = rows.select(pl.concat_str(pl.col(names).fill_null("")).str.join("")).item()
    return sizes, np.frombuffer((whole or "").encode(), np.uint8)


@kernel
def copy_runs(data: np.ndarray, first: np.ndarray, after: np.ndarray, out: np.ndarray) -> None:
    """The runs [first, after) of the data, one after another."""
    n = 0
    for k in range(first.size):
        for at in range(first[k], after[k]):
            out[n] = data[at]
            n += 1
