"""Rankings and alerts judged against planted truth."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from aml.learn.evaluate import average_precision, evaluate, top
from aml.learn.outcome import HOUR, MONTH, Planted, Population, Raised, judge, top_transactions

NOBODY = Population({}, 0)


def test_average_precision_equals_scikit_learns():
    rng = np.random.default_rng(0)
    for ties in (1, 5, 1_000_000):
        scores = np.floor(rng.random(500) * ties)
        positive = rng.random(500) < 0.1
        assert average_precision(scores, positive) == pytest.approx(average_precision_score(positive, scores))


def test_average_precision_without_positives_is_nothing():
    assert average_precision(np.arange(3.0), np.zeros(3, np.bool_)) == 0.0


def test_the_top_rounds_up_and_never_takes_a_row_without_score():
    scores = np.array([0.5, np.nan, 0.9, 0.1, np.nan])
    assert list(np.flatnonzero(top(scores, 0.01))) == [2]
    assert list(np.flatnonzero(top(scores, 1.0))) == [0, 2, 3]


def test_recall_and_attempts_by_typology():
    scores = np.arange(1000.0, 0.0, -1.0)
    attempt = [""] * 1000
    typology = [""] * 1000
    for i, (t, a) in {0: ("fan", "f1"), 1: ("fan", "f1"), 400: ("fan", "f1"), 7: ("chain", "c1"), 500: ("chain", "c1"),
                      600: ("chain", "c1"), 2: ("chain", "tiny")}.items():
        typology[i], attempt[i] = t, a
    found = evaluate(scores, typology, attempt)
    assert found.whole.rows == 7 and found.whole.attempts == 3
    assert found.whole.recall == (1 / 7, 3 / 7, 4 / 7)
    assert found.whole.touched == (1, 2, 3)
    shaped = [(y.typology, y.rows, y.touched) for y in found.typologies]
    assert shaped == [("chain", 3, (0, 0, 1)), ("fan", 3, (1, 1, 1))]
    assert found.small.attempts == 1 and found.small.rows == 1
    assert found.precision == (1.0, 0.6, 0.4)


def test_attempts_of_two_rows_stand_apart_and_of_three_do_not():
    found = evaluate(np.arange(10.0), ["a"] * 5 + [""] * 5, ["two"] * 2 + ["three"] * 3 + [""] * 5)
    assert found.small.attempts == 1 and found.small.rows == 2
    assert [(y.attempts, y.rows) for y in found.typologies] == [(1, 3)]


def planted(attempt, *hours, typology="chain"):
    return [Planted(f"{attempt}-{h}", typology, attempt, h * HOUR) for h in hours]


def test_alerts_are_matched_with_attempts():
    truth = planted("a", 0, 5, 9) + planted("b", 2, 3, 4) + planted("tiny", 1, typology="fan")
    alerts = [
        Raised("late", 30 * HOUR, ("a-9", "x")),
        Raised("soon", 6 * HOUR, ("a-0", "a-5", "tiny-1")),
        Raised("wrong", 7 * HOUR, ("x", "y")),
    ]
    found = judge(alerts, truth, Population({"person": 2_000}, round(MONTH / 2)), frozenset({"b-3"}))
    by_name = {a.attempt: a for a in found.attempts}
    assert by_name["a"].alerts == ("late", "soon") and by_name["a"].hours == 6.0 and by_name["a"].in_top is False
    assert by_name["b"].alerts == () and by_name["b"].hours is None and by_name["b"].in_top is True
    assert (found.whole.attempts, found.whole.found, found.whole.covered) == (2, 1, 2)
    assert (found.small.attempts, found.small.found) == (1, 1)
    assert [t.typology for t in found.typologies] == ["chain"]
    assert found.cost.alerts == 3 and found.cost.on_none == 1
    assert found.cost.per_1000_customers_month == pytest.approx(1.0)
    assert found.cost.hours_per_1000_customers_month == pytest.approx(25 / 60)


def test_an_alert_that_was_open_before_finds_at_once():
    found = judge([Raised("open", 0, ("a-5",))], planted("a", 5, 6, 7), NOBODY)
    assert found.whole.median_hours == 0.0
    assert found.whole.in_top is None and found.whole.covered is None


def test_an_alert_of_models_alone_is_not_found_by_rules():
    alerts = [Raised("model", 9 * HOUR, ("a-5",), ()), Raised("rule", 20 * HOUR, ("a-5", "b-1"), ("b-1",))]
    found = judge(alerts, planted("a", 5, 6, 7) + planted("b", 1, 2, 3), NOBODY)
    assert [(a.found, a.alerts, a.hours) for a in found.attempts] == [
        (False, ("model", "rule"), None), (True, ("rule",), 19.0)
    ]


def test_the_cost_is_told_by_kind_of_customer():
    alerts = [Raised("p", 0, ("x",), kind="person"), Raised("b", 0, ("y",), kind="business"),
              Raised("hit", 0, ("a-1",), kind="business"), Raised("?", 0, ("z",))]
    found = judge(alerts, planted("a", 1, 2, 3), Population({"person": 1_000, "business": 500}, round(MONTH)))
    costs = {c.kind: (c.customers, c.alerts, c.on_none) for c in (*found.kinds, found.cost)}
    assert costs == {"person": (1_000, 1, 1), "business": (500, 2, 1), "": (1_500, 4, 3)}
    assert found.kinds[1].per_1000_customers_month == pytest.approx(2.0)


def test_the_first_month_of_a_feed_is_told_apart():
    day = 24 * HOUR
    alerts = [Raised(str(k), k * day, ("x",)) for k in (100, 101, 129, 130, 159)]
    found = judge(alerts, [], Population({"person": 1_000}, 60 * day, 100 * day))
    assert found.cost.per_1000_customers_month == pytest.approx(5 / (60 * day / MONTH))
    assert found.cost.settled_per_1000_customers_month == pytest.approx(2 / (30 * day / MONTH))
    short = judge(alerts, [], Population({"person": 1_000}, 30 * day, 100 * day))
    assert short.cost.settled_per_1000_customers_month is None


def test_the_size_of_an_attempt_is_that_of_its_shape():
    truth = [Planted(f"t{k}", "kept_under", "k", None, shape_rows=2) for k in range(5)]
    found = judge([Raised("one", 5, ("t0",))], truth, NOBODY)
    assert (found.small.attempts, found.small.found, found.whole.attempts) == (1, 1, 0)
    assert found.attempts[0].rows == 2 and found.attempts[0].hours is None


def test_nothing_planted_and_nothing_raised_is_no_error():
    found = judge([], [], NOBODY)
    assert found.whole.attempts == 0 and found.cost.per_1000_customers_month is None
    assert found.as_json()["cost"]["alerts"] == 0


def test_top_transactions_are_of_all_that_were_scored():
    assert top_transactions(["a", "b", "c"], np.array([0.1, np.nan, 0.9]), 0.3) == frozenset({"c"})
