"""Scoring: raw scores of legs by both models in one compiled pass, their training ranks, and the blend of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aml.domain.errors import AmlError
from aml.engine.tables import jit
from aml.learn.blend import Blend, Joint, fit_blend
from aml.learn.bundle import Bundle, load_bundle
from aml.learn.features import F64, I64, Legs
from aml.learn.forest import Forest, walk_block
from aml.learn.rank import RankTable
from aml.learn.spec import ModelKind
from aml.learn.tails import BLOCK, WIDTH, TailTable, next_block, tails_block

LAST: Final = 0.0  # raw score of card payments: below every other


@dataclass(frozen=True, slots=True)
class Models:
    """All models of a directory, ready to score; the order of models is that of `bundles`."""

    bundles: tuple[Bundle, ...]
    table: TailTable
    forest: Forest | None
    leg_ranks: tuple[RankTable, ...]
    transaction_ranks: tuple[RankTable, ...]
    leg_blend: Blend
    transaction_blend: Blend

    def legs(self, legs: Legs) -> F64:
        """[n, models] raw scores, higher is stranger; 0 for a card payment, NaN where a leg takes no part."""
        return raw_scores(self.table, self.forest, legs)

    def leg_surprise(self, raw: F64) -> F64:
        """[n] −ln of the share of training legs whose blend is at least as strange; NaN stays NaN."""
        return self.leg_blend.of(_surprises(raw, self.leg_ranks))

    def transactions(self, raw: F64, transaction: I64, count: int) -> F64:
        """[count] −ln of the share of training transactions whose blend is at least as strange as these, each the sum
        of its legs; NaN for one without a leg that takes part. transaction: [n] its number, 0..count−1, by leg."""
        return self.transaction_blend.of(_surprises(transaction_sums(raw, transaction, count), self.transaction_ranks))


def load_models(directory: Path, weights: Mapping[str, int]) -> Models:
    """Load every model that has a weight in `rules/scoring.toml`.

    Raises AmlError that names the file: missing, damaged, or two models that were not trained together.
    """
    present = sorted(p.parent.name for p in directory.glob("*/model.toml"))
    for name in present:
        if name not in weights:
            raise AmlError(f"{directory / name}: has no weight in scoring.toml [model.weights]; 0 leaves it out")
    if not weights:
        raise AmlError("scoring.toml: model.weights: names no model")
    return join_models([load_bundle(directory / name) for name in sorted(weights)], weights, str(directory))


def join_models(bundles: list[Bundle], weights: Mapping[str, int], place: str = "models") -> Models:
    """Put loaded or just trained bundles together: tails, the forest on them if any, blended by `weights`."""
    base = next((b for b in bundles if b.spec.kind is ModelKind.PEER_TAILS), None)
    if base is None:
        raise AmlError(f"{place}: no model of kind peer-tails; the others are built on its tails")
    others = [b for b in bundles if b is not base]
    for other in others:
        if other.needs.get(base.spec.id) != base.sha256:
            raise AmlError(f"{place}/{other.spec.id}: not trained on this {base.spec.id}; train both: aml train FEED")
    ordered = (base, *others)
    forest = _forest(others[0]) if others else None
    a = base.arrays
    table = TailTable(a["group_of"], a["start"], a["knots"], a["tail"], a["rows"])
    leg, transaction = (tuple(_ranks(b, name) for b in ordered) for name in ("leg", "transaction"))
    share = np.array([weights.get(b.spec.id, 0) for b in ordered], dtype=np.float64)
    if share.sum() <= 0:
        raise AmlError("scoring.toml: model.weights: all are 0")
    return Models(
        ordered, table, forest, leg, transaction,
        _blend(ordered, "joint_leg", share, leg), _blend(ordered, "joint_transaction", share, transaction),
    )


def _forest(bundle: Bundle) -> Forest:
    a = bundle.arrays
    return Forest(a["feature"], a["threshold"], a["path"], float(a["usual"][0]))


def _ranks(bundle: Bundle, name: str) -> RankTable:
    a = bundle.arrays
    return RankTable(a[f"{name}_raw"], a[f"{name}_surprise"], int(a[f"{name}_rows"][0]))


def _blend(bundles: tuple[Bundle, ...], name: str, share: F64, ranks: tuple[RankTable, ...]) -> Blend:
    if len(bundles) == 1:
        # One model alone: its own ranks are the blend's.
        return Blend(share / share.sum(), RankTable(ranks[0].surprise, ranks[0].surprise, ranks[0].rows))
    arrays = bundles[-1].arrays
    return fit_blend(Joint(arrays[name], arrays[f"{name}_rows"]), share)


def raw_scores(table: TailTable, forest: Forest | None, legs: Legs) -> F64:
    """[n, 1 or 2] sum of tails and, with a forest, its strangeness."""
    raw = np.full((legs.size, 1 if forest is None else 2), LAST)
    group = table.groups(legs)
    if forest is None:
        empty = np.zeros((0, 1))
        score_into(legs.x, group, table.start, table.knots, table.tail, empty.astype(np.uint8),
                   empty.astype(np.float32), empty, 1.0, raw)
    else:
        score_into(legs.x, group, table.start, table.knots, table.tail, forest.feature, forest.threshold, forest.path,
                   forest.usual, raw)
    raw[~legs.scored] = np.nan
    return raw


def transaction_sums(raw: F64, transaction: npt.NDArray[np.int64], count: int) -> F64:
    """[count, models] sum over the legs that take part, NaN for a transaction without any.

    A payment with one end, as cash has, counts it twice: or it could never rank among those with two.
    """
    part = ~np.isnan(raw[:, 0])
    rows = transaction[part]
    out: F64 = np.empty((count, raw.shape[1]))
    for m in range(raw.shape[1]):
        out[:, m] = np.bincount(rows, weights=raw[part, m], minlength=count)
    ends = np.bincount(rows, minlength=count)
    out[ends == 1] *= 2.0
    out[ends == 0] = np.nan
    return out


def _surprises(raw: F64, ranks: tuple[RankTable, ...]) -> F64:
    return np.stack([table.of(raw[:, m]) for m, table in enumerate(ranks)], axis=1)


@jit
def score_into(x: Any, group: Any, start: Any, knots: Any, tail: Any, feature: Any, threshold: Any, path: Any,
               usual: float, raw: Any) -> None:
    """Fill raw[n, models] of ranked legs, a block at a time: tails, their sum, then the walk through each tree."""
    where = np.zeros(BLOCK, np.int64)
    block = np.zeros((BLOCK, WIDTH), np.float32)
    depth = np.zeros(BLOCK, np.float64)
    i = 0
    while i < group.size:
        i, filled = next_block(group, i, where)
        tails_block(x, group, where, filled, start, knots, tail, block)
        for k in range(filled):
            total = 0.0
            for j in range(WIDTH):
                total += block[k, j]
            raw[where[k], 0] = total
        if raw.shape[1] > 1:
            depth[:filled] = 0.0
            walk_block(block, feature, threshold, path, 0, filled, depth)
            for k in range(filled):
                raw[where[k], 1] = 2.0 ** (-depth[k] / usual)
