"""How well a ranking finds planted laundering: recall at alert budgets, PR-AUC, and the attempts touched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from aml.learn.features import F64

BUDGETS: Final = (0.001, 0.005, 0.01)
SMALL_ATTEMPT: Final = 2  # attempts of so few rows have no shape; they are listed apart


@dataclass(frozen=True, slots=True)
class Yield:
    """What a budget buys of one typology ("" = all): share of its rows in the top, attempts touched, of how many."""

    typology: str
    rows: int
    recall: tuple[float, ...]
    attempts: int
    touched: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ranking:
    """All attempts, those of one or two rows, and the rest by typology; PR-AUC over every row."""

    budgets: tuple[float, ...]
    pr_auc: float
    precision: tuple[float, ...]
    whole: Yield
    small: Yield
    typologies: tuple[Yield, ...]


def order_of(scores: F64) -> npt.NDArray[np.int64]:
    """Rows from the highest score down; NaN last, ties in row order."""
    return np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")


def top(scores: F64, budget: float) -> npt.NDArray[np.bool_]:
    """[n] whether a row is among the ⌈n · budget⌉ highest; a NaN never is."""
    chosen = np.zeros(scores.size, dtype=np.bool_)
    chosen[order_of(scores)[: math.ceil(scores.size * budget)]] = True
    return chosen & ~np.isnan(scores)


def average_precision(scores: F64, positive: npt.NDArray[np.bool_]) -> float:
    """Area under precision over recall, Σ (R_k − R_k−1) · P_k over distinct scores; NaN ranks last."""
    if not positive.any():
        return 0.0
    order = order_of(scores)
    ordered = np.nan_to_num(scores, nan=-np.inf)[order]
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), ordered.size - 1)
    hits = np.cumsum(positive[order])[ends]
    gained = np.diff(hits, prepend=0)
    return float(np.sum(gained * hits / (ends + 1.0)) / hits[-1])


def evaluate(scores: F64, typology: Sequence[str], attempt: Sequence[str],
             budgets: tuple[float, ...] = BUDGETS) -> Ranking:
    """Judge a ranking of transactions.

    scores: [n], NaN where there is none; typology, attempt: [n], "" = not laundering. Attempts are counted over the
    rows given; those of one or two rows count in the whole and stand apart.
    """
    kind, name = np.asarray(typology, dtype=object), np.asarray(attempt, dtype=object)
    rows = np.flatnonzero(name != "")
    positive = np.zeros(scores.size, dtype=np.bool_)
    positive[rows] = True
    chosen = [top(scores, b) for b in budgets]
    size: dict[str, int] = {}
    for i in rows:
        size[name[i]] = size.get(name[i], 0) + 1
    small = [int(i) for i in rows if size[name[i]] <= SMALL_ATTEMPT]
    large: dict[str, list[int]] = {}
    for i in rows:
        if size[name[i]] > SMALL_ATTEMPT:
            large.setdefault(str(kind[i]), []).append(int(i))
    return Ranking(
        budgets,
        average_precision(scores, positive),
        tuple(float(positive[c].mean()) if c.any() else 0.0 for c in chosen),
        _yield("", rows, name, chosen),
        _yield("", small, name, chosen),
        tuple(_yield(k, large[k], name, chosen) for k in sorted(large)),
    )


def _yield(kind: str, rows: Sequence[int] | npt.NDArray[np.int64], name: npt.NDArray[np.object_],
           chosen: list[npt.NDArray[np.bool_]]) -> Yield:
    at = np.asarray(rows, dtype=np.int64)
    names = name[at]
    return Yield(
        kind,
        at.size,
        tuple(float(c[at].mean()) if at.size else 0.0 for c in chosen),
        len(set(names)),
        tuple(len(set(names[c[at]])) for c in chosen),
    )
