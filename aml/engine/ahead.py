"""Reading ahead: what the next holders need is asked of memory all at once, so that the waits overlap."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from aml.engine.ledger import CREDIT_SIDE
from aml.engine.tables import inner, mix, pair_key

AHEAD: Final = 16  # holders


@inner
def read_ahead(led: Any, tx: Any, party: Any, entries: Any, first: int) -> int:
    """Touch what running the holders from touched[first] on will read; the sum has no meaning but that it is read."""
    last = min(first + AHEAD, entries.touched.size)
    total = 0
    for i in range(first, last):
        total += led.holders[entries.touched[i]].n
    for j in range(entries.offsets[first], entries.offsets[last]):
        row = tx[entries.tx[j]]
        total += row.t + row.debit_tag + row.debit_at
    mask = np.uint64(led.pairs.size - 1)
    for i in range(first, last):
        h = entries.touched[i]
        start, n = led.holders[h].start, led.holders[h].n
        if n > 0:
            total += led.legs[start + n - 1].t + led.legs[start + n - 1].counts[0] + led.legs[start - 1].counts[0]
        for j in range(entries.offsets[i], entries.offsets[i + 1]):
            row = tx[entries.tx[j]]
            credit = entries.side[j] == CREDIT_SIDE
            cp, mine = (row.debit_holder, row.credit_party) if credit else (row.credit_holder, row.debit_party)
            if mine >= 0:
                total += party[mine].segment
            if cp >= 0:
                total += led.pairs[np.int64(mix(pair_key(h, cp)) & mask)].n[0]
    return total
