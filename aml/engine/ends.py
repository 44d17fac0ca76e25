"""Where scatter-gather must be tried: the ends whose credits with direct payers behind them changed."""

from __future__ import annotations

from typing import Any

import numpy as np

from aml.engine.layout import FAR, NONE
from aml.engine.scatter import carries
from aml.engine.tables import kernel


@kernel
def carrying_ends(led: Any, tx: Any, touched: np.ndarray, ends: np.ndarray) -> int:
    """Holders run forward that hold carrying credits from there on; returns their number."""
    n = 0
    for j in range(touched.size):
        row = led.holders[touched[j]]
        for i in range(row.since - row.dropped, row.n):
            if carries(tx, led.legs[row.start + i]):
                row.ends_since = i + row.dropped
                ends[n] = touched[j]
                n += 1
                break
    return n


@kernel
def note_ends(led: Any, tx: Any, changed: np.ndarray, shard_of: np.ndarray, shard: int, ends: np.ndarray,
              n: int) -> int:
    """Add the beneficiaries of payments whose direct payers changed to the n ends; returns how many there are."""
    for j in range(changed.size):
        h, at = tx[changed[j]].credit_holder, tx[changed[j]].credit_at
        if h == NONE or at == NONE or shard_of[h] != shard:
            continue
        row = led.holders[h]
        if row.ends_since == FAR:
            ends[n] = h
            n += 1
        row.ends_since = min(row.ends_since, at)
    return n


@kernel
def legs_to_rerun(led: Any, tx: Any, stale: np.ndarray, shard_of: np.ndarray, shard: int, holders: np.ndarray,
                  since: np.ndarray) -> int:
    """Legs of stale payments that were not run in this batch: each holder once, with its earliest; returns how many."""
    n = 0
    for j in range(stale.size):
        for debit in (True, False):
            h = tx[stale[j]].debit_holder if debit else tx[stale[j]].credit_holder
            at = tx[stale[j]].debit_at if debit else tx[stale[j]].credit_at
            if h == NONE or at == NONE or shard_of[h] != shard or at >= led.holders[h].since:
                continue
            holders[n] = h
            since[n] = at
            n += 1
    return n
