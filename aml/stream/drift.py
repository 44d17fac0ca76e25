"""Whether what the models read now is like what they were trained on, over the last day.

Made for metrics: a step gives away a few of its legs, which are looked at beside the steps.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from aml.engine.engine import LegRows
from aml.learn.drift import LEAST_ROWS, psi
from aml.learn.features import FEATURES, Legs
from aml.learn.fingerprint import binned
from aml.learn.infer import Models
from aml.learn.peers import ranked
from aml.learn.rank import RankTable
from aml.metrics import Metrics
from aml.pipeline.scored import legs_for_models
from aml.stream.missing import Window

MOST: Final = 256  # legs that a step gives away
_WAITING: Final = 128  # samples that wait to be looked at: the newest
_TENTHS: Final = 10


def sampled(rows: LegRows, instrument: npt.NDArray[np.uint8]) -> Legs:
    """A copy of at most 256 of the legs, evenly spread over them. instrument: of every transaction, by its index."""
    at = np.arange(rows.tx.size)[:: max(1, -(-rows.tx.size // MOST))]
    return legs_for_models(LegRows(*(column[at] for column in rows)), instrument)


class Drift:
    """Stability indexes of the models' scores and of their features, from samples of the legs that workers score.

    `take` is the steps', cheap; `tell` looks at what was taken and may be called from another thread.
    """

    def __init__(self, models: Models, clock: Callable[[], float] = time.monotonic) -> None:
        self._models = models
        self._waiting: deque[Legs] = deque(maxlen=_WAITING)
        self._trained = models.bundles[0].fingerprint  # all models of a folder were trained on one sample
        self._scores = [_expected(table) for table in models.leg_ranks]
        self._scored = [Window(len(shares), clock) for _, shares in self._scores]
        self._spread = [Window(len(self._trained.shares[f.name]), clock) for f in FEATURES]

    def take(self, sample: Legs | None) -> None:
        """Keep a sample until it is looked at; the oldest go where too many wait."""
        if sample is not None and sample.size:
            self._waiting.append(sample)

    def tell(self, metrics: Metrics) -> None:
        """Look at what was taken and set the gauges; of less than 1,000 legs nothing is said."""
        while self._waiting:
            self._count(self._waiting.popleft())
        metrics.only("aml_model_score_psi", self.scores())
        metrics.only("aml_feature_psi", self.features())

    def scores(self) -> dict[str, float]:
        """Index of the scores of each model by its id."""
        return {
            bundle.spec.id: psi(expected, shares)
            for bundle, (_, expected), window in zip(self._models.bundles, self._scores, self._scored, strict=True)
            if (shares := _shares(window))
        }

    def features(self) -> dict[str, float]:
        """Index of each feature by its name."""
        return {
            feature.name: psi(self._trained.shares[feature.name], shares)
            for feature, window in zip(FEATURES, self._spread, strict=True)
            if (shares := _shares(window))
        }

    def _count(self, legs: Legs) -> None:
        raw = self._models.legs(legs)
        for m, table in enumerate(self._models.leg_ranks):
            edges, _ = self._scores[m]
            self._scored[m].add(binned(table.of(raw[:, m]), edges))
        rows = ranked(legs)
        for j, feature in enumerate(FEATURES):
            self._spread[j].add(binned(legs.x[rows, j], self._trained.edges[feature.name]))


def _expected(table: RankTable) -> tuple[list[float], list[float]]:
    """Bounds of surprise that part the training legs in tenths, as far as scores differ; the share of each part."""
    at = np.searchsorted(table.surprise, [-np.log(1 - tenth / _TENTHS) for tenth in range(1, _TENTHS)])
    edges = np.unique(table.surprise[np.minimum(at, table.surprise.size - 1)])
    edges = edges[edges > table.surprise[0]]
    above = np.concatenate([[1.0], np.exp(-edges), [0.0]])
    return edges.tolist(), (above[:-1] - above[1:]).tolist()


def _shares(window: Window) -> list[float]:
    """Of what was counted in a day; nothing where it was too little."""
    counts = window.sum()
    total = int(counts.sum())
    return (counts / total).tolist() if total >= LEAST_ROWS else []
