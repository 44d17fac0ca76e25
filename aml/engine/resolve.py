"""Settling a batch's trails: every payment whose trails may have changed is computed once, in order."""

from __future__ import annotations

from typing import Any

import numpy as np

from aml.engine.layout import PERSON, T_DEBIT, T_HOP
from aml.engine.tables import before, inner, kernel
from aml.engine.trails import bits, copy_trail, may_send_on, same_payers, same_trails, trails_of

DONE, GROW_BOOK, GROW_OUT = 0, 1, 2
# counters of `resolve`: next entry of the batch, entries on the heap, used trails, used payers, paths out,
# changed transactions out
NEXT, HEAPED, TRAILS, PAYERS, PATHS, CHANGED = 0, 1, 2, 3, 4, 5


@inner
def push(heap: np.ndarray, n: int, x: int, tx: Any) -> None:
    """Add x to a binary heap of n transactions, earliest on top."""
    k = n
    heap[k] = x
    while k > 0:
        up = (k - 1) >> 1
        if not before(tx, heap[k], heap[up]):
            break
        heap[k], heap[up] = heap[up], heap[k]
        k = up


@inner
def pop(heap: np.ndarray, n: int, tx: Any) -> int:
    """Take the earliest of n transactions off the heap."""
    top = heap[0]
    heap[0] = heap[n - 1]
    k = 0
    while True:
        child = 2 * k + 1
        if child >= n - 1:
            break
        if child + 1 < n - 1 and before(tx, heap[child + 1], heap[child]):
            child += 1
        if not before(tx, heap[child], heap[k]):
            break
        heap[k], heap[child] = heap[child], heap[k]
        k = child
    return int(top)


@inner
def store_trails(tx: Any, book: np.ndarray, x: int, best: np.ndarray, n: int, meters: np.ndarray) -> None:
    """Replace the trails of payment x."""
    if n > tx[x].n_trails:
        tx[x].trails = meters[TRAILS]
        meters[TRAILS] += n
    tx[x].n_trails = n
    for k in range(n):
        copy_trail(book[tx[x].trails + k], best[k])


@inner
def store_payers(tx: Any, book: np.ndarray, x: int, payer: np.ndarray, n: int, meters: np.ndarray) -> None:
    """Replace the direct payers of payment x."""
    if n > tx[x].n_payers:
        tx[x].payers = meters[PAYERS]
        meters[PAYERS] += n
    tx[x].n_payers = n
    for k in range(n):
        book[tx[x].payers + k] = payer[k]


@inner
def mark_later(led: Any, tx: Any, knobs: Any, x: int, fresh: bool, heap: np.ndarray, meters: np.ndarray) -> None:
    """Queue the beneficiary's later payments that may send x on; `fresh`: those run in this batch are queued anyway."""
    h = tx[x].credit_holder
    row = led.holders[h]
    c = tx[x].credit_at - row.dropped
    start = row.start
    credit = led.legs[start + c]
    k = c + 1
    end = min(row.n, row.since - row.dropped) if fresh else row.n
    limit = credit.t + max(knobs.payer_window, knobs.hop_window)
    while k < end and led.legs[start + k].t <= limit:
        leg = led.legs[start + k]
        y = leg.tx
        if (leg.tag & T_HOP) and (leg.tag & T_DEBIT) and tx[y].queued == 0 and may_send_on(leg.amount, credit.amount):
            tx[y].queued = 1
            push(heap, meters[HEAPED], y, tx)
            meters[HEAPED] += 1
        k += 1


