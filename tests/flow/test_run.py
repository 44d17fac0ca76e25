"""A feed becomes alerts: whole runs through the embedded host, and all that must not change the answer."""

from __future__ import annotations

import gzip
import io
import itertools
import json
from collections import Counter
from types import SimpleNamespace

import polars as pl
import pytest

from aml.domain.errors import AmlError
from aml.pipeline import feeds as feeds_module
from tests import flow_factory
from tests.flow_factory import DAY, archived, asked, current, exported, invented, lines, ndjson, run, url


@pytest.fixture(scope="module")
def bank():
    """A small bank with much laundering."""
    return invented()


@pytest.fixture(scope="module")
def world(bank, tmp_path_factory):
    """The bank as files, and the database of a plain run of them."""
    folder = tmp_path_factory.mktemp("world")
    bank.transactions.write_parquet(folder / "feed.parquet")
    bank.parties.write_csv(folder / "parties.csv")
    rows = lines(bank.transactions)
    ndjson(folder / "feed.ndjson", rows)
    db = url(folder)
    summary = run(db, folder / "feed.parquet", parties=folder / "parties.csv")
    return SimpleNamespace(
        folder=folder, db=db, summary=summary, rows=rows, parties=folder / "parties.csv", feed=folder / "feed.parquet"
    )


def test_a_feed_becomes_alerts(world, bank):
    told = world.summary
    assert (told.read, told.scored, told.duplicates, told.rejected) == (bank.transactions.height,) * 2 + (0, {})
    assert told.not_booked == bank.transactions.filter(pl.col("status").fill_null("booked") != "booked").height
    assert told.own_account > 0
    alerts = exported(world.db)
    assert told.alerts == len(alerts) > 10
    assert told.findings == len(current(world.db)) > told.near_misses > 0
    families = {reason["family"] for alert in alerts for reason in alert["reasons"]}
    assert families >= {"structuring", "layering"}
    planted = set(bank.truth["transaction_id"])
    named = [{i for reason in a["reasons"] for f in reason["findings"] for i in f["transaction_ids"]} for a in alerts]
    assert sum(bool(ids & planted) for ids in named) > 0.8 * len(alerts)


def test_the_evidence_of_every_finding_is_kept_whole(world):
    named = {name for (name,) in asked(world.db, "SELECT DISTINCT transaction_id FROM finding_transactions")}
    kept = {name: json.loads(text) for name, text in asked(world.db, "SELECT transaction_id, record FROM evidence")}
    assert named == kept.keys()
    sent = {row["transaction_id"]: row for row in world.rows}
    for name, record in kept.items():
        assert record.get("originator_account") == sent[name].get("originator_account")
        assert record["amount"] == round(float(sent[name]["amount"]) * 100)
        assert record["file"] == str(world.feed)
        assert world.rows[record["place"] - 1]["transaction_id"] == name
        assert len(record["content_hash"]) == 32
        assert "received_at" in record


def test_a_path_is_told_hop_by_hop(world):
    paths = asked(world.db, "SELECT path FROM findings WHERE rule = 'layering-chain' AND state = 'current'")
    assert paths
    sent = {row["transaction_id"]: row for row in world.rows}
    for (text,) in paths:
        hops = json.loads(text)
        assert len(hops) >= 3
        for (_, _, paid, _, at), (_, pays, _, _, later) in itertools.pairwise(hops):
            assert paid == pays
            assert at <= later
        assert [hop[3] for hop in hops] == [round(float(sent[hop[0]]["amount"]) * 100) for hop in hops]


def test_the_archive_holds_what_was_accepted_with_its_lineage(world):
    kept = archived(world.db)
    assert kept["transaction_id"].to_list() == [row["transaction_id"] for row in world.rows]
    assert kept["place"].to_list() == list(range(1, len(world.rows) + 1))
    assert set(kept["file"]) == {str(world.feed)}
    assert kept.select(pl.struct("content_hi", "content_lo").n_unique()).item() == kept.height


