"""Sorting a batch: transactions into the one order, then their legs by holder."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from aml.engine.layout import T_COUNTED, T_LEG
from aml.engine.ledger import CREDIT_SIDE, DEBIT_SIDE
from aml.engine.tables import before, inner, jit, kernel


def in_order(tx: Any, indices: np.ndarray) -> np.ndarray:
    """The permutation that sorts transactions by (executed_at, key)."""
    order = np.argsort(tx["t"][indices], kind="stable")
    _settle_ties(tx, indices, order)
    return order


@kernel
def _settle_ties(tx: Any, indices: np.ndarray, order: np.ndarray) -> None:
    """Insertion sort by key among equal times."""
    for i in range(1, order.size):
        x = order[i]
        k = i
        while k > 0 and before(tx, indices[x], indices[order[k - 1]]):
            order[k] = order[k - 1]
            k -= 1
        order[k] = x


class Entries(NamedTuple):
    """The legs that enter or leave the holders of one shard.

    Those of holder touched[i] are at offsets[i]:offsets[i+1], in order: transaction, side, enters or leaves.
    """

    touched: np.ndarray
    offsets: np.ndarray
    tx: np.ndarray
    side: np.ndarray
    add: np.ndarray


def room_for(transactions: int, more: int) -> Entries:
    """Room for the legs of so many transactions, and for so many further holders."""
    most = 3 * transactions
    return Entries(np.empty(most + more, np.int32), np.zeros(most + more + 1, np.int64), np.empty(most, np.int32),
                   np.empty(most, np.int8), np.empty(most, np.bool_))


@jit
def legs_by_holder(tx: Any, ordered: np.ndarray, adds: np.ndarray, shard_of: np.ndarray, shard: int, slot: np.ndarray,
                   out: Any) -> int:
    """Split the ordered transactions into the entries of this shard's holders; returns the number of holders touched.

    slot: all -1 on entry and on return, by holder.
    """
    m = 0
    for a in range(ordered.size):
        for side in range(3):
            h = holder_of(tx, ordered[a], side)
            if h < 0 or shard_of[h] != shard:
                continue
            if slot[h] < 0:
                slot[h] = m
                out.touched[m] = h
                out.offsets[m + 1] = 0
                m += 1
            out.offsets[slot[h] + 1] += 1
    for j in range(m):
        out.offsets[j + 1] += out.offsets[j]
    cursor = out.offsets[:m].copy()
    for a in range(ordered.size):
        for side in range(3):
            h = holder_of(tx, ordered[a], side)
            if h < 0 or shard_of[h] != shard:
                continue
            at = cursor[slot[h]]
            out.tx[at], out.side[at], out.add[at] = ordered[a], side, adds[a]
            cursor[slot[h]] = at + 1
    for j in range(m):
        slot[out.touched[j]] = -1
    return m


@inner
def holder_of(tx: Any, x: int, side: int) -> int:
    """Holder of one side of a transaction that has a leg there, or -1."""
    if side == CREDIT_SIDE:
        return int(tx[x].credit_holder) if tx[x].credit_tag & T_LEG else -1
    if side == DEBIT_SIDE:
        return int(tx[x].debit_holder) if tx[x].debit_tag & T_LEG else -1
    return int(tx[x].conductor_holder) if tx[x].credit_tag & T_COUNTED else -1
