"""One shard: the legs of the holders that are its own, run forward batch by batch."""

from __future__ import annotations

from collections import namedtuple
from typing import Any, NamedTuple

import numpy as np

from aml.engine.arrays import (
    Found,
    Hits,
    Run,
    Scratch,
    blocks_in_order,
    empty_ledger,
    grown,
    new_found,
    new_hits,
    new_run,
    with_room,
)
from aml.engine.confirm import CHAIN, CYCLE, HITS, NEXT, SCATTER, SERIAL, TRIED, confirm, confirm_paths, confirm_scatter
from aml.engine.ends import carrying_ends, note_ends
from aml.engine.forward import run_batch
from aml.engine.group import Entries, legs_by_holder, room_for
from aml.engine.layout import FAR, FREE_SLOTS, USED_SLOTS, Knobs
from aml.engine.ledger import plan, squeeze
from aml.engine.program import Program
from aml.engine.resolve import CHANGED, DONE, GROW_BOOK, HEAPED, PATHS, push_later, resolve
from aml.engine.resolve import NEXT as NEXT_HOP

Candidates = namedtuple("Candidates", "holder at mask")


class Forwarded(NamedTuple):
    """What running a batch forward left to do."""

    touched: np.ndarray  # holders; the ledger knows from which ordinal each was run
    run: Run
    rows: np.ndarray  # feature rows, candidates, hop debits, stale payments


class Again(NamedTuple):
    """Holders to run once more, each from an ordinal, though none of their legs changes."""

    holders: np.ndarray
    since: np.ndarray


