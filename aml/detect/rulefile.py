"""A rule file as a checked, frozen value: what it says, what a bank may tune, and what it looks for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from aml.detect.exempt import Exemption
from aml.domain.finding import Family, Severity

SEGMENTS: Final = ("person", "business", "processor", "bank", "exchange", "public", "other")
CASH_INTENSIVE: Final = "cash_intensive"
Number = int | Decimal | str
Condition = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a bank may tune.

    value: a number, or a window as text ("72h", "10d"); unit "money": major units of the reporting currency; of
    "threshold": a multiple of the profile's cash-report amount; segments: other values by segment.
    """

    name: str
    value: Number
    low: Number | None = None
    high: Number | None = None
    unit: str = ""
    of: str = ""
    fixed: bool = False
    why: str = ""
    segments: Mapping[str, Number] = field(default_factory=dict)

    @property
    def is_window(self) -> bool:
        """Whether the value is a span of hours or days."""
        return isinstance(self.value, str)

    def told(self, value: Number) -> str:
        """A value as people read it: "5,000", "0.7 × T", "72h"."""
        if isinstance(value, str):
            return value
        return f"{value} × T" if self.of == "threshold" else f"{value:,}"

    def within(self, value: Number) -> bool:
        """Whether a value lies in the range."""
        if self.low is None or self.high is None:
            return True
        return size(self.low) <= size(value) <= size(self.high)


@dataclass(frozen=True, slots=True)
class Alternative:
    """One way in which the rule can hold: a kind, its settings and its condition, "$name" for parameters."""

    kind: str
    settings: Mapping[str, Any]
    when: Condition


@dataclass(frozen=True, slots=True)
class RuleFile:
    """A rule as its file says it; see rules/README.md for what each field means."""

    id: str
    version: int
    title: str
    status: str
    severity: Severity
    family: Family
    typology: str
    subject: str
    description: str
    explain: str
    references: tuple[str, ...]
    amltrix: tuple[str, ...]
    false_positives: tuple[str, ...]
    blind_spots: tuple[str, ...]
    triage: tuple[str, ...]
    needs: tuple[tuple[str, ...], ...]  # of each group a record must have one field
    profiles: tuple[str, ...] | None
    never: tuple[str, ...]
    opens: bool | Condition
    steps_fact: str | None
    steps_at: tuple[Any, ...]
    given: Mapping[str, Any]
    parameters: Mapping[str, Parameter]
    detect: tuple[Alternative, ...]
    exempt: tuple[Exemption, ...]
    tests: tuple[Mapping[str, Any], ...]
    text: str
    place: str

    @property
    def sha256(self) -> str:
        """Hash of the file's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def described_parameters(self) -> Iterator[tuple[str, str, str, str]]:
        """(name, value, range, why) of each parameter as people read them, values by segment on lines of their own."""
        for held in self.parameters.values():
            bounds = "fixed" if held.low is None else f"{held.told(held.low)} – {held.told(held.high or held.low)}"
            yield held.name, held.told(held.value), bounds, held.why
            for segment, value in held.segments.items():
                yield f"  {segment.replace('_', '-')}", held.told(value), "", ""

    def tuned(self, name: str, value: Number, segment: str | None = None) -> RuleFile:
        """The rule with one parameter (or its value for one segment) set to another value."""
        held = self.parameters[name]
        changed = replace(held, segments={**held.segments, segment: value}) if segment else replace(held, value=value)
        return replace(self, parameters={**self.parameters, name: changed})


def hours(window: str) -> int:
    """Hours of "72h" or "10d"."""
    return int(window[:-1]) * (24 if window.endswith("d") else 1)


def size(value: Number) -> int | Decimal:
    """A number itself, or the hours of a window: what ranges are compared by."""
    return hours(value) if isinstance(value, str) else value
