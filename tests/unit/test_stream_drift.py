"""What the metrics say of the data: shares of missing fields, stability of scores and features."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from aml.engine.engine import LegRows
from aml.metrics import WORKER, Metrics
from aml.stream.drift import MOST, Drift, sampled
from aml.stream.missing import FIELDS, HOURS, Missing, Window, nulls
from tests.learn_factory import random_legs, trained


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self):
        return self.now


def pieces(legs, n=MOST):
    for start in range(0, legs.size, n):
        yield legs.take(np.arange(start, min(start + n, legs.size)))


def drifted(models, legs, clock=None):
    drift = Drift(models, clock or Clock())
    metrics = Metrics(WORKER)
    for piece in pieces(legs):
        drift.take(piece)
    drift.tell(metrics)
    return drift, metrics


def test_data_like_the_training_are_stable_and_others_are_named():
    models = trained()
    same, metrics = drifted(models, random_legs(4_000, seed=9))
    assert set(same.scores()) == {"peer-tails", "isolation-forest"}
    assert max(same.scores().values()) < 0.05
    assert max(same.features().values()) < 0.05
    assert metrics.registry.get_sample_value("aml_model_score_psi", {"model": "peer-tails"}) == pytest.approx(
        same.scores()["peer-tails"]
    )
    other, _ = drifted(models, random_legs(4_000, seed=9, strange=600))
    assert min(other.scores().values()) > 0.25


def test_little_data_say_nothing_and_a_day_later_neither():
    models, clock = trained(), Clock()
    few, metrics = drifted(models, random_legs(600))
    assert few.scores() == {} and few.features() == {}
    assert metrics.registry.get_sample_value("aml_model_score_psi", {"model": "peer-tails"}) is None
    many, _ = drifted(models, random_legs(4_000), clock)
    assert many.scores()
    clock.now += (HOURS + 1) * 3600
    assert many.scores() == {}


def test_what_waits_is_bounded_by_the_newest():
    drift = Drift(trained(), Clock())
    sample = next(pieces(random_legs(MOST)))
    for _ in range(10_000):
        drift.take(sample)
    assert len(drift._waiting) == 128


@pytest.mark.parametrize("n", [0, 1, MOST, MOST + 1, 1_000, 12_345])
def test_a_sample_is_small_and_spread_over_all(n):
    legs = np.arange(n)
    rows = LegRows(np.zeros((n, 18)), legs.astype(np.int32), legs % 2, np.zeros(n, np.int8), np.zeros(n, np.int8))
    sample = sampled(rows, np.arange(n, dtype=np.uint8))
    assert min(n, MOST // 2) <= sample.size <= MOST
    if n > MOST:
        assert sample.transaction[-1] > n * 0.9


def test_missing_fields_are_counted_and_forgotten_after_a_day():
    clock = Clock()
    missing = Missing(clock)
    assert missing.ratios() == {}
    rows = pl.DataFrame({"purpose": ["a", None, None], "device": ["d", "d", "d"]})
    found = nulls(rows)
    assert found["purpose"] == 2 and "device" not in found and found["merchant"] == 3
    missing.add(3, found)
    missing.add(1, {})
    ratios = missing.ratios()
    assert ratios["purpose"] == 0.5 and ratios["device"] == 0.0 and ratios["merchant"] == 0.75
    assert set(ratios) == set(FIELDS)
    clock.now += HOURS * 3600
    assert missing.ratios() == {}


def test_a_window_holds_a_day_to_the_hour():
    clock = Clock()
    window = Window(1, clock)
    for hour in range(3 * HOURS):
        clock.now = hour * 3600.0
        window.add(np.array([1]))
    assert window.sum().tolist() == [HOURS]