GAPS = 8  # an eighth of the slots may lie idle
LEAST_SQUEEZED = 1 << 16
NOT_AGAIN = Again(np.zeros(0, np.int32), np.zeros(0, np.int64))


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
        self._slot = np.zeros(0, np.int32)

    def forward(self, tx: Any, party: np.ndarray, knobs: Knobs, shard_of: np.ndarray, ordered: np.ndarray,
                adds: np.ndarray, again: Again = NOT_AGAIN) -> Forwarded:
        """Enter and remove the legs of transactions (in order; adds: enters or leaves) and run their holders
        forward."""
        entries, rewind = self._entries(tx, shard_of, ordered, adds, again)
        touched = entries.touched
        size = np.zeros(touched.size, np.int64)
        self.ledger = with_room(self.ledger, shard_of.size, 0, 0, 0)
        self._squeeze()
        rewind -= np.where(rewind == FAR, 0, self.ledger.holders["dropped"][touched])
        legs, slots = plan(self.ledger, tx, entries, rewind, size)
        entering = int(np.count_nonzero(entries.add))
        self.ledger = with_room(self.ledger, shard_of.size, slots, entering, entering)
        self.longest = max(self.longest, int(size.max(initial=0)))
        work = self.scratch.room(shard_of.size, self.longest)
        run = new_run(max(legs, 1))
        rows = np.zeros(4, np.int64)
        run_batch(self.ledger, tx, party, knobs, self.program.filters, entries, rewind, size, run, rows, work)
        return Forwarded(touched, run, rows)

    def _entries(self, tx: Any, shard_of: np.ndarray, ordered: np.ndarray, adds: np.ndarray,
                 again: Again) -> tuple[Entries, np.ndarray]:
        if self._slot.size < shard_of.size:
            self._slot = np.full(shard_of.size * 3 // 2, -1, np.int32)
        e = room_for(ordered.size, again.holders.size)
        m = legs_by_holder(tx, ordered, adds, shard_of, self.number, self._slot, e)
        n, last = int(e.offsets[m]), m + again.holders.size
        e.touched[m:last] = again.holders
        e.offsets[m : last + 1] = n
        rewind = np.full(last, FAR, np.int64)
        rewind[m:] = again.since
        return Entries(e.touched[:last], e.offsets[: last + 1], e.tx[:n], e.side[:n], e.add[:n]), rewind

    def _squeeze(self) -> None:
        """Close the gaps that holders left which outgrew their blocks, where they make up too much."""
        led = self.ledger
        if led.meter[FREE_SLOTS] * GAPS > led.meter[USED_SLOTS] > LEAST_SQUEEZED:
            squeeze(led, blocks_in_order(led), np.zeros(led.holders.size, np.int32))

    def hear(self, tx: Any, knobs: Knobs, changed: np.ndarray) -> None:
        """Queue the payments of this shard's holders that depend on payments whose facts changed elsewhere."""
        self.heap = grown(self.heap, int(self.meters[HEAPED]) + changed.size * max(1, self.longest))
        push_later(self.ledger, tx, knobs, changed, self.heap, self.meters)

    def settle(self, tx: Any, books: Any, knobs: Knobs, shard_of: np.ndarray, hops: np.ndarray, heads: np.ndarray,
               fresh: bool) -> tuple[Any, Found, int, int]:
        """Compute trails until nothing changes here; returns the books, what was found, and how much of it."""
        self.meters[NEXT_HOP] = self.meters[PATHS] = self.meters[CHANGED] = 0
        found = new_found(max(1024, hops.size * 2))
        knobs = knobs._replace(longest_holder=self.longest)
        self.heap = grown(self.heap, self.longest * 2 + 1024)
        work = self.scratch.room(shard_of.size, self.longest)
        while True:
            code = resolve(self.ledger, tx, books, knobs, shard_of, self.number, hops, heads, fresh, self.heap, found,
                           self.meters, work)
            if code == DONE:
                return books, found, int(self.meters[PATHS]), int(self.meters[CHANGED])
            if code == GROW_BOOK:
                books = books._replace(trails=_twice(books.trails), payers=_twice(books.payers))
            else:
                found = Found(*(_twice(a) for a in found))
                self.heap = grown(self.heap, self.heap.size * 2 + self.longest)

    def ends(self, tx: Any, touched: np.ndarray, changed: np.ndarray, shard_of: np.ndarray) -> np.ndarray:
        """Holders to try scatter-gather at: run forward or behind changed payers; the ledger knows from where on."""
        ends = np.empty(touched.size + changed.size, np.int32)
        n = carrying_ends(self.ledger, tx, touched, ends)
        n = note_ends(self.ledger, tx, changed, shard_of, self.number, ends, n)
        return ends[:n]

    def confirm(self, tx: Any, party: np.ndarray, knobs: Knobs, books: Any, done: Forwarded, found: Found, paths: int,
                ends: np.ndarray, tally: np.ndarray) -> tuple[Hits, int]:
        """Try the candidates of the batch; returns the hits and their number.

        tally: the engine's serial number of evidence marks, then candidates tried by detector.
        """
        work = self.scratch.room(self.ledger.holders.size, self.longest)
        dets, steps = self.program.detectors, self.program.steps
        meters = np.zeros(TRIED + dets.size, np.int64)
        meters[SERIAL] = tally[0]
        hits = new_hits(4096, 65536)
        n, run = int(done.rows[1]), done.run
        candidates = Candidates(run.cand_holder[:n], run.cand_at[:n], run.cand_mask[:n])
        while not confirm(self.ledger, tx, party, knobs, dets, steps, candidates, hits, meters, work):
            hits = _more(hits)
        for k, kind in enumerate(dets["kind"]):
            meters[NEXT] = 0
            if kind == SCATTER:
                while not confirm_scatter(self.ledger, tx, books, dets, k, steps, ends, hits, meters, work):
                    hits = _more(hits)
            elif kind in (CHAIN, CYCLE):
                while not confirm_paths(tx, dets, k, steps, found, paths, hits, meters, work):
                    hits = _more(hits)
        tally[0] = meters[SERIAL]
        tally[1:] += meters[TRIED:]
        return hits, int(meters[HITS])

    def rest(self, touched: np.ndarray, ends: np.ndarray) -> None:
        """The batch is over: nothing counts as run in it any longer."""
        self.ledger.holders["since"][touched] = FAR
        self.ledger.holders["ends_since"][ends] = FAR


def _twice(array: np.ndarray) -> np.ndarray:
    return grown(array, array.shape[0] * 2)


def _more(hits: Hits) -> Hits:
    return Hits(*(_twice(a) for a in hits))
