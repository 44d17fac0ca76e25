"""What every kind of detector has: its settings, its facts, and its shape for the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aml.engine.facts import FACTS
from aml.engine.layout import DAY, HOUR

Settings = Mapping[str, Any]
CALENDAR_SLACK: Final = HOUR  # a calendar day may have 25 hours
ON: Final = ("in", "out", "both")


@dataclass(frozen=True, slots=True)
class Bound:
    """A necessary condition on one measure: at least `constant`, and factor × the least value of each fact."""

    measure: int
    is_sum: bool
    facts: Mapping[str, float] = field(default_factory=dict)
    constant: float = 0


@dataclass(frozen=True, slots=True)
class Ratio:
    """`over` ÷ `under` (sums of measures in the window) is at least the least value of the fact."""

    over: int
    under: int
    fact: str


@dataclass(frozen=True, slots=True)
class Month:
    """Where own_month_ratio is known: a day window's sum of `measure` over the own month, at legs with bits `at`."""

    measure: int
    days: int
    at: int


@dataclass(frozen=True, slots=True)
class Shape:
    """One detector as the kernels take it.

    code: the kernel; facts: its list in FACTS; trigger: bits of which a leg must have one; fields: of DETECTOR; span:
    µs that the filter's window must cover, `exact` if it is the very window; least: facts whose smallest least value
    lets a walk stop early.
    """

    code: int
    facts: str
    trigger: int
    fields: Mapping[str, Any]
    span: int = 0
    exact: bool = False
    bounds: tuple[Bound, ...] = ()
    ratio: Ratio | None = None
    month: Month | None = None
    least: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Terms:
    """What kinds need of the profile: T in minor units, whether transactions are units, whether cash out is reported;
    bit_of gives the tag bit of a where clause."""

    threshold: int
    unit_is_leg: bool
    out_reported: bool
    bit_of: Callable[[Mapping[str, Any]], int]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind: which settings it knows, and what it makes of them.

    variant: the setting that chooses among its forms (None: it has one); forms: by that setting's value.
    """

    variant: str | None
    forms: Mapping[str, Form]

    def form(self, settings: Settings) -> Form:
        """The form that the settings choose."""
        return self.forms[settings[self.variant] if self.variant else ""]

    def problem(self, settings: Settings) -> str | None:
        """Why these are no settings of the kind, or None."""
        if self.variant is not None and settings.get(self.variant) not in self.forms:
            return f"{self.variant} must be one of {', '.join(self.forms)}"
        form = self.form(settings)
        known = {*form.needs, *form.may, *([self.variant] if self.variant else [])}
        for key in settings:
            if key not in known:
                return f"{key}: unknown setting; allowed: {', '.join(sorted(known))}"
        for key in form.needs:
            if key not in settings:
                return f"{key}: missing"
        return form.wrong(settings) if form.wrong else None

    def facts_of(self, settings: Settings) -> tuple[str, ...]:
        """The facts that a condition on this kind may name."""
        return FACTS[self.form(settings).facts]

    def shapes(self, settings: Settings, terms: Terms) -> list[Shape]:
        """The detectors, from settings whose parameters are filled in; none where the profile knows no such thing."""
        return self.form(settings).shapes(settings, terms)


@dataclass(frozen=True, slots=True)
class Form:
    """One form of a kind."""

    facts: str
    needs: Sequence[str]
    may: Sequence[str]
    shapes: Callable[[Settings, Terms], list[Shape]]
    wrong: Callable[[Settings], str | None] | None = None


def days_of(window: str) -> int:
    """Calendar days of "10d"; an hour window has none."""
    return int(window[:-1]) if window.endswith("d") else 0


def micros(window: str) -> int:
    """Microseconds of "72h" or "10d"."""
    return int(window[:-1]) * (DAY if window.endswith("d") else HOUR)


def day_span(days: int) -> int:
    """Microseconds that surely cover so many calendar days up to a leg."""
    return days * DAY + CALENDAR_SLACK
