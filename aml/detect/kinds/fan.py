"""Kind fan: many new payers, many new payees, both around one holder, or middles between one origin and one end."""

from __future__ import annotations

from typing import Final

from aml.detect.kinds.base import Bound, Form, Kind, Month, Settings, Shape, Terms, day_span, days_of, micros
from aml.engine.confirm import FAN_IN, FAN_OUT, IN_OUT, SCATTER
from aml.engine.layout import CREDIT, DEBIT, NEW_PAYEE, NEW_PAYER

LEAST_FORWARD: Final = 0.8  # what the engine reads at all; a rule may ask for more, not for less
MOST_FORWARD: Final = 1.25
_EITHER: Final = 1 << CREDIT | 1 << DEBIT


def _in(settings: Settings, terms: Terms) -> list[Shape]:
    days = days_of(settings["window"])
    fields = {"window_days": days, "out_within": micros(settings["out_within"])}
    bounds = (Bound(NEW_PAYER, False, {"new_payers": 1}), Bound(CREDIT, True, {"new_in_sum": 1, "in_sum": 1}))
    month = Month(CREDIT, days, 1 << CREDIT)
    return [Shape(FAN_IN, "fan.in", _EITHER, fields, day_span(days), bounds=bounds, month=month, least=("new_payers",))]


def _out(settings: Settings, terms: Terms) -> list[Shape]:
    days = days_of(settings["window"])
    fields = {"window_days": days, "out_within": micros(settings["funded_within"])}
    bounds = (Bound(NEW_PAYEE, False, {"new_payees": 1}), Bound(DEBIT, True, {"new_out_sum": 1, "out_sum": 1}))
    return [Shape(FAN_OUT, "fan.out", 1 << DEBIT, fields, day_span(days), bounds=bounds, least=("new_payees",))]


def _in_out(settings: Settings, terms: Terms) -> list[Shape]:
    days = days_of(settings["window"])
    bounds = (
        Bound(NEW_PAYER, False, {"new_payers": 1}), Bound(NEW_PAYEE, False, {"new_payees": 1}),
        Bound(CREDIT, True, {"new_in_sum": 1}), Bound(DEBIT, True, {"out_sum_others": 1}),
    )  # fmt: skip
    return [
        Shape(
            IN_OUT, "fan.in_out", _EITHER, {"window_days": days}, day_span(days), bounds=bounds,
            least=("new_payers", "new_payees"),
        )
    ]  # fmt: skip


def _scatter_gather(settings: Settings, terms: Terms) -> list[Shape]:
    fields = {
        "window": micros(settings["window"]), "out_within": micros(settings["forward_within"]),
        "kept_least": float(settings["forward"]), "kept_most": float(settings["forward_most"]),
    }  # fmt: skip
    return [Shape(SCATTER, "fan.scatter_gather", 0, fields, least=("middles",))]


def _wrong_days(settings: Settings) -> str | None:
    window = settings["window"]
    if isinstance(window, str) and not window.startswith("$") and not window.endswith("d"):
        return 'window: counts in calendar days: give days, as in "7d"'
    return None


FAN: Final = Kind("shape", {
    "in": Form("fan.in", ("window", "out_within"), (), _in, _wrong_days),
    "out": Form("fan.out", ("window", "funded_within"), (), _out, _wrong_days),
    "in_out": Form("fan.in_out", ("window",), (), _in_out, _wrong_days),
    "scatter_gather": Form(
        "fan.scatter_gather", ("window", "forward", "forward_most", "forward_within"), (), _scatter_gather
    ),
})
