"""How far the feed has come: progress per tenant and source, and the watermark.

The progress of a source is the 100th-highest readable `executed_at` per tenant (none under 100 records), so that one
mistyped date moves nothing; a record that comes again counts once, so that a feed read twice moves nothing either. The
watermark of a tenant is the least over the sources, and never falls. It is a running value: a record is judged by the
watermark of the records read before it, so the size of a batch decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from aml.engine.identity import NO_TIME
from aml.engine.keys import U64
from aml.engine.tables import inner, kernel

I64 = npt.NDArray[np.int64]
RANK: Final = 100
DAY_US: Final = 86_400_000_000
LATENESS: Final = 7 * DAY_US


@inner
def _push(heap: np.ndarray, keys: np.ndarray, n: int, value: int, key: int) -> int:
    """Put a time among the RANK highest, a heap with the least of them at 0, unless its record is among them; returns
    how many are held."""
    if n == RANK and value <= heap[0]:
        return n
    for at in range(n):
        if heap[at] == value and keys[at] == key:
            return n
    if n < RANK:
        at = n
        while at > 0 and heap[(at - 1) // 2] > value:
            heap[at] = heap[(at - 1) // 2]
            keys[at] = keys[(at - 1) // 2]
            at = (at - 1) // 2
        heap[at] = value
        keys[at] = key
        return n + 1
    at = 0
    while 2 * at + 1 < n:
        child = 2 * at + 1
        if child + 1 < n and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[at] = heap[child]
        keys[at] = keys[child]
        at = child
    heap[at] = value
    keys[at] = key
    return n


@kernel
def advance(
    heaps: np.ndarray, keys: np.ndarray, counts: np.ndarray, marks: np.ndarray, source: int, tenant: np.ndarray,
    t: np.ndarray, key: np.ndarray, before: np.ndarray,
) -> None:  # fmt: skip
    for row in range(t.size):
        who = tenant[row]
        before[row] = marks[who]
        if t[row] == NO_TIME:
            continue
        counts[source, who] = _push(heaps[source, who], keys[source, who], counts[source, who], t[row], key[row])
        if counts[source, who] == RANK and heaps[source, who, 0] > marks[who]:
            least = heaps[source, who, 0]
            for other in range(counts.shape[0]):
                least = min(least, heaps[other, who, 0] if counts[other, who] == RANK else NO_TIME)
            marks[who] = max(marks[who], least)


class Progress:
    """Progress per source and tenant; `marks` are the watermarks by tenant number (NO_TIME: none yet)."""

    def __init__(self, sources: int = 1) -> None:
        self._heaps = np.empty((sources, 0, RANK), np.int64)
        self._keys = np.empty((sources, 0, RANK), np.uint64)
        self._counts = np.empty((sources, 0), np.int32)
        self.marks: I64 = np.empty(0, np.int64)

    def advance(self, tenant: npt.NDArray[np.int32], t: I64, key: U64, source: int = 0) -> I64:
        """Take readable records in arrival order (t in UTC µs, NO_TIME where absent; key: half of the order key).

        Returns, per record, its tenant's watermark of what was read before it.
        """
        self._make_room(int(tenant.max()) + 1 if tenant.size else 0)
        before = np.empty(t.size, np.int64)
        advance(self._heaps, self._keys, self._counts, self.marks, source, tenant, t, key, before)
        return before

    def _make_room(self, tenants: int) -> None:
        more = tenants - self.marks.size
        if more > 0:
            sources = self._counts.shape[0]
            self._heaps = np.concatenate([self._heaps, np.zeros((sources, more, RANK), np.int64)], axis=1)
            self._keys = np.concatenate([self._keys, np.zeros((sources, more, RANK), np.uint64)], axis=1)
            self._counts = np.concatenate([self._counts, np.zeros((sources, more), np.int32)], axis=1)
            self.marks = np.concatenate([self.marks, np.full(more, NO_TIME, np.int64)])

    def state(self) -> dict[str, np.ndarray]:
        """Heaps with the keys of their records, counts and marks, as copies."""
        counts, marks = self._counts.copy(), self.marks.copy()
        return {"heaps": self._heaps.copy(), "keys": self._keys.copy(), "counts": counts, "marks": marks}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray]) -> Progress:
        """The progress whose `state` this is."""
        self = cls()
        self._heaps, self._keys = state["heaps"].copy(), state["keys"].copy()
        self._counts, self.marks = state["counts"].copy(), state["marks"].copy()
        return self
