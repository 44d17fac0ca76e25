"""What is in force changes between runs: everything accepted is judged anew, as if it had been so from the start."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from aml.cli import app
from tests.factories import txn
from tests.flow_factory import asked, current, exported, invented, ndjson, run, url

ROOT = Path(__file__).parents[2]
KEPT_UNDER = "structuring/structuring-kept-under.toml"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A small bank as files."""
    folder = tmp_path_factory.mktemp("world")
    bank = invented(3_000, days=40, seed=7, attempts=25)
    bank.transactions.write_parquet(folder / "feed.parquet")
    bank.parties.write_csv(folder / "parties.csv")
    return SimpleNamespace(feed=folder / "feed.parquet", parties=folder / "parties.csv")


@pytest.fixture
def content(tmp_path, monkeypatch):
    """An overlay of the rules that a test may edit."""
    folder = tmp_path / "content"
    shutil.copytree(ROOT / "rules", folder / "rules")
    monkeypatch.setenv("AML_CONTENT", str(folder))
    return folder / "rules"


def edit(path, pattern, new):
    text, times = re.subn(pattern, new, path.read_text(), count=1)
    assert times == 1
    path.write_text(text)


def changed_in_between(world, folder, change):
    """The database of a run under what was in force, then of one under what is; and that of a fresh one."""
    old, new = url(folder, "old.db"), url(folder, "new.db")
    run(old, world.feed, parties=world.parties)
    before = current(old)
    change()
    # Later party files do not reach back: without any, holders stay what they were when the records came.
    told = run(old, world.feed)
    run(new, world.feed, parties=world.parties)
    assert current(old) == current(new)
    assert exported(old) == exported(new)
    assert told.scored == 0
    again = run(old, world.feed)
    assert again.messages == tuple(m for m in told.messages if "since the last run" not in m)
    assert current(old) == current(new)
    return before, current(old), told, old


def test_a_changed_rule_judges_anew(world, tmp_path, content):
    """Once harder to meet: findings are withdrawn, and alerts with them; nothing is lost from the history."""

    def change():
        edit(content / KEPT_UNDER, r"\nversion( *)= \d+", r"\nversion\1= 99")
        for path in (content / "layering").glob("*.toml"):
            path.unlink()

    before, after, told, db = changed_in_between(world, tmp_path, change)
    assert 0 < len(after) < len(before)
    assert f"rules changed since the last run: its {told.read:,} records were judged again" in told.messages
    states = dict(asked(db, "SELECT state, count(*) FROM findings GROUP BY state"))
    assert states["withdrawn"] == len(before) - len(after)
    query = "SELECT DISTINCT rule_version FROM findings WHERE rule = 'structuring-kept-under' AND state = 'current'"
    assert asked(db, query) == [(99,)]
    withdrawn = sorted(name for name, kind in asked(db, "SELECT object_id, kind FROM history") if kind == "withdrawn")
    assert withdrawn == sorted(n for (n,) in asked(db, "SELECT alert_id FROM alerts WHERE status = 'withdrawn'"))
    assert withdrawn


def test_an_exemption_judges_anew(world, tmp_path, content):
    """What it spares stays a finding and opens nothing; what is sampled opens and says so."""
    spared = []

    def change():
        query = """SELECT DISTINCT subjects.id FROM findings JOIN subjects USING (subject_key) WHERE state = 'current'
                    AND opens AND rule = 'layering-pass-through' ORDER BY subjects.id"""
        spared.extend(name for (name,) in asked(url(tmp_path, "old.db"), query))
        path = content / "layering" / "layering-pass-through.toml"
        rows = [
            f'[[exempt]]\nsubject = "{name}"\nfrom = {since}\nuntil = {until}\n'
            'owner = "o"\napprover = "a"\nreason = "r"\n'
            for name in spared
            for since, until in (("2025-06-01", "2026-05-31"), ("2026-06-01", "2027-05-31"))
        ]
        path.write_text(path.read_text() + "".join(rows))

    before, after, told, db = changed_in_between(world, tmp_path, change)
    assert len(before) == len(after)
    assert len(spared) > 3
    query = "SELECT opens, parameters FROM findings WHERE state = 'current' AND rule = 'layering-pass-through'"
    held = [(opens, json.loads(parameters)) for opens, parameters in asked(db, query)]
    assert all(parameters["exempt_sampled"] for opens, parameters in held if opens)
    near = [parameters for opens, parameters in held if not opens and "exempt_until" in parameters]
    assert {parameters["exempt_owner"] for parameters in near} == {"o"}
    assert told.exempted == len(near) > 3
    status = json.loads(CliRunner().invoke(app, ["status", "--db", db, "--json"]).stdout)
    assert status["exempted"] == told.exempted
    assert "exempt until 2026-05-31" in CliRunner().invoke(app, ["rules", "explain", "layering-pass-through"]).stdout
    alerts = [alert["alert_id"] for alert in exported(db)]
    explained = [CliRunner().invoke(app, ["alerts", "explain", alert, "--db", db]).stdout for alert in alerts]
    shown = [text for text in explained if "exempt until 2026-05-31 (r; answers for it: o, approved by: a)" in text]
    assert len(shown) == sum("exempt_until" in text for text in exempt_reasons(db))
    assert not any("exempt_owner" in text for text in explained)
    listed = [CliRunner().invoke(app, ["alerts", "show", alert, "--db", db]).stdout for alert in alerts]
    assert sum("  exempt  " in text for text in listed) == sum('"exempt_until"' in text for text in near_reasons(db))


