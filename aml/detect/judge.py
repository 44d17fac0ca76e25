"""Whether what a rule found in an inline test is what the test expects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from aml.domain.finding import Finding, Subject, Value
from aml.domain.money import decimals
from aml.engine.facts import MONEY
from aml.scoring.combine import AlertScore, score_alert
from aml.scoring.config import ScoringConfig

SPECIAL: Final = ("alerts", "near_misses", "findings", "insufficient", "subject", "points")
_PLACES: Final = 4


def judge(
    expect: Mapping[str, Any], findings: Sequence[Finding], insufficient: int, scoring: ScoringConfig
) -> Iterator[str]:
    """What is not as expected.

    alerts: subjects with an alert, by the scoring in force; near_misses: findings that do not open; findings: all;
    insufficient: records that lack what the rule needs;
    subject, points: of an alert (of a finding, where there is none); every other key: a fact of that subject's
    strongest finding, money in major units, to four places.
    """
    scores = {subject: score_alert(held, scoring) for subject, held in _by_subject(findings).items()}
    alerted = {subject: score for subject, score in scores.items() if score.opens}
    counts = {
        "alerts": len(alerted), "near_misses": sum(not f.opens for f in findings), "findings": len(findings),
        "insufficient": insufficient,
    }  # fmt: skip
    for key, number in counts.items():
        if key in expect and expect[key] != number:
            yield f"{key} is {number}, expected {expect[key]}"
            return
    named = _named(expect, alerted or scores)
    if named is None and expect.keys() - counts.keys():
        yield f"nothing about {expect.get('subject', 'anybody')}, found: {', '.join(s.id for s in scores) or 'nothing'}"
    elif named is not None:
        if "points" in expect and scores[named].points != expect["points"]:
            yield f"points are {scores[named].points}, expected {expect['points']}"
        yield from _facts(expect, _strongest([f for f in findings if f.subject == named]))


def _by_subject(findings: Sequence[Finding]) -> dict[Subject, list[Finding]]:
    held: dict[Subject, list[Finding]] = {}
    for finding in findings:
        held.setdefault(finding.subject, []).append(finding)
    return held


def _named(expect: Mapping[str, Any], scores: Mapping[Subject, AlertScore]) -> Subject | None:
    """Whom the expectations are about: the subject they name, else the first."""
    wanted = expect.get("subject")
    return next((subject for subject in sorted(scores) if wanted in (None, subject.id)), None)


def _strongest(findings: Sequence[Finding]) -> Finding:
    return min(findings, key=lambda f: (not f.opens, -f.points, f.week))


def _facts(expect: Mapping[str, Any], finding: Finding) -> Iterator[str]:
    for name, wanted in expect.items():
        if name not in SPECIAL:
            have = _read(name, finding.measured.get(name), finding.currency)
            if have is None or round(float(have), _PLACES) != round(float(wanted), _PLACES):
                yield f"{name} is {have}, expected {wanted}"


def _read(name: str, value: Value, currency: str) -> float | None:
    """A measured value as tests write it."""
    if value is None or isinstance(value, str):
        return None
    return value / 10 ** decimals(currency) if name in MONEY else float(value)
