"""The words of Transaction v1 as small integers, in the order in which the schema lists them."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Instrument(IntEnum):
    """How the money moves."""

    CASH, WIRE, ACH, INSTANT, CARD, CHEQUE, CRYPTO, INTERNAL, OTHER = range(9)


class Channel(IntEnum):
    """Where the order was given."""

    BRANCH, ATM, ONLINE, MOBILE, API, CORRESPONDENT, OTHER = range(7)


class Initiated(IntEnum):
    """Who gave the order."""

    CUSTOMER, BANK, THIRD_PARTY = range(3)


class Status(IntEnum):
    """What became of the order; only booked money moved."""

    BOOKED, ATTEMPTED, PENDING, REJECTED, CANCELLED = range(5)


class Relation(IntEnum):
    """What a transaction is to the one it relates to."""

    REVERSAL, RETURN, REFUND, CHARGEBACK, RECALL = range(5)


class Method(IntEnum):
    """What stood at an end instead of an account."""

    ACCOUNT, CASH, CHEQUE, MONETARY_INSTRUMENT, CARD, CRYPTO = range(6)


class Kind(IntEnum):
    """Kind of party."""

    PERSON, BUSINESS, PROCESSOR, BANK, EXCHANGE, PUBLIC, OTHER = range(7)


NONE: Final = -1  # no account, conductor, branch, batch …


def words(kind: type[IntEnum]) -> list[str]:
    """The text values of an enum, by code."""
    return [member.name.lower() for member in kind]
