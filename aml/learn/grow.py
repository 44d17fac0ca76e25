"""Growing an isolation forest with scikit-learn and copying it into the full trees that the own walk reads."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from sklearn.ensemble import IsolationForest

from aml.learn.features import F32
from aml.learn.forest import Forest

EULER: Final = 0.5772156649015329


def fit_forest(tails: F32, trees: int, rows_per_tree: int, seed: int) -> tuple[Forest, IsolationForest]:
    """Train on the tails of legs, [n, features]; also returns scikit-learn's forest, for comparison."""
    model = IsolationForest(n_estimators=trees, max_samples=min(rows_per_tree, tails.shape[0]), random_state=seed)
    model.fit(tails)
    return flatten(model), model


def flatten(model: IsolationForest) -> Forest:
    """Copy a fitted forest into full trees."""
    depth = max(1, max(int(e.tree_.max_depth) for e in model.estimators_))
    n = len(model.estimators_)
    feature = np.zeros((n, 2**depth - 1), dtype=np.uint8)
    threshold = np.full((n, 2**depth - 1), np.inf, dtype=np.float32)
    path = np.zeros((n, 2**depth), dtype=np.float64)
    for k, (estimator, columns) in enumerate(zip(model.estimators_, model.estimators_features_, strict=True)):
        _copy(estimator.tree_, np.asarray(columns), depth, feature[k], threshold[k], path[k])
    return Forest(feature, threshold, path, n * average_path(int(model.max_samples_)))


def _copy(tree: Any, columns: Any, depth: int, feature: Any, threshold: Any, path: Any) -> None:
    stack = [(0, 0, 0)]
    while stack:
        node, place, level = stack.pop()
        left, right = int(tree.children_left[node]), int(tree.children_right[node])
        if left >= 0:
            feature[place] = columns[tree.feature[node]]
            threshold[place] = _below(float(tree.threshold[node]))
            stack += [(left, 2 * place + 1, level + 1), (right, 2 * place + 2, level + 1)]
            continue
        for _ in range(depth - level):
            place = 2 * place + 1
        path[place - (2**depth - 1)] = level + average_path(int(tree.n_node_samples[node]))


def _below(threshold: float) -> np.float32:
    # Values are float32, so "≤ threshold" is "≤ the largest float32 not above it".
    near = np.float32(threshold)
    return np.nextafter(near, np.float32(-np.inf)) if float(near) > threshold else near


def average_path(n: int) -> float:
    """Mean path length of an unsuccessful search among n rows (equation 1 of the paper)."""
    if n <= 1:
        return 0.0
    return 1.0 if n == 2 else 2.0 * (float(np.log(n - 1.0)) + EULER) - 2.0 * (n - 1.0) / n
