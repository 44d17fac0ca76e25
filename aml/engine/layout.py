"""How the engine remembers: the leg record, the holder table, and the arrays that kernels share.

A *leg* is one side of a transaction at one holder. Legs of a holder lie together in one block, in order, so that
windows are sequential reads. Beside each leg stand running totals per *measure* (a class of legs that some rule
counts), so that any window is the difference of two rows.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

US: Final = 1
HOUR: Final = 3_600_000_000
DAY: Final = 24 * HOUR

# Measures: bit m of a leg's tag says that measure m counts the leg; bits from EXTRA on belong to rules' `where`.
CREDIT: Final = 0
DEBIT: Final = 1
CASH_IN: Final = 2
CASH_OUT: Final = 3
NEW_PAYER: Final = 4
NEW_PAYEE: Final = 5
VISIT: Final = 6
WAKE: Final = 7
MEASURES: Final = 8
SUMS: Final = 4  # the first four measures carry sums as well

# Flags in the same word, above the measures.
T_DEBIT: Final = 1 << 16  # direction of the leg, also where it counts in no measure
T_COUNTED: Final = 1 << 17
T_NEW: Final = 1 << 18  # the pair's first leg in this direction
T_CARD: Final = 1 << 19
T_CASH: Final = 1 << 20
T_EXIT: Final = 1 << 21
T_HOP: Final = 1 << 22  # may be a hop of a path: counted, two holders, neither cash nor card
T_DAYP: Final = 1 << 23  # only the day is known
T_BATCH: Final = 1 << 24
T_REFUND: Final = 1 << 25
T_LEG: Final = 1 << 27  # the transaction has a leg on this side
T_MANDATED: Final = 1 << 26  # the conductor has a mandate on the account

NONE: Final = -1

LEG: Final = np.dtype(
    [
        ("t", "i8"),
        ("amount", "i8"),
        ("sq", "i8"),  # own direction, this leg included: sum of q
        ("sq2", "i8"),  # and of q squared
        ("tx", "i4"),
        ("cp", "i4"),
        ("tag", "u4"),
        ("day", "i4"),
        ("q", "i4"),  # ln(amount in major units) in 1/65536
        ("qmax", "i4"),
        ("pair_n", "i4"),  # the pair's legs in this direction before it
        ("prev_fit", "i4"),  # ordinal of the holder's previous hop credit in the same amount bucket
        ("counts", "i4", (MEASURES,)),  # running totals, this leg included
        ("sums", "i8", (SUMS,)),
    ],
    align=True,
)
BASE: Final = np.dtype(
    [
        ("t", "i8"),
        ("sq", "i8"),
        ("sq2", "i8"),
        ("day", "i4"),
        ("qmax", "i4"),
        ("counts", "i4", (MEASURES,)),  # running totals of all that was dropped, in the row of the first direction
        ("sums", "i8", (SUMS,)),
        ("known", "?"),  # some leg of the direction was dropped
    ],
    align=True,
)
"""What outlives the last dropped leg of a holder in one direction."""

HOLDER: Final = np.dtype(
    [
        ("start", "i8"),
        ("first_t", "i8"),
        ("n", "i4"),
        ("cap", "i4"),
        ("dropped", "i4"),  # legs that came before the first one held: ordinal = index + dropped
        ("first_day", "i4"),
        ("business_from", "i4"),  # ordinal of the leg from which an unknown kind counts as business
        ("base", "i4"),  # row of the base table, NONE while nothing was dropped
        ("pairs", "i4"),  # counterparties of counted legs so far
        ("since", "i4"),  # ordinal from which the holder was run in this batch, FAR if it was not
        ("ends_since", "i4"),  # ordinal from which scatter-gather is tried in this batch, FAR if it is not
        ("hits", "i4"),  # latest hit of the holder's legs, and of scatter-gather that ends here
        ("ends", "i4"),
        ("whole_days", "?"),  # of some leg only the day is known
        ("batches", "?"),  # some debit is part of a batch
    ],
    align=True,
)
FAR: Final = 2**31 - 1
MAX_HOPS: Final = 6
TRAIL: Final = np.dtype(
    [
        ("tx", "i4", (MAX_HOPS,)),
        ("in_share", "f8", (MAX_HOPS,)),  # of the holder between hop k-1 and hop k, at k
        ("out_share", "f8", (MAX_HOPS,)),
        ("n", "i4"),
        ("new", "i4"),  # bit k: hop k was the first payment of its pair
        ("person", "i4"),  # bit k: the originator of hop k counts as a person
        ("known", "i4"),  # days from the origin's first leg to hop 0
    ],
    align=True,
)
EMPTY_KEY: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


_GIVEN: Final = [
    ("hi", "u8"),  # with lo the order within one instant
    ("lo", "u8"),
    ("t", "i8"),
    ("debit_value", "i8"),
    ("credit_value", "i8"),
    ("debit_holder", "i4"),
    ("credit_holder", "i4"),
    ("conductor_holder", "i4"),
    ("debit_tag", "u4"),
    ("credit_tag", "u4"),
    ("debit_q", "i4"),
    ("credit_q", "i4"),
    ("day", "i4"),
    ("unit_day", "i4"),
    ("branch", "i4"),
    ("terminal", "i4"),
    ("conductor", "i4"),
    ("batch", "i4"),
    ("debit_party", "i4"),
    ("credit_party", "i4"),
]
_OWN: Final = [
    ("debit_at", "i4"),  # ordinal of the leg at its holder
    ("credit_at", "i4"),
    ("seen", "i4"),  # mark of the finding whose evidence last took it
    ("trails", "i4"),  # block of trails that end in this transaction, as known here
    ("payers", "i4"),  # block of credits of direct payers behind it
    ("debit_known", "i4"),  # days from the originator's first leg to this one
    ("told_known", "i4"),
    ("n_trails", "u1"),
    ("n_payers", "u1"),
    ("behind", "u1"),  # bit 7: fits an earlier credit, 6: its pair's first payment; low: longest trail
    ("delivered", "u1"),  # what the beneficiary's side was told of those facts; 255: nothing yet
    ("queued", "u1"),
    ("debit_segment", "i1"),
    ("credit_segment", "i1"),
]
TX: Final = np.dtype([*_GIVEN, *_OWN], align=True)
"""A transaction that moved money: the record that travels between shards, and its place here."""
GIVEN: Final = tuple(name for name, _ in _GIVEN)
"""Columns that acceptance gives; the others are the engine's own."""
TX_NEW: Final = {name: -1 for name in ("debit_at", "credit_at", "seen", "trails", "payers", "told_known",
                                       "debit_segment", "credit_segment")} | {"delivered": 255}

