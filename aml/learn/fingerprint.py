"""What a model was trained on: name, span and size of the data, and how each feature was spread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from aml.learn.features import FEATURES, I64, Legs
from aml.learn.peers import CELLS, cells, ranked

BINS: Final = 10


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """first, last: UTC µs of the legs; rows: legs learned from; edges: inner bin bounds by feature name (at tenths,
    fewer where values repeat); shares: of the rows in each bin; cells: share of each cell of peers."""

    data: str
    first: int
    last: int
    rows: int
    edges: dict[str, list[float]]
    shares: dict[str, list[float]]
    cells: dict[int, float]

    def as_json(self) -> dict[str, Any]:
        """The form in artefact.json."""
        return {
            "data": self.data, "first": self.first, "last": self.last, "rows": self.rows, "edges": self.edges,
            "shares": self.shares, "cells": {str(c): s for c, s in self.cells.items()},
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> Fingerprint:
        """Read it back. Raises KeyError or ValueError where something is missing."""
        return Fingerprint(
            str(value["data"]), int(value["first"]), int(value["last"]), int(value["rows"]), value["edges"],
            value["shares"], {int(c): float(s) for c, s in value["cells"].items()},
        )


def take_fingerprint(data: str, legs: Legs, t: I64) -> Fingerprint:
    """Measure the training legs; t: their times in UTC µs."""
    rows = np.flatnonzero(ranked(legs))
    edges: dict[str, list[float]] = {}
    shares: dict[str, list[float]] = {}
    for j, feature in enumerate(FEATURES):
        values = legs.x[rows, j].astype(np.float64)
        inner = np.unique(np.quantile(values, np.arange(1, BINS) / BINS, method="higher"))
        edges[feature.name] = [round(float(e), 6) for e in inner]
        shares[feature.name] = spread(values, edges[feature.name])
    return Fingerprint(data, int(t.min()), int(t.max()), int(rows.size), edges, shares, cell_shares(legs))


def spread(values: Any, edges: list[float]) -> list[float]:
    """Share of the values in each bin."""
    return [round(float(c), 6) for c in binned(values, edges) / max(1, values.size)]


def binned(values: Any, edges: list[float]) -> I64:
    """How many values are in each bin: below the first edge, from edge to edge, from the last on."""
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1).astype(np.int64)


def cell_shares(legs: Legs) -> dict[int, float]:
    """Share of the ranked legs in each cell that has any."""
    counts = np.bincount(cells(legs)[ranked(legs)], minlength=CELLS)
    return {int(c): round(float(counts[c] / counts.sum()), 6) for c in np.flatnonzero(counts)}
