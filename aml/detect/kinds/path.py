"""Kind path: chains of payments, round trips, and money that goes to one party and back."""

from __future__ import annotations

from typing import Final

from aml.detect.kinds.base import Bound, Form, Kind, Settings, Shape, Terms, day_span, days_of, micros
from aml.engine.confirm import BACK, CHAIN, CYCLE
from aml.engine.layout import CREDIT, DEBIT


def _hops(settings: Settings) -> dict[str, float | int]:
    return {
        "hop_window": micros(settings["gap"]), "kept_least": float(settings["kept"]),
        "kept_most": float(settings["kept_most"]),
    }  # fmt: skip


def _chain(settings: Settings, terms: Terms) -> list[Shape]:
    return [Shape(CHAIN, "path.chain", 0, _hops(settings))]


def _round_trip(settings: Settings, terms: Terms) -> list[Shape]:
    return [Shape(CYCLE, "path.round_trip", 0, _hops(settings))]


def _there_and_back(settings: Settings, terms: Terms) -> list[Shape]:
    days = days_of(settings["window"])
    fields = {
        "window_days": days, "kept_least": float(settings["back"]), "kept_most": float(settings["back_most"]),
    }  # fmt: skip
    bounds = (
        Bound(DEBIT, False, {"times": 1}), Bound(CREDIT, False, {"times": 1}), Bound(DEBIT, True, {"start": 1}),
        Bound(CREDIT, True, {"back": 1}),
    )  # fmt: skip
    return [Shape(BACK, "path.there_and_back", 1 << CREDIT, fields, day_span(days), bounds=bounds)]


PATH: Final = Kind("shape", {
    "chain": Form("path.chain", ("gap", "kept", "kept_most"), (), _chain),
    "round_trip": Form("path.round_trip", ("gap", "kept", "kept_most"), (), _round_trip),
    "there_and_back": Form("path.there_and_back", ("window", "back", "back_most"), (), _there_and_back),
})
