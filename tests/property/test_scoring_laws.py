"""Scoring against its slow, obvious twin, and what must hold of it for any findings."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from aml.domain.finding import Family
from aml.scoring.combine import score_alert
from tests.store_factory import MONDAY, finding, scoring

CONFIG = scoring()
FAMILY_OF = {rule: family for rule, family in zip("abcdefgh", [*Family, *Family], strict=False)}


@st.composite
def findings(draw):
    rule = draw(st.sampled_from(sorted(FAMILY_OF)))
    return finding(
        rule,
        week=draw(st.integers(0, 30)),
        points=draw(st.integers(20, 200)),
        opens=draw(st.booleans()),
        family=FAMILY_OF[rule],
    )


def naive_points(found):
    """Every week of three years as the last of thirteen, each rule and family by hand."""
    return max(naive_points_up_to(MONDAY + dt.timedelta(weeks=last), found) for last in range(60))


def naive_points_up_to(last, found):
    strongest = {}
    for f in found:
        if last - dt.timedelta(weeks=13) < f.week <= last:
            strongest[f.rule] = max(strongest.get(f.rule, 0), f.points)
    total = model = 0
    for family in Family:
        rules = sorted((points for rule, points in strongest.items() if FAMILY_OF[rule] is family), reverse=True)
        points = sum(rules[:1]) + sum(p // 4 for p in rules[1:])
        if family is Family.MODEL:
            model = min(points, 36)
        else:
            total += points
    return total + model


@given(st.lists(findings(), max_size=12))
def test_points_are_those_of_the_slow_twin(found):
    score = score_alert(found, CONFIG)
    assert score.points == naive_points(found) == sum(part.points_counted for part in score.parts)


@given(st.lists(findings(), max_size=12), findings())
def test_one_more_finding_never_lowers_the_score(found, more):
    before, after = score_alert(found, CONFIG), score_alert([*found, more], CONFIG)
    assert after.points >= before.points
    assert after.score >= before.score
    assert after.opens >= before.opens


@given(st.lists(findings(), max_size=12), st.randoms())
def test_the_order_of_findings_does_not_matter(found, random):
    shuffled = list(found)
    random.shuffle(shuffled)
    assert score_alert(shuffled, CONFIG) == score_alert(found, CONFIG)


@given(findings())
def test_every_opening_finding_reaches_the_threshold_alone(found):
    assert score_alert([found], CONFIG).opens == found.opens
