"""The parts of an alert's score in words that a colleague would use."""

from __future__ import annotations

from collections.abc import Sequence

from aml.domain.finding import Family
from aml.scoring.combine import Part
from aml.scoring.config import ScoringConfig


def part_words(part: Part, config: ScoringConfig) -> str:
    """Why a rule adds the points it adds."""
    if part.points_counted == part.points_full:
        return f"{part.points_full} points, in full"
    if part.family is Family.MODEL and part.points_counted != part.points_full // config.others_divisor:
        return f"{part.points_counted} of {part.points_full} points: models together add at most {config.model_cap}"
    return (
        f"{part.points_counted} of {part.points_full} points: a stronger rule of the family {part.family.value} "
        f"already counts in full, others count 1/{config.others_divisor}"
    )


def score_lines(parts: Sequence[Part], config: ScoringConfig) -> list[str]:
    """One line per part, in their order, then the sum and what it means."""
    lines = [f"{part.rule}: {part_words(part, config)} (week of {part.week.isoformat()})" for part in parts]
    points = sum(part.points_counted for part in parts)
    band = config.band_of(points).value
    total = f"{points} points = score {config.link(points):.4f}, {band}; alerts begin at {config.threshold}"
    return [*lines, total]
