"""The fields of Transaction v1 as a feed spells them: flat names, what each holds, and which of them rules read."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

import msgspec

from aml.domain.transaction import ENDS, WORDS, End, Transaction


class Kind(Enum):
    """What a field holds."""

    TEXT = auto()
    WORD = auto()
    MONEY = auto()
    DATE = auto()
    TIME = auto()
    FLAG = auto()
    INTEGER = auto()
    LIST = auto()


END_FIELDS: Final = End.__struct_fields__
_MONEY: Final = {"amount", "credit_amount", "balance_after"}
_DATES: Final = {"booking_date", "value_date"}
_FLAGS: Final = {"void", "batch_lump"}
_INTEGERS: Final = {"revision", "source_sequence"}


def _kind(name: str) -> Kind:
    short = name.split("_", 1)[1] if name.startswith(ENDS) else name
    for kind, names in ((Kind.MONEY, _MONEY), (Kind.DATE, _DATES), (Kind.FLAG, _FLAGS), (Kind.INTEGER, _INTEGERS)):
        if short in names:
            return kind
    if name in WORDS:
        return Kind.WORD
    return {"executed_at": Kind.TIME, "intermediaries": Kind.LIST}.get(name, Kind.TEXT)


def _flat() -> list[str]:
    names: list[str] = []
    for name in Transaction.__struct_fields__:
        names += [f"{name}_{part}" for part in END_FIELDS] if name in ENDS else [name]
    return names


FIELDS: Final[dict[str, Kind]] = {name: _kind(name) for name in _flat()}

# A defect here makes the payment unreadable. Elsewhere it is a counted warning: the field is left empty (an unknown
# instrument or channel becomes `other`), what stood there is kept in `extra`, and the payment is monitored.
RULES_READ: Final = frozenset(
    {
        "transaction_id", "institution", "revision", "void", "executed_at", "time_precision", "amount", "currency",
        "credit_amount", "credit_currency", "status", "relation", "relates_to", "entry_side", "batch_id", "batch_lump",
        "branch", "terminal", "conductor",
        *(f"{end}_{part}" for end in ENDS for part in ("account", "customer", "institution")),
    }
)  # fmt: skip
REQUIRED: Final = ("transaction_id", "executed_at", "amount", "currency")

encode: Final = msgspec.json.Encoder(decimal_format="number", order="deterministic").encode
