"""Which records are new, which stand: identity, revisions, voids and reversals, each act judged alone.

A record's identity is (order key, revision, void); its family is all that shares (tenant, transaction_id). Marks:

- a revision marks the family's lower revisions superseded, a void marks its revision and lower ones voided, unless
  the marked record lies more than the lateness behind the watermark; a record that comes after such an act is marked
  on arrival; marks stay;
- a reversal that stands (booked, not itself superseded or voided) and has an equal amount and currency marks those
  records of the family it relates to that lie at most the lateness before it; if it falls, its mark goes.

A record stands while it moves money and bears no mark, so what stands is the same whichever came first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from aml.engine.columns import Flag
from aml.engine.intern import I32, NONE, grown, seek, table_for
from aml.engine.keys import U64
from aml.engine.tables import inner, kernel

NO_TIME: Final = -(1 << 63)
SUPERSEDED: Final = 1
VOIDED: Final = 2
REVERSED: Final = 4
FITS: Final = 8  # a reversal that reverses something
TOUCHED: Final = 16
STOOD: Final = 32  # stood before the batch that touched it

_MOVES: Final = int(Flag.MOVES)
_VOID: Final = int(Flag.VOID)
_REVERSAL: Final = int(Flag.REVERSAL)


class Outcome(IntEnum):
    """What became of a record that arrived."""

    NEW = 0
    DUPLICATE = 1
    CONFLICT = 2
    TOO_LATE = 3


RECORD: Final = np.dtype(
    [
        ("key_hi", "u8"), ("key_lo", "u8"), ("content_hi", "u8"), ("content_lo", "u8"),
        ("t", "i8"), ("seen", "i8"),  # executed_at; the watermark on arrival
        ("amount", "i8"), ("row", "i8"),
        ("tx", "i4"), ("revision", "i4"), ("tenant", "i4"), ("currency", "i4"),
        ("flags", "u4"), ("mark", "u4"),
        ("next", "i4"),  # next record of the family
        ("target", "i4"),  # of a reversal: number of the family it relates to
        ("next_reversal", "i4"),  # next reversal of the same target
    ],
    align=True,
)  # fmt: skip


class Incoming(NamedTuple):
    """Columns of readable records in arrival order; times in UTC µs, NO_TIME where absent."""

    key: tuple[U64, U64]
    content: tuple[U64, U64]
    family: tuple[U64, U64]
    target: tuple[U64, U64]  # family key of relates_to; read for reversals only
    t: npt.NDArray[np.int64]
    watermark: npt.NDArray[np.int64]  # on arrival
    amount: npt.NDArray[np.int64]
    currency: I32
    tenant: I32
    revision: I32
    flags: npt.NDArray[np.uint32]
    known: npt.NDArray[np.uint8]  # Outcome by older records on disk: NEW where there is none


class _State(NamedTuple):
    records: Any
    family_hi: U64
    family_lo: U64
    slots: I32
    target_hi: U64
    target_lo: U64
    target_slots: I32
    target_head: I32
    meter: npt.NDArray[np.int64]  # targets, then the tallies
    touched: I32


TARGETS: Final = 0
N_TOUCHED: Final = 1
N_SUPERSEDED: Final = 2
N_VOIDED: Final = 3
N_REVERSED: Final = 4
N_IDLE: Final = 5  # reversals that reverse nothing
METERS: Final = 6


@inner
def _stands(record: Any) -> bool:
    return (record.flags & _MOVES) != 0 and (record.mark & (SUPERSEDED | VOIDED | REVERSED)) == 0


@inner
def _tally(meter: np.ndarray, record: Any, by: int) -> None:
    mark = record.mark
    if mark & VOIDED:
        meter[N_VOIDED] += by
    elif mark & SUPERSEDED:
        meter[N_SUPERSEDED] += by
    elif mark & REVERSED:
        meter[N_REVERSED] += by
    elif (record.flags & _REVERSAL) and not mark & FITS:
        meter[N_IDLE] += by


@inner
def _set_mark(s: Any, at: int, bit: int, on: bool) -> None:
    record = s.records[at]
    if ((record.mark & np.uint32(bit)) != 0) == on:
        return
    if not record.mark & TOUCHED:
        s.touched[s.meter[N_TOUCHED]] = at
        s.meter[N_TOUCHED] += 1
        record.mark |= np.uint32(TOUCHED | (STOOD if _stands(record) else 0))
    _tally(s.meter, record, -1)
    if on:
        record.mark |= np.uint32(bit)
    else:
        record.mark &= ~np.uint32(bit)
    _tally(s.meter, record, 1)


@inner
def _late(t: int, watermark: int, lateness: int) -> bool:
    return t != NO_TIME and watermark != NO_TIME and t < watermark - lateness


@inner
def _in_force(record: Any) -> bool:
    return (record.mark & np.uint32(SUPERSEDED | VOIDED)) == 0


@inner
def _fits(reversal: Any, record: Any, lateness: int) -> bool:
    if not (_in_force(reversal) and _in_force(record)) or record.flags & np.uint32(_VOID | _REVERSAL):
        return False
    same = reversal.amount == record.amount and reversal.currency == record.currency
    return same and record.t <= reversal.t and reversal.t - record.t <= lateness


@inner
def _refresh(s: Any, target: int, lateness: int) -> None:
    """Mark afresh the records that the target's reversals reverse, and the reversals that reverse something."""
    hi = s.target_hi[target]
    lo = s.target_lo[target]
    head = s.slots[seek(s.slots, s.family_hi, s.family_lo, hi, lo)]
    at = head
    while at >= 0:
        reversed_ = False
        by = s.target_head[target]
        while by >= 0 and not reversed_:
            reversed_ = _fits(s.records[by], s.records[at], lateness)
            by = s.records[by].next_reversal
        _set_mark(s, at, REVERSED, reversed_)
        at = s.records[at].next
    by = s.target_head[target]
    while by >= 0:
        fits = False
        at = head
        while at >= 0 and not fits:
            fits = _fits(s.records[by], s.records[at], lateness)
            at = s.records[at].next
        _set_mark(s, by, FITS, fits)
        by = s.records[by].next_reversal


