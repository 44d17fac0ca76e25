"""One anomaly from several models: each model's surprise (−ln training rank from the top) times its weight, summed,
and ranked again among the training rows.

The models' surprises of the training rows are kept together (all of the strangest, ever fewer below, each with the
number of rows it stands for), so that the blend can be ranked for any weights without training again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from aml.learn.features import F64
from aml.learn.rank import RankTable, fit_ranks

WHOLE: Final = 500  # strangest rows kept one by one; from there every (1 + place ÷ WHOLE)-th


@dataclass(frozen=True, slots=True)
class Joint:
    """surprise: [k, models] of training rows; weight: [k] how many rows each stands for."""

    surprise: F64
    weight: F64


def fit_joint(surprise: F64) -> Joint:
    """Thin the training rows' surprises, [n, models], by their place in the unweighted sum."""
    order = np.lexsort((*surprise.T, -surprise.sum(axis=1)))
    n = order.size
    kept: list[int] = []
    weights: list[int] = []
    at = 0
    while at < n:
        stride = min(1 + at // WHOLE, n - at)
        kept.append(int(order[at + stride // 2]))
        weights.append(stride)
        at += stride
    return Joint(surprise[kept], np.array(weights, dtype=np.float64))


@dataclass(frozen=True, slots=True)
class Blend:
    """Weights of the models and the ranks of their weighted sum."""

    weights: F64
    ranks: RankTable

    def of(self, surprise: F64) -> F64:
        """[n] surprise of the blend from [n, models] surprises of the models."""
        return self.ranks.of(surprise @ self.weights)


def fit_blend(joint: Joint, weights: F64) -> Blend:
    """Rank the weighted sum among the training rows."""
    return Blend(weights, fit_ranks(joint.surprise @ weights, joint.weight))