def exempt_reasons(db, which="true"):
    """The parameters of the findings that stand in an alert, one text an alert."""
    query = f"""SELECT group_concat(parameters) FROM alert_findings JOIN findings USING (finding_id, version)
                JOIN alerts USING (alert_id) WHERE alerts.status != 'withdrawn' AND {which} GROUP BY alert_id"""
    return [text for (text,) in asked(db, query)]


def near_reasons(db):
    """The same of near misses alone."""
    return exempt_reasons(db, "NOT opens")


def test_a_changed_scoring_scores_anew(world, tmp_path, content, monkeypatch):
    def change():
        edit(content / "scoring.toml", r"medium( *)= 20\n", r"medium\1= 30\n")

    before, after, told, db = changed_in_between(world, tmp_path, change)
    assert len(before) == len(after)
    assert before != after
    assert any(m.startswith("scoring changed since the last run") for m in told.messages)
    (text,) = asked(db, "SELECT in_force FROM runs ORDER BY run_id DESC LIMIT 1")[0]
    (sha256,) = (held["sha256"] for held in json.loads(text) if held["kind"] == "scoring")
    assert asked(db, f"SELECT count(*) FROM alerts WHERE scoring_sha256 = '{sha256}'")[0][0] > 0
    monkeypatch.delenv("AML_CONTENT")  # what is in force by now is another: findings are derived by what was stored
    for alert in exported(db):
        asking = ["alerts", "explain", alert["alert_id"], "--db", db]
        told = json.loads(CliRunner().invoke(app, [*asking, "--json"]).stdout)
        assert all(reason["derived_again"] for reason in told["reasons"])
        shown = CliRunner().invoke(app, asking).stdout
        assert shown.count("yes: the stored rule text") == len(told["reasons"])


def test_changed_models_score_anew(world, tmp_path, content):
    def change():
        edit(content / "scoring.toml", r"peer-tails( *)= 3", r"peer-tails\1= 1")

    _, _, told, _ = changed_in_between(world, tmp_path, change)
    assert any(m.startswith("models and scoring changed since the last run") for m in told.messages)


def test_a_changed_engine_judges_anew(world, tmp_path, content, monkeypatch):
    """A version whose engine remembers otherwise cannot read the old snapshot: it needs the archive alone."""
    before, after, told, _ = changed_in_between(
        world, tmp_path, lambda: monkeypatch.setattr("aml.pipeline.checkpoint.FORMAT", 99)
    )
    assert before == after
    assert f"engine changed since the last run: its {told.read:,} records were judged again" in told.messages


def test_a_known_beginning_of_the_feed_judges_anew(tmp_path):
    """A holder first seen 90 days after it is young, so what passes through him is more than a near miss."""

    def told(days, name, frm, to, amount):
        moment = dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC) + dt.timedelta(days=days)
        ends = {"originator_account": frm, "beneficiary_account": to}
        return txn(transaction_id=name, executed_at=moment.isoformat(), amount=str(amount), **ends)

    rows = [told(day, f"L{day}", "X", "Y", 10) for day in range(40)]
    rows += [told(20, f"I{k}", f"P{k}", "SHOP", 9_000) for k in range(2)]
    rows += [told(21, f"O{k}", "SHOP", f"Q{k}", 8_600) for k in range(2)]
    feed = ndjson(tmp_path / "feed.ndjson", rows)
    parties = tmp_path / "parties.csv"
    parties.write_text("account,kind\nSHOP,business\n")
    opens = "SELECT opens FROM findings WHERE state = 'current' AND rule = 'layering-pass-through'"

    def judged(**given):
        summary = run(url(tmp_path), feed, parties=parties, **given)
        again = [m for m in summary.messages if "since the last run" in m]
        return asked(url(tmp_path), opens), again

    assert judged() == ([(0,)], [])
    since = dt.date(2025, 10, 1)
    anew = f"history_from changed since the last run: its {len(rows)} records were judged again"
    assert judged(history_from=since) == ([(1,)], [anew])
    assert judged(history_from=since) == ([(1,)], [])
    assert judged(history_from=dt.date(2025, 12, 1)) == ([(0,)], [anew])
    settings = json.loads(asked(url(tmp_path), "SELECT settings FROM runs ORDER BY run_id DESC LIMIT 1")[0][0])
    assert settings["history_from"] == "2025-12-01"
    shown = CliRunner().invoke(app, ["status", "--db", url(tmp_path)]).stdout
    assert re.search("history from +2025-12-01", shown)


def test_models_that_come_later_find_what_was_there(world, tmp_path, monkeypatch, content):
    """A run without any model, then one with those that ship."""
    (content.parent / "models").mkdir()
    for path in (ROOT / "models").glob("*/model.toml"):
        (content.parent / "models" / path.parent.name).mkdir()
        shutil.copy(path, content.parent / "models" / path.parent.name)

    def change():
        shutil.rmtree(content.parent / "models")

    before, after, _, _ = changed_in_between(world, tmp_path, change)
    assert len(after) > len(before)


def test_without_models_a_run_says_so(world, tmp_path, content):
    shutil.copytree(ROOT / "models", content.parent / "models", ignore=shutil.ignore_patterns("artefact.*"))
    told = run(url(tmp_path), world.feed, scores_out=tmp_path / "scores.parquet")
    assert told.messages[0].startswith("no anomaly models: none is trained yet; train on your own history: aml train")
    families = {reason["family"] for alert in exported(url(tmp_path)) for reason in alert["reasons"]}
    assert "model" not in families
