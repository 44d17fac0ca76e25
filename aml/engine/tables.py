"""Small compiled helpers: the order of transactions, hashing, open-addressing look-ups, searches in a holder's legs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from aml.engine.layout import EMPTY_KEY, NONE, T_COUNTED, VISIT

jit = njit(cache=True, nogil=True, error_model="numpy")
# The same without reference counts, which cost a third of the time: for what makes no array of its own.
kernel = njit(cache=True, nogil=True, error_model="numpy", _nrt=False)  # type: ignore[call-overload]
# A part of kernels, which Python cannot call: the ways in from Python are a third of the time to compile.
inner = njit(nogil=True, error_model="numpy", _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]


@inner
def before(tx: Any, a: int, b: int) -> bool:
    """Whether transaction a comes before b in the one order: (executed_at, 128-bit key)."""
    if tx[a].t != tx[b].t:
        return bool(tx[a].t < tx[b].t)
    if tx[a].hi != tx[b].hi:
        return bool(tx[a].hi < tx[b].hi)
    return bool(tx[a].lo < tx[b].lo)


@inner
def mix(key: Any) -> Any:
    """Spread a 64-bit key over the table (the finaliser of SplitMix64)."""
    z = np.uint64(key)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@inner
def slot_of(keys: np.ndarray, key: Any) -> int:
    """Slot of the key, or the free one where it belongs."""
    mask = np.uint64(keys.size - 1)
    slot = mix(key) & mask
    while keys[slot].key != key and keys[slot].key != EMPTY_KEY:
        slot = (slot + np.uint64(1)) & mask
    return int(np.int64(slot))


@inner
def find(keys: np.ndarray, key: Any) -> int:
    """Slot of the key, or NONE."""
    slot = slot_of(keys, key)
    return slot if keys[slot].key == key else NONE


@inner
def find_or_add(keys: np.ndarray, key: Any, meter: np.ndarray, used: int) -> int:
    """Slot of the key, taken if it is new; the caller has made room beforehand."""
    slot = slot_of(keys, key)
    if keys[slot].key != key:
        keys[slot].key = key
        keys[slot].last = NONE
        keys[slot].n = 0
        meter[used] += 1
    return slot


@kernel
def rehash(old: np.ndarray, new: np.ndarray) -> None:
    """Move a look-up into a larger, empty one."""
    for i in range(old.size):
        if old[i].key != EMPTY_KEY:
            new[slot_of(new, old[i].key)] = old[i]


@inner
def pair_key(holder: int, cp: int) -> Any:
    """Key of a holder's counterparty."""
    return (np.uint64(holder) << np.uint64(32)) | np.uint64(cp)


@inner
def fit_key(holder: int, bucket: int) -> Any:
    """Key of a holder's amount bucket."""
    return (np.uint64(holder) << np.uint64(32)) | np.uint64(bucket)


@inner
def bucket_of(amount: int) -> int:
    """Amount bucket, three to a doubling (a bucket spans a factor of 1.26)."""
    return int(math.log2(float(amount)) * 3.0)


@inner
def registers(tag: int, cp: int) -> bool:
    """Whether a leg takes part in its pair's history: counted, with a counterparty, not a mere visit."""
    return cp >= 0 and (tag & T_COUNTED) != 0 and (tag & (1 << VISIT)) == 0


@inner
def first_after(legs: np.ndarray, start: int, lo: int, hi: int, t: int) -> int:
    """First index in [lo, hi) of the holder's legs with leg time > t, else hi."""
    while lo < hi:
        mid = (lo + hi) >> 1
        if legs[start + mid].t <= t:
            lo = mid + 1
        else:
            hi = mid
    return lo


@inner
def first_on_day(legs: np.ndarray, start: int, lo: int, hi: int, day: int) -> int:
    """First index in [lo, hi) of the holder's legs on or after the local day, else hi (days never fall with time)."""
    while lo < hi:
        mid = (lo + hi) >> 1
        if legs[start + mid].day < day:
            lo = mid + 1
        else:
            hi = mid
    return lo
