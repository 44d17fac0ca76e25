"""Kinds sequence (money in and on), baseline (an account that wakes) and match (one leg)."""

from __future__ import annotations

from typing import Final

from aml.detect.kinds.base import Bound, Form, Kind, Ratio, Settings, Shape, Terms, day_span, days_of, micros
from aml.engine.confirm import MATCH as MATCH_CODE
from aml.engine.confirm import SEQUENCE as SEQUENCE_CODE
from aml.engine.confirm import WOKEN
from aml.engine.layout import CREDIT, DEBIT, WAKE

WAKING_DAYS: Final = 7


def _sequence(settings: Settings, terms: Terms) -> list[Shape]:
    window = micros(settings["within"])
    bounds = (Bound(CREDIT, True, {"in_sum": 1}), Bound(DEBIT, True, {"out_sum": 1}))
    return [
        Shape(
            SEQUENCE_CODE, "sequence", 1 << DEBIT, {"window": window}, window, True, bounds,
            Ratio(DEBIT, CREDIT, "out_share"), least=("in_sum",),
        )
    ]  # fmt: skip


def _baseline(settings: Settings, terms: Terms) -> list[Shape]:
    days = days_of(settings["window"]) if "window" in settings else WAKING_DAYS
    bounds = (Bound(WAKE, False, constant=1), Bound(CREDIT, True, {"in_sum": 1}))
    fields = {"window_days": days}
    return [Shape(WOKEN, "baseline", 1 << DEBIT, fields, day_span(days), bounds=bounds, least=("in_sum",))]


def _match(settings: Settings, terms: Terms) -> list[Shape]:
    bit = terms.bit_of(settings["where"])
    return [Shape(MATCH_CODE, "match", bit, {"bit": bit})]


SEQUENCE: Final = Kind(None, {"": Form("sequence", ("within",), (), _sequence)})
BASELINE: Final = Kind(None, {"": Form("baseline", (), ("window",), _baseline)})
MATCH: Final = Kind(None, {"": Form("match", ("where",), (), _match)})
