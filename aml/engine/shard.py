"""One shard: the legs of the holders that are its own, run forward batch by batch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from aml.engine.arrays import Found, Hits, Run, Scratch, empty_ledger, grown, new_found, new_hits, new_run, with_room
from aml.engine.confirm import CHAIN, CYCLE, SCATTER, confirm, confirm_paths, confirm_scatter
from aml.engine.forward import run_batch
from aml.engine.group import legs_by_holder
from aml.engine.layout import Knobs, Party
from aml.engine.ledger import plan
from aml.engine.program import Program
from aml.engine.resolve import CHANGED, DONE, GROW_BOOK, HEAPED, NEXT, PATHS, push_later, resolve
from aml.engine.trails import carrying_from

FAR = np.int32(2**31 - 1)


class Forwarded(NamedTuple):
    """What running a batch forward left to do."""

    touched: np.ndarray  # holders, and the ordinal each was rewound to
    since: np.ndarray
    run: Run
    rows: np.ndarray  # feature rows, candidates, hop debits, stale payments


class Shard:
    """The ledger of some holders and the passes over it; the engine calls them in turn."""

    def __init__(self, number: int, program: Program) -> None:
        self.number = number
        self.program = program
        self.ledger = empty_ledger()
        self.scratch = Scratch(program.most_trails)
        self.longest = 0
        self.heap = np.empty(4096, np.int32)
        self.meters = np.zeros(8, np.int64)
        self.serial = 0

    def forward(self, tx: Any, party: np.ndarray, knobs: Knobs, shard_of: np.ndarray, ordered: np.ndarray, adds: np.ndarray,
                again: dict[int, int]) -> Forwarded:
        """Enter and remove the legs of transactions (in order; adds: enters or leaves) and run their holders forward.

        again: further holders to run from an ordinal, though none of their legs changes.
        """
        touched, offsets, e_tx, e_side, e_add = self._entries(tx, shard_of, ordered, adds, again)
        rewind = np.full(touched.size, FAR, np.int64)
        for j, h in enumerate(touched[touched.size - len(again) :] if again else ()):
            rewind[touched.size - len(again) + j] = again[int(h)] - int(self.ledger.holders["dropped"][h])
        size = np.zeros(touched.size, np.int64)
        self.ledger = with_room(self.ledger, shard_of.size, 0, 0, 0)
        legs, slots = plan(self.ledger, tx, touched, offsets, e_tx, e_side, e_add, rewind, size)
        entering = int(np.count_nonzero(e_add))
        self.ledger = with_room(self.ledger, shard_of.size, slots, entering, entering)
        self.longest = max(self.longest, int(size.max(initial=0)))
        work = self.scratch.room(shard_of.size, self.longest)
        run = new_run(max(legs, 1))
        rows = np.zeros(4, np.int64)
        run_batch(self.ledger, tx, party, knobs, self.program.filters, touched, offsets, e_tx, e_side, e_add, rewind, size, run, rows, work)
        since = rewind + self.ledger.holders["dropped"][touched]
        return Forwarded(touched, since, run, rows)

    def _entries(self, tx: Any, shard_of: np.ndarray, ordered: np.ndarray, adds: np.ndarray,
                 again: dict[int, int]) -> tuple[np.ndarray, ...]:
        most = ordered.size * 3
        slot = self._slots(shard_of.size)
        touched, offsets = np.empty(most + len(again), np.int32), np.zeros(most + len(again) + 1, np.int64)
        e_tx, e_side, e_add = np.empty(most, np.int32), np.empty(most, np.int8), np.empty(most, np.bool_)
        m = legs_by_holder(tx, ordered, adds, shard_of, self.number, slot, touched, offsets, e_tx, e_side, e_add)
        for h in again:
            touched[m] = h
            offsets[m + 1] = offsets[m]
            m += 1
        n = int(offsets[m])
        return touched[:m], offsets[: m + 1], e_tx[:n], e_side[:n], e_add[:n]

    def _slots(self, holders: int) -> np.ndarray:
        if not hasattr(self, "_slot") or self._slot.size < holders:
            self._slot = np.full(holders * 3 // 2, -1, np.int32)
        return self._slot

    def hear(self, tx: Any, knobs: Knobs, changed: np.ndarray) -> None:
        """Queue the payments of this shard's holders that depend on payments whose facts changed elsewhere."""
        self.heap = grown(self.heap, int(self.meters[HEAPED]) + changed.size * max(1, self.longest))
        push_later(self.ledger, tx, knobs, changed, self.heap, self.meters)

    def settle(self, tx: Any, books: Any, knobs: Knobs, shard_of: np.ndarray, hops: np.ndarray, heads: np.ndarray) -> tuple[Any, Found, int, int]:
        """Compute trails until nothing changes here; returns the books, what was found, and how much of it."""
        self.meters[NEXT] = self.meters[PATHS] = self.meters[CHANGED] = 0
        found = new_found(max(1024, hops.size * 2))
        knobs = knobs._replace(longest_holder=self.longest)
        self.heap = grown(self.heap, self.longest * 2 + 1024)
        work = self.scratch.room(shard_of.size, self.longest)
        while True:
            code = resolve(self.ledger, tx, books, knobs, shard_of, self.number, hops, heads, self.heap, found, self.meters, work)
            if code == DONE:
                return books, found, int(self.meters[PATHS]), int(self.meters[CHANGED])
            if code == GROW_BOOK:
                books = books._replace(trails=_twice(books.trails), payers=_twice(books.payers))
            else:
                found = Found(*(_twice(a) for a in found))
                self.heap = grown(self.heap, self.heap.size * 2 + self.longest)

    def confirm(self, tx: Any, party: np.ndarray, knobs: Knobs, books: Any, done: Forwarded, found: Found, paths: int,
                ends: dict[int, int], tried: np.ndarray) -> tuple[Hits, int]:
        """Try the candidates of the batch; returns the hits and their number."""
        work = self.scratch.room(self.ledger.holders.size, self.longest)
        program = self.program
        meters = np.zeros(8 + program.detectors.size, np.int64)
        meters[3] = self.serial
        hits = new_hits(4096, 65536)
        n = int(done.rows[1])
        run = done.run
        args = (run.cand_holder[:n], run.cand_at[:n], run.cand_mask[:n])
        while not confirm(self.ledger, tx, party, knobs, program.detectors, program.steps, *args, hits, meters, work):
            hits = _more(hits)
        end, since = np.array(sorted(ends), np.int32), np.array([ends[h] for h in sorted(ends)], np.int64)
        for k, kind in enumerate(program.detectors["kind"]):
            meters[2] = 0
            if kind == SCATTER:
                while not confirm_scatter(self.ledger, tx, party, books, program.detectors, k, program.steps, end, since, hits, meters, work):
                    hits = _more(hits)
            elif kind in (CHAIN, CYCLE):
                while not confirm_paths(tx, program.detectors, k, program.steps, found.path[:paths], found.path_tx[:paths],
                                        found.path_cycle[:paths], hits, meters, work):
                    hits = _more(hits)
        self.serial = int(meters[3])
        tried += meters[8:]
        return hits, int(meters[0])

    def carrying_ends(self, tx: Any, done: Forwarded) -> dict[int, int]:
        """Holders run forward that hold credits with direct payers behind them, and from which ordinal on."""
        found = carrying_from(self.ledger, tx, done.touched, done.since)
        return {int(h): int(o) for h, o in zip(done.touched, found, strict=True) if o >= 0}


def _twice(array: np.ndarray) -> np.ndarray:
    return grown(array, array.shape[0] * 2)


def _more(hits: Hits) -> Hits:
    return Hits(*(_twice(a) for a in hits))
