"""From accepted transactions to what the engine takes: a tag word for each leg, amounts on the logarithmic scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aml.detect.compile import Compiled
from aml.engine.columns import Flag
from aml.engine.features import Q
from aml.engine.layout import (
    CASH_IN,
    CASH_OUT,
    CREDIT,
    DEBIT,
    NONE,
    T_BATCH,
    T_CARD,
    T_CASH,
    T_COUNTED,
    T_DAYP,
    T_DEBIT,
    T_EXIT,
    T_HOP,
    T_LEG,
    T_MANDATED,
    T_REFUND,
)

Columns = Mapping[str, npt.NDArray[Any]]
U32 = npt.NDArray[np.uint32]
Mask = npt.NDArray[np.bool_]
_SAME: Final = (
    "t", "debit_value", "credit_value", "debit_holder", "credit_holder", "conductor_holder", "day", "unit_day",
    "branch", "terminal", "conductor", "batch", "debit_party", "credit_party",
)  # fmt: skip


def given(columns: Columns, compiled: Compiled) -> dict[str, npt.NDArray[Any]]:
    """The columns that `engine.arrays.Transactions.append` asks for, from those that acceptance made."""
    scale = compiled.program.knobs.scale
    debit, credit = tags(columns, compiled)
    return {
        **{name: columns[name] for name in _SAME}, "hi": columns["key_hi"], "lo": columns["key_lo"],
        "debit_tag": debit, "credit_tag": credit,
        "debit_q": logarithm(columns["debit_value"], scale), "credit_q": logarithm(columns["credit_value"], scale),
    }  # fmt: skip


def tags(columns: Columns, compiled: Compiled) -> tuple[U32, U32]:
    """Tag words of the debit and of the credit legs."""
    return _tag(columns, compiled, True), _tag(columns, compiled, False)


def logarithm(value: npt.NDArray[np.int64], scale: float) -> npt.NDArray[np.int32]:
    """ln of amounts in major units, in whole 65536ths."""
    result: npt.NDArray[np.int32] = np.rint(np.log(np.maximum(value, 1) / scale) * Q).astype(np.int32)
    return result


def _tag(columns: Columns, compiled: Compiled, debit: bool) -> U32:
    """Tag words of one side's legs; 0 where the transaction has none there."""
    flags = columns["flags"]
    mine, other = (columns[f"{side}_holder"] for side in (("debit", "credit") if debit else ("credit", "debit")))
    leg = (mine != NONE) & ((flags & (Flag.CREDIT_ONLY if debit else Flag.DEBIT_ONLY)) == 0)
    counted = leg & ((flags & Flag.BANK) == 0)
    cash = (flags & (Flag.CASH_OUT if debit else Flag.CASH_IN)) != 0
    word: U32 = np.where(leg, np.uint32(T_LEG | (T_DEBIT if debit else 0)), np.uint32(0))
    _set(word, counted, T_COUNTED | (1 << DEBIT if debit else 1 << CREDIT))
    _set(word, leg & cash, T_CASH)
    _set(word, counted & cash, 1 << CASH_OUT if debit else 1 << CASH_IN)
    _set(word, leg & (columns["batch"] != NONE), T_BATCH)
    if debit:
        _set(word, leg & ((flags & Flag.EXIT) != 0), T_EXIT)
    for flag, bit in ((Flag.CARD, T_CARD), (Flag.DAY_PRECISION, T_DAYP), (Flag.REFUND, T_REFUND),
                      (Flag.MANDATED, T_MANDATED)):
        _set(word, leg & ((flags & flag) != 0), bit)
    _set(word, counted & (other != NONE) & _passes_on(columns, compiled), T_HOP)
    word |= np.where(counted, compiled.wheres.bits(columns, debit), np.uint32(0))
    return word


def _passes_on(columns: Columns, compiled: Compiled) -> Mask:
    """May be a hop of a path: both legs, neither cash nor card, at or over the floor of the rules over paths."""
    knobs = compiled.program.knobs
    flags = columns["flags"]
    never = Flag.CASH_IN | Flag.CASH_OUT | Flag.CARD | Flag.DEBIT_ONLY | Flag.CREDIT_ONLY
    floor = min(knobs.hop_floor, knobs.payer_floor)
    passes: Mask = ((flags & never) == 0) & (np.minimum(columns["debit_value"], columns["credit_value"]) >= floor)
    return passes


def _set(word: U32, where: Mask, bits: int) -> None:
    word |= np.where(where, np.uint32(bits), np.uint32(0))
