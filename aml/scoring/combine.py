"""One alert score from a subject's findings: integers summed, then the link."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from aml.domain.alert import Band
from aml.domain.finding import Family
from aml.scoring.config import ScoringConfig


class Scored(Protocol):
    """What scoring reads of a finding."""

    @property
    def rule(self) -> str: ...
    @property
    def family(self) -> Family: ...
    @property
    def week(self) -> dt.date: ...
    @property
    def points(self) -> int: ...
    @property
    def opens(self) -> bool: ...
    @property
    def opened_at(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Part:
    """What one rule adds: `points_counted` of its strongest finding's `points_full`, which fell in `week`."""

    rule: str
    family: Family
    points_full: int
    points_counted: int
    week: dt.date


@dataclass(frozen=True, slots=True)
class AlertScore:
    """Points summed over `parts`, the score 0..1 to 4 places, and when the threshold was first reached.

    `crossed_at` is in UTC microseconds, None where no finding opens. `opens` says whether an alert is due.
    """

    points: int
    score: float
    band: Band
    parts: tuple[Part, ...]
    crossed_at: int | None
    opens: bool


def score_alert(findings: Sequence[Scored], config: ScoringConfig) -> AlertScore:
    """Score a subject's findings; their order does not matter, and one more never lowers the score.

    Source: `rules/scoring.toml`. The worst span of `weeks` ISO weeks that ends in a week with a finding counts;
    of equal spans the earliest.
    """
    parts = _worst_span(findings, config)
    points = sum(part.points_counted for part in parts)
    crossed = [f.opened_at for f in findings if f.opens and f.opened_at is not None]
    return AlertScore(
        points=points,
        score=round(config.link(points), 4),
        band=config.band_of(points),
        parts=parts,
        crossed_at=min(crossed, default=None),
        opens=any(f.opens for f in findings) and points >= config.threshold,
    )


def combine_rules(rules: Iterable[tuple[str, Family, int]], config: ScoringConfig) -> int:
    """Points of (rule, family, points) triples that stand together, as of the rules hit at one leg."""
    strongest: dict[str, Part] = {}
    for rule, family, points in rules:
        if rule not in strongest or points > strongest[rule].points_full:
            strongest[rule] = Part(rule, family, points, 0, dt.date.min)
    return sum(part.points_counted for part in _count_families(strongest.values(), config))


def model_points(tail: float, config: ScoringConfig) -> float:
    """Points of a leg that a share `tail` of the training legs equals or exceeds in strangeness.

    Rises with each tenth from 0 at 1 to the models' cap at the opening quantile, in whole thousandths of a point.
    """
    depth = math.log(max(tail, config.opening_quantile)) / math.log(config.opening_quantile)
    return round(config.model_cap * 1000 * depth) / 1000


def _worst_span(findings: Sequence[Scored], config: ScoringConfig) -> tuple[Part, ...]:
    best: tuple[Part, ...] = ()
    best_points = -1
    for last in sorted({f.week for f in findings}):
        first = last - dt.timedelta(weeks=config.weeks - 1)
        parts = _count_families(_strongest_by_rule(f for f in findings if first <= f.week <= last), config)
        points = sum(part.points_counted for part in parts)
        if points > best_points:
            best, best_points = parts, points
    return best


def _strongest_by_rule(findings: Iterable[Scored]) -> list[Part]:
    strongest: dict[str, Scored] = {}
    for finding in findings:
        held = strongest.get(finding.rule)
        if held is None or (-finding.points, finding.week) < (-held.points, held.week):
            strongest[finding.rule] = finding
    return [Part(f.rule, f.family, f.points, 0, f.week) for f in strongest.values()]


def _count_families(rules: Iterable[Part], config: ScoringConfig) -> tuple[Part, ...]:
    """What each rule counts: per family the strongest in full, others a share, models up to their cap."""
    counted: list[Part] = []
    seen: set[Family] = set()
    model_left = config.model_cap
    for part in sorted(rules, key=lambda p: (-p.points_full, p.rule)):
        points = part.points_full // config.others_divisor if part.family in seen else part.points_full
        seen.add(part.family)
        if part.family is Family.MODEL:
            points = min(points, model_left)
            model_left -= points
        counted.append(Part(part.rule, part.family, part.points_full, points, part.week))
    return tuple(sorted(counted, key=lambda p: (-p.points_counted, p.rule)))
