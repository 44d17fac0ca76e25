"""The shipped rules: sound, tested on both sides of every parameter, the same as their slow twin, open to more."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from aml.cli import app
from aml.detect.check import Report, check_rules
from aml.detect.compile import number_of
from aml.detect.load import load_rules, read_rules
from aml.detect.profile import Profile
from aml.detect.rulefile import RuleFile
from aml.engine.facts import MONEY
from aml.pipeline import trial
from tests.naive import book, dozen, evaluate

ROOT = Path(__file__).parents[2]
DOZEN = {
    "structuring-kept-under", "structuring-same-unit", "structuring-smurfing", "structuring-withdrawals",
    "layering-pass-through", "layering-chain", "layering-round-trip", "layering-fan-in", "layering-fan-out",
    "layering-scatter-gather", "layering-gather-scatter", "layering-dormant",
}  # fmt: skip
RULES = read_rules(ROOT / "rules")


@pytest.fixture(scope="module")
def report() -> Report:
    return check_rules(trial.Trials(), ROOT / "rules")


def test_the_rules_are_sound(report):
    assert report.problems == ()
    assert report.rules >= len(DOZEN)


def test_every_parameter_has_its_mutants(report):
    tunable = [(rule.id, name) for rule in RULES for name, held in rule.parameters.items() if not held.fixed]
    assert report.mutants > 1.5 * len(tunable)  # both ways, but for those at an end of their range


def test_the_dozen_ships_and_each_has_an_example_for_and_against():
    assert {rule.id for rule in RULES} >= DOZEN
    for rule in RULES:
        alerts = [test["expect"]["alerts"] for test in rule.tests]
        assert any(alerts) and not all(alerts), rule.id


@pytest.mark.parametrize(("profile", "inactive"), [("us", set()), ("au", set()), ("ca", {"structuring-withdrawals"})])
def test_what_is_in_force(profile, inactive):
    assert {rule.id for rule in load_rules(profile)} & DOZEN == DOZEN - inactive


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.id in DOZEN], ids=lambda rule: rule.id)
def test_the_slow_twin_gives_every_inline_test_the_same_answer(rule):
    wrong = []
    for batch in trial._batches(rule):
        for place in batch.places:
            wrong += [(rule.tests[place]["name"], why) for why in differences(rule, batch, place)]
    assert wrong == []


def differences(rule: RuleFile, batch: Any, place: int) -> list[str]:
    """What an inline test expects and the twin's own reading of the rule does not give."""
    tenant, expect = f"test-{place}", rule.tests[place]["expect"]
    rows = [row for row in batch.frame.to_dicts() if row["institution"] == tenant]
    parties = [] if batch.parties is None else [p for p in batch.parties.to_dicts() if p["institution"] == tenant]
    found = twin_findings(rule, rows, parties, batch)
    alerted = {subject for subject, _, held in found if held.opens}
    near = sum(not held.opens for _, _, held in found)
    counted = {"alerts": len(alerted), "near_misses": near, "findings": len(found), "insufficient": lacking(rule, rows)}
    wrong = [f"{key} is {n}, expected {expect[key]}" for key, n in counted.items() if expect.get(key, n) != n]
    facts = {k: v for k, v in expect.items() if k not in (*counted, "subject", "points")}
    about = [
        (subject, -held.points, week, held) for subject, week, held in found
        if held.opens == bool(alerted) and subject == expect.get("subject", subject)
    ]  # fmt: skip
    if not about:
        return [*wrong, "nothing about him"] if facts or "subject" in expect else wrong
    measured = min(about, key=lambda one: one[:3])[3].measured
    return wrong + [f"{k} is {measured.get(k)}, expected {v}" for k, v in facts.items() if not same(k, measured, v)]


def lacking(rule: RuleFile, rows: Sequence[Mapping[str, Any]]) -> int:
    """Cash deposits that smurfing would count and that name neither people nor places; the other rules need nothing."""
    if rule.id != "structuring-smurfing":
        return 0
    counted = (row for row in rows if row["originator_method"] is not None and row["credit_value"] >= 1_000_00)
    return sum(row["branch"] is None and row["conductor"] is None for row in counted)


def same(name: str, measured: Mapping[str, Any], wanted: Any) -> bool:
    have = measured.get(name)
    return have is not None and round(float(have) / (100 if name in MONEY else 1), 4) == round(float(wanted), 4)


