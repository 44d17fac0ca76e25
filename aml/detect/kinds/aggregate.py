"""Kind aggregate: cash by unit, within one unit, by leg, and by the person who brought it.

over = "units": units of the profile inside N unit days, in [floor, ceiling] and not reportable; "unit": the visits of
one unit; "legs": single legs of at least the floor in hours or days (cash by flow, or what a where clause picks);
"conducted": deposits that one person without mandate brought to others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aml.detect.kinds.base import ON, Bound, Form, Kind, Settings, Shape, Terms, day_span, days_of, micros
from aml.detect.profile import BOOKED_AFTER, BOOKED_BEFORE
from aml.engine.confirm import CONDUCTED, LEGS, UNIT, UNITS
from aml.engine.layout import CASH_IN, CASH_OUT, CREDIT, DEBIT, VISIT

NO_CEILING: Final = (1 << 62) - 1
_BOOKED: Final = BOOKED_BEFORE + BOOKED_AFTER
_COUNTS: Final = ("legs", "conductors", "named", "branches", "counterparties")


def _measures(flow: str, terms: Terms) -> list[int]:
    """The cash measures of a flow; cash out has no units where the profile does not report it."""
    wanted = {"in": [CASH_IN], "out": [CASH_OUT], "both": [CASH_IN, CASH_OUT]}[flow]
    return [m for m in wanted if m == CASH_IN or flow == "out" or terms.out_reported]


def _wrong_flow(settings: Settings) -> str | None:
    return None if settings.get("flow", "in") in ON else f"flow must be one of {', '.join(ON)}"


def _wrong_days(settings: Settings) -> str | None:
    window = settings.get("window")
    if isinstance(window, str) and not window.startswith("$") and not window.endswith("d"):
        return "window: counts in unit days: give days, as in \"10d\""
    return _wrong_flow(settings)


def _wrong_legs(settings: Settings) -> str | None:
    if ("where" in settings) == ("flow" in settings):
        return "give flow (cash) or where (any other legs), not both"
    return _wrong_flow(settings)


def _cash_sums(terms: Terms, *sums: str) -> dict[str, float]:
    """Factors of the facts that say how large a sum is."""
    return {**dict.fromkeys(sums, 1.0), "sum_in_T": terms.threshold, "beyond": terms.threshold, "due": terms.threshold}


def _units(settings: Settings, terms: Terms) -> list[Shape]:
    days, floor = days_of(settings["window"]), settings.get("floor", 0)
    at_debits = bool(settings.get("also_at_debits", False))
    shapes = []
    for measure in _measures(settings["flow"], terms):
        fields = {"bit": 1 << measure, "window_days": days, "floor": floor,
                  "ceiling": settings.get("ceiling", NO_CEILING), "at_debits": at_debits}
        sums = {**_cash_sums(terms, "sum"), "units": floor}
        bounds = (Bound(measure, False, {"units": 1}), Bound(measure, True, sums))
        debits = 1 << DEBIT if at_debits and measure == CASH_IN else 0
        shapes.append(Shape(UNITS, "aggregate.units", 1 << measure | debits, fields, day_span(days + _BOOKED),
                            bounds=bounds, least=("units",)))
    return shapes


def _unit(settings: Settings, terms: Terms) -> list[Shape]:
    return [
        Shape(
            UNIT, "aggregate.unit", 1 << measure, {"bit": 1 << measure}, day_span(1 + _BOOKED),
            bounds=(Bound(measure, False, {"visits": 1}), Bound(measure, True, _cash_sums(terms, "sum"))),
        )
        for measure in _measures(settings["flow"], terms)
    ]  # fmt: skip


def _window(settings: Settings) -> tuple[dict[str, Any], int, bool]:
    """Fields of the window, the span that covers it, and whether the span is it."""
    window = settings["window"]
    days = days_of(window)
    if days:
        return {"window_days": days}, day_span(days), False
    return {"window": micros(window)}, micros(window), True


def _legs(settings: Settings, terms: Terms) -> list[Shape]:
    window, span, exact = _window(settings)
    fields = {**window, "floor": settings.get("floor", 0), "ceiling": settings.get("ceiling", NO_CEILING),
              "due_left_out": settings.get("due_left_out", "flow" in settings)}
    sums = {**_cash_sums(terms, "sum", "conductor_sum"), "conductor_sum_in_T": terms.threshold,
            "conductor_beyond": terms.threshold}
    if "where" in settings:
        where: Mapping[str, Any] = settings["where"]
        bits = [(terms.bit_of(where), CREDIT if where.get("direction") == "credit" else DEBIT)]
    else:
        bits = [(1 << measure, measure) for measure in _measures(settings["flow"], terms)]
    return [
        Shape(
            LEGS, "aggregate.legs", bit, {**fields, "bit": bit}, span, exact,
            (Bound(measure, False, dict.fromkeys(_COUNTS, 1.0)), Bound(measure, True, sums)),
        )
        for bit, measure in bits
    ]  # fmt: skip


def _conducted(settings: Settings, terms: Terms) -> list[Shape]:
    window, span, exact = _window(settings)
    fields = {**window, "bit": 1 << VISIT, "floor": settings.get("floor", 0)}
    counts = Bound(VISIT, False, {"recipients": 1, "legs": 1, "branches": 1})
    return [Shape(CONDUCTED, "aggregate.conducted", 1 << VISIT, fields, span, exact, (counts,))]


AGGREGATE: Final = Kind("over", {
    "units": Form("aggregate.units", ("flow", "window"), ("floor", "ceiling", "also_at_debits"), _units, _wrong_days),
    "unit": Form("aggregate.unit", ("flow",), (), _unit, _wrong_flow),
    "legs": Form(
        "aggregate.legs", ("window",), ("flow", "where", "floor", "ceiling", "due_left_out"), _legs, _wrong_legs
    ),
    "conducted": Form("aggregate.conducted", ("window",), ("flow", "floor"), _conducted),
})