def test_the_same_feed_again_changes_nothing(world):
    tables = ["findings", "alerts", "history", "evidence", "checkpoints", "state_files", "progress", "counters"]
    before = [exported(world.db, whole=True), *(asked(world.db, f"SELECT * FROM {table}") for table in tables)]
    files = sorted(path.name for path in (world.folder / "aml.db.state").iterdir())
    again = run(world.db, world.feed, parties=world.parties)
    assert (again.scored, again.duplicates) == (0, again.read)
    told = world.summary
    assert (again.findings, again.alerts, again.near_misses) == (told.findings, told.alerts, told.near_misses)
    assert [exported(world.db, whole=True), *(asked(world.db, f"SELECT * FROM {table}") for table in tables)] == before
    assert sorted(path.name for path in (world.folder / "aml.db.state").iterdir()) == files


@pytest.mark.parametrize("form", ["ndjson", "ndjson.gz", "csv", "csv.gz", "stdin"])
def test_every_format_gives_the_same_alerts(world, bank, tmp_path, monkeypatch, form):
    path = tmp_path / f"feed.{form}"
    text = "".join(json.dumps(row) + "\n" for row in world.rows)
    if "csv" in form:
        when = pl.col("executed_at").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
        text = bank.transactions.with_columns(when).write_csv()
    if form == "stdin":
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(text.encode()))))
        path = "-"
    else:
        path.write_bytes(gzip.compress(text.encode()) if form.endswith("gz") else text.encode())
    told = run(url(tmp_path), path, parties=world.parties)
    assert told.scored == world.summary.scored
    assert exported(url(tmp_path)) == exported(world.db)


@pytest.mark.parametrize("size", [97, 1_000])
def test_batches_decide_nothing(world, tmp_path, monkeypatch, size):
    monkeypatch.setattr(feeds_module, "BATCH", size)
    run(url(tmp_path), world.feed, parties=world.parties)
    assert current(url(tmp_path)) == current(world.db)
    assert exported(url(tmp_path)) == exported(world.db)


def shuffled_within(frame, minutes, seed=1):
    held_back = pl.int_range(pl.len()).shuffle(seed) * (minutes * 60_000_000) // pl.len()
    return frame.sort(pl.col("executed_at").dt.epoch("us") + held_back)


def test_disorder_decides_nothing(world, bank, tmp_path):
    shuffled_within(bank.transactions, 5 * 24 * 60).write_parquet(tmp_path / "days.parquet")
    come = run(url(tmp_path, "a.db"), tmp_path / "days.parquet", parties=world.parties, as_arrived=True)
    assert come.late > 0
    assert current(url(tmp_path, "a.db")) == current(world.db)
    bank.transactions.sample(fraction=1.0, shuffle=True, seed=2).write_parquet(tmp_path / "any.parquet")
    read = run(url(tmp_path, "b.db"), tmp_path / "any.parquet", parties=world.parties)
    assert (read.late, read.scored) == (0, world.summary.scored)
    assert exported(url(tmp_path, "b.db")) == exported(world.db)


def test_a_text_in_disorder_is_read_twice_and_counted_once(world, tmp_path, monkeypatch):
    monkeypatch.setattr(feeds_module, "BATCH", 200)
    half = len(world.rows) // 2
    rows = [*world.rows[half:], *world.rows[:half], {"transaction_id": "T"}]
    told = run(url(tmp_path), ndjson(tmp_path / "feed.ndjson", rows), parties=world.parties)
    assert (told.read, told.scored, told.late, told.rejected) == (len(rows), len(rows) - 1, 0, {"field_missing": 1})
    assert exported(url(tmp_path)) == exported(world.db)
    assert archived(url(tmp_path)).height == len(rows) - 1


def test_records_that_come_several_times_count_once(world, tmp_path):
    rows = [row for n, row in enumerate(world.rows) for _ in range(1 + n % 3)]
    told = run(url(tmp_path), ndjson(tmp_path / "feed.ndjson", rows), parties=world.parties)
    assert (told.scored, told.duplicates) == (len(world.rows), len(rows) - len(world.rows))
    assert exported(url(tmp_path)) == exported(world.db)


