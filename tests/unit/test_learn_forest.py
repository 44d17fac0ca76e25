"""The compiled walk against scikit-learn and against recursion."""

from __future__ import annotations

import numpy as np
import pytest

from aml.learn.forest import BLOCK, strangeness
from aml.learn.grow import average_path, fit_forest
from tests.learn_factory import slow_average, slow_path


def rows(n, seed=0, features=18):
    rng = np.random.default_rng(seed)
    found = rng.exponential(size=(n, features)).astype(np.float32)
    found[:, ::3] = np.floor(found[:, ::3])  # ties on thresholds' sides
    return found


@pytest.mark.parametrize(("trees", "sample"), [(1, 256), (25, 64), (10, 2), (10, 100)])
def test_equals_scikit_learn_to_a_billionth(trees, sample):
    seen = rows(2 * BLOCK + 13, seed=3)
    forest, model = fit_forest(rows(1_000), trees, sample, seed=4)
    assert np.abs(strangeness(forest, seen) + model.score_samples(seen)).max() < 1e-9


def test_equals_scikit_learn_where_a_value_lies_on_a_threshold():
    forest, model = fit_forest(rows(1_000), 10, 128, seed=4)
    seen = rows(64, seed=5)
    for k, estimator in enumerate(model.estimators_):
        tree = estimator.tree_
        for n in np.flatnonzero(tree.children_left >= 0)[:6]:
            near = np.float32(tree.threshold[n])
            seen[(6 * k + n) % 64, tree.feature[n]] = near
            seen[(6 * k + n + 1) % 64, tree.feature[n]] = np.nextafter(near, np.float32(np.inf))
    assert np.abs(strangeness(forest, seen) + model.score_samples(seen)).max() < 1e-9


def test_equals_recursion():
    forest, model = fit_forest(rows(300), 5, 64, seed=1)
    seen = rows(40, seed=6)
    for i, row in enumerate(seen):
        mean = np.mean([slow_path(e.tree_, row) for e in model.estimators_])
        assert strangeness(forest, seen)[i] == pytest.approx(2 ** (-mean / slow_average(64)), abs=1e-12)


def test_the_same_seed_grows_the_same_forest():
    a, b, c = (fit_forest(rows(500), 10, 64, seed)[0] for seed in (1, 1, 2))
    assert (a.threshold == b.threshold).all() and (a.path == b.path).all()
    assert not (a.threshold == c.threshold).all()


def test_average_path_is_the_papers():
    assert [average_path(n) for n in (0, 1, 2)] == [0.0, 0.0, 1.0]
    assert average_path(256) == pytest.approx(10.244770920116851)


def test_no_rows_give_no_scores():
    forest, _ = fit_forest(rows(100), 3, 16, seed=1)
    assert strangeness(forest, rows(0)).size == 0
