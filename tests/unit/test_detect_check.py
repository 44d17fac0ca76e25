"""The checker finds what is wrong with a rule file, and nothing where nothing is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aml.cli import app
from aml.cli.ruletext import told
from aml.detect.check import Report, check_rules
from aml.detect.explain import rederive
from aml.detect.lock import behaviour, read_lock, write_lock
from aml.detect.mutate import neighbours
from aml.detect.profile import load_profile
from aml.detect.reader import read_rule
from aml.detect.rulefile import Parameter, RuleFile
from aml.domain.errors import AmlError
from aml.domain.finding import Finding
from aml.engine.facts import FACTS, MONEY
from aml.pipeline.trial import Trials, events_of
from aml.scoring.config import ScoringConfig, parse_scoring

ROOT = Path(__file__).parents[2] / "rules"
SCORING = parse_scoring((ROOT / "scoring.toml").read_text())
SOUND = """
id = "structuring-often"
version = 1
title = "Cash again and again"
status = "test"
severity = "medium"
family = "structuring"
typology = "structuring"
subject = "customer"
description = "Many cash deposits within days."
explain = "{legs} deposits, {sum} together, in {window}."
references = ["none, a test"]
amltrix = ["T0016"]
false_positives = ["A shop."]
blind_spots = ["Fewer deposits."]
triage = ["Whose cash?"]
given = { cash_in = "C" }
steps = { fact = "legs", at = [5] }
[parameters]
count = { value = 3, range = [2, 8], why = "a habit" }
least = { value = 5_000, unit = "money", range = [1_000, 9_000], why = "not small change" }
window = { value = "3d", range = ["2d", "9d"], why = "days" }
[[detect]]
kind = "aggregate"
over = "legs"
flow = "in"
window = "$window"
when = { legs = { gte = "$count" }, sum = { gte = "$least" } }
[[tests]]
name = "three in three days, 5,000 together"
events = [{ t = "0h", amount = 1_700, times = 2, every = "1d" }, { t = "2d", amount = 1_600 }]
expect = { alerts = 1, near_misses = 0, findings = 1, subject = "C", points = 20, legs = 3, sum = 5_000 }
[[tests]]
name = "a cent less"
events = [{ t = "0h", amount = 1_700, times = 2, every = "1d" }, { t = "2d", amount = 1_599.99 }]
expect = { alerts = 0, findings = 0 }
[[tests]]
name = "two"
events = [{ t = "0h", amount = 3_000, times = 2, every = "1d" }]
expect = { alerts = 0 }
[[tests]]
name = "the third on the fourth day"
events = [{ t = "0h", amount = 2_000 }, { t = "2d", amount = 2_000, times = 2, every = "1d" }]
expect = { alerts = 0 }
"""


def shelf(tmp_path: Path, *texts: str, lock: bool = True) -> Path:
    """A rules folder with these rules, locked as they are."""
    root = tmp_path / "rules"
    shutil.copytree(ROOT / "profiles", root / "profiles")
    for name in ("scoring.toml", "typologies.toml"):
        shutil.copy(ROOT / name, root)
    for text in texts:
        put(root, text)
    if lock:
        write_lock(root, [read_rule(text, "there") for text in texts])
    return root


def put(root: Path, text: str, name: str | None = None) -> None:
    """Write a rule file where its family and id say."""
    said = dict(line.split(" = ", 1) for line in text.splitlines() if line.startswith(("id =", "family =")))
    folder = root / said["family"].strip('"')
    folder.mkdir(exist_ok=True)
    (folder / f"{name or said['id'].strip(chr(34))}.toml").write_text(text)


def nothing(rule: RuleFile, scoring: ScoringConfig) -> Iterator[tuple[int, Sequence[Finding], int]]:
    """A trial for which every test fails or passes on empty hands."""
    return iter((place, [], 0) for place in range(len(rule.tests)))


def problems_of(tmp_path: Path, text: str, **options: bool) -> tuple[str, ...]:
    return check_rules(nothing, shelf(tmp_path, text, **options)).problems


def changed(old: str, new: str) -> str:
    assert SOUND.count(old) == 1, old
    return SOUND.replace(old, new)


def test_a_sound_rule_has_no_problems(tmp_path):
    assert check_rules(Trials(), shelf(tmp_path, SOUND)) == Report(1, 4, 6, ())


@pytest.mark.parametrize(
    ("old", "new", "told_so"),
    [
        ('triage = ["Whose cash?"]', 'traige = ["Whose cash?"]', "traige: unknown key"),
        ("range = [2, 8]", "range = [4, 8]", "parameters.count.value: 3 is impossible"),
        ("gte = \"$count\"", "gte = \"$cuont\"", "$cuont is no parameter"),
        ("legs = { gte = \"$count\" }", "lugs = { gte = \"$count\" }", "when.lugs: is measured by no kind used here"),
        ('kind = "aggregate"', 'kind = "agregate"', "'agregate' is no kind"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_problem(tmp_path, old, new, told_so):
    root = shelf(tmp_path)
    put(root, changed(old, new))
    (problem,) = check_rules(nothing, root).problems
    assert told_so in problem and "structuring-often.toml" in problem


@pytest.mark.parametrize(
    ("old", "new", "told_so"),
    [
        ('severity = "medium"', 'severity = "low"', "severity 'low' gives 10 points a step, below the alert threshold"),
        ('typology = "structuring"', 'typology = "knitting"', "typology: 'knitting' is not in typologies.toml"),
        ('amltrix = ["T0016"]', 'amltrix = ["0016"]', "amltrix: '0016' is no technique"),
        ('amltrix = ["T0016"]', "amltrix = []", "amltrix: missing"),
        ('blind_spots = ["Fewer deposits."]', "blind_spots = []", "blind_spots: missing"),
        ("{legs} deposits", "{leg} deposits", "explain: {leg} is neither measured here nor a parameter"),
        ('expect = { alerts = 1, near_misses = 0', "expect = { near_misses = 0", "tests[0].expect.alerts: missing"),
        ("subject = \"C\", points = 20, legs", "subject = \"C\", points = 20, lugs", "tests[0].expect.lugs: neither"),
        (', why = "a habit"', "", "parameters.count.why: missing"),
        ("alerts = 1, near_misses = 0, findings = 1", "alerts = 0", "tests: none with alerts of 1 or more"),
        ('name = "two"', 'name = "a cent less"', "tests: two are called 'a cent less'"),
        ('family = "structuring"', 'family = "profile"', ""),
    ],
)
def test_hygiene(tmp_path, old, new, told_so):
    found = problems_of(tmp_path, changed(old, new))
    assert any(told_so in problem for problem in found), found


def test_a_rule_in_another_familys_folder(tmp_path):
    root = shelf(tmp_path, SOUND)
    (root / "structuring").rename(root / "layering")
    assert any("family: a rule of 'structuring'" in problem for problem in check_rules(nothing, root).problems)


def test_a_rule_that_only_supports_may_be_weak(tmp_path):
    weak = changed('severity = "medium"', 'severity = "low"\nopens = false')
    assert not any("severity" in problem for problem in problems_of(tmp_path, weak))


def test_failing_tests_are_told_with_what_came_out(tmp_path):
    root = shelf(tmp_path, changed("points = 20", "points = 40").replace("sum = 5_000 }", "sum = 5_001 }"))
    report = check_rules(Trials(), root)
    assert report.mutants == 0
    assert [problem.split('"three in three days, 5,000 together": ')[1] for problem in report.problems] == [
        "points are 20, expected 40", "sum is 5000.0, expected 5001",
    ]  # fmt: skip


def test_a_test_may_expect_records_to_be_insufficient(tmp_path):
    needy = changed('given = {', 'needs = ["branch"]\ngiven = {')
    expected = '"two"\nevents = [{ t = "0h", amount = 3_000, times = 2, every = "1d" }]\nexpect = { alerts = 0'
    assert expected in needy
    right = needy.replace(expected, f"{expected}, insufficient = 2")
    assert check_rules(Trials(), shelf(tmp_path / "right", right)).problems == ()
    wrong = needy.replace(expected, f"{expected}, insufficient = 1")
    (problem,) = check_rules(Trials(), shelf(tmp_path / "wrong", wrong)).problems
    assert problem.endswith('tests[2] "two": insufficient is 2, expected 1')


def test_a_parameter_that_no_test_pins_down_is_a_problem(tmp_path):
    start = SOUND.index('[[tests]]\nname = "the third on the fourth day"')
    report = check_rules(Trials(), shelf(tmp_path, SOUND[:start]))
    (problem,) = report.problems
    assert report.mutants == 6
    assert "parameters.window: no test notices window = 4d instead of 3d" in problem


def test_an_event_with_a_misspelt_field(tmp_path):
    text = changed('{ t = "2d", amount = 1_600 }', '{ t = "2d", amonut = 1_600 }')
    (problem,) = check_rules(Trials(), shelf(tmp_path, text)).problems
    assert "tests[0].events.amonut: unknown field" in problem


def test_an_event_that_the_feed_refuses(tmp_path):
    (problem,) = check_rules(Trials(), shelf(tmp_path, changed("amount = 1_600 ", "amount = -1_600 "))).problems
    assert 'tests[0] "three in three days, 5,000 together": amount_negative' in problem


def test_behaviour_may_not_change_under_an_unchanged_version(tmp_path):
    root = shelf(tmp_path, SOUND)
    put(root, changed("value = 3,", "value = 4,"))
    assert any("set version = 2" in problem for problem in check_rules(nothing, root).problems)
    with pytest.raises(AmlError, match="set version = 2"):
        check_rules(nothing, root, refresh_lock=True)
    put(root, changed("value = 3,", "value = 4,").replace("version = 1", "version = 2"))
    assert any("rules.lock holds 1, the file says 2" in problem for problem in check_rules(nothing, root).problems)
    check_rules(nothing, root, refresh_lock=True)
    assert read_lock(root)["structuring-often"].version == 2
    assert not any("version" in problem for problem in check_rules(nothing, root).problems)


def test_versions_only_rise(tmp_path):
    root = shelf(tmp_path, SOUND.replace("version = 1", "version = 2"))
    put(root, SOUND)
    assert any("falls from 2 to 1" in problem for problem in check_rules(nothing, root).problems)


def test_a_rule_without_a_lock_and_a_lock_without_its_rule(tmp_path):
    root = shelf(tmp_path, SOUND)
    put(root, SOUND.replace("structuring-often", "structuring-oft"))
    (root / "structuring" / "structuring-often.toml").unlink()
    found = check_rules(nothing, root).problems
    assert any("version: not in rules.lock" in problem for problem in found)
    assert any("structuring-often: its file is gone" in problem for problem in found)


def test_the_lock_is_about_behaviour_not_about_words():
    rule = read_rule(SOUND, "there")
    same = [("a habit", "a hobby"), ("5_000,", "5_000.00,"), ("range = [2, 8]", "range = [3, 9]"), ("Whose cash?", "?")]
    other = [("value = 3,", "value = 4,"), ('"medium"', '"high"'), ("at = [5]", "at = [6]"), ('"in"', '"both"')]
    assert [behaviour(read_rule(changed(*pair), "there")) == behaviour(rule) for pair in same] == [True] * 4
    assert [behaviour(read_rule(changed(*pair), "there")) == behaviour(rule) for pair in other] == [False] * 4


@pytest.mark.parametrize(
    ("value", "low", "high", "found"),
    [
        (3, 2, 8, [2, 4]), (2, 2, 8, [3]), (5_000, 1_000, 50_000, [4_750, 5_250]),
        ("72h", "1h", "168h", ["68h", "76h"]), ("10d", "3d", "30d", ["9d", "11d"]), ("96h", "24h", "96h", ["91h"]),
        (Decimal("0.5"), Decimal("0.3"), Decimal("0.7"), [Decimal("0.475"), Decimal("0.525")]),
        (Decimal("0.8"), Decimal("0.6"), 1, [Decimal("0.76"), Decimal("0.84")]),
        (Decimal("1.05"), 1, Decimal("1.1"), [1, Decimal("1.1")]),
    ],
)  # fmt: skip
def test_mutants_are_a_twentieth_away_and_stay_in_the_range(value, low, high, found):
    assert neighbours(Parameter("p", value, low, high), value) == found


def test_events_are_written_in_the_feeds_own_spelling():
    rule = read_rule(changed('given = { cash_in = "C" }', 'given = { cash_in = "C", branch = "A" }').replace(
        '{ t = "2d", amount = 1_600 }', '{ t = "2d", from = "C", to = "X#", amount = 1_600, times = 2, every = "90m" }'
    ), "there")
    first, _, third, fourth = events_of(rule, 0, load_profile("us"))
    assert first == {
        "transaction_id": "0.001", "institution": "test-0", "currency": "USD", "instrument": "cash",
        "executed_at": "2026-03-02T14:00:00+00:00", "beneficiary_customer": "C", "beneficiary_account": "C-1",
        "originator_method": "cash", "branch": "A", "amount": 1_700,
    }  # fmt: skip
    assert (third["originator_account"], third["beneficiary_customer"], third["instrument"]) == ("C-1", "X1", "wire")
    assert (fourth["beneficiary_customer"], fourth["executed_at"]) == ("X2", "2026-03-04T15:30:00+00:00")
    assert "originator_method" not in third


def test_money_is_told_as_money_everywhere():
    names = {fact for facts in FACTS.values() for fact in facts}
    assert {name for name in names if "USD" in told(name, 123_456, "USD")} == MONEY & names


@pytest.fixture(scope="module")
def found() -> Finding:
    """A finding of the sound rule in five deposits."""
    text = SOUND.replace("1_700, times = 2, every = \"1d\"", "1_700, times = 6, every = \"3h\"")
    rule = read_rule(text, "there")
    place, findings, _ = next(iter(Trials()(rule, SCORING)))
    assert place == 0
    return findings[0]


def again(finding: Finding, old: str = "", new: str = "", **other: object) -> str | None:
    """The finding derived again from the sound rule's text, with a change of the text or of the finding."""
    import dataclasses

    text = SOUND.replace("1_700, times = 2, every = \"1d\"", "1_700, times = 6, every = \"3h\"")
    assert old in text
    return rederive(text.replace(old, new), dataclasses.replace(finding, **other), SCORING)


