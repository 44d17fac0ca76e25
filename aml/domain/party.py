"""Parties v1: who owns which account, from which day on, and what is known of him."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import msgspec
import polars as pl
from msgspec import Meta


class PartyKind(StrEnum):
    """What a party is; the rules' segments."""

    PERSON = "person"
    BUSINESS = "business"
    PROCESSOR = "processor"
    BANK = "bank"
    EXCHANGE = "exchange"
    PUBLIC = "public"
    OTHER = "other"


Day = Annotated[str, Meta(extra_json_schema={"format": "date"})]
Country = Annotated[str, Meta(pattern="^[A-Z]{2}$", description="ISO 3166-1 alpha-2.")]
MoneyText = Annotated[
    str | int | float, Meta(description="Decimal text or a JSON number; a number is read as its decimal text.")
]


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """One dated row of the party table. Absent means unknown; the latest row begun on a day counts on it."""

    account: Annotated[str, Meta(min_length=1, description="As the transactions write it.")]
    institution: Annotated[str | None, Meta(description="The tenant whose record this is; default from settings.")] = (
        None
    )
    party_institution: Annotated[str | None, Meta(description="Where the account is held; default the tenant.")] = None
    customer: Annotated[str | None, Meta(description="Who stands behind the account.")] = None
    role: Annotated[
        str | None, Meta(description="The customer's part in the account: owner (default), joint, signatory, mandate …")
    ] = None
    kind: Annotated[PartyKind | None, Meta(description="What the customer is.")] = None
    cash_intensive: Annotated[bool | None, Meta(description="Whether much cash is usual for the customer.")] = None
    risk: Annotated[str | None, Meta(description="The institution's own risk class.")] = None
    country: Country | None = None
    opened: Annotated[Day | None, Meta(description="When the account was opened.")] = None
    expected_monthly_turnover: Annotated[
        MoneyText | None, Meta(description="What the customer was expected to turn over, in the reporting currency.")
    ] = None
    valid_from: Annotated[Day | None, Meta(description="From which day on the row holds; absent: always.")] = None
    replaced_by: Annotated[str | None, Meta(description="The account that took this one's place.")] = None


# The parties frame: column name -> type. Turnover is in minor units of the reporting currency.
PARTIES: Final[dict[str, pl.DataType]] = {
    "institution": pl.String(),
    "party_institution": pl.String(),
    "account": pl.String(),
    "customer": pl.String(),
    "role": pl.String(),
    "kind": pl.String(),
    "cash_intensive": pl.Boolean(),
    "risk": pl.String(),
    "country": pl.String(),
    "opened": pl.Date(),
    "expected_monthly_turnover": pl.Int64(),
    "valid_from": pl.Date(),
    "replaced_by": pl.String(),
}