@pytest.fixture(scope="module")
def halves(world, bank, tmp_path_factory):
    """The bank cut in two files that overlap by three days."""
    folder = tmp_path_factory.mktemp("halves")
    at, middle = bank.transactions["executed_at"], bank.transactions["executed_at"].median()
    near = ((at - middle).dt.total_hours().abs() < 36) & (pl.int_range(at.len(), eager=True) % 2 == 1)
    first = (at < middle) ^ near
    bank.transactions.filter(first).write_parquet(folder / "a.parquet")
    bank.transactions.filter(~first).write_parquet(folder / "b.parquet")
    return folder / "a.parquet", folder / "b.parquet"


def test_one_file_after_the_other_is_both_together(world, halves, tmp_path):
    first, second = halves
    one = run(url(tmp_path, "one.db"), first, parties=world.parties)
    two = run(url(tmp_path, "one.db"), second, parties=world.parties)
    assert two.late > 0
    assert one.scored + two.scored == world.summary.scored
    assert current(url(tmp_path, "one.db")) == current(world.db)
    assert exported(url(tmp_path, "one.db")) == exported(world.db)
    both = run(url(tmp_path, "both.db"), second, first, parties=world.parties)
    assert (both.scored, both.late) == (world.summary.scored, 0)
    assert exported(url(tmp_path, "both.db")) == exported(world.db)


def test_checkpoints_on_the_way_decide_nothing(world, tmp_path):
    run(url(tmp_path), world.feed, parties=world.parties, checkpoint_rows=1)
    assert current(url(tmp_path)) == current(world.db)
    assert exported(url(tmp_path)) == exported(world.db)


def test_what_came_too_late_is_kept_and_said(world, bank, tmp_path):
    db, newest = url(tmp_path), bank.transactions["executed_at"].max()
    young = bank.transactions["executed_at"].dt.epoch("us") > newest.timestamp() * 1e6 - 5 * DAY
    bank.transactions.filter(young).write_parquet(tmp_path / "young.parquet")
    run(db, tmp_path / "young.parquet")
    told = run(db, world.feed, lateness=2 * DAY)
    late = told.rejected["too_late"]
    assert told.read == told.scored + told.duplicates + late
    assert any(f"{late:,} records before " in m and "run the files together" in m for m in told.messages)
    before = next(m for m in told.messages if " before " in m).split(" before ")[1][:10]
    letters = asked(db, "SELECT code, place, original FROM dead_letters ORDER BY place")
    assert len(letters) == late
    for code, place, original in letters:
        assert code == "too_late"
        sent = world.rows[place - 1]
        assert json.loads(original)["transaction_id"] == sent["transaction_id"]
        assert sent["executed_at"] < before
    again = run(db, world.feed, lateness=2 * DAY)
    assert len(asked(db, "SELECT 1 FROM dead_letters")) == late == again.rejected["too_late"]


def test_a_shorter_lateness_may_not_grow(world, tmp_path):
    run(url(tmp_path), world.feed, lateness=2 * DAY)
    with pytest.raises(AmlError, match=r"was filled with a shorter one \(48h\): give that, or another --db"):
        run(url(tmp_path), world.feed)


def test_another_profile_is_refused(world):
    with pytest.raises(AmlError, match="was filled under the profile us: give --profile us, or another --db"):
        run(world.db, world.feed, profile="ca")


def payment(name, at, **fields):
    base = {
        "transaction_id": name, "executed_at": at, "amount": "500.00", "currency": "USD", "instrument": "wire",
        "originator_account": "A", "beneficiary_account": "B",
    }  # fmt: skip
    return {key: value for key, value in (base | fields).items() if value is not None}


def moment(hour):
    return f"2026-03-{2 + hour // 24:02d}T{hour % 24:02d}:00:00Z"


ACTS = [
    payment("T1", moment(0)),
    payment("T1", moment(0), revision=2, amount="600.00"),
    payment("T2", moment(1)),
    {"transaction_id": "T2", "void": True, "originator_account": "A"},
    payment("T3", moment(2)),
    payment("T4", moment(3), relates_to="T3", relation="reversal", originator_account="B", beneficiary_account="A"),
    payment("T5", moment(4), status="pending"),
    payment("T6", moment(5), beneficiary_account="A"),
    payment("T7", moment(6), batch_lump=True),
    payment("T8", moment(7), beneficiary_account=None, instrument="cash"),
    payment("T9", moment(8), originator_country="Utopia"),
    payment("T9", moment(8), originator_country="Utopia"),
    payment("T9", moment(8), amount="1.00"),
    payment("T10", moment(9), amount="-1"),
]


