"""What findings add up to: rules once, families a quarter, models capped, thirteen weeks."""

from __future__ import annotations

from itertools import pairwise

from aml.domain.alert import Band
from aml.domain.finding import Family, Severity
from aml.scoring.combine import combine_rules, model_points, score_alert
from aml.scoring.explain import score_lines
from tests.store_factory import T0, finding, scoring

CONFIG = scoring()


def points(*findings):
    return score_alert(findings, CONFIG).points


def test_nothing_scores_nothing():
    score = score_alert([], CONFIG)
    assert (score.points, score.score, score.band, score.opens, score.crossed_at) == (0, 0.0, Band.LOW, False, None)


def test_a_rule_counts_once_by_its_strongest_finding():
    assert points(finding(points=40), finding(week=1, points=80), finding(week=2, points=40)) == 80


def test_others_of_a_family_count_a_quarter_rounded_down():
    assert points(finding("a", points=80), finding("b", points=43), finding("c", points=7)) == 80 + 10 + 1


def test_each_family_counts_its_strongest_in_full():
    assert points(finding("a", points=80), finding("b", points=40, family=Family.LAYERING)) == 120


def test_models_together_add_at_most_their_cap():
    models = [finding(name, points=30, family=Family.MODEL) for name in ("m1", "m2")]
    assert CONFIG.model_cap == 36
    assert points(*models) == 36
    assert points(finding("a", points=40), *models) == 76


def test_thirteen_weeks_count_together_and_the_fourteenth_does_not():
    first = finding("a", week=0, points=40)
    assert points(first, finding("b", week=12, points=40, family=Family.LAYERING)) == 80
    assert points(first, finding("b", week=13, points=40, family=Family.LAYERING)) == 40


def test_the_score_is_the_link_of_the_worst_span_to_four_places():
    score = score_alert([finding(points=40), finding("b", week=40, points=120)], CONFIG)
    assert score.points == 120
    assert score.score == 0.6
    assert score_alert([finding(points=43)], CONFIG).score == round(43 / 123, 4)


def test_an_alert_needs_a_finding_that_opens():
    supporting = [finding(name, points=200, opens=False) for name in ("a", "b")]
    assert not score_alert(supporting, CONFIG).opens
    assert score_alert([*supporting, finding("c", points=20)], CONFIG).opens


def test_crossed_is_when_the_first_finding_opened():
    score = score_alert([finding(week=3), finding("b", week=1), finding("c", opens=False)], CONFIG)
    assert score.crossed_at == T0 + 1


def test_bands_begin_at_their_bounds():
    assert [CONFIG.band_of(p).value for p in (0, 39, 40, 79, 80, 119, 120, 9_999)] == [
        "low", "low", "medium", "medium", "high", "high", "critical", "critical",
    ]  # fmt: skip


def test_the_link_rises_strictly_between_nought_and_one():
    scores = [CONFIG.link(p / 1000) for p in range(0, 500_000, 999)]
    assert scores[0] == 0
    assert all(a < b < 1 for a, b in pairwise(scores))
    assert CONFIG.link(80) == 0.5


def test_points_are_severity_times_steps():
    assert [CONFIG.points_of(Severity.HIGH, steps) for steps in (1, 2, 3)] == [40, 80, 120]


def test_a_severity_below_the_threshold_must_not_open():
    assert CONFIG.problem_of_opening(Severity.MEDIUM) is None
    assert "below the alert threshold of 20" in (CONFIG.problem_of_opening(Severity.LOW) or "")


def test_model_points_rise_to_the_cap_at_the_opening_quantile():
    tails = (1.0, 0.5, 0.01, 0.0001, 0.00001, 0.0)
    graded = [model_points(tail, CONFIG) for tail in tails]
    assert graded == sorted(graded)
    assert (graded[0], graded[2], graded[4], graded[5]) == (0, 14.4, 36, 36)


def test_rules_hit_together_combine_as_in_an_alert():
    rules = [("a", Family.STRUCTURING, 80), ("b", Family.STRUCTURING, 43), ("a", Family.STRUCTURING, 40)]
    assert combine_rules(rules, CONFIG) == 90


def test_parts_are_told_in_words_and_sum():
    findings = [finding("a", points=80), finding("b", points=40), finding("m", points=60, family=Family.MODEL)]
    score = score_alert(findings, CONFIG)
    assert sum(part.points_counted for part in score.parts) == score.points == 126
    assert score_lines(score.parts, CONFIG) == [
        "a: 80 points, in full (week of 2024-01-01)",
        "m: 36 of 60 points: models together add at most 36 (week of 2024-01-01)",
        "b: 10 of 40 points: a stronger rule of the family structuring already counts in full, others count 1/4"
        " (week of 2024-01-01)",
        "126 points = score 0.6117, critical; alerts begin at 20",
    ]
