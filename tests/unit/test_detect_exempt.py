"""Exemptions in a rule file: what is wrong in one is named, and what one lets pass."""

from __future__ import annotations

import dataclasses
import datetime as dt
import shutil
from pathlib import Path

import pytest

from aml.detect.check import check_rules
from aml.detect.exempt import Exemption, exempted, sampled
from aml.detect.explain import rederive
from aml.detect.load import read_rules
from aml.detect.reader import read_rule
from aml.domain.errors import AmlError
from aml.pipeline.trial import Trials
from aml.scoring.config import parse_scoring
from tests.store_factory import finding

ROOT = Path(__file__).parents[2] / "rules"
KEPT_UNDER = ROOT / "structuring" / "structuring-kept-under.toml"
SCORING = parse_scoring((ROOT / "scoring.toml").read_text())
ROW = """
[[exempt]]
subject  = "SHOP"
from     = 2026-01-01
until    = 2026-12-31
cap      = 40_000
owner    = "R. Diaz, branch 7"
approver = "M. Okafor, compliance"
reason   = "Takings of a market stall, seen on site"
"""
HEAD = KEPT_UNDER.read_text()
FIRST = len(HEAD.splitlines()) + 2


def rule_with(row=ROW, old="", new=""):
    assert old in row
    return read_rule(HEAD + row.replace(old, new, 1), "k.toml")


def test_an_exemption_is_read():
    (row,) = rule_with().exempt
    assert (row.subject, row.since, row.until) == ("SHOP", dt.date(2026, 1, 1), dt.date(2026, 12, 31))
    assert (row.cap, row.owner, row.approver) == (40_000, "R. Diaz, branch 7", "M. Okafor, compliance")
    assert rule_with(ROW, "cap      = 40_000\n").exempt[0].cap is None


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("subject ", "subjekt ", 1, r"exempt.0..subjekt: unknown key; allowed: approver, cap, "),
        ('subject  = "SHOP"\n', "", 0, "exempt.0..subject: missing: give the customer or account as records name it"),
        ('"SHOP"', "7", 1, "exempt.0..subject: missing: give"),
        ('"Takings of a market stall, seen on site"', '" "', 7, "exempt.0..reason: missing: say why"),
        ('owner    = "R. Diaz, branch 7"\n', "", 0, "exempt.0..owner: missing: say who answers for it"),
        ('"M. Okafor, compliance"', '"R. Diaz, branch 7"', 6, "exempt.0..approver: is the owner: somebody else must"),
        ("2026-01-01", '"2026-01-01"', 2, "exempt.0..from: must be a date, as in 2026-01-31"),
        ("2026-01-01", "2026-01-01T00:00:00", 2, "exempt.0..from: must be a date, as in 2026-01-31"),
        ("until    = 2026-12-31\n", "", 0, "exempt.0..until: must be a date, as in 2026-01-31"),
        ("2026-12-31", "2026-01-01", 3, "exempt.0..until: must be after from"),
        ("2026-12-31", "2027-01-02", 3, "exempt.0..until: is more than a year after from: look at it again by then"),
        ("40_000", "0", 4, "exempt.0..cap: must be a number over 0"),
        ("40_000", "true", 4, "exempt.0..cap: must be a number over 0"),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_mend(old, new, line, message):
    with pytest.raises(AmlError, match=rf"^k.toml:{FIRST + line}: {message}"):
        rule_with(ROW, old, new)


def test_a_day_less_than_a_year_is_fine():
    assert rule_with(ROW, "2026-12-31", "2027-01-01").exempt[0].until == dt.date(2027, 1, 1)


def row_of(**more):
    held = {"subject": "C1", "since": dt.date(2026, 1, 1), "until": dt.date(2026, 12, 31), "cap": None, "owner": "o",
            "approver": "a", "reason": "r"}  # fmt: skip
    return Exemption(**(held | more))


WEEK = dt.date(2026, 3, 2)


def found_in_march(**found):
    return dataclasses.replace(finding("r", "C1"), week=WEEK, **found)


