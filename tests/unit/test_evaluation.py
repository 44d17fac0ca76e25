"""The database and the truth brought together: what `aml evaluate` tells."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from aml.cli import app
from aml.domain.errors import AmlError
from aml.domain.finding import Family
from aml.engine.engine import LegRows
from aml.engine.layout import DAY
from aml.pipeline.census import Census
from aml.pipeline.evaluation import evaluate_database, read_truth
from aml.store.database import open_database
from tests.store_factory import T0, finding, put

HOUR = 3_600_000_000
NAMES = ("transaction_id", "typology", "attempt", "executed_at", "shape_rows")


def moment(hours):
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (epoch + dt.timedelta(microseconds=T0 + hours * HOUR)).isoformat()


def truth_rows():
    rows = [(f"chain-{k}", "chain", "A1", moment(k), 3) for k in range(3)]
    rows += [(f"fan-{k}", "fan_in", "A2", moment(2 * k), 4) for k in range(4)]
    rows += [(f"tiny-{k}", "fan_in", "A3", moment(1), 1) for k in range(2)]
    return rows


@pytest.fixture
def truth(tmp_path):
    path = tmp_path / "truth.csv"
    pl.DataFrame(truth_rows(), schema=NAMES, orient="row").write_csv(path)
    return path


@pytest.fixture
def scores(tmp_path):
    """1,000 scored transactions; the five strangest are ordinary but for one of the fan."""
    path = tmp_path / "scores.parquet"
    ids = ["fan-2", *(f"x{k}" for k in range(993)), "chain-0", "chain-1", "chain-2", "fan-0", "fan-1", "fan-3"]
    anomaly = [0.999 - k / 1_100 for k in range(len(ids) - 1)] + [None]
    pl.DataFrame({"transaction_id": ids, "score": anomaly, "anomaly": anomaly}).write_parquet(path)
    return path


@pytest.fixture
def url(tmp_path):
    address = f"sqlite:///{tmp_path / 'aml.db'}"
    database = open_database(address)
    person, company = ({"parameters": {"segment": name}} for name in ("person", "business"))
    put(
        database,
        finding("layering-chain", "C1", transaction_ids=("chain-1", "chain-2"), opened_at=T0 + 5 * HOUR, **person),
        finding("layering-fan-in", "C2", transaction_ids=("x1", "x2"), **company),
        finding("other", "C3", transaction_ids=("x3",), **person),
        finding("peer-tails", "C4", family=Family.MODEL, transaction_ids=("fan-3",), **person),
        finding("near", "C5", opens=False, transaction_ids=("fan-0",), **person),
        # A model opened this alert; the rule only supports it.
        finding("peer-tails", "C6", family=Family.MODEL, transaction_ids=("x9",), **person),
        finding("near", "C6", opens=False, transaction_ids=("fan-1",), **person),
    )
    with database.begin() as uow:
        uow.runs.set_counters("main", {"customers:person": 400, "customers:business": 100, "span": 730 * HOUR})
    database.close()
    return address


def test_alerts_and_scores_are_judged_together(url, truth, scores):
    found = evaluate_database(url, truth, scores)
    told = {a.attempt: (a.rows, a.found, len(a.alerts), a.hours, a.in_top) for a in found.attempts}
    assert told == {
        "A1": (3, True, 1, 5.0, False), "A2": (4, False, 2, None, True), "A3": (1, False, 0, None, False)
    }  # fmt: skip
    assert (found.whole.attempts, found.whole.found, found.whole.covered) == (2, 1, 2)
    assert found.small.attempts == 1
    assert found.ranking is not None and found.ranking.whole.recall[1] == pytest.approx(1 / 7)


def test_the_cost_is_by_kind_and_month(url, truth):
    found = evaluate_database(url, truth)
    by_kind = {c.kind: (c.customers, c.alerts, c.on_none) for c in found.kinds}
    assert by_kind == {"person": (400, 4, 1), "business": (100, 1, 1)}
    assert found.cost.on_none == 2
    assert found.cost.per_1000_customers_month == pytest.approx(4.0, rel=0.01)
    assert found.ranking is None and found.whole.in_top is None


def test_a_truth_may_say_no_more_than_it_must(url, truth, tmp_path):
    short = tmp_path / "short.ndjson"
    pl.read_csv(truth).select("transaction_id", "typology", "attempt").write_ndjson(short)
    found = evaluate_database(url, short)
    assert {a.attempt: (a.rows, a.found, a.hours) for a in found.attempts} == {
        "A1": (3, True, None), "A2": (4, False, None), "A3": (2, False, None)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("transaction_id,attempt\na,b\n", "no column typology; found transaction_id, attempt"),
        ("transaction_id,typology,attempt\na,b,\n", "attempt: missing in row 1"),
        ("transaction_id,typology,attempt,executed_at\na,b,c,yesterday\n", "executed_at: not all are RFC 3339"),
    ],
)
def test_a_defective_truth_is_one_clear_line(tmp_path, text, message):
    path = tmp_path / "truth.csv"
    path.write_text(text)
    with pytest.raises(AmlError, match=message) as raised:
        read_truth(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_a_missing_truth_or_database_is_named(url, tmp_path, truth):
    with pytest.raises(AmlError, match=r"none\.csv: does not exist"):
        read_truth(tmp_path / "none.csv")
    with pytest.raises(AmlError, match="does not exist"):
        evaluate_database(f"sqlite:///{tmp_path / 'none.db'}", truth)


def test_the_command_tells_it_in_tables(url, truth, scores):
    result = CliRunner().invoke(app, ["evaluate", url, str(truth), "--scores", str(scores), "--attempts"])
    assert result.exit_code == 0, result.output
    words = result.stdout
    assert "5 alerts, 2 of them name nothing that was planted" in words
    for piece in ("person", "business", "recall in top 0.5 %", "A2", "missed", "5 h", "1-2 rows"):
        assert piece in words, piece


def step_of(first, t, debit, credit, rows):
    """A step of new movements; rows: (transaction, side, segment of the debit's holder, of the credit's)."""
    columns = {"t": np.array(t, np.int64), "debit_holder": np.array(debit), "credit_holder": np.array(credit)}
    tx, side, sender, receiver = np.array(rows, np.int64).reshape(-1, 4).T
    legs = LegRows(np.zeros((tx.size, 18)), tx, side, sender, receiver)
    return SimpleNamespace(
        arrivals=SimpleNamespace(columns=columns, first_transaction=first), applied=SimpleNamespace(rows=legs)
    )


def book_of(*places, ours=None):
    texts = pl.DataFrame({"institution": [a for a, _ in places], "party_institution": [b for _, b in places]})
    mine = np.ones(len(places), np.bool_) if ours is None else np.array(ours)

    class Book:
        """As much of a holder book as the census reads."""

        def __len__(self):
            return len(places)

    book = Book()
    book.texts, book.ours = SimpleNamespace(frame=texts), mine
    return book


def test_the_census_counts_customers_by_their_latest_kind():
    seen = Census()
    first = [(0, 1, 0, 0), (0, 0, 0, 0), (1, 1, 0, 1), (1, 0, 0, 1), (2, 0, 0, 0)]
    seen.step(step_of(0, [0, 10 * DAY, 10 * DAY], [0, 1, 1], [1, 2, 4], first))
    again = Census()
    again.restore(seen.state())
    # Holder 0 became a business; holder 1's older leg, run again, says nothing new, nor does one that came late.
    again.step(step_of(3, [20 * DAY, 5 * DAY, DAY], [0, 2, 2], [3, 1, 1], [
        (3, 1, 1, 0), (3, 0, 1, 0), (0, 0, 0, 1), (4, 0, 0, 1)
    ]))  # fmt: skip
    book = book_of(("main", "main"), ("main", "main"), ("other", "other"), ("main", "main"), ("main", "far"))
    assert again.counters(book) == {
        "main": {"customers:person": 2, "customers:business": 1, "begun": 0, "span": 21 * DAY},
        "other": {"customers:person": 0, "customers:business": 1, "begun": 0, "span": 21 * DAY},
    }
    mine = [True, False, False, False, False]
    assert set(again.counters(book_of(*[("main", "main")] * 5, ours=mine))) == {"main"}


def test_the_span_leaves_strays_out():
    seen = Census()
    t = [0, *(1_000 * DAY + k * DAY // 100 for k in range(3_000)), 9_000 * DAY]
    seen.step(step_of(0, t, [0] * len(t), [1] * len(t), [(1, 1, 0, 0)]))
    told = seen.counters(book_of(("main", "main")))["main"]
    assert (told["begun"], told["span"]) == (1_000 * DAY, 30 * DAY)
    assert Census().counters(book_of(("main", "main"))) == {}