def twin_findings(
    rule: RuleFile, rows: Sequence[Mapping[str, Any]], parties: Sequence[Mapping[str, Any]], batch: Any
) -> list[tuple[str, str, evaluate.Finding]]:
    """Subject, week and finding; with a party table only of those in it. The file's steps, the twin's conditions."""
    profile = twin_profile(batch.profile)
    bounds = (_bound(rule, bound, batch.profile) for bound in rule.steps_at)
    steps = None if rule.steps_fact is None else (rule.steps_fact, tuple(bounds))
    rules = [dataclasses.replace(one, steps=steps) for one in dozen.dozen(profile) if one.id == rule.id]
    settings = book.Settings(history_from=batch.history_from)
    hits = evaluate.hits(rows, rules, parties=parties, profile=profile, settings=settings)
    ours = {party["customer"] for party in parties}
    found = [(key[2][2], key[3], held) for key, held in evaluate.findings(hits, rules).items()]
    return [one for one in found if not parties or one[0] in ours]


def _bound(rule: RuleFile, bound: Any, profile: Profile) -> float:
    if not isinstance(bound, str):
        return float(bound)
    held = rule.parameters[bound[1:]]
    return float(number_of(held, held.value, profile))


def twin_profile(profile: Profile) -> book.Profile:
    return book.Profile(
        profile.name, profile.zone, profile.country, profile.threshold, profile.due_at, not profile.unit_is_leg,
        profile.out_reported, profile.roll, profile.cut_off, profile.holidays,
    )  # fmt: skip


NEW = """
id       = "structuring-machine-drips"
version  = 1
title    = "Small notes into machines, day after day"
status   = "experimental"
severity = "medium"
family   = "structuring"
typology = "machine-drips"
subject  = "customer"
description = "Many small cash credits at machines within five days that together are beyond the reported amount."
explain = "{legs} deposits at machines within {window}, {sum} together."
references = ["FFIEC BSA/AML Examination Manual, Appendix G"]
amltrix = ["T0016.004"]
false_positives = ["Market traders."]
blind_spots = ["Machines of other banks."]
triage = ["Whose takings?"]
given = { cash_in = "C1", channel = "atm", branch = "A" }

[parameters]
count  = { value = 6, range = [4, 20], why = "more than errands" }
window = { value = "5d", range = ["3d", "14d"], why = "a working week" }

[[detect]]
kind   = "aggregate"
over   = "legs"
window = "$window"
where  = { direction = "credit", cash = true, channel = ["atm"] }
when   = { legs = { gte = "$count" }, beyond = true }

[[tests]]
name   = "six in five days"
events = [{ t = "0h", amount = 1_800, times = 5, every = "1d" }, { t = "4d1h", amount = 1_800 }]
expect = { alerts = 1, subject = "C1", legs = 6, sum = 10_800 }
[[tests]]
name   = "five"
events = [{ t = "0h", amount = 2_200, times = 5, every = "1d" }]
expect = { alerts = 0 }
[[tests]]
name   = "the sixth on the sixth day"
events = [{ t = "0h", amount = 1_800, times = 6, every = "1d" }]
expect = { alerts = 0 }
[[tests]]
name   = "over the counter"
events = [{ t = "0h", amount = 1_800, times = 8, every = "6h", channel = "branch" }]
expect = { alerts = 0 }
"""


def test_a_rule_of_a_known_kind_is_added_in_five_steps_without_python(tmp_path, monkeypatch):
    """The steps of rules/README.md, in a bank's own content folder, by the bank's own command."""
    rules = tmp_path / "rules"
    shutil.copytree(ROOT / "rules", rules)
    for path in (rules / "layering").iterdir():  # a bank may also leave rules out; the check is quicker so
        path.unlink()
    (rules / "rules.lock").unlink()
    (rules / "structuring" / "structuring-machine-drips.toml").write_text(NEW)
    with (rules / "typologies.toml").open("a") as register:
        register.write(
            '\n[machine-drips]\ntitle = "Drips into machines"\nstage = "placement"\nsources = ["FFIEC, Appendix G"]\n'
            'fincen_sar = ["114", "910"]\namltrix = ["T0016.004"]\n'
        )
    monkeypatch.setenv("AML_CONTENT", str(tmp_path))
    done = CliRunner().invoke(app, ["rules", "check", "--write-lock", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["rules"], told["problems"]) == (5, [])
    assert "structuring-machine-drips" in (rules / "rules.lock").read_text()
    assert "structuring-machine-drips" in {rule.id for rule in load_rules("us")}
    listed = CliRunner().invoke(app, ["rules", "list", "--json"])
    assert "structuring-machine-drips" in listed.stdout
