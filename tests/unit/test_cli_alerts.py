"""The commands over a database: what they show, what they write as JSON, and how they end."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from aml.cli import app
from aml.domain.alert import Disposition
from aml.domain.finding import Family, Hop
from aml.learn.spec import read_spec
from aml.scoring.config import parse_scoring
from aml.store.database import open_database
from aml.store.dead_letters import DeadLetter
from aml.store.encoding import to_json
from aml.store.findings import EvidenceRecord
from aml.store.runs import InForce, Progress
from tests.store_factory import SCORING_FILE, T0, finding, put

HOUR = 3_600_000_000
MODELS = Path(__file__).parents[2] / "models"
RULE = """\
id = "structuring-kept-under"
title = "Cash deposits kept under the reporting threshold"
description = "Deposits that stay under the threshold."
false_positives = ["A shop banking its takings."]
blind_spots = ["Deposits over several customers."]
triage = ["What is the expected turnover?"]
[explain]
why = "{units} deposits that make {sum} and none of them reported."
"""
KEPT = InForce("rule", "structuring-kept-under", 3, RULE)
CHAIN = InForce("rule", "layering-chain", 1, 'title = "A chain"\n')
PATH = tuple(
    Hop(f"T{n + 1}", f"H{n}", f"H{n + 1}", amount, T0 + n * 60 * HOUR)
    for n, amount in enumerate((1_000_000, 920_000, 860_000))
)


def record(name, **given):
    values = {"transaction_id": name, "executed_at": T0, "amount": 950_000, "currency": "USD", "instrument": 0}
    values |= {"originator_method": 1, "beneficiary_account": "A1", "beneficiary_name": "Ann", "branch": "B7"}
    values |= given
    return EvidenceRecord("main", name, 1, T0, to_json(values))


@pytest.fixture
def url(tmp_path):
    """A database with two alerts, a run, and a rejected record."""
    url = f"sqlite:///{tmp_path / 'aml.db'}"
    database = open_database(url, clock=lambda: T0 + 24 * HOUR)
    scoring_text = InForce("scoring", "scoring.toml", 1, SCORING_FILE.read_text())
    with database.begin() as uow:
        run_id = uow.runs.start("0.1.0", {}, ["feed.parquet"], [KEPT, CHAIN, scoring_text])
        marks = (Progress("main", "feed.parquet", T0, (T0,), 100),)
        uow.runs.checkpoint(run_id, progressed=marks)
        uow.findings.add_evidence([record("T1"), record("T2"), record("T3")])
        uow.dead_letters.add([DeadLetter("main", "feed.json", 7, "not_json", "no JSON at column 3", b"{x\xff}")])
    put(
        database,
        finding(
            KEPT.name,
            rule_version=3,
            rule_sha256=KEPT.sha256,
            points=80,
            measured={"units": 3, "sum": 2_850_000, "m1": 1, "m2": 0, "markers": 1},
        ),
        finding(
            CHAIN.name,
            "C2",
            rule_sha256=CHAIN.sha256,
            family=Family.LAYERING,
            typology="layering",
            transaction_ids=("T1", "T2", "T3"),
            path=PATH,
            networks=("11111111-2222-5333-8444-555555555555",),
            notes=("only the day of T2 is known",),
        ),
        config=parse_scoring(scoring_text.text),
    )
    database.close()
    return url


@pytest.fixture
def derives_again(monkeypatch):
    """The rule text gives every finding again; the test sets why not."""
    answer = SimpleNamespace(why=None)
    monkeypatch.setattr("aml.cli.alerts._rederive", lambda text, found, scoring: answer.why)
    return answer


def aml(*args, code=0):
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def ids(url):
    return [alert["alert_id"] for alert in json.loads(aml("alerts", "list", "--db", url, "--json").stdout)["alerts"]]


def test_list_shows_the_worst_first_with_their_rules(url):
    lines = aml("alerts", "list", "--db", url).stdout.splitlines()
    assert [line.split()[-1] for line in lines[1:3]] == ["structuring-kept-under", "layering-chain"]
    assert "0.5000" in lines[1]
    assert "medium" not in lines[1]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (["--rule", "layering-chain"], ["C2"]),
        (["--min-score", "0.4"], ["C1"]),
        (["--subject", "C2"], ["C2"]),
        (["--status", "closed"], []),
        (["--status", "new", "--status", "closed", "--limit", "1"], ["C1"]),
        (["--institution", "elsewhere"], []),
    ],
)
def test_list_keeps_to_its_filters(url, filters, found):
    told = json.loads(aml("alerts", "list", "--db", url, "--json", *filters).stdout)
    assert [alert["subject"]["id"] for alert in told["alerts"]] == found
    assert told["total"] == 2


def test_list_says_that_nothing_fits(url):
    assert "none of the 2 alerts fits" in aml("alerts", "list", "--db", url, "--rule", "no-such").stdout


def test_the_note_holds_all_that_a_colleague_would_say(url, derives_again):
    note = aml("alerts", "explain", ids(url)[0][:8], "--db", url).stdout
    for said in (
        "customer C1 of main",
        "structuring-kept-under: 80 points, in full",
        "1. Cash deposits kept under the reporting threshold",
        "3 deposits that make 28,500.00 USD and none of them reported.",
        "m1: cash at two or more branches",
        "9,500.00 USD",
        "Ann (A1)",
        "branch B7",
        "Deposits over several customers.",
        "A shop banking its takings.",
        "What is the expected turnover?",
        f"version 3, sha256 {KEPT.sha256[:16]}",
        "segment = person",
        "yes: the stored rule text gives the same points",
        "2 records kept whole",
    ):
        assert said in note, said
    assert "m2:" not in note


def test_the_note_on_a_path_goes_hop_by_hop(url, derives_again):
    note = aml("alerts", "explain", ids(url)[1], "--db", url).stdout
    hops = [line.split() for line in note.splitlines() if " H" in line and "USD" in line]
    assert [hop[4:6] for hop in hops] == [["H0", "H1"], ["H1", "H2"], ["H2", "H3"]]
    assert "60.0 h" in note
    assert "92 %" in note
    assert "86 % of the first amount arrives at the end, after 5 d" in note
    assert "note: only the day of T2 is known" in note


def model_note(tmp_path, **given):
    """The note on an alert that the model peer-tails raised, with its shipped text."""
    spec = read_spec(MODELS / "peer-tails" / "model.toml")
    text = InForce("model", spec.id, spec.version, spec.text)
    scoring_text = InForce("scoring", "scoring.toml", 1, SCORING_FILE.read_text())
    features = {"ln_amount": 9.16, "z_own": 5.24, "pair_new": 1.0, "through": 4.07}
    rare = {"one_in": 585_225, "tail": 1 / 585_225, "known_days": 55, "one_in_by_peer_tails": 600_000}
    values = {
        "rule_sha256": text.sha256, "family": Family.MODEL, "typology": "anomaly", "points": 36, "total": 1_900_000,
        "measured": rare | features, "crossed_at": T0 + HOUR, "transaction_ids": ("T1", "T2"),
        "notes": ("larger than 99.98 % of person-to-person wires; the money has come 2 hops, more than 99.9 % of them",
                  "T1: first payment to this payee, unlike 98 % of them"),
        "parameters": {"segment": "person", "opening_quantile": 0.00001, "supporting_quantile": 0.0001,
                       "artefact_sha256": "ab" * 32},
    }  # fmt: skip
    url = f"sqlite:///{tmp_path / 'models.db'}"
    database = open_database(url)
    with database.begin() as uow:
        uow.runs.start("0.1.0", {}, ["feed.parquet"], [text, scoring_text])
        uow.findings.add_evidence([record("T1"), record("T2", executed_at=T0 + HOUR, amount=940_000)])
    opening = finding("peer-tails", **values)
    put(database, opening, finding("peer-tails", week=1, **(values | given)), config=parse_scoring(scoring_text.text))
    database.close()
    return aml("alerts", "explain", ids(url)[0], "--db", url).stdout


def test_the_note_on_a_model_reads_like_a_colleagues(tmp_path):
    note = model_note(tmp_path)
    for said in (
        "It says that a payment is unusual, not that anything is wrong with it.",
        "T2: 9,400.00 USD from cash to Ann (A1), cash, branch B7, 2024-01-01 10:06:40 UTC",
        "About one in 590,000 payments of its training history is as strange. The holder had been known for 55 days.",
        "- larger than 99.98 % of person-to-person wires\n",
        "- the money has come 2 hops, more than 99.9 % of them\n",
        "also T1: first payment to this payee, unlike 98 % of them",
        "Money that looks like its peers in every single fact",
        "A house, a car or an inheritance",
        "yes: the stored rule text gives the same points",
        "opens beyond one in 100,000, supports beyond one in 10,000, for a person",
    ):
        assert said in note, said
    for raw in ("ln amount", "z own", "−ln", "`group`", "1e-05", "ab" * 32, "opening_quantile", "tail 1"):
        assert raw not in note, raw


def test_the_note_on_a_model_says_why_it_opens_nothing_alone(tmp_path):
    measured = {"one_in": 518_568, "tail": 1 / 518_568, "known_days": 27}
    near = model_note(tmp_path, measured=measured, opens=False, opened_at=None)
    assert "The holder had been known for 27 days, too short for a model to open an alert alone." in near


def test_the_note_says_where_the_finding_is_not_derived_again(url, derives_again):
    derives_again.why = "the text gives 40 points, not 80"
    assert (
        "no: week of 2024-01-01: the text gives 40 points" in aml("alerts", "explain", ids(url)[0], "--db", url).stdout
    )


def test_the_note_says_which_records_are_missing(url, derives_again):
    path = url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as raw:
        raw.execute("DROP TRIGGER kept_evidence_delete")  # the database itself would refuse it
        raw.execute("DELETE FROM evidence WHERE transaction_id = 'T2'")
    raw.close()
    note = aml("alerts", "explain", ids(url)[0], "--db", url).stdout
    assert "1 record is not kept: T2" in note


def test_a_long_finding_says_how_much_it_leaves_out(url, derives_again):
    assert "… and 1 more" in aml("alerts", "explain", ids(url)[0], "--db", url, "--transactions", 1).stdout


def test_explain_as_json_ends_with_one_object(url, derives_again):
    told = json.loads(aml("alerts", "explain", ids(url)[0], "--db", url, "--json").stdout.splitlines()[-1])
    reason = told["reasons"][0]
    assert (reason["points"], reason["derived_again"], reason["text"]) == (80, True, RULE)
    assert sorted(told["evidence"]) == ["T1", "T2"]


def test_show_tells_findings_and_history(url):
    shown = aml("alerts", "show", ids(url)[0], "--db", url).stdout
    assert "structuring-kept-under" in shown
    assert "raised" in shown
    assert "status – → new" in shown


def test_close_decides_the_findings_and_writes_who_and_why(url):
    alert_id = ids(url)[0]
    args = ("--disposition", Disposition.EXPLAINED.value, "--reason", "sold his car", "--db", url)
    assert "1 finding decided" in aml("alerts", "close", alert_id[:8], *args).stdout
    assert "explained: sold his car" in aml("alerts", "show", alert_id, "--db", url).stdout
    again = aml("alerts", "close", alert_id, *args, code=2)
    assert again.stderr == f"error: alert {alert_id}: is closed already\n"


def test_close_wants_a_reason(url):
    aml("alerts", "close", ids(url)[0], "--disposition", "explained", "--reason", " ", "--db", url, code=2)


def test_export_writes_one_object_a_line(url, tmp_path):
    lines = aml("alerts", "export", "--db", url).stdout.splitlines()
    assert [json.loads(line)["subject"]["id"] for line in lines] == ["C1", "C2"]
    out = tmp_path / "alerts.ndjson"
    told = json.loads(aml("alerts", "export", "--db", url, "--out", out, "--json").stdout)
    assert told == {"file": str(out), "lines": 2}
    assert out.read_text().splitlines() == lines
    whole = json.loads(aml("alerts", "export", "--db", url, "--json").stdout)
    assert [alert["alert_id"] for alert in whole["alerts"]] == ids(url)


def test_export_into_a_missing_folder_leaves_nothing(url, tmp_path):
    result = aml("alerts", "export", "--db", url, "--out", tmp_path / "none" / "x", code=3)
    assert result.stderr.startswith(f"error: {tmp_path / 'none' / 'x'}: cannot be written")
    assert not (tmp_path / "none").exists()


def test_export_that_fails_at_the_end_leaves_nothing_half_written(url, tmp_path):
    (tmp_path / "taken").mkdir()
    before = sorted(tmp_path.iterdir())
    aml("alerts", "export", "--db", url, "--out", tmp_path / "taken", code=3)
    assert sorted(tmp_path.iterdir()) == before


def test_status_tells_watermark_counts_and_what_was_in_force(url):
    told = json.loads(aml("status", "--db", url, "--json").stdout)
    assert told["watermark"] == {"main": "2024-01-01T09:06:40Z"}
    assert (told["alerts"], told["findings"], told["near_misses"]) == (2, 2, 0)
    assert told["dead_letters"] == {"not_json": 1}
    assert {text["name"] for text in told["last_run"]["in_force"]} == {KEPT.name, CHAIN.name, "scoring.toml"}
    shown = aml("status", "--db", url).stdout
    assert "2024-01-01T09:06:40Z" in shown
    assert ["rejected", "1"] in [line.split() for line in shown.splitlines()]
    assert "feed.parquet" in shown


def test_dead_letters_are_listed_and_shown_whole(url):
    told = json.loads(aml("dlq", "list", "--db", url, "--json").stdout)
    assert told["counts"] == {"not_json": 1}
    letter = told["dead_letters"][0]["dead_letter_id"]
    assert "feed.json:7" in aml("dlq", "list", "--db", url).stdout
    assert "no JSON at column 3" in aml("dlq", "show", letter, "--db", url).stdout
    assert aml("dlq", "show", letter, "--db", url, "--raw").stdout_bytes == b"{x\xff}"
    assert json.loads(aml("dlq", "show", letter, "--db", url, "--json").stdout)["original"] == "{x\\xff}"
    assert "see `aml dlq list`" in aml("dlq", "show", letter + 1, "--db", url, code=2).stderr


def test_the_database_may_come_from_the_environment_and_an_empty_variable_is_unset(url, tmp_path, monkeypatch):
    monkeypatch.setenv("AML_DB", url)
    assert len(json.loads(aml("alerts", "list", "--json").stdout)["alerts"]) == 2
    monkeypatch.setenv("AML_DB", "")
    monkeypatch.chdir(tmp_path)
    assert json.loads(aml("alerts", "list", "--json").stdout)["total"] == 2


def test_a_missing_database_ends_with_one_line_and_the_code_for_it(tmp_path):
    result = aml("alerts", "list", "--db", f"sqlite:///{tmp_path / 'none.db'}", code=4)
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "make it with `aml run FEED`" in result.stderr


def test_an_interrupted_command_says_what_to_do(url, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("aml.store.queries.list_alerts", interrupted)
    result = aml("alerts", "list", "--db", url, code=130)
    assert result.stderr.startswith("interrupted: what was committed stands")


def test_help_names_every_exit_code():
    from aml.cli.codes import WORDS, ExitCode, table_of_codes

    assert set(WORDS) == set(ExitCode)
    assert all(f"{code.value} {WORDS[code]}" in table_of_codes() for code in ExitCode)
    assert "Exit codes" in aml("--help").stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["run"], "Missing argument 'FEED…': see `aml run --help`"),
        (["alerts", "close", "x"], "Missing option '--disposition'. Choose from: false_positive, explained"),
        (["nonsense"], "No such command 'nonsense': see `aml --help`"),
        (["run", "f", "--lateness"], "Option '--lateness' requires an argument: see `aml"),
        (["run", "f", "--lateness", "7x"], "Invalid value for --lateness: '7x' is not a span: write 7d or 36h"),
        (["run", "f", "--rejects-over", "lots"], "Invalid value for --rejects-over: 'lots' is not a percentage"),
        (["alerts", "show", "zzz"], "alert zzz: there is none with this id: see `aml alerts list`"),
        (["rules", "explain", "nope"], "rule 'nope' does not exist: give one of layering-chain, "),
        (["rules", "list", "--profile", "eu"], "profile 'eu' does not exist: give one of au, ca, us"),
        (["run", "f", "--profile", "eu"], "profile 'eu' does not exist: give one of au, ca, us"),
        (["train", "f", "--profile", "eu"], "profile 'eu' does not exist: give one of au, ca, us"),
        (["simulate", "--profile", "eu"], "simulate: profile 'eu' is none of us, ca, au"),
        (["simulate", "--institution", ""], "simulate: institution must not be empty"),
        (["run", "f", "--lateness", "0d"], "--lateness: must be more than nothing: write 7d or 36h"),
        (["run", "f", "--history-from", "1.7.2024"], "Invalid value for --history-from: '1.7.2024' is not a date: "),
        (["run", "f", "--history-from", "9999-01-01"], "Invalid value for --history-from: 9999-01-01 lies in the "),
        (["run", "-", "-"], "standard input can be read once: name - once"),
    ],
)
def test_a_wrong_command_line_ends_with_two_and_one_line(url, args, said):
    result = aml(*args, *(["--db", url] if args[:2] == ["alerts", "show"] else []), code=2)
    assert result.stderr.startswith(f"error: {said}")
    assert len(result.stderr.splitlines()) == 1