@inner
def _act(s: Any, head: int, revision: int, void: bool, watermark: int, lateness: int) -> None:
    """Let a revision or void act on the records of its family that came before it."""
    at = head
    while at >= 0:
        record = s.records[at]
        if not record.flags & np.uint32(_VOID) and not _late(record.t, watermark, lateness):
            if void and record.revision <= revision:
                _set_mark(s, at, VOIDED, True)
            elif not void and record.revision < revision:
                _set_mark(s, at, SUPERSEDED, True)
            if record.target >= 0:
                _refresh(s, record.target, lateness)
        at = record.next


@inner
def _suffer(s: Any, new: int, head: int) -> None:
    """Let the records of the family that came before act on the new one."""
    record = s.records[new]
    if record.flags & np.uint32(_VOID):
        return
    at = head
    while at >= 0:
        other = s.records[at]
        if other.flags & np.uint32(_VOID):
            if other.revision >= record.revision:
                _set_mark(s, new, VOIDED, True)
        elif other.revision > record.revision:
            _set_mark(s, new, SUPERSEDED, True)
        at = other.next


@inner
def _aim(s: Any, new: int, hi: int, lo: int) -> None:
    """Enter a reversal under the family that it relates to."""
    slot = seek(s.target_slots, s.target_hi, s.target_lo, hi, lo)
    if s.target_slots[slot] < 0:
        fresh = s.meter[TARGETS]
        s.meter[TARGETS] += 1
        s.target_slots[slot] = fresh
        s.target_hi[fresh] = hi
        s.target_lo[fresh] = lo
        s.target_head[fresh] = NONE
    target = s.target_slots[slot]
    s.records[new].target = target
    s.records[new].next_reversal = s.target_head[target]
    s.target_head[target] = new


