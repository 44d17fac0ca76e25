"""`aml run`: what it hands to the house, what it tells, and how it ends. The house itself is a stand-in here."""

from __future__ import annotations

import datetime as dt
import json
import sys
from types import ModuleType, SimpleNamespace

import pytest
from typer.testing import CliRunner

from aml.cli import app
from aml.domain.errors import AmlError

DAY = 86_400_000_000
SUMMARY = {
    "read": 100,
    "scored": 90,
    "duplicates": 4,
    "rejected": {"too_late": 1, "not_json": 5},
    "superseded": 2,
    "voided": 0,
    "not_booked": 3,
    "own_account": 0,
    "late": 1,
    "findings": 7,
    "alerts": 2,
    "near_misses": 4,
    "exempted": 1,
    "insufficient": {"structuring-smurfing": 3},
    "lacking": {"structuring-smurfing": "neither branch nor conductor"},
    "seconds": 0.25,
    "transactions_per_second": 400.4,
    "messages": ("1 record before 2026-01-01: run the files together",),
}

NOT_IN_JSON = ("messages", "lacking", "transactions_per_second")


@pytest.fixture
def house(monkeypatch):
    """A stand-in for the embedded host: remembers its settings, hands back `summary` or raises `error`."""
    seen = SimpleNamespace(settings=None, summary=dict(SUMMARY), error=None)

    def run_feeds(settings, progress):
        seen.settings = settings
        progress(50, 0.5)
        if seen.error is not None:
            raise seen.error
        return SimpleNamespace(**seen.summary)

    module = ModuleType("aml.pipeline.embedded")
    module.RunSettings, module.run_feeds = SimpleNamespace, run_feeds
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return seen


def aml_run(*args, code=0):
    result = CliRunner().invoke(app, ["run", *args])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_defaults(house):
    aml_run("feed.parquet")
    given = vars(house.settings)
    assert given.pop("feeds") == ("feed.parquet",)
    assert (given.pop("db"), given.pop("profile"), given.pop("lateness")) == ("sqlite:///aml.db", "us", 7 * DAY)
    assert {name: value for name, value in given.items() if value} == {}


def test_every_option_reaches_the_house(house):
    names = ("parties", "rates", "mapping", "models", "scores-out")
    files = [word for name in names for word in (f"--{name}", f"{name}.file")]
    texts = ["--db", "sqlite:///x.db", "--profile", "au", "--institution", "BANK", "--lateness", "36h", "--as-arrived"]
    aml_run("a.csv", "-", *files, *texts, "--history-from", "2024-07-01")
    given = vars(house.settings)
    assert given["feeds"] == ("a.csv", "-")
    assert [str(given[name.replace("-", "_")]) for name in names] == [f"{name}.file" for name in names]
    assert (given["db"], given["profile"], given["institution"]) == ("sqlite:///x.db", "au", "BANK")
    assert (given["lateness"], given["as_arrived"]) == (1.5 * DAY, True)
    assert given["history_from"] == dt.date(2024, 7, 1)


def test_the_environment_stands_in_for_options_and_empty_is_unset(house, monkeypatch):
    monkeypatch.setenv("AML_PROFILE", "ca")
    monkeypatch.setenv("AML_INSTITUTION", "")
    aml_run("f")
    assert (house.settings.profile, house.settings.institution) == ("ca", None)
    assert house.settings.history_from is None
    monkeypatch.setenv("AML_HISTORY_FROM", "2024-07-01")
    aml_run("f", "--profile", "au")
    assert (house.settings.profile, house.settings.history_from) == ("au", dt.date(2024, 7, 1))


def test_json_ends_with_one_object_whose_counts_reconcile(house):
    result = aml_run("f", "--json")
    told = json.loads(result.stdout.splitlines()[-1])
    assert told["read"] == told["scored"] + told["duplicates"] + sum(told["rejected"].values())
    assert list(told["rejected"]) == ["not_json", "too_late"]
    assert {name: told[name] for name in SUMMARY if name not in NOT_IN_JSON} == {
        name: value for name, value in SUMMARY.items() if name not in NOT_IN_JSON
    }
    assert "run the files together" in result.stderr
    assert len(result.stdout.splitlines()) == 1


def test_the_summary_accounts_for_every_record(house):
    shown = aml_run("f").stdout
    lines = [line.split() for line in shown.splitlines() if line]
    assert ["rejected", "6", "kept", "whole:", "aml", "dlq", "list"] in lines
    assert ["not_json", "5"] in lines
    assert not any(words[0] == "voided" for words in lines)
    assert "400 transactions/s" in shown
    assert "of them near misses 4, exempt 1" in shown
    assert ["structuring-smurfing", "3", "records", "name", "neither", "branch", "nor", "conductor"] in lines


@pytest.mark.parametrize(("limit", "code"), [("6%", 0), ("5.9%", 1), ("0%", 1), ("100", 0)])
def test_too_many_rejects_end_with_one_after_the_summary_is_told(house, limit, code):
    result = aml_run("f", "--json", "--rejects-over", limit, code=code)
    assert json.loads(result.stdout)["read"] == 100
    assert ("error: 6 % of the records are rejected" in result.stderr) == bool(code)


def test_an_empty_feed_is_no_error(house):
    house.summary |= {"read": 0, "scored": 0, "duplicates": 0, "rejected": {}}
    assert "nothing was read" in aml_run("f", "--rejects-over", "0%").stderr


def test_an_error_is_one_line_with_its_own_code(house):
    house.error = AmlError("feed.csv:7: amount: 1,50 is no decimal: name the comma in the mapping")
    result = aml_run("f", "--json", code=house.error.exit_code)
    assert result.stderr == f"error: {house.error}\n"
    assert result.stdout == ""


def test_an_interrupted_run_says_how_to_go_on(house):
    house.error = KeyboardInterrupt()
    assert "run the same command again to continue" in aml_run("f", code=130).stderr
