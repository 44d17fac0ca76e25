"""Where clauses: which legs a rule counts, decided by columns, one bit of a leg's tag for each different clause."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aml.domain.transaction import Channel, Instrument, words
from aml.engine.columns import Flag
from aml.engine.layout import MEASURES

Mask = npt.NDArray[np.bool_]
Columns = Mapping[str, npt.NDArray[Any]]
FIRST_BIT: Final = MEASURES
LAST_BIT: Final = 15
_FLAGS: Final = {
    "card": Flag.CARD, "cross_border": Flag.CROSS_BORDER, "crypto": Flag.CRYPTO, "refund": Flag.REFUND,
    "day_precision": Flag.DAY_PRECISION,
}  # fmt: skip
_WORDS: Final = {"instrument": words(Instrument), "channel": words(Channel)}
KEYS: Final = ("direction", "amount", "cash", "exit", "counterparty", *_FLAGS, *_WORDS)


@dataclass(slots=True)
class Wheres:
    """The different where clauses of all rules, each with its bit."""

    clauses: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def bit_of(self, clause: Mapping[str, Any]) -> int:
        """The bit of a clause, a new one where it is new. Raises ValueError where it is wrong or no bit is left."""
        check(clause)
        name = json.dumps(clause, sort_keys=True, default=str)
        self.clauses.setdefault(name, clause)
        place = FIRST_BIT + list(self.clauses).index(name)
        if place > LAST_BIT:
            raise ValueError(f"more than {LAST_BIT - FIRST_BIT + 1} different where clauses in all rules together")
        return 1 << place

    def bits(self, columns: Columns, debit: bool) -> npt.NDArray[np.uint32]:
        """The bits of one side's legs (columns as acceptance gives them)."""
        word = np.zeros(columns["t"].size, np.uint32)
        for place, clause in enumerate(self.clauses.values()):
            word |= picks(clause, columns, debit).astype(np.uint32) << np.uint32(FIRST_BIT + place)
        return word


def check(clause: Mapping[str, Any]) -> None:
    """Raise ValueError that names what a clause says and may not."""
    for key, wanted in clause.items():
        if key not in KEYS:
            raise ValueError(f"where.{key}: unknown key; allowed: {', '.join(sorted(KEYS))}")
        if key == "direction" and wanted not in ("credit", "debit"):
            raise ValueError("where.direction: must be credit or debit")
        if key in _WORDS:
            for word in wanted:
                if word not in _WORDS[key]:
                    raise ValueError(f"where.{key}: {word!r} is unknown; allowed: {', '.join(_WORDS[key])}")
    if "direction" not in clause:
        raise ValueError("where.direction: missing: say credit or debit")


def picks(clause: Mapping[str, Any], columns: Columns, debit: bool) -> Mask:
    """Which legs of one side the clause picks."""
    n = columns["t"].size
    if (clause["direction"] == "debit") != debit:
        return np.zeros(n, np.bool_)
    picked = np.ones(n, np.bool_)
    for key, wanted in clause.items():
        if key != "direction":
            picked &= _one(key, wanted, columns, debit)
    return picked


def _one(key: str, wanted: Any, columns: Columns, debit: bool) -> Mask:
    if key == "amount":
        return _between(columns["debit_value" if debit else "credit_value"], wanted)
    if key in _WORDS:
        return np.isin(columns[key], [_WORDS[key].index(word) for word in wanted])
    held: Mask
    if key == "counterparty":
        held = columns["credit_holder" if debit else "debit_holder"] >= 0
    else:
        held = _flagged(key, columns["flags"], debit)
    return held if wanted else ~held


def _flagged(key: str, flags: npt.NDArray[Any], debit: bool) -> Mask:
    wanted = {"cash": Flag.CASH_OUT if debit else Flag.CASH_IN, "exit": Flag.EXIT if debit else Flag(0), **_FLAGS}[key]
    held: Mask = (flags & np.uint32(wanted)) != 0
    return held


def _between(value: npt.NDArray[Any], wanted: Mapping[str, Any]) -> Mask:
    compare = {"gt": np.greater, "gte": np.greater_equal, "lt": np.less, "lte": np.less_equal, "eq": np.equal}
    picked = np.ones(value.size, np.bool_)
    for op, bound in wanted.items():
        picked &= compare[op](value, bound)
    return picked