def test_a_finding_is_derived_again_from_its_text(found):
    assert again(found) is None
    assert found.points == 40


@pytest.mark.parametrize(
    ("change", "told_so"),
    [
        ({"points": 60}, "2 steps of severity medium are 40 points, not 60"),
        ({"opens": False}, "it opens an alert by the text"),
        ({"rule_version": 2}, "the text is of structuring-often version 1"),
        ({"rule_sha256": "0"}, "the text has another hash"),
    ],
)
def test_a_finding_that_is_not_what_the_text_gives(found, change, told_so):
    assert again(found, **change) == told_so


def test_measured_below_the_bounds(found):
    measured = {**found.measured, "sum": 499_999}
    fails = "what was measured does not meet the rule's condition"
    assert again(found, measured=measured) == fails
    assert again(found, measured={**found.measured, "sum": 500_000}) is None
    assert again(found, measured={**found.measured, "sum": None}) == fails


def test_parameters_that_were_not_the_texts(found):
    stored = {**found.parameters, "count": 2}
    assert again(found, parameters=stored) == "parameter count was 2, the text says 3"


def test_a_text_that_cannot_be_read(found):
    assert "unknown key" in (again(found, "title", "titel") or "")


def test_the_command_ends_with_a_code_of_its_own_where_a_rule_is_not_sound(tmp_path, monkeypatch):
    shelf(tmp_path, changed('severity = "medium"', 'severity = "low"'))
    monkeypatch.setenv("AML_CONTENT", str(tmp_path))
    done = CliRunner().invoke(app, ["rules", "check"])
    assert done.exit_code == 1
    assert "1 rules" not in done.stdout and "1 rule, 4 inline tests" in done.stdout
    assert "severity: severity 'low' gives 10 points a step" in done.stdout
    assert "problem" in done.stderr
