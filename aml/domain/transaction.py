"""Transaction v1: the words of one movement of money, and the columns in which millions of them are held."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Any, Final

import msgspec
import polars as pl
from msgspec import Meta

from aml.domain.party import Country, Day, MoneyText


class Precision(IntEnum):
    """How exact executed_at is; within a day the order of records of that precision is unknown."""

    INSTANT, MINUTE, DAY = range(3)


class Instrument(IntEnum):
    """How the money moves."""

    CASH, WIRE, ACH, INSTANT, CARD, CHEQUE, CRYPTO, INTERNAL, OTHER = range(9)


class Channel(IntEnum):
    """Where the order was given."""

    BRANCH, ATM, ONLINE, MOBILE, API, CORRESPONDENT, OTHER = range(7)


class InitiatedBy(IntEnum):
    """Who gave the order."""

    CUSTOMER, BANK, THIRD_PARTY = range(3)


class Status(IntEnum):
    """What became of the order; only booked money moved."""

    BOOKED, ATTEMPTED, PENDING, REJECTED, CANCELLED = range(5)


class Method(IntEnum):
    """What stands at an end."""

    ACCOUNT, CASH, CHEQUE, MONETARY_INSTRUMENT, CARD, CRYPTO = range(6)


class Relation(IntEnum):
    """What a transaction is to the one it relates to; only a reversal takes legs out of windows."""

    REVERSAL, RETURN, REFUND, CHARGEBACK, RECALL = range(5)


class EntrySide(IntEnum):
    """Which legs the record has."""

    BOTH, DEBIT, CREDIT = range(3)


class RejectCode(IntEnum):
    """Why a payment could not be read, one code per defect; the text is the name in small letters."""

    NOT_JSON = 1
    NOT_AN_OBJECT = 2
    FIELD_MISSING = 3
    WRONG_TYPE = 4
    UNKNOWN_CURRENCY = 5
    AMOUNT_NOT_DECIMAL = 6
    AMOUNT_NEGATIVE = 7
    AMOUNT_ZERO = 8
    AMOUNT_NOT_FINITE = 9
    AMOUNT_TOO_LARGE = 10
    AMOUNT_DECIMALS = 11
    NO_PARTY = 12
    TIME_UNREADABLE = 13
    TIME_NO_OFFSET = 14
    TIME_BEFORE_1990 = 15
    TIME_IN_FUTURE = 16
    NO_RATE = 17
    CONFLICT = 18
    TOO_LATE = 19

    def __str__(self) -> str:
        return self.name.lower()


def words(kind: type[IntEnum]) -> list[str]:
    """The text values of an enum, by code."""
    return [member.name.lower() for member in kind]


def _word(kind: type[IntEnum], description: str) -> Meta:
    return Meta(description=description, extra_json_schema={"enum": [*words(kind), None]})


Text = str | None
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$", description="ISO 4217, or a code of streams/currencies.csv.")]


class End(msgspec.Struct, frozen=True, kw_only=True):
    """One end of the movement. An account is known by institution and account; cash has an end without account."""

    account: Annotated[Text, Meta(description="Account as the institution writes it.")] = None
    customer: Annotated[Text, Meta(description="Who stands behind the account; subjects are customers.")] = None
    name: Text = None
    country: Country | None = None
    institution: Annotated[Text, Meta(description="Where the account is held; default the record's institution.")] = (
        None
    )
    method: Annotated[Text, _word(Method, "What stands at this end: an account unless told otherwise.")] = None
    ultimate: Annotated[Text, Meta(description="On whose account it is in the end.")] = None
    balance_after: Annotated[MoneyText | None, Meta(description="Account balance after the entry.")] = None


class Intermediary(msgspec.Struct, frozen=True, kw_only=True):
    """A bank on the way."""

    institution: Text = None
    country: Country | None = None


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """One movement of money as a bank sends it.

    Required are transaction_id, executed_at, amount and currency, and an account or customer at an end, or a conductor;
    of a void only transaction_id. What shares a prefix may be nested or flat: originator.account = originator_account.
    Unknown fields are kept whole.
    """

    transaction_id: Annotated[str, Meta(min_length=1, description="Unique within the institution and first account.")]
    institution: Annotated[Text, Meta(description="Whose record this is, the tenant; default from settings.")] = None
    revision: Annotated[int, Meta(ge=1, le=2**31 - 1, description="A higher one replaces lower ones.")] | None = None
    void: Annotated[bool | None, Meta(description="Takes this and lower revisions of the transaction back.")] = None
    source: Annotated[Text, Meta(description="The system it comes from; default the file's name.")] = None
    source_sequence: int | None = None
    executed_at: Annotated[
        Text, Meta(description="When it was done, RFC 3339 with offset.", extra_json_schema={"format": "date-time"})
    ] = None
    time_precision: Annotated[Text, _word(Precision, "How exact executed_at is; default instant.")] = None
    booking_date: Day | None = None
    value_date: Day | None = None
    amount: Annotated[MoneyText | None, Meta(description="What the originator pays, over 0, as decimal text.")] = None
    currency: Currency | None = None
    credit_amount: Annotated[MoneyText | None, Meta(description="What the beneficiary gets, if it is another.")] = None
    credit_currency: Currency | None = None
    instrument: Annotated[Text, _word(Instrument, "How the money moves.")] = None
    channel: Annotated[Text, _word(Channel, "Where the order was given.")] = None
    transaction_code: Annotated[Text, Meta(description="The bank's own code, mapped by a file.")] = None
    initiated_by: Annotated[Text, _word(InitiatedBy, "Who gave the order; default customer.")] = None
    status: Annotated[Text, _word(Status, "Only booked (the default) money moved.")] = None
    originator: Annotated[End | None, Meta(description="Who pays.")] = None
    beneficiary: Annotated[End | None, Meta(description="Who is paid.")] = None
    intermediaries: Annotated[tuple[Intermediary, ...], Meta(max_length=3)] | None = None
    branch: Text = None
    terminal: Text = None
    teller: Text = None
    conductor: Annotated[Text, Meta(description="Customer who acts at the counter, if not the account's own.")] = None
    conductor_name: Text = None
    on_behalf_of: Text = None
    merchant: Text = None
    merchant_category: Text = None
    device: Text = None
    ip: Text = None
    relates_to: Annotated[Text, Meta(description="transaction_id of the transaction it relates to.")] = None
    relation: Annotated[Text, _word(Relation, "What it is to that one; only a reversal unmakes it.")] = None
    batch_id: Text = None
    batch_lump: Annotated[bool | None, Meta(description="The lump entry of a batch: not a movement.")] = None
    entry_side: Annotated[Text, _word(EntrySide, "Which legs this record has; default both.")] = None
    purpose: Text = None
    end_to_end_id: Text = None
    uetr: Text = None


ENDS: Final = ("originator", "beneficiary")
WORDS: Final[dict[str, type[IntEnum]]] = {
    "time_precision": Precision,
    "instrument": Instrument,
    "channel": Channel,
    "initiated_by": InitiatedBy,
    "status": Status,
    "originator_method": Method,
    "beneficiary_method": Method,
    "relation": Relation,
    "entry_side": EntrySide,
}


def _end_columns(end: str) -> dict[str, pl.DataType]:
    text = ("account", "customer", "name", "country", "institution")
    return {
        **{f"{end}_{name}": pl.String() for name in text},
        f"{end}_method": pl.UInt8(),
        f"{end}_ultimate": pl.String(),
        f"{end}_balance_after": pl.Int64(),
    }


def _texts(names: str) -> dict[str, pl.DataType]:
    return {name: pl.String() for name in names.split()}


# The canonical transaction frame: column name -> type, null = absent. executed_at is UTC µs; amounts are minor units of
# their currency, debit_value and credit_value of the reporting currency; words are codes of the enums above;
# intermediaries and extra are canonical JSON text; place is the row (Parquet) or line of the source, from 1.
CANONICAL: Final[dict[str, pl.DataType]] = {
    **_texts("transaction_id institution"),
    "revision": pl.Int32(),
    "void": pl.Boolean(),
    "source": pl.String(),
    "source_sequence": pl.Int64(),
    "executed_at": pl.Int64(),
    "time_precision": pl.UInt8(),
    "booking_date": pl.Date(),
    "value_date": pl.Date(),
    "amount": pl.Int64(),
    "currency": pl.String(),
    "credit_amount": pl.Int64(),
    "credit_currency": pl.String(),
    "debit_value": pl.Int64(),
    "credit_value": pl.Int64(),
    **dict.fromkeys(("instrument", "channel", "initiated_by", "status"), pl.UInt8()),
    **_end_columns("originator"),
    **_end_columns("beneficiary"),
    **_texts("intermediaries branch terminal teller conductor conductor_name on_behalf_of merchant merchant_category"),
    **_texts("device ip relates_to"),
    "relation": pl.UInt8(),
    "batch_id": pl.String(),
    "batch_lump": pl.Boolean(),
    "entry_side": pl.UInt8(),
    **_texts("purpose end_to_end_id uetr extra"),
    "place": pl.Int64(),
}
# What a record that does not say has.
DEFAULTS: Final[dict[str, Any]] = {
    "revision": 1,
    "void": False,
    "batch_lump": False,
    "status": Status.BOOKED,
    "initiated_by": InitiatedBy.CUSTOMER,
    "entry_side": EntrySide.BOTH,
    "time_precision": Precision.INSTANT,
}
