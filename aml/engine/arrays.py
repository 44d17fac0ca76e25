"""Arrays that grow: the transactions known here, the ledger of a shard, scratch space for kernels."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping
from typing import Any

import numpy as np

from aml.engine.facts import WIDTH
from aml.engine.layout import (
    BASE,
    EMPTY_KEY,
    FAR,
    FREE_LISTS,
    GIVEN,
    HOLDER,
    I32,
    I64,
    LEG,
    LOOK_UP,
    MARK,
    NONE,
    PAIR,
    SLOT,
    TALLIES,
    TALLY,
    TRAIL,
    TX,
    TX_NEW,
    USED_FITS,
    USED_PAIRS,
    USED_SLOTS,
    Ledger,
)
from aml.engine.tables import rehash

FEATURES = 18
SLACK = 9  # eighths of its size that a stretched array takes
STRETCH = 2_048  # rows written column by column while they lie in a near cache
Work = namedtuple("Work", "ring pushed los marks serial slots f stack distinct ev ev2 fitting best cycles trail payer "
                          "tally sums span rolls")
Run = namedtuple("Run", "x row_tx row_side cand_holder cand_at cand_mask hop_tx hop_heads stale")
Found = namedtuple("Found", "path path_tx path_cycle changed stale newly")
Hits = namedtuple("Hits", "detector subject owner tx at segment opens steps facts first number evidence")
Books = namedtuple("Books", "trails payers")


def grown(array: np.ndarray, size: int, fill: Any = 0) -> np.ndarray:
    """The array with at least `size` rows: itself, or a copy half as large again, its new rows filled."""
    if array.shape[0] >= size:
        return array
    room = extended(array, size)
    room[array.shape[0] :] = fill if array.dtype.names is None else np.zeros(1, dtype=array.dtype)
    return room


def extended(array: np.ndarray, size: int) -> np.ndarray:
    """As `grown`, with new rows of no particular content.

    What grows without end is stretched in place instead (`ndarray.resize`, which refuses where anything else refers to
    the array): a large array is then mapped anew, not copied.
    """
    if array.shape[0] >= size:
        return array
    room = np.empty((max(size, array.shape[0] * 3 // 2), *array.shape[1:]), dtype=array.dtype)
    room[: array.shape[0]] = array
    return room


def distinct(*numbers: np.ndarray) -> np.ndarray:
    """The different whole numbers of all arrays, rising; `numpy.unique` takes twenty times as long to hash them."""
    ordered = np.sort(np.concatenate(numbers))
    new = np.ones(ordered.size, np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    return ordered[new]


_NEW = np.zeros((), TX)
for _name, _value in TX_NEW.items():
    _NEW[_name] = _value


class Transactions:
    """The transactions known here, in the order of their numbers.

    A transaction's *number* counts all that ever came and never changes; its *row* is its place in `rows`, which holds
    no longer those that nothing can read any more.
    """

    def __init__(self) -> None:
        self.n = 0
        self.count = 0  # numbers given out
        self.rows = np.zeros(1 << 16, TX)
        self._old: I64 = np.zeros(0, np.int64)  # numbers of the first rows; those of the others follow one another

    def append(self, given: Mapping[str, np.ndarray]) -> int:
        """Add rows from the columns of GIVEN (equal lengths); returns the number of the first."""
        first, m = self.count, int(given["t"].size)
        self._make_room(self.n + m)
        for at in range(0, m, STRETCH):
            some = slice(at, at + STRETCH)
            new = self.rows[self.n + at : self.n + min(at + STRETCH, m)]
            new[:] = _NEW
            for name in GIVEN:
                new[name] = given[name][some]
        self.n += m
        self.count += m
        return first

    def _make_room(self, rows: int) -> None:
        if self.rows.size < rows:
            try:
                self.rows.resize(max(rows, self.rows.size * SLACK // 8))
            except ValueError:
                self.rows = extended(self.rows, rows)

    def places(self, numbers: np.ndarray) -> I32:
        """Rows of transactions by number. Raises ValueError where one is no longer held."""
        rows = np.asarray(numbers, np.int64) - (self.count - self.n)
        if self._old.size:
            old = rows < self._old.size
            rows[old] = np.searchsorted(self._old, numbers[old])
            if not np.array_equal(self.numbers(rows[old]), numbers[old]):
                raise ValueError("a transaction that was dropped as settled is asked for")
        return rows.astype(np.int32)

    def numbers(self, rows: np.ndarray) -> I64:
        """Numbers of transactions by row."""
        numbers = np.asarray(rows, np.int64) + (self.count - self.n)
        if self._old.size:
            old = rows < self._old.size
            numbers[old] = self._old[rows[old]]
        return numbers

    def of(self, numbers: np.ndarray) -> np.ndarray:
        """The records (dtype TX) of transactions by number."""
        return self.rows[self.places(numbers)]

    def keep(self, kept: np.ndarray) -> I32:
        """Hold only the rows of the mask; returns the new row of each old one, NONE where it went."""
        moved = np.where(kept, np.cumsum(kept) - 1, NONE).astype(np.int32)
        self._old = self.numbers(np.flatnonzero(kept))
        self.rows = self.rows[: self.n][kept]
        self.n = self.rows.size
        return moved

    def state(self) -> dict[str, np.ndarray]:
        """Rows and numbers; the rows are lent, and change with the next batch."""
        return {"rows": self.rows[: self.n], "old": self._old.copy(), "count": np.array([self.count], np.int64)}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray]) -> Transactions:
        """The transactions whose `state` this is."""
        self = cls()
        self.rows, self._old = state["rows"].copy(), state["old"].copy()
        self.n, self.count = self.rows.size, int(state["count"][0])
        return self


def empty_ledger() -> Ledger:
    """A ledger with room for a few legs."""
    meter = np.full(128, NONE, dtype=np.int64)
    meter[:FREE_LISTS] = 0
    return Ledger(legs=np.zeros(1 << 17, LEG), holders=new_holders(1024), pairs=look_up(4096, PAIR), fits=look_up(4096),
                  meter=meter, base=np.zeros((1, 2), BASE))


def blocks_in_order(led: Ledger) -> np.ndarray:
    """Holders that have a block, by its place."""
    blocks = np.flatnonzero(led.holders["cap"])
    return blocks[np.argsort(led.holders["start"][blocks])]


def look_up(size: int, entry: np.dtype = LOOK_UP) -> np.ndarray:
    """An empty look-up by key; its size is a power of two."""
    rows = np.zeros(size, entry)
    rows["key"] = EMPTY_KEY
    return rows


def new_holders(n: int) -> np.ndarray:
    """Holders without legs."""
    rows = np.zeros(n, HOLDER)
    for field in ("business_from", "base", "hits", "ends"):
        rows[field] = NONE
    rows["since"] = rows["ends_since"] = FAR
    return rows


def with_room(led: Ledger, holders: int, slots: int, pairs: int, fits: int) -> Ledger:
    """The ledger with room for so many holders, and for so many more slots, pairs and amount buckets."""
    if led.holders.size < holders:
        rows = new_holders(max(holders, led.holders.size * 3 // 2))
        rows[: led.holders.size] = led.holders
        led = led._replace(holders=rows)
    need = int(led.meter[USED_SLOTS]) + slots
    if led.legs.size < need:
        try:
            led.legs.resize(max(need, led.legs.size * SLACK // 8))
        except ValueError:
            led = led._replace(legs=extended(led.legs, need))
    pairs += int(led.meter[USED_PAIRS])
    fits += int(led.meter[USED_FITS])
    return led._replace(pairs=roomy(led.pairs, pairs), fits=roomy(led.fits, fits))


def roomy(table: np.ndarray, entries: int) -> np.ndarray:
    """The look-up itself, or a larger copy, at most five eighths full with so many entries."""
    size = table.size
    while size * 5 < entries * 8:
        size *= 2
    if size == table.size:
        return table
    larger = look_up(size, table.dtype)
    rehash(table, larger)
    return larger


class Scratch:
    """Space that kernels work in; grows with the number of holders and the longest holder."""

    def __init__(self, most_trails: int) -> None:
        self.serial = np.zeros(1, np.int64)
        self._trails = most_trails
        self.work = self._make(1024, 4096)

    def room(self, holders: int, longest: int) -> Work:
        """The scratch arrays, large enough."""
        w = self.work
        if w.marks.size < holders or w.slots.size < longest + 1024:
            self.work = self._make(max(holders * 3 // 2, w.marks.size), max((longest + 1024) * 3 // 2, w.slots.size))
        return self.work

    def _make(self, holders: int, longest: int) -> Work:
        marks = np.empty(holders, MARK)
        marks[:] = np.array((-1, -1, -1, -1), MARK)
        return Work(
            ring=np.zeros((2, 8), np.int64), pushed=np.zeros(2, np.int64), los=np.zeros(8, np.int64), marks=marks,
            serial=self.serial, slots=np.zeros(longest, SLOT), f=np.zeros(WIDTH), stack=np.zeros(32, np.bool_),
            distinct=np.zeros((4, 256), np.int64), ev=np.zeros(2 * longest + 8192, np.int32),
            ev2=np.zeros(8192, np.int32), fitting=np.zeros(64, np.int64), best=np.zeros(self._trails, TRAIL),
            cycles=np.zeros(self._trails, TRAIL), trail=np.zeros(1, TRAIL), payer=np.zeros(8, np.int32),
            tally=_tallies(2 * longest), sums=np.zeros(TALLIES, np.int64), span=np.zeros(3, np.int64),
            rolls=np.zeros(5, np.int64),
        )  # fmt: skip


def _tallies(least: int) -> np.ndarray:
    size = 1
    while size < least:
        size *= 2
    rows = np.zeros(size, TALLY)
    rows["stamp"] = -1
    return rows


def new_hits(n: int, evidence: int) -> Hits:
    """Room for n hits and so many evidence entries."""
    return Hits(
        detector=np.zeros(n, np.int32), subject=np.zeros(n, np.int32), owner=np.zeros(n, np.int32),
        tx=np.zeros(n, np.int32), at=np.zeros(n, np.int32), segment=np.zeros(n, np.int8), opens=np.zeros(n, np.bool_),
        steps=np.zeros(n, np.int32), facts=np.zeros((n, WIDTH)), first=np.zeros(n, np.int64),
        number=np.zeros(n, np.int32), evidence=np.zeros(evidence, np.int32),
    )  # fmt: skip


def new_found(n: int) -> Found:
    """Room for n paths and n changed payments."""
    return Found(path=np.zeros(n, TRAIL), path_tx=np.zeros(n, np.int32), path_cycle=np.zeros(n, np.bool_),
                 changed=np.zeros(n, np.int32), stale=np.zeros(n, np.bool_), newly=np.zeros(n, np.bool_))


def new_run(legs: int) -> Run:
    """Room for what running so many legs forward yields."""
    return Run(
        x=np.empty((legs, FEATURES)), row_tx=np.empty(legs, np.int32), row_side=np.empty(legs, np.int8),
        cand_holder=np.empty(legs, np.int32), cand_at=np.empty(legs, np.int32), cand_mask=np.empty(legs, np.uint64),
        hop_tx=np.empty(legs, np.int32), hop_heads=np.empty((legs + 1, 3), np.int32), stale=np.empty(legs, np.int32),
    )  # fmt: skip
