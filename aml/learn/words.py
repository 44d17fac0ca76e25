"""Why a leg is strange, in words: of each theme the feature that is rarest among its peers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from aml.learn.features import F32, FEATURES, Legs, Matrix
from aml.learn.peers import ALL_WORDS, cells
from aml.learn.peers import words as peer_words
from aml.learn.tails import ALL, UNRANKED, TailTable, tails

WORTH_SAYING: Final = math.log(10)  # tails less rare than one in ten explain nothing


def why(table: TailTable, legs: Legs, most: int = 3) -> list[list[str]]:
    """For each leg, up to `most` phrases, the rarest first, which names the peers; none for a leg that the
    models do not look at.

    E.g. "larger than 99.6 % of person-to-person wires".
    """
    found = tails(table, legs)
    group, cell = table.groups(legs), cells(legs)
    return [
        [] if group[i] == UNRANKED
        else _phrases(found[i], legs.x[i], int(legs.direction[i]),
                      ALL_WORDS if group[i] == ALL else peer_words(int(cell[i])), most)
        for i in range(legs.size)
    ]


def _phrases(tail: F32, x: Matrix, direction: int, peers: str, most: int) -> list[str]:
    strongest: dict[str, int] = {}
    for j, feature in enumerate(FEATURES):
        if tail[j] >= WORTH_SAYING and (feature.theme not in strongest or tail[j] > tail[strongest[feature.theme]]):
            strongest[feature.theme] = j
    order = sorted(strongest.values(), key=lambda j: (-tail[j], j))[:most]
    return [
        FEATURES[j].words(direction, float(x[j]), share_below(float(tail[j])), peers if place == 0 else "them")
        for place, j in enumerate(order)
    ]


def share_below(tail: float) -> str:
    """The share of peers that lie below, never rounded up: "99.6 %"."""
    above = math.exp(-tail)
    digits = 0 if above > 0.05 else 1 if above > 0.005 else 2
    scale = 10**digits
    # The tail is stored in single precision: a hair is added lest 0.1 reads as 89 %.
    return f"{math.floor((1 - above) * 100 * scale + 1e-4) / scale:.{digits}f} %"


def drivers(table: TailTable, legs: Legs) -> list[Sequence[tuple[str, float]]]:
    """For each leg its features with their shares of the summed tails, largest first."""
    found = tails(table, legs)
    totals = np.maximum(found.sum(axis=1), 1e-12)
    return [
        sorted(((f.name, float(found[i, j] / totals[i])) for j, f in enumerate(FEATURES)), key=lambda s: (-s[1], s[0]))
        for i in range(legs.size)
    ]
