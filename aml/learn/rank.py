"""From a raw score to its training rank: the share of training rows at least as high, finer than a thousandth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from aml.learn.features import F64

STEP: Final = 1 / 64  # nats of surprise between two kept quantiles; below the median a thousandth of rank


@dataclass(frozen=True, slots=True)
class RankTable:
    """raw, surprise: rising knots, surprise = −ln of the share of training rows ≥ raw; rows: how many there were."""

    raw: F64
    surprise: F64
    rows: int

    def of(self, raw: F64) -> F64:
        """[n] surprise of raw scores, between knots on a straight line so that it ranks as finely as they do.

        Above the highest training score it rises on, but never to 1 in rows + 1: n rows know of no rarer event.
        """
        inside = np.interp(raw, self.raw, self.surprise)
        width = max(float(self.raw[-1] - self.raw[0]), 1e-300)
        beyond = np.maximum(raw - self.raw[-1], 0.0) / width
        return np.asarray(inside + np.log1p(1.0 / self.rows) * beyond / (1.0 + beyond))


def fit_ranks(raw: F64, weight: F64 | None = None) -> RankTable:
    """Learn the ranks of training scores, each standing for `weight` rows (default 1). Raises ValueError on none."""
    if raw.size == 0:
        raise ValueError("no score to rank by")
    weight = np.ones(raw.size) if weight is None else weight
    distinct, at = np.unique(raw, return_inverse=True)
    counts = np.bincount(at, weights=weight)
    total = float(counts.sum())
    below = np.concatenate([[0.0], np.cumsum(counts)[:-1]])
    surprise = -np.log((total - below) / total)
    thousandth = np.floor(1000.0 * (1.0 - np.exp(-surprise)))
    bucket = thousandth * 1e6 + np.floor(surprise / STEP)
    keep = np.append(bucket[:-1] != bucket[1:], True)
    keep[0] = True
    return RankTable(distinct[keep], surprise[keep], round(total))


def rank(surprise: F64) -> F64:
    """Rank in [0, 1): the share of training rows that lie below."""
    return np.asarray(-np.expm1(-surprise))
