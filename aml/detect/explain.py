"""Derives a stored finding again: the rule's stored text, read anew over what was measured, must give its points."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from aml import content
from aml.detect import exempt
from aml.detect.kinds import KINDS
from aml.detect.reader import read_rule
from aml.detect.rulefile import CASH_INTENSIVE, Condition, Number, Parameter, RuleFile
from aml.domain.errors import AmlError
from aml.domain.finding import Family, Finding
from aml.domain.money import decimals
from aml.scoring.combine import model_points
from aml.scoring.config import ScoringConfig, parse_scoring

Read = Callable[[Any], float]
SEGMENT: Final = "segment"
_COMPARES: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "gt": lambda have, bound: have > bound, "gte": lambda have, bound: have >= bound,
    "lt": lambda have, bound: have < bound, "lte": lambda have, bound: have <= bound,
    "eq": lambda have, bound: have == bound,
}  # fmt: skip


def rederive(text: str, finding: Finding, scoring: ScoringConfig | None = None) -> str | None:
    """None where the rule text gives the finding's points and whether it opens, else a line that says what differs.

    It is read over the facts and parameters that the finding has stored; `scoring` is the one in force unless given.
    """
    try:
        terms = scoring or parse_scoring((content.folder("rules") / "scoring.toml").read_text(encoding="utf-8"))
        if finding.family is Family.MODEL:
            return next(_model_differences(text, finding, terms), None)
        rule = read_rule(text, "the stored rule")
    except AmlError as error:
        return str(error)
    return next(_differences(rule, finding, terms), None)


def _differences(rule: RuleFile, finding: Finding, scoring: ScoringConfig) -> Iterator[str]:
    if (rule.id, rule.version) != (finding.rule, finding.rule_version):
        yield f"the text is of {rule.id} version {rule.version}"
    if rule.sha256 != finding.rule_sha256:
        yield "the text has another hash"
    yield from _other_parameters(rule, finding)
    facts, read = _facts(finding), _reader(rule, finding)
    segment = str(finding.parameters.get(SEGMENT))
    alternatives = [a for a in rule.detect if set(KINDS[a.kind].facts_of(a.settings)) == set(finding.measured)]
    if not any(holds(a.when, facts, segment, read) for a in alternatives):
        yield "what was measured does not meet the rule's condition"
    opens = rule.opens if isinstance(rule.opens, bool) else holds(rule.opens, facts, segment, read)
    opens = opens and exempt.opens(rule, finding)
    if opens != finding.opens:
        yield f"it {'opens' if opens else 'does not open'} an alert by the text"
    steps = _steps(rule, facts, read)
    points = scoring.points_of(rule.severity, steps)
    if points != finding.points:
        yield f"{steps} steps of severity {rule.severity.value} are {points} points, not {finding.points}"


def _model_differences(text: str, finding: Finding, scoring: ScoringConfig) -> Iterator[str]:
    """A model's points follow from how rare the leg is (`tail`); how rare it is, from its artefacts alone."""
    if hashlib.sha256(text.encode()).hexdigest() != finding.rule_sha256:
        yield "the text has another hash"
    tail = finding.measured.get("tail")
    if not isinstance(tail, float):
        yield "how rare it is was not stored"
        return
    points = int(model_points(tail, scoring))
    if points != finding.points:
        yield f"a tail of {tail} is {points} points, not {finding.points}"
    known = finding.measured.get("known_days")
    opens = scoring.model_opens(tail, known if isinstance(known, int) else 0)
    if opens != finding.opens:
        yield f"a tail of {tail}, of a holder known for {known} days, {'opens' if opens else 'does not open'} an alert"


def _other_parameters(rule: RuleFile, finding: Finding) -> Iterator[str]:
    """Parameters that were in force with another value than the text's; multiples of T are the profile's business."""
    for held in rule.parameters.values():
        wanted = held.segments.get(str(finding.parameters.get(SEGMENT)), held.value)
        stored = finding.parameters.get(held.name)
        if stored is None:
            yield f"parameter {held.name} was not stored"
        elif not held.of and _number(stored) != _number(wanted):
            yield f"parameter {held.name} was {stored}, the text says {wanted}"


def _number(value: Any) -> Any:
    return value if isinstance(value, str) else float(value)


def _facts(finding: Finding) -> dict[str, float]:
    """The measured facts as the engine compared them; what was not finite is stored as unknown."""
    facts = {name: math.nan if held is None else _float(held) for name, held in finding.measured.items()}
    if facts.get("old_mean") == 0 and math.isnan(facts.get("mean_ratio", 0.0)):
        facts["mean_ratio"] = math.inf  # something over a life without a credit
    return facts


def _float(held: Any) -> float:
    return math.nan if isinstance(held, str) else float(held)


def _reader(rule: RuleFile, finding: Finding) -> Read:
    """How bounds read: "$name" as it was in force for the finding's segment, money in minor units."""
    cash = finding.measured.get(CASH_INTENSIVE) is True
    minor = 10 ** decimals(finding.currency)

    def read(bound: Any) -> float:
        if not isinstance(bound, str):
            return float(bound)
        held = rule.parameters[bound[1:]]
        value = _float_or_window(finding.parameters.get(held.name))
        if cash and CASH_INTENSIVE in held.segments:
            value = _of_cash_intensive(held, value)
        return round(value * minor) if held.unit == "money" or held.of == "threshold" else value

    return read


def _of_cash_intensive(held: Parameter, stored: float) -> float:
    """The value for holders that live on cash; of a multiple of T the stored amount in proportion."""
    mine = _float_or_window(held.segments[CASH_INTENSIVE])
    return stored * mine / _float_or_window(held.value) if held.of == "threshold" else mine


def _float_or_window(value: Number | float | bool | None) -> float:
    if isinstance(value, str):
        return float(value[:-1])
    return math.nan if value is None else float(value)


def holds(condition: Condition, facts: Mapping[str, float], segment: str, read: Read) -> bool:
    """Whether every key of the condition is true of the facts; an unknown fact makes any comparison false."""
    return all(_holds_key(key, wanted, facts, segment, read) for key, wanted in condition.items())


def _holds_key(key: str, wanted: Any, facts: Mapping[str, float], segment: str, read: Read) -> bool:
    if key in ("any", "all", "none", "at_least"):
        listed = wanted["of"] if key == "at_least" else wanted
        true = sum(holds(condition, facts, segment, read) for condition in listed)
        least = {"any": 1, "all": len(listed)}.get(key)
        if key == "none":
            return true == 0
        return true >= (read(wanted["n"]) if least is None else least)
    if key == SEGMENT:
        return all((segment in names) == (op == "in") for op, names in wanted.items())
    have = facts.get(key, math.nan)
    compared = wanted.items() if isinstance(wanted, Mapping) else [("eq", wanted)]
    return all(_COMPARES[op](have, read(bound)) for op, bound in compared)


def _steps(rule: RuleFile, facts: Mapping[str, float], read: Read) -> int:
    if rule.steps_fact is None:
        return 1
    return 1 + sum(facts.get(rule.steps_fact, math.nan) >= read(bound) for bound in rule.steps_at)
