"""Sorting a batch: transactions into the one order, then their legs by holder."""

from __future__ import annotations

from typing import Any

import numpy as np

from aml.engine.layout import T_LEG
from aml.engine.ledger import CREDIT_SIDE, DEBIT_SIDE, VISIT_SIDE
from aml.engine.tables import before, jit


def in_order(tx: Any, indices: np.ndarray) -> np.ndarray:
    """The transaction indices sorted by (executed_at, key)."""
    ordered = indices[np.argsort(tx["t"][indices], kind="stable")].astype(np.int32)
    _settle_ties(tx, ordered)
    return ordered


@jit
def _settle_ties(tx: Any, ordered: np.ndarray) -> None:
    """Insertion sort by key among equal times."""
    for i in range(1, ordered.size):
        x = ordered[i]
        k = i
        while k > 0 and before(tx, x, ordered[k - 1]):
            ordered[k] = ordered[k - 1]
            k -= 1
        ordered[k] = x


@jit
def legs_by_holder(tx: Any, ordered: np.ndarray, adds: np.ndarray, shard_of: np.ndarray, shard: int, slot: np.ndarray,
                   touched: np.ndarray, offsets: np.ndarray, e_tx: np.ndarray, e_side: np.ndarray, e_add: np.ndarray) -> int:
    """Split the ordered transactions into the entries of this shard's holders; returns the number of holders touched.

    slot: all -1 on entry and on return, by holder. offsets must hold one more than the holders touched at most.
    """
    m = 0
    for a in range(ordered.size):
        x = ordered[a]
        for side in range(3):
            h = holder_of(tx, x, side)
            if h < 0 or shard_of[h] != shard:
                continue
            if slot[h] < 0:
                slot[h] = m
                touched[m] = h
                offsets[m + 1] = 0
                m += 1
            offsets[slot[h] + 1] += 1
    offsets[0] = 0
    for j in range(m):
        offsets[j + 1] += offsets[j]
    cursor = offsets[:m].copy()
    for a in range(ordered.size):
        x = ordered[a]
        for side in range(3):
            h = holder_of(tx, x, side)
            if h < 0 or shard_of[h] != shard:
                continue
            at = cursor[slot[h]]
            e_tx[at], e_side[at], e_add[at] = x, side, adds[a]
            cursor[slot[h]] = at + 1
    for j in range(m):
        slot[touched[j]] = -1
    return m


@jit
def holder_of(tx: Any, x: int, side: int) -> int:
    """Holder of one side of a transaction that has a leg there, or -1."""
    if side == CREDIT_SIDE:
        return tx[x].credit_holder if tx[x].credit_tag & T_LEG else -1
    if side == DEBIT_SIDE:
        return tx[x].debit_holder if tx[x].debit_tag & T_LEG else -1
    return tx[x].conductor_holder
