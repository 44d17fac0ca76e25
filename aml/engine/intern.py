"""From 128-bit keys to small dense numbers, given out in order of first appearance, by growing hash tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.engine.keys import U64
from aml.engine.tables import inner, kernel

I32 = npt.NDArray[np.int32]
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
    """Rows of text by number, appended to in order (what the numbers of an interner stand for)."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self._parts: list[pl.DataFrame] = [pl.DataFrame(schema=dict.fromkeys(names, pl.String()))]

    def append(self, rows: pl.DataFrame) -> None:
        """Add rows with the columns `names`, text or null."""
        if rows.height:
            self._parts.append(rows.select(self.names))

    @property
    def frame(self) -> pl.DataFrame:
        """All rows; the row's place is its number."""
        if len(self._parts) > 1:
            self._parts = [pl.concat(self._parts, rechunk=True)]
        return self._parts[0]

    def state(self) -> dict[str, np.ndarray]:
        """Per column: UTF-8 bytes, sizes in bytes, -1 for null."""
        state: dict[str, np.ndarray] = {}
        for name in self.names:
            column = self.frame.get_column(name)
            state[f"{name}.sizes"] = column.str.len_bytes().cast(pl.Int32).fill_null(-1).to_numpy().copy()
            state[f"{name}.bytes"] = np.frombuffer((column.str.join("").item() or "").encode(), np.uint8)
        return state

    @classmethod
    def from_state(cls, names: tuple[str, ...], state: Mapping[str, np.ndarray]) -> Texts:
        """The texts whose `state` this is."""
        self = cls(names)
        self.append(pl.DataFrame({n: _texts(state[f"{n}.sizes"], state[f"{n}.bytes"]) for n in names}, strict=True))
        return self


def _texts(sizes: np.ndarray, data: np.ndarray) -> pl.Series:
    ends = np.cumsum(np.maximum(sizes, 0)).tolist()
    raw, out, start = data.tobytes(), [], 0
    for size, end in zip(sizes.tolist(), ends, strict=True):
        out.append(None if size < 0 else raw[start:end].decode())
        start = end
    return pl.Series(out, dtype=pl.String)