PARTY: Final = np.dtype([("turnover", "i8"), ("opened", "i4"), ("segment", "i1"), ("cash_intensive", "?")], align=True)
"""Dated row of the party table: expected turnover a month (-1 unknown), day opened (-1 unknown), segment."""

LOOK_UP: Final = np.dtype([("key", "u8"), ("last", "i4"), ("n", "i4")], align=True)
"""Entry of a look-up by key: the latest of what stands under the key, and how many there are."""

PAIR: Final = np.dtype([("key", "u8"), ("n", "i4", (2,))], align=True)
"""Entry of the look-up of a holder's counterparties: counted credits from it, counted debits to it."""

MARK: Final = np.dtype([("stamp", "i8"), ("fresh", "i8"), ("fresh_out", "i8"), ("done", "i8")], align=True)
SLOT: Final = np.dtype([("order", "i8"), ("unit_sum", "i8"), ("visit_tx", "i8"), ("tail_tx", "i4"), ("tail_side", "i1"),
                        ("unit_ok", "?")], align=True)

TALLY: Final = np.dtype(
    [
        ("stamp", "i8"),
        ("credit", "i8"),  # sums of the window: from the counterparty, to it, to it not by card, of these no batches
        ("debit", "i8"),
        ("pay", "i8", (2,)),
        ("recent", "i8"),  # from it in the hours before the leg
        ("cp", "i4"),
        ("payer", "?"),  # new as payer; new as payee, also where batches are an established payroll
        ("payee", "u1", (2,)),
    ],
    align=True,
)
"""What a counterparty has in a sliding window."""
TALLIES: Final = 12  # sums of a sliding window