@kernel
def resolve(led: Any, tx: Any, books: Any, knobs: Any, shard_of: np.ndarray, shard: int, hop_tx: np.ndarray,
            hop_heads: np.ndarray, fresh: bool, heap: np.ndarray, out: Any, meters: np.ndarray, work: Any) -> int:
    """Compute the trails of the batch's payments hop_tx (in order, heads beside them) and of all that follows.

    fresh: all payments run in this batch are among hop_tx. Written to `out`: paths (trails of three hops and more,
    cycles) and the payments whose facts changed. Returns DONE, or what must grow before it is called again.
    """
    while meters[NEXT] < hop_tx.size or meters[HEAPED] > 0:
        if meters[TRAILS] + knobs.most_trails > books.trails.size or meters[PAYERS] + 8 > books.payers.size:
            return GROW_BOOK
        if (meters[PATHS] + 2 * knobs.most_trails > out.path.size or meters[CHANGED] + 1 > out.changed.size
                or meters[HEAPED] + knobs.longest_holder > heap.size):
            return GROW_OUT
        from_heap = meters[HEAPED] > 0 and (meters[NEXT] >= hop_tx.size or before(tx, heap[0], hop_tx[meters[NEXT]]))
        known = not from_heap
        if from_heap:
            x = pop(heap, meters[HEAPED], tx)
            meters[HEAPED] -= 1
        else:
            x = hop_tx[meters[NEXT]]
            meters[NEXT] += 1
        tx[x].queued = 0
        heads = hop_heads[meters[NEXT] - 1 if known else 0]
        n, cycles, payers = trails_of(led, tx, books.trails, knobs, x, heads, known, work)
        emit(tx, knobs, x, work.best, n, False, out, meters)
        emit(tx, knobs, x, work.cycles, cycles, True, out, meters)
        depth = 0
        for k in range(n):
            depth = max(depth, work.best[k].n)
        facts = (tx[x].behind & 192) | depth
        person = 1 if tx[x].debit_segment == PERSON else 0
        told = (facts & 64) | person | (2 if tx[x].behind & 128 else 0) | (depth << 2)
        changed = tx[x].delivered != told or tx[x].told_known != tx[x].debit_known
        stale = tx[x].delivered != 255 and (tx[x].behind & 15) != depth
        newly = False
        if changed or not same_trails(books.trails, tx[x].trails, tx[x].n_trails, work.best, n):
            changed = True
            store_trails(tx, books.trails, x, work.best, n, meters)
        if not same_payers(books.payers, tx[x].payers, tx[x].n_payers, work.payer, payers):
            changed = newly = True
            store_payers(tx, books.payers, x, work.payer, payers, meters)
        if from_heap or changed:
            out.changed[meters[CHANGED]] = x
            out.stale[meters[CHANGED]] = stale
            out.newly[meters[CHANGED]] = newly
            meters[CHANGED] += 1
        tx[x].behind = facts
        tx[x].delivered = told
        tx[x].told_known = tx[x].debit_known
        if changed and tx[x].credit_at >= 0 and shard_of[tx[x].credit_holder] == shard:
            mark_later(led, tx, knobs, x, fresh, heap, meters)
    return DONE


@kernel
def push_later(led: Any, tx: Any, knobs: Any, changed: np.ndarray, heap: np.ndarray, meters: np.ndarray) -> None:
    """Queue what depends on payments whose facts changed on another shard."""
    for a in range(changed.size):
        if tx[changed[a]].credit_at >= 0:
            mark_later(led, tx, knobs, changed[a], False, heap, meters)


@inner
def emit(tx: Any, knobs: Any, x: int, trails: np.ndarray, n: int, cycle: bool, out: Any, meters: np.ndarray) -> None:
    """Write the trails that can satisfy a path rule: enough hops, start and first payments (lower bounds only)."""
    for k in range(n):
        trail = trails[k]
        if cycle:
            enough = trail.n >= knobs.cycle_hops and tx[trail.tx[0]].debit_value >= knobs.cycle_start
        else:
            enough = (trail.n >= knobs.chain_hops and tx[trail.tx[0]].debit_value >= knobs.chain_start
                      and bits(trail.new) >= knobs.chain_new)
        if enough:
            copy_trail(out.path[meters[PATHS]], trail)
            out.path_tx[meters[PATHS]] = x
            out.path_cycle[meters[PATHS]] = cycle
            meters[PATHS] += 1