@inner
def _judge_one(s: Any, x: Any, i: int, n: int, lateness: int) -> int:
    """Judge row i of the incoming against n records; a new one becomes record n. Returns the Outcome's number."""
    hi = x.family[0][i]
    lo = x.family[1][i]
    slot = seek(s.slots, s.family_hi, s.family_lo, hi, lo)
    head = s.slots[slot]
    void = (x.flags[i] & np.uint32(_VOID)) != 0
    at = head
    while at >= 0:
        r = s.records[at]
        same = r.key_hi == x.key[0][i] and r.key_lo == x.key[1][i] and r.revision == x.revision[i]
        if same and ((r.flags & np.uint32(_VOID)) != 0) == void:
            return 1 if r.content_hi == x.content[0][i] and r.content_lo == x.content[1][i] else 2
        at = r.next
    if x.known[i]:
        return np.int64(x.known[i])  # type: ignore[return-value]  # an int to the compiler
    if head >= 0 and (void or x.revision[i] > 1):
        _act(s, head, x.revision[i], void, x.watermark[i], lateness)
    late = not void and _late(x.t[i], x.watermark[i], lateness)
    if not late:
        r = s.records[n]
        r.key_hi = x.key[0][i]
        r.key_lo = x.key[1][i]
        r.content_hi = x.content[0][i]
        r.content_lo = x.content[1][i]
        r.t = x.t[i]
        r.seen = x.watermark[i]
        r.amount = x.amount[i]
        r.tenant = x.tenant[i]
        r.currency = x.currency[i]
        r.revision = x.revision[i]
        r.flags = x.flags[i]
        r.mark = np.uint32(0)
        r.tx = NONE
        r.target = NONE
        r.next_reversal = NONE
        r.next = head
        s.family_hi[n] = hi
        s.family_lo[n] = lo
        _tally(s.meter, r, 1)
        if head >= 0:
            _suffer(s, n, head)
        s.slots[slot] = n
        if x.flags[i] & np.uint32(_REVERSAL):
            _aim(s, n, x.target[0][i], x.target[1][i])
            _refresh(s, r.target, lateness)
    if s.meter[TARGETS] > 0:
        mine = s.target_slots[seek(s.target_slots, s.target_hi, s.target_lo, hi, lo)]
        if mine >= 0:
            _refresh(s, mine, lateness)
    return 3 if late else 0


@kernel
def _judge(s: Any, x: Any, n: int, first_row: int, lateness: int, outcome: np.ndarray) -> int:
    for i in range(outcome.size):
        outcome[i] = _judge_one(s, x, i, n, lateness)
        if outcome[i] == 0:
            s.records[n].row = first_row
            first_row += 1
            n += 1
    return n


@kernel
def _settle(s: Any, now: np.ndarray, before: np.ndarray) -> None:
    """What the touched older records are now and were before the batch; the touches are cleared."""
    for k in range(s.meter[N_TOUCHED]):
        record = s.records[s.touched[k]]
        before[k] = (record.mark & np.uint32(STOOD)) != 0
        now[k] = _stands(record)
        record.mark &= ~np.uint32(TOUCHED | STOOD)
    s.meter[N_TOUCHED] = 0


@kernel
def _chain(s: Any, n: int) -> None:
    """Link n records afresh by family, and the reversals by target."""
    for at in range(n):
        record = s.records[at]
        slot = seek(s.slots, s.family_hi, s.family_lo, s.family_hi[at], s.family_lo[at])
        record.next = s.slots[slot]
        s.slots[slot] = at


@dataclass(frozen=True, slots=True)
class Judged:
    """What one batch changed: outcomes by row; record numbers of the new; older records whose standing changed."""

    outcome: npt.NDArray[np.uint8]
    first: int  # number of the first new record
    new: int  # how many
    stands: npt.NDArray[np.bool_]  # of the new records, after the batch
    entered: I32  # older records that stand again
    left: I32  # older records that stand no longer
    marked: I32  # older records whose marks changed, entered and left among them