class Ledger(NamedTuple):
    """The legs of one shard."""

    legs: np.ndarray
    holders: np.ndarray
    pairs: np.ndarray
    fits: np.ndarray
    meter: I64  # used slots, pairs, fits: see the constants below; then the heads of the free lists
    base: np.ndarray  # [holder's base row, direction]: what its last dropped leg left


USED_SLOTS: Final = 0
USED_PAIRS: Final = 1
USED_FITS: Final = 2
USED_BASE: Final = 3
FREE_SLOTS: Final = 4
FREE_LISTS: Final = 8  # meter[FREE_LISTS + class] = head of the free blocks of that class

# Segments, in the order of the party kinds; UNKNOWN is a person until it behaves like a business.
PERSON: Final = 0
BUSINESS: Final = 1
PROCESSOR: Final = 2
BANK: Final = 3
EXCHANGE: Final = 4
PUBLIC: Final = 5
OTHER: Final = 6
UNKNOWN: Final = 7


class Knobs(NamedTuple):
    """Numbers that the kernels need of rules, profile and settings (money in reporting minor units, times in µs)."""

    spans: I64  # 24 h, 96 h, then the rules' own, longest last
    scale: float  # minor units to a major one
    gap_days: int
    day_precision: bool  # some record gave only its day
    threshold: int
    due_at: bool  # a report is due at the threshold, not only above it
    unit_is_leg: bool
    history_from: int  # day from which the feed is complete, NONE if unknown
    hop_window: int
    hop_floor: int
    kept_least: float
    kept_most: float
    longest: int
    most_trails: int
    chain_hops: int
    chain_start: int
    chain_new: int
    cycle_hops: int
    cycle_start: int
    payer_floor: int
    payer_window: int
    longest_holder: int  # legs of the longest holder: how much one step may queue


FILTER: Final = np.dtype(
    [
        ("trigger", "u4"),
        ("segments", "u4"),
        ("span", "i4"),
        ("bounds", "i4"),
        ("measure", "i4", (4,)),
        ("is_sum", "i4", (4,)),
        ("least", "i8", (4,)),
        ("ratio", "f8"),
        ("over", "i4"),
        ("under", "i4"),
        ("month_ratio", "f8", (8,)),  # by segment: least day window over own month; 0: not asked
        ("month_days", "i4"),
        ("month_measure", "i4"),
        ("month_at", "u4"),  # tag bits of the legs at which that ratio is known
    ],
    align=True,
)
STEP = np.dtype([("op", "i4"), ("fact", "i4"), ("n", "i4"), ("pad", "i4"), ("value", "f8")], align=True)
SEGMENTS: Final = 8
DETECTOR: Final = np.dtype(
    [
        ("rule", "i4"),
        ("kind", "i4"),
        ("bit", "i8"),  # tag bit of the measure it aggregates
        ("window", "i8"),
        ("window_days", "i4"),
        ("least", "i8"),  # lower bound of its first fact, so that a walk can stop early
        ("floor", "i8"),
        ("ceiling", "i8"),
        ("out_within", "i8"),
        ("kept_least", "f8"),
        ("kept_most", "f8"),
        ("hop_window", "i8"),
        ("due_left_out", "i4"),
        ("at_debits", "i4"),  # also at debits, there only by marker m5
        ("segments", "u4"),
        ("when", "i4", (SEGMENTS, 2)),  # first step and number of steps of the condition, by segment
        ("opens", "i4", (SEGMENTS, 2)),
        ("steps_fact", "i4"),
        ("steps_n", "i4"),
        ("steps_at", "f8", (4,)),
    ],
    align=True,
)
