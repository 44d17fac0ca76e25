"""Arrays that grow: the transactions known here, the ledger of a shard, scratch space for kernels."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np

from aml.engine.layout import EMPTY_KEY, GIVEN, HOLDER, LEG, MARK, NONE, PAIR, SLOT, TRAIL, TX, TX_NEW, Ledger
from aml.engine.ledger import FREE_LISTS
from aml.engine.tables import rehash

Work = namedtuple("Work", "ring pushed los marks serial slots f stack distinct ev ev2 fitting best cycles trail payer")
Run = namedtuple("Run", "x row_tx row_side cand_holder cand_at cand_mask hop_tx hop_heads stale")
Found = namedtuple("Found", "path path_tx path_cycle changed stale")
Hits = namedtuple("Hits", "detector subject owner tx segment opens steps facts first number evidence")
Books = namedtuple("Books", "trails payers")


def grown(array: np.ndarray, size: int, fill: Any = 0) -> np.ndarray:
    """The array with at least `size` rows: itself, or a copy half as large again, its new rows filled."""
    if array.shape[0] >= size:
        return array
    room = np.empty((max(size, array.shape[0] * 3 // 2), *array.shape[1:]), dtype=array.dtype)
    room[: array.shape[0]] = array
    if array.dtype.names is None:
        room[array.shape[0] :] = fill
    else:
        room[array.shape[0] :] = np.zeros(1, dtype=array.dtype)
    return room


class Transactions:
    """The transactions known here, by index; only ever appended to."""

    def __init__(self) -> None:
        self.n = 0
        self.rows = np.zeros(1024, TX)

    def append(self, given: dict[str, np.ndarray]) -> int:
        """Add rows from the columns of GIVEN (equal lengths); returns the index of the first."""
        first, m = self.n, int(given["t"].size)
        self.rows = grown(self.rows, first + m)
        new = self.rows[first : first + m]
        for name in GIVEN:
            if name != "seen":
                new[name] = given[name]
        for name, value in TX_NEW.items():
            new[name] = value
        self.n += m
        return first


def empty_ledger() -> Ledger:
    """A ledger with room for a few legs."""
    meter = np.full(128, NONE, dtype=np.int64)
    meter[:FREE_LISTS] = 0
    return Ledger(legs=np.zeros(4096, LEG), holders=_new_holders(1024), pairs=_look_up(4096), fits=_look_up(4096),
                  meter=meter, base=np.zeros((1, 2), LEG))


def _look_up(size: int) -> np.ndarray:
    rows = np.zeros(size, PAIR)
    rows["key"] = EMPTY_KEY
    return rows


def _new_holders(n: int) -> np.ndarray:
    rows = np.zeros(n, HOLDER)
    for field in ("business_from", "last_credit", "last_debit", "base"):
        rows[field] = NONE
    return rows


def with_room(led: Ledger, holders: int, slots: int, pairs: int, fits: int) -> Ledger:
    """The ledger with room for so many holders, and for so many more slots, pairs and amount buckets."""
    if led.holders.size < holders:
        rows = _new_holders(max(holders, led.holders.size * 3 // 2))
        rows[: led.holders.size] = led.holders
        led = led._replace(holders=rows)
    need = int(led.meter[0]) + slots
    if led.legs.size < need:
        led = led._replace(legs=_extended(led.legs, need))
    return led._replace(pairs=_roomy(led.pairs, int(led.meter[1]) + pairs), fits=_roomy(led.fits, int(led.meter[2]) + fits))


def _roomy(table: np.ndarray, entries: int) -> np.ndarray:
    """The look-up itself, or a larger copy, at most five eighths full with so many entries."""
    size = table.size
    while size * 5 < entries * 8:
        size *= 2
    if size == table.size:
        return table
    larger = _look_up(size)
    rehash(table, larger)
    return larger


def _extended(array: np.ndarray, need: int) -> np.ndarray:
    room = np.empty((max(need, array.shape[0] * 3 // 2), *array.shape[1:]), dtype=array.dtype)
    room[: array.shape[0]] = array
    return room


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
            serial=self.serial, slots=np.zeros(longest, SLOT), f=np.zeros(24), stack=np.zeros(32, np.bool_),
            distinct=np.zeros((4, 256), np.int64), ev=np.zeros(2 * longest + 8192, np.int32), ev2=np.zeros(8192, np.int32),
            fitting=np.zeros(64, np.int64), best=np.zeros(self._trails, TRAIL), cycles=np.zeros(self._trails, TRAIL),
            trail=np.zeros(1, TRAIL), payer=np.zeros(8, np.int32),
        )


def new_hits(n: int, evidence: int) -> Hits:
    """Room for n hits and so many evidence entries."""
    return Hits(
        detector=np.zeros(n, np.int32), subject=np.zeros(n, np.int32), owner=np.zeros(n, np.int32), tx=np.zeros(n, np.int32),
        segment=np.zeros(n, np.int8), opens=np.zeros(n, np.bool_), steps=np.zeros(n, np.int32), facts=np.zeros((n, 24)),
        first=np.zeros(n, np.int64), number=np.zeros(n, np.int32), evidence=np.zeros(evidence, np.int32),
    )


def new_found(n: int) -> Found:
    """Room for n paths and n changed payments."""
    return Found(path=np.zeros(n, TRAIL), path_tx=np.zeros(n, np.int32), path_cycle=np.zeros(n, np.bool_),
                 changed=np.zeros(n, np.int32), stale=np.zeros(n, np.bool_))


def new_run(legs: int) -> Run:
    """Room for what running so many legs forward yields."""
    return Run(
        x=np.empty((legs, 18)), row_tx=np.empty(legs, np.int32), row_side=np.empty(legs, np.int8),
        cand_holder=np.empty(legs, np.int32), cand_at=np.empty(legs, np.int32), cand_mask=np.empty(legs, np.uint64),
        hop_tx=np.empty(legs, np.int32), hop_heads=np.empty((legs + 1, 3), np.int32), stale=np.empty(legs, np.int32),
    )