def test_every_act_is_counted_and_scores_are_of_what_stands(tmp_path):
    path = ndjson(tmp_path / "acts.ndjson", ACTS)
    told = run(url(tmp_path), path, scores_out=tmp_path / "scores.parquet")
    assert (told.read, told.scored, told.duplicates) == (14, 11, 1)
    assert told.rejected == {"amount_negative": 1, "conflict": 1}
    assert (told.superseded, told.voided, told.not_booked, told.own_account) == (1, 1, 1, 1)
    assert any(m.startswith("fields that could not be read") and "originator_country 2" in m for m in told.messages)
    scores = pl.read_parquet(tmp_path / "scores.parquet")
    assert scores.schema == {
        "transaction_id": pl.String, "score": pl.Float64, "anomaly": pl.Float64, "rules": pl.List(pl.String),
    }  # fmt: skip
    anomaly = dict(scores.select("transaction_id", "anomaly").rows())
    assert sorted(anomaly) == ["T1", "T3", "T4", "T5", "T6", "T7", "T8", "T9"]
    assert {name for name, value in anomaly.items() if value is None} == {"T3", "T4", "T5", "T6", "T7"}
    assert scores["score"].is_between(0, 1).all()
    letters = asked(url(tmp_path), "SELECT code, source, place, original FROM dead_letters ORDER BY place")
    sent = path.read_bytes().splitlines()
    assert letters == [("conflict", "acts.ndjson", 13, sent[12]), ("amount_negative", "acts.ndjson", 14, sent[13])]
    run(url(tmp_path), path)
    assert len(asked(url(tmp_path), "SELECT 1 FROM dead_letters")) == 2


def test_a_currency_without_rates_is_said_and_given_rates_is_scored(tmp_path):
    path = ndjson(tmp_path / "feed.ndjson", [payment("T1", moment(0), currency="EUR"), payment("T2", moment(1))])
    told = run(url(tmp_path), path)
    assert (told.scored, told.rejected) == (1, {"no_rate": 1})
    assert told.messages == (
        "1 record is in a currency without a rate of the 7 days before: give dated rates with --rates FILE",
    )
    (tmp_path / "rates.csv").write_text("date,currency,rate\n2026-03-01,EUR,1.1\n")
    told = run(url(tmp_path), path, rates=tmp_path / "rates.csv")
    assert (told.scored, told.duplicates, told.rejected) == (1, 1, {})
    assert archived(url(tmp_path))["debit_value"].to_list() == [50_000, 55_000]


def test_acts_in_a_later_file_count_where_they_stand(tmp_path):
    first, second = ndjson(tmp_path / "a.ndjson", [ACTS[0], ACTS[2]]), ndjson(tmp_path / "b.ndjson", [ACTS[1], ACTS[3]])
    assert run(url(tmp_path), first).superseded == 0
    told = run(url(tmp_path), second, scores_out=tmp_path / "scores.parquet")
    assert (told.scored, told.superseded, told.voided) == (2, 0, 0)
    assert pl.read_parquet(tmp_path / "scores.parquet")["transaction_id"].to_list() == ["T1"]
    counted = dict(asked(url(tmp_path), "SELECT name, value FROM counters WHERE institution = 'all'"))
    assert (counted["superseded"], counted["voided"]) == (1, 1)


