"""What a stored rule or model file says to people, and its sentence filled with what was measured."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aml.cli import render
from aml.domain.finding import EXEMPT, Finding, Value
from aml.engine.facts import MONEY

_HOLE: Final = re.compile(r"\{(\w+)\}")
_MARKER: Final = re.compile(r"m[1-8]")
_WINDOW: Final = re.compile(r"(\d+)([hd])")
_SHARES: Final = frozenset({"kept"})
_DAYS: Final = frozenset({"days", "age"})
_YES_NO: Final = frozenset(
    {"cash_intensive", "due", "largest_due", "beyond", "conductor_beyond", "end_card", "cash", "exit"}
)

MARKERS: Final = {
    "m1": "cash at two or more branches or machines",
    "m2": "two or more people paid in, or somebody without a mandate",
    "m3": "most deposits just under the reporting threshold, unlike the half year before",
    "m4": "cash was reported before; since then as much comes, but none is reported",
    "m5": "most of the cash has left within five days",
    "m6": "hardly any cash in the three months before",
    "m7": "far more cash than the expected turnover",
    "m8": "a deposit was reduced or cancelled",
}


@dataclass(frozen=True, slots=True)
class RuleText:
    """The parts of a rule or model file that people read; empty where the file says nothing."""

    title: str
    description: str
    sentences: tuple[str, ...]
    false_positives: tuple[str, ...]
    blind_spots: tuple[str, ...]
    triage: tuple[str, ...]


def read_rule_text(text: str) -> RuleText:
    """The readable parts of a stored file; it was checked before it came into force."""
    table = tomllib.loads(text)
    explain = table.get("explain", {})
    return RuleText(
        title=str(table.get("title", table.get("id", ""))),
        description=_line(table.get("description", "")),
        sentences=tuple(map(_line, explain.values() if isinstance(explain, dict) else [explain])),
        false_positives=_texts(table, "false_positives"),
        blind_spots=_texts(table, "blind_spots"),
        triage=_texts(table, "triage"),
    )


def _texts(table: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return tuple(map(_line, table.get(key, ())))


def _line(text: Any) -> str:
    """A text on one line; a file may break it where it likes."""
    return " ".join(str(text).split())


def sentence(rule: RuleText, finding: Finding) -> str:
    """The rule's own sentences with the finding's numbers in their holes, its description where it has none."""
    known: dict[str, Value] = {**finding.parameters, **finding.measured, "total": finding.total}
    filled = (
        _HOLE.sub(lambda hole: told(hole[1], known.get(hole[1]), finding.currency), text) for text in rule.sentences
    )
    return " ".join(filled) or rule.description or rule.title


def told(name: str, value: Value, currency: str) -> str:
    """A measured value as people write it: money in the reporting currency, shares in per cent, days as days."""
    if value is None:
        return "unknown"
    if isinstance(value, str):
        window = _WINDOW.fullmatch(value)
        return value if window is None else render.plural(int(window[1]), {"h": "hour", "d": "day"}[window[2]])
    if isinstance(value, bool) or name in _YES_NO or _MARKER.fullmatch(name):
        return "yes" if value else "no"
    if name in MONEY or name == "total":
        return render.money(round(value), currency)
    if name in _SHARES or name.endswith("_share"):
        return render.percent(value)
    if name.endswith(("_ratio", "_in_T")):
        return f"{render.number(value)} ×"
    if name in _DAYS or name.endswith("_days"):
        return days(value)
    return render.number(value)


def days(value: float) -> str:
    """So many days; less than two, unless whole, in hours or minutes."""
    if value >= 2 or value == int(value):
        return f"{render.number(round(value, 1))} day{'' if value == 1 else 's'}"
    return render.span(value * 86_400e6).replace(" min", " minutes").replace(" h", " hours")


def measured(finding: Finding) -> Iterator[tuple[str, str]]:
    """The facts of a finding but for its markers, as names and texts."""
    for name, value in finding.measured.items():
        if not _MARKER.fullmatch(name) and name != "markers":
            yield name.replace("_", " "), told(name, value, finding.currency)


def exemption(parameters: Mapping[str, Value]) -> str:
    """An exemption as people read it, from what a finding notes of it; empty where it notes none."""
    if EXEMPT not in parameters:
        return ""
    cap = f" up to {render.number(float(held))}" if (held := parameters.get("exempt_cap")) is not None else ""
    whose = f"answers for it: {parameters['exempt_owner']}, approved by: {parameters['exempt_approver']}"
    return f"exempt until {parameters[EXEMPT]}{cap} ({parameters['exempt_reason']}; {whose})"


def markers(finding: Finding) -> Iterator[str]:
    """The markers of intent that hold, in words."""
    for name, words in MARKERS.items():
        if finding.measured.get(name):
            yield f"{name}: {words}"
