"""Made-up legs for tests of the models, and the slow twins of what the models compute."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from aml.learn.features import NAMES, Legs
from aml.learn.infer import join_models
from aml.learn.spec import Fit, ModelKind, Spec
from aml.learn.train import train

WIRE, CARD, CASH = 1, 4, 0
WEIGHTS = {"peer-tails": 1, "isolation-forest": 1}


def random_legs(n=4_000, *, seed=1, strange=0, dtype=np.float64):
    """Two legs per transaction: wires, cards and cash between persons and businesses, some facts discrete; the first
    `strange` transactions are high in everything."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, len(NAMES)))
    x[:, 4] = rng.random(n) < 0.3
    x[:, 6:8] = rng.poisson(0.5, (n, 2))
    x[:, 14:16] = rng.random((n, 2)) < 0.1
    x[:, 16:] = rng.poisson(0.3, (n, 2))
    x[: 2 * strange] += 4.0

    def per_transaction(values, share):
        return np.repeat(rng.choice(np.array(values, np.int8), n // 2, p=share), 2)

    instrument = per_transaction([WIRE, CARD, CASH], [0.7, 0.2, 0.1])
    instrument[: 2 * strange] = WIRE
    return Legs(
        x=np.ascontiguousarray(x, dtype=dtype),
        direction=np.tile(np.array([1, 0], np.int8), n // 2),
        instrument=instrument,
        sender=per_transaction([0, 1], [0.6, 0.4]),
        receiver=per_transaction([0, 1], [0.8, 0.2]),
        scored=np.ones(n, np.bool_),
        transaction=np.arange(n) // 2,
    )


def times_and_keys(legs, seed=2):
    """Times a minute apart, and a random key per transaction."""
    keys = np.random.default_rng(seed).integers(0, 2**63, legs.size // 2).astype(np.uint64)
    return legs.transaction.astype(np.int64) * 60_000_000, keys[legs.transaction]


def specs(trees=20, rows_per_tree=64, values=500, group=100, step=0.03125, cold_start=0.1):
    """Small models of both kinds."""
    def spec(name, kind, fit):
        return Spec(name, 1, name, kind, "", (), fit, f'id = "{name}"\n')

    return {
        "peer-tails": spec("peer-tails", ModelKind.PEER_TAILS,
                           Fit(3_000, cold_start, values=values, group=group, cap=9.0, step=step)),
        "isolation-forest": spec("isolation-forest", ModelKind.ISOLATION_FOREST,
                                 Fit(3_000, cold_start, trees=trees, rows_per_tree=rows_per_tree, seed=7)),
    }


def slow_tail(values: Sequence[float], x: float, cap: float = 9.0) -> float:
    """−ln P(X ≥ x) among the values, by counting."""
    n = len(values)
    below = sum(v < x for v in values)
    return min(-math.log((n - below + 0.5) / (n + 1)), cap)


def slow_path(tree, row: Sequence[float], node: int = 0) -> float:
    """Path length of a row in scikit-learn's tree, by recursion."""
    if tree.children_left[node] < 0:
        return slow_average(int(tree.n_node_samples[node]))
    left = row[tree.feature[node]] <= tree.threshold[node]
    return 1 + slow_path(tree, row, tree.children_left[node] if left else tree.children_right[node])


def slow_average(n: int) -> float:
    """c(n) of the isolation forest paper."""
    if n <= 1:
        return 0.0
    return 1.0 if n == 2 else 2 * (math.log(n - 1) + 0.5772156649015329) - 2 * (n - 1) / n


def trained():
    """Both models, trained on made-up legs and blended in equal parts."""
    legs = random_legs(4_000)
    return join_models(train(legs, *times_and_keys(legs), specs(), "made up"), WEIGHTS)
