"""Records that a rule would count and cannot judge are counted and shown, in whatever parts they come."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aml.cli import app
from tests.factories import txn
from tests.flow_factory import ndjson, run, url

ROOT = Path(__file__).parents[2]
SMURFING = "structuring-smurfing"
START = dt.datetime(2026, 3, 2, 15, tzinfo=dt.UTC)


def cash(number, **given):
    """A deposit of 2,000 that says neither who brought it nor where."""
    moment = START + dt.timedelta(hours=number)
    fields = {"transaction_id": f"C{number}", "executed_at": moment.isoformat(), "amount": "2000.00"}
    fields |= {"instrument": "cash", "originator_account": None, "originator_method": "cash"}
    return txn(**(fields | {"beneficiary_account": "R"} | given))


LACKING = [cash(k) for k in range(5)]
OTHERS = [
    cash(10, branch="A"), cash(11, conductor="S"), cash(12, amount="999.99"), cash(13, status="pending"),
    cash(14, instrument="wire", originator_account="P", originator_method=None), cash(15, initiated_by="bank"),
]  # fmt: skip


def aml(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout


def test_what_lacks_both_fields_is_counted_once(tmp_path):
    db = url(tmp_path)
    assert run(db, ndjson(tmp_path / "a.ndjson", [*LACKING[:3], *OTHERS])).insufficient == {SMURFING: 3}
    again = run(db, ndjson(tmp_path / "b.ndjson", [*LACKING[1:4], *OTHERS, LACKING[3]]))
    assert (again.scored, again.insufficient) == (1, {SMURFING: 4})
    assert run(db, tmp_path / "a.ndjson").insufficient == {SMURFING: 4}
    # A later revision is a record of its own; the one that it replaces stays counted.
    told = run(db, ndjson(tmp_path / "c.ndjson", [cash(0, revision=2), cash(1, revision=2, branch="A")]))
    assert (told.scored, told.insufficient) == (2, {SMURFING: 5})


def test_the_count_is_shown(tmp_path):
    db = url(tmp_path)
    feed = ndjson(tmp_path / "a.ndjson", [*LACKING, *OTHERS])
    shown = aml("run", feed, "--db", db)
    assert f"{SMURFING}  5 records name neither branch nor conductor" in shown
    assert json.loads(aml("run", feed, "--db", db, "--json"))["insufficient"] == {SMURFING: 5}
    assert json.loads(aml("status", "--db", db, "--json"))["insufficient"] == {SMURFING: 5}
    assert f"{SMURFING}  5 records name neither branch nor conductor" in aml("status", "--db", db)
    sufficient = ndjson(tmp_path / "b.ndjson", OTHERS)
    assert "insufficient" not in aml("run", sufficient, "--db", url(tmp_path, "b.db")).lower()
    assert json.loads(aml("status", "--db", url(tmp_path, "b.db"), "--json"))["insufficient"] == {}
    assert "branch or conductor" in aml("rules", "explain", SMURFING)


@pytest.mark.parametrize(("needs", "counted"), [('"branch", "conductor"', 7), ('"branch"', 6), ("", None)])
def test_changed_needs_count_anew(tmp_path, monkeypatch, needs, counted):
    feed, db = ndjson(tmp_path / "a.ndjson", [*LACKING, *OTHERS]), url(tmp_path)
    assert run(db, feed).insufficient == {SMURFING: 5}
    shutil.copytree(ROOT / "rules", tmp_path / "content" / "rules")
    monkeypatch.setenv("AML_CONTENT", str(tmp_path / "content"))
    path = tmp_path / "content" / "rules" / "structuring" / f"{SMURFING}.toml"
    path.write_text(path.read_text().replace('needs = ["branch | conductor"]', f"needs = [{needs}]"))
    expected = {} if counted is None else {SMURFING: counted}
    assert run(db, feed).insufficient == run(url(tmp_path, "fresh.db"), feed).insufficient == expected
    assert json.loads(aml("status", "--db", db, "--json"))["insufficient"] == expected
