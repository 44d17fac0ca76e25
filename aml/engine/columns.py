"""What the engine takes: one row of exact columns per transaction, and the words of its flags."""

from __future__ import annotations

from enum import IntFlag
from typing import Final

import numpy as np

NONE: Final = -1


class Flag(IntFlag):
    """What a transaction is, beyond its numbers."""

    BOOKED = 1 << 0
    MOVES = 1 << 1  # booked, no void, lump, own-account transfer or reversal, and at least one holder
    CASH_IN = 1 << 2  # one leg, the credit
    CASH_OUT = 1 << 3  # one leg, the debit
    CARD = 1 << 4
    BANK = 1 << 5  # the bank's own act (fees, interest), notes for no account: kept for features, counted by no rule
    EXIT = 1 << 6  # its debit leaves the institution's sight: cash, crypto or cross-border
    CROSS_BORDER = 1 << 7
    CRYPTO = 1 << 8
    DAY_PRECISION = 1 << 9
    OWN = 1 << 10
    LUMP = 1 << 11
    DEBIT_ONLY = 1 << 12
    CREDIT_ONLY = 1 << 13
    REFUND = 1 << 14  # money back: refund, return, chargeback or recall; a movement
    MANDATED = 1 << 15  # the conductor has a mandate on the account
    CONDUCTED = 1 << 16  # a conductor other than the holder himself is named
    VOID = 1 << 17
    REVERSAL = 1 << 18
    DEBIT_OURS = 1 << 19  # the originator's holder may be a subject
    CREDIT_OURS = 1 << 20


TRANSACTION: Final[dict[str, type[np.generic]]] = {
    "key_hi": np.uint64,  # with key_lo the order within one instant
    "key_lo": np.uint64,
    "t": np.int64,  # executed_at, UTC µs
    "debit_holder": np.int32,  # holder numbers; -1 none
    "credit_holder": np.int32,
    "conductor_holder": np.int32,  # the holder that a conducted visit belongs to; -1 no such visit
    "debit_value": np.int64,  # minor units of the reporting currency
    "credit_value": np.int64,
    "flags": np.uint32,
    "day": np.int32,  # days since 1970-01-01 in the institution's zone
    "unit_day": np.int32,
    "branch": np.int32,  # interned texts; -1 none
    "terminal": np.int32,
    "conductor": np.int32,  # holder number of the conductor; -1 none, or the holder himself
    "batch": np.int32,
    "debit_party": np.int32,  # row of the party table in force; -1 none
    "credit_party": np.int32,
    "instrument": np.uint8,  # codes of the enums; 255 none
    "channel": np.uint8,
    "row": np.int64,  # global number of the record in the archive
}
ABSENT: Final = 255