def test_scores_rank_and_do_not_depend_on_arrival(world, bank, tmp_path):
    run(url(tmp_path, "a.db"), world.feed, parties=world.parties, scores_out=tmp_path / "a.parquet")
    shuffled_within(bank.transactions, 300).write_parquet(tmp_path / "hours.parquet")
    settings = {"parties": world.parties, "as_arrived": True, "scores_out": tmp_path / "b.parquet"}
    run(url(tmp_path, "b.db"), tmp_path / "hours.parquet", **settings)
    a, b = (pl.read_parquet(tmp_path / name).sort("transaction_id") for name in ("a.parquet", "b.parquet"))
    assert a.equals(b)
    assert a.height == world.summary.scored
    assert a["score"].n_unique() > a.height / 2
    hit = a.filter(pl.col("rules").list.len() > 0).select("transaction_id", "rules").explode("rules")
    named = asked(world.db, """SELECT finding_id, transaction_id, rule FROM finding_transactions
        JOIN findings USING (finding_id, version) WHERE state = 'current' AND family <> 'model'""")
    findings = {finding for finding, _, _ in named}
    assert {finding for finding, name, rule in named if (name, rule) in set(hit.rows())} == findings
    planted = set(bank.truth["transaction_id"])
    top = a.sort("score", descending=True).head(a.height // 100)["transaction_id"].to_list()
    assert sum(name in planted for name in top) > len(top) / 3


def test_two_institutions_do_not_meet(world, bank, tmp_path):
    bank.transactions.with_columns(pl.lit("other").alias("institution")).write_parquet(tmp_path / "other.parquet")
    db = url(tmp_path)
    run(db, world.feed, tmp_path / "other.parquet")
    alerts = exported(db)
    told = Counter(alert["institution"] for alert in alerts)
    assert told["main"] == told["other"] > 0


AMLWORLD = """Timestamp,From Bank,Account,To Bank,Account,Amount Received,Receiving Currency,Amount Paid,\
Payment Currency,Payment Format,Is Laundering
2022/09/01 00:20,010,8000EBD30,010,8000EBD30,3697.34,US Dollar,3697.34,US Dollar,Reinvestment,0
2022/09/01 00:20,03208,8000F4580,001,8000F5340,0.01,US Dollar,0.01,US Dollar,Cheque,0
2022/09/01 00:20,03208,8000F4580,001,8000F5340,0.01,US Dollar,0.01,US Dollar,Cheque,0
2022/09/01 00:00,012,8000F6C40,012,8000F7040,100.00,Euro,100.00,Euro,Wire,1
"""
AMLSIM = """tran_id,orig_acct,bene_acct,tx_type,base_amt,tran_timestamp,is_sar,alert_id
1,100,200,TRANSFER,250.50,2017-01-01T00:00:00Z,False,-1
2,200,300,TRANSFER,240.00,2017-01-01T00:00:00Z,True,7
"""


@pytest.mark.parametrize(
    ("text", "institution", "records", "own"), [(AMLWORLD, "amlworld", 4, 1), (AMLSIM, "amlsim", 2, 0)]
)
def test_public_sets_are_read_as_they_are(tmp_path, text, institution, records, own):
    """Their name is the institution, their rates ship; read again, all of it is known."""
    path = tmp_path / "set.csv"
    path.write_text(text)
    told = run(url(tmp_path), path)
    assert (told.read, told.scored, told.own_account, told.rejected) == (records, records, own, {})
    kept = archived(url(tmp_path))
    assert set(kept["institution"]) == {institution}
    assert kept["transaction_id"].n_unique() == records
    assert run(url(tmp_path), path).duplicates == records
    assert run(url(tmp_path, "own.db"), path, institution="mine").scored == records
    assert set(archived(url(tmp_path, "own.db"))["institution"]) == {"mine"}


def test_an_empty_feed_is_no_error(tmp_path):
    path = tmp_path / "empty.ndjson"
    path.touch()
    told = run(url(tmp_path), path, scores_out=tmp_path / "scores.parquet")
    assert (told.read, told.scored, told.alerts, told.rejected) == (0, 0, 0, {})
    assert pl.read_parquet(tmp_path / "scores.parquet").height == 0
    assert run(url(tmp_path), path).read == 0


def test_progress_is_told(world, tmp_path, monkeypatch):
    monkeypatch.setattr(feeds_module, "BATCH", 500)
    told = []
    settings = flow_factory.RunSettings(feeds=(str(world.feed),), db=url(tmp_path))
    flow_factory.run_feeds(settings, lambda read, share: told.append((read, share)))
    assert told == sorted(told)
    assert told[-1] == (world.summary.read, 1.0)
    assert len(told) > 5