class Registry:
    """The accepted records that something may still act on, and the judgement of each that arrives."""

    def __init__(self, lateness: int) -> None:
        self.lateness = lateness
        self._clear()

    def _clear(self) -> None:
        self.n = 0
        self._records = np.empty(0, RECORD)
        self._family = (np.empty(0, np.uint64), np.empty(0, np.uint64))
        self._slots: I32 = np.empty(0, np.int32)
        self._target = (np.empty(0, np.uint64), np.empty(0, np.uint64))
        self._target_slots: I32 = np.empty(0, np.int32)
        self._target_head: I32 = np.empty(0, np.int32)
        self._meter = np.zeros(METERS, np.int64)
        self._touched: I32 = np.empty(0, np.int32)

    @property
    def records(self) -> npt.NDArray[np.void]:
        """The records held, by number; a view until the next judgement."""
        return self._records[: self.n]

    @property
    def tallies(self) -> dict[str, int]:
        """Records superseded, voided, reversed (each under the first of voided, superseded, reversed that holds)
        and reversals that reverse nothing, since the registry began."""
        names = ("superseded", "voided", "reversed", "idle_reversals")
        return dict(zip(names, self._meter[N_SUPERSEDED:].tolist(), strict=True))

    def judge(self, incoming: Incoming, first_row: int) -> Judged:
        """Judge records in arrival order; new ones get the global rows `first_row`, `first_row` + 1, …"""
        reversals = int(np.count_nonzero(incoming.flags & _REVERSAL))
        self._make_room(self.n + incoming.t.size, int(self._meter[TARGETS]) + reversals)
        outcome, first = np.empty(incoming.t.size, np.uint8), self.n
        self.n = _judge(self._state(), incoming, first, first_row, self.lateness, outcome)
        touched = self._touched[: self._meter[N_TOUCHED]].copy()
        now, before = np.empty(touched.size, np.bool_), np.empty(touched.size, np.bool_)
        _settle(self._state(), now, before)
        old = touched < first
        fresh = self._records[first : self.n]
        return Judged(
            outcome, first, self.n - first, standing(fresh), touched[old & now & ~before], touched[old & before & ~now],
            touched[old],
        )  # fmt: skip

    def older_than(self, marks: npt.NDArray[np.int64], horizon: int) -> npt.NDArray[np.bool_]:
        """Which records no late record can concern: behind their tenant's mark by more than the horizon (µs).

        Voids and revisions count from their arrival, since what they act on may come after them.
        """
        records = self.records
        special = (records["revision"] > 1) | ((records["flags"] & _VOID) != 0)
        since = np.where(special, np.maximum(records["t"], records["seen"]), records["t"])
        mark = marks[records["tenant"]]
        known = (since != NO_TIME) & (mark != NO_TIME)
        return known & (since < np.where(known, mark, 0) - horizon)

    def forget(self, which: npt.NDArray[np.bool_]) -> None:
        """Drop the records of the mask; the others keep their order and get new numbers."""
        kept = np.flatnonzero(~which)
        targets = int(self._meter[TARGETS])
        self._load(
            {
                "records": self._records[kept],
                "family_hi": self._family[0][kept],
                "family_lo": self._family[1][kept],
                "target_hi": self._target[0][:targets].copy(),
                "target_lo": self._target[1][:targets].copy(),
                "meter": self._meter,
            }
        )

    def state(self) -> dict[str, np.ndarray]:
        """Records, keys and tallies, as copies; tables and chains are made again from them."""
        targets = int(self._meter[TARGETS])
        return {
            "records": self.records.copy(),
            "family_hi": self._family[0][: self.n].copy(),
            "family_lo": self._family[1][: self.n].copy(),
            "target_hi": self._target[0][:targets].copy(),
            "target_lo": self._target[1][:targets].copy(),
            "meter": self._meter.copy(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray], lateness: int) -> Registry:
        """The registry whose `state` this is."""
        self = cls(lateness)
        self._load(state)
        return self

    def _load(self, state: Mapping[str, np.ndarray]) -> None:
        self._clear()
        self.n = state["records"].size
        self._records = state["records"].copy()
        self._family = (state["family_hi"].copy(), state["family_lo"].copy())
        self._meter = state["meter"].copy()
        self._meter[TARGETS] = 0
        self._make_room(self.n, state["target_hi"].size)
        _aim_all(self._state(), self.n, state["target_hi"], state["target_lo"])

    def _make_room(self, need: int, targets: int) -> None:
        n = min(self.n, self._records.size)
        self._records = grown(self._records, n, need)
        self._family = (grown(self._family[0], n, need), grown(self._family[1], n, need))
        self._touched = grown(self._touched, 0, need)
        if 2 * need > self._slots.size:
            self._slots = table_for(*self._family, 0, need * 3 // 2)
            _chain(self._state(), n)
        used = int(self._meter[TARGETS])
        self._target = (grown(self._target[0], used, targets), grown(self._target[1], used, targets))
        self._target_head = grown(self._target_head, used, targets)
        if 2 * targets >= self._target_slots.size:
            self._target_slots = table_for(*self._target, used, targets * 3 // 2 + 1)

    def _state(self) -> _State:
        return _State(
            self._records, *self._family, self._slots, *self._target, self._target_slots, self._target_head,
            self._meter, self._touched,
        )  # fmt: skip


@kernel
def _aim_all(s: Any, n: int, target_hi: np.ndarray, target_lo: np.ndarray) -> None:
    for at in range(n):
        target = s.records[at].target
        if target >= 0:
            _aim(s, at, target_hi[target], target_lo[target])


def standing(records: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    """Which records move money and bear no mark."""
    moves = (records["flags"] & _MOVES) != 0
    return moves & ((records["mark"] & (SUPERSEDED | VOIDED | REVERSED)) == 0)
