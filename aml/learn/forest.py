"""Isolation forest on tails, walked by an own kernel: each tree laid out whole, eight legs side by side.

A tree of scikit-learn's is copied into a full binary tree of the depth limit: node n has children 2n+1 and 2n+2, a
leaf above the limit goes left for ever and stands once more at the bottom. So a step is one comparison, no branch.
Source of the score: Liu, Ting and Zhou, "Isolation Forest", ICDM 2008; higher is stranger here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aml.engine.tables import jit
from aml.learn.features import F32, F64
from aml.learn.tails import ABREAST, BLOCK


@dataclass(frozen=True, slots=True)
class Forest:
    """feature, threshold: [trees, 2^depth − 1], a leg goes right where its value is above; path: [trees, 2^depth]
    length of the path to each bottom place; usual: mean path length of a sample, the score's unit."""

    feature: npt.NDArray[np.uint8]
    threshold: F32
    path: F64
    usual: float


def strangeness(forest: Forest, tails: F32) -> F64:
    """[n] score in (0, 1) of each row of tails, scikit-learn's `score_samples` with the sign turned."""
    out = np.zeros(tails.shape[0], dtype=np.float64)
    walk_into(tails, forest.feature, forest.threshold, forest.path, forest.usual, out)
    return out


@jit
def walk_into(tails: Any, feature: Any, threshold: Any, path: Any, usual: float, out: Any) -> None:
    """Fill out[n] with the score of every row."""
    n = out.size
    for start in range(0, n, BLOCK):
        walk_block(tails, feature, threshold, path, start, min(n, start + BLOCK), out)
    for i in range(n):
        out[i] = 2.0 ** (-out[i] / usual)


@jit
def walk_block(tails: Any, feature: Any, threshold: Any, path: Any, start: int, stop: int, out: Any) -> None:
    """Add each tree's path length to out[start:stop]."""
    inner = feature.shape[1]
    depth = 0
    while (1 << depth) <= inner:
        depth += 1
    place = np.zeros(ABREAST, np.int32)
    for tree in range(feature.shape[0]):
        f, thr, bottom = feature[tree], threshold[tree], path[tree]
        i = start
        while i + ABREAST <= stop:
            for a in range(ABREAST):
                place[a] = 0
            for _ in range(depth):
                for a in range(ABREAST):
                    p = place[a]
                    place[a] = 2 * p + 1 + (tails[i + a, f[p]] > thr[p])
            for a in range(ABREAST):
                out[i + a] += bottom[place[a] - inner]
            i += ABREAST
        while i < stop:
            p = 0
            for _ in range(depth):
                p = 2 * p + 1 + (tails[i, f[p]] > thr[p])
            out[i] += bottom[p - inner]
            i += 1