@pytest.mark.parametrize(
    ("row", "found", "holds"),
    [
        (row_of(), {}, True),
        (row_of(subject="C2"), {}, False),
        (row_of(since=dt.date(2026, 3, 3)), {}, False),
        (row_of(since=WEEK, until=dt.date(2026, 3, 8)), {}, True),
        (row_of(until=dt.date(2026, 3, 7)), {}, False),
        (row_of(cap=28_500), {"measured": {"sum": 2_850_000, "largest": 1_000_000}}, True),
        (row_of(cap=28_499), {"measured": {"sum": 2_850_000, "largest": 1_000_000}}, False),
        (row_of(cap=28_500), {"measured": {"in_sum": 2_850_000, "old_mean": 9_000_000}}, True),
        (row_of(cap=28_499), {"measured": {"in_sum": 2_850_000, "out_sum": 1}}, False),
        (row_of(cap=28_499), {"measured": {"holders": 3}, "total": 2_850_000}, False),
        (row_of(cap=28_500), {"measured": {"holders": 3}, "total": 2_850_000}, True),
    ],
)
def test_whom_when_and_how_much_an_exemption_lets_pass(row, found, holds):
    assert (exempted([row], found_in_march(**found)) == row) is holds


def test_nobody_of_another_bank_is_exempt():
    theirs = found_in_march()
    theirs = dataclasses.replace(theirs, subject=dataclasses.replace(theirs.subject, party_institution="far"))
    assert exempted([row_of()], theirs) is None


def test_one_in_twenty_opens_all_the_same():
    ids = [finding("r", f"C{k}").finding_id for k in range(4_000)]
    assert 0.04 < sum(map(sampled, ids)) / len(ids) < 0.06
    assert [sampled(i) for i in ids] == [sampled(i) for i in ids]


def trial_of(name):
    """What the shipped rule finds in its first test, its subject exempt under this name."""
    rule = rule_with(ROW, '"SHOP"', f'"{name}"')
    return rule, [held for _, found, _ in Trials()(rule, SCORING) for held in found if held.subject.id == name]


def test_an_exempt_finding_is_a_near_miss_that_says_why():
    rule, found = trial_of("C1")
    near = [held for held in found if not held.opens and "exempt_until" in held.parameters]
    assert near
    assert all(held.opened_at is None for held in near)
    told = near[0].parameters
    assert (told["exempt_owner"], told["exempt_approver"]) == ("R. Diaz, branch 7", "M. Okafor, compliance")
    assert (told["exempt_from"], told["exempt_until"], told["exempt_cap"]) == ("2026-01-01", "2026-12-31", 40_000)
    assert told["exempt_reason"] == "Takings of a market stall, seen on site"
    watched = [held for held in found if held.opens and "exempt_until" in held.parameters]
    assert all(held.parameters["exempt_sampled"] and sampled(held.finding_id) for held in watched)
    assert all(rederive(rule.text, held, SCORING) is None for held in found)
    # An exemption that the text does not give, or gives and the finding does not have.
    lifted = read_rule(HEAD, "k.toml")
    near_by_the_text = dataclasses.replace(near[0], rule_sha256=lifted.sha256)
    assert rederive(HEAD, near_by_the_text, SCORING) == "it opens an alert by the text"
    opened = dataclasses.replace(near[0], opens=True, opened_at=near[0].crossed_at)
    assert rederive(rule.text, opened, SCORING) == "it does not open an alert by the text"


def test_nobody_is_exempt_from_all_rules(tmp_path):
    shutil.copytree(ROOT, tmp_path / "rules")
    paths = sorted((tmp_path / "rules").glob("*/*-*.toml"))
    for path in paths[1:]:
        path.write_text(path.read_text() + ROW)
    assert len(read_rules(tmp_path / "rules")) == len(paths)
    paths[0].write_text(paths[0].read_text() + ROW)
    said = "exempt: SHOP is exempt from every rule under the profile au: take one row out"
    with pytest.raises(AmlError, match=said):
        read_rules(tmp_path / "rules")


def test_the_check_names_who_is_exempt_from_all(tmp_path):
    root = tmp_path / "rules"
    shutil.copytree(ROOT / "profiles", root / "profiles")
    for name in ("scoring.toml", "typologies.toml", "rules.lock"):
        shutil.copy(ROOT / name, root)
    (root / "structuring").mkdir()
    (root / "structuring" / KEPT_UNDER.name).write_text(HEAD + ROW)
    problems = check_rules(lambda rule, scoring: [], root).problems
    assert any("exempt: SHOP is exempt from every rule" in problem for problem in problems)
