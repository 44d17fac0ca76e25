"""The commands of a newcomer, on a real database: run, status, alerts, dead letters, and the demonstration."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from aml.cli import app
from tests.flow_factory import invented, lines, ndjson, url

COUNTED = (
    "read", "scored", "duplicates", "superseded", "voided", "not_booked", "own_account", "late", "findings", "alerts",
    "near_misses",
)  # fmt: skip


def aml(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A small bank with a bad line, run by the command line."""
    folder = tmp_path_factory.mktemp("world")
    bank = invented(3_000, days=40, seed=13, attempts=25)
    feed = ndjson(folder / "feed.ndjson", [*lines(bank.transactions), {"transaction_id": "bad"}])
    bank.parties.write_csv(folder / "parties.csv")
    told = aml("run", feed, "--parties", folder / "parties.csv", "--db", url(folder), "--json")
    return SimpleNamespace(db=url(folder), feed=feed, folder=folder, told=told)


def test_json_ends_standard_output_with_one_object(world):
    (line,) = world.told.stdout.splitlines()
    told = json.loads(line)
    assert told.keys() >= {*COUNTED, "rejected", "seconds", "transactions_per_second"}
    assert all(isinstance(told[name], int) for name in COUNTED)
    assert told["read"] == told["scored"] + told["duplicates"] + sum(told["rejected"].values())
    assert told["rejected"] == {"field_missing": 1}
    assert told["alerts"] > 0
    assert told["seconds"] > 0
    pace, seconds = told["transactions_per_second"], told["seconds"]
    assert abs(pace * seconds - told["read"]) < 0.5 * seconds + 0.0005 * pace + 1  # both are rounded


def test_a_run_in_words(world):
    shown = aml("run", world.feed, "--db", world.db).stdout
    assert "field_missing" in shown
    assert "duplicates" in shown
    assert f"database  {world.db}" in shown


def test_status_says_where_it_stands(world):
    told = json.loads(aml("status", "--db", world.db, "--json").stdout)
    summary = json.loads(world.told.stdout)
    assert [told[name] for name in ("alerts", "findings", "near_misses")] == [
        summary[name] for name in ("alerts", "findings", "near_misses")
    ]
    assert told["dead_letters"] == {"field_missing": 1}
    (source,) = told["sources"]
    assert (source["institution"], source["records"]) == ("main", summary["scored"])
    assert told["watermark"] == {"main": source["progress"]}
    assert told["last_run"]["state"] == "finished"
    kinds = {held["kind"] for held in told["last_run"]["in_force"]}
    assert kinds == {"rule", "scoring", "profile", "model"}
    shown = aml("status", "--db", world.db).stdout
    assert "structuring-kept-under" in shown
    assert "customers, person (main)" in shown


def test_alerts_are_listed_shown_explained_exported_and_closed(world):
    listed = json.loads(aml("alerts", "list", "--db", world.db, "--json", "--limit", "0").stdout)
    exported = [json.loads(line) for line in aml("alerts", "export", "--db", world.db).stdout.splitlines()]
    assert listed["total"] == len(listed["alerts"]) == len(exported)
    for alert in exported:
        assert 0 < alert["score"] < 1
        for reason in alert["reasons"]:
            assert all(finding["transaction_ids"] for finding in reason["findings"])
    worst = listed["alerts"][0]["alert_id"]
    explained = json.loads(aml("alerts", "explain", worst, "--db", world.db, "--json").stdout)
    assert all(reason["derived_again"] for reason in explained["reasons"])
    named = {i for reason in explained["reasons"] for f in reason["findings"] for i in f["transaction_ids"]}
    assert named <= explained["evidence"].keys()
    assert "How the score comes about" in aml("alerts", "explain", worst, "--db", world.db).stdout
    aml("alerts", "close", worst, "--disposition", "explained", "--reason", "known", "--db", world.db)
    aml("run", world.feed, "--db", world.db)
    shown = json.loads(aml("alerts", "show", worst, "--db", world.db, "--json").stdout)
    assert (shown["status"], shown["disposition"]) == ("closed", "explained")
    assert [row["kind"] for row in shown["history"]][-1] == "closed"


def test_every_reason_is_derived_again_from_what_is_stored(world):
    for alert in json.loads(aml("alerts", "list", "--db", world.db, "--json", "--limit", "0").stdout)["alerts"]:
        told = json.loads(aml("alerts", "explain", alert["alert_id"], "--db", world.db, "--json").stdout)
        assert {reason["rule"]: reason["derived_again"] for reason in told["reasons"]} == {
            reason["rule"]: True for reason in told["reasons"]
        }


def test_a_dead_letter_is_shown_with_its_own_bytes(world):
    (letter,) = json.loads(aml("dlq", "list", "--db", world.db, "--json").stdout)["dead_letters"]
    assert (letter["code"], letter["source"]) == ("field_missing", "feed.ndjson")
    shown = json.loads(aml("dlq", "show", letter["dead_letter_id"], "--db", world.db, "--json").stdout)
    assert shown["original"] == '{"transaction_id": "bad"}'


def test_the_demonstration(tmp_path, monkeypatch):
    """Twice, as people do it: the second begins anew."""
    monkeypatch.chdir(tmp_path)
    told = json.loads(aml("demo", "--transactions", 2_000, "--json").stdout)
    assert told["seconds_in_all"] > told["seconds"]
    shown = aml("demo", "--transactions", 100_000, "--seed", 2).stdout
    lines_ = shown.splitlines()
    at = lines_.index("The 10 worst alerts")
    worst = lines_[at + 2 : at + 12]
    assert all(line.split()[2] in ("critical", "high", "medium", "low") for line in worst)
    chain = next(n for n, line in enumerate(lines_) if line.startswith("A layering chain, hop by hop (alert "))
    hops = [line.split() for line in lines_[chain + 3 : chain + 6]]
    assert [hop[0] for hop in hops] == ["1", "2", "3"]
    assert [hop[5] for hop in hops[:-1]] == [hop[4] for hop in hops[1:]]
    records = dict(line.split()[:2] for line in lines_ if line.startswith(("read ", "scored ")))
    assert records["read"] == records["scored"]
    ahead = lines_[lines_.index("Try next") + 1 :]
    assert [line.split()[1:3] for line in ahead] == [["alerts", "explain"], ["alerts", "list"], ["rules", "explain"]]
    for line in ahead:
        aml(*line.split()[1:])
