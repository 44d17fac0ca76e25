"""The slow twin's rules as rule files of their own, so that the engine can be asked about exactly those."""

from __future__ import annotations

from aml.detect.rulefile import Alternative, RuleFile
from aml.domain.finding import Family, Severity
from tests.naive.evaluate import Rule


def as_rule_file(rule: Rule) -> RuleFile:
    """A rule of the twin as a rule file: numbers in place of parameters, money in minor units."""
    detect = [
        Alternative(one["kind"], {k: v for k, v in one.items() if k not in ("kind", "when")}, one["when"])
        for one in rule.detect
    ]
    family = Family.STRUCTURING if rule.id.startswith("structuring") else Family.LAYERING
    fact, bounds = rule.steps or (None, ())
    return RuleFile(
        id=rule.id, version=1, title=rule.id, status="test", severity=Severity.HIGH, family=family, typology="",
        subject="customer", description="", explain="", references=(), amltrix=(), false_positives=(), blind_spots=(),
        triage=(), needs=(), profiles=rule.profiles, never=rule.never, opens=rule.opens, steps_fact=fact,
        steps_at=tuple(bounds), given={}, parameters={}, detect=tuple(detect), exempt=(), tests=(), text=rule.id,
        place=rule.id,
    )  # fmt: skip
