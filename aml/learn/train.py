"""Training without labels: sample the history, learn the tails, grow the forest on them, rank the training rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aml.domain.errors import AmlError
from aml.learn.blend import fit_joint
from aml.learn.bundle import Bundle, make_bundle
from aml.learn.features import F64, I64, Legs
from aml.learn.fingerprint import take_fingerprint
from aml.learn.forest import Forest
from aml.learn.grow import fit_forest
from aml.learn.infer import raw_scores, transaction_sums
from aml.learn.peers import ranked
from aml.learn.rank import RankTable, fit_ranks
from aml.learn.sample import U64, Sample, sample
from aml.learn.spec import Fit, ModelKind, Spec
from aml.learn.tails import TailTable, fit_tails, tails


def train(legs: Legs, t: I64, key: U64, specs: Mapping[str, Spec], data: str) -> list[Bundle]:
    """Train every model in `specs` on unlabelled legs: one bundle per model, tails before the forest built on them.

    t: [n] UTC µs; key: [n] the low half of the transaction's order key, shared by its legs; data: the name of the
    data, for the fingerprint. The same legs give the same bundles, in whatever order they come.
    Raises AmlError where there are too few legs.
    """
    return train_on(sample(legs, t, key, tails_spec(specs).fit), specs, data)


def tails_spec(specs: Mapping[str, Spec]) -> Spec:
    """The model whose tails the others are built on; its `fit` says what to sample."""
    first = next((s for s in specs.values() if s.kind is ModelKind.PEER_TAILS), None)
    if first is None:
        raise AmlError("training needs a model of kind peer-tails: the forest is grown on its tails")
    return first


def train_on(drawn: Sample, specs: Mapping[str, Spec], data: str) -> list[Bundle]:
    """Train every model in `specs` on a sample already drawn; see `train`."""
    first = tails_spec(specs)
    table = fit_tails(drawn.legs, first.fit.values, first.fit.group, first.fit.cap, first.fit.step)
    fingerprint = take_fingerprint(data, drawn.legs, drawn.t)
    others = [s for s in specs.values() if s.kind is ModelKind.ISOLATION_FOREST]
    if len(others) > 1:
        raise AmlError("training knows one model of kind isolation-forest")
    forest = grow(drawn, table, others[0].fit) if others else None
    raw = raw_scores(table, forest, drawn.legs)
    summed = transaction_sums(raw, drawn.legs.transaction, drawn.transactions)
    ranks = [(fit_ranks(_known(raw[:, m])), fit_ranks(_known(summed[:, m]))) for m in range(raw.shape[1])]
    base = make_bundle(first, fingerprint, table_arrays(table) | rank_arrays(*ranks[0]), {})
    if forest is None:
        return [base]
    leg_joint = fit_joint(_surprises(raw, [r[0] for r in ranks]))
    sum_joint = fit_joint(_surprises(summed, [r[1] for r in ranks]))
    arrays = forest_arrays(forest) | rank_arrays(*ranks[1]) | {
        "joint_leg": leg_joint.surprise, "joint_leg_rows": leg_joint.weight,
        "joint_transaction": sum_joint.surprise, "joint_transaction_rows": sum_joint.weight,
    }
    return [base, make_bundle(others[0], fingerprint, arrays, {base.spec.id: base.sha256})]


def grow(drawn: Sample, table: TailTable, fit: Fit) -> Forest:
    """The forest on the tails of the ranked training legs."""
    found = tails(table, drawn.legs)[ranked(drawn.legs)]
    return fit_forest(found[: fit.rows], fit.trees, fit.rows_per_tree, fit.seed)[0]


def table_arrays(table: TailTable) -> dict[str, np.ndarray[Any, Any]]:
    """The tail table as stored."""
    return {
        "group_of": table.group_of, "start": table.start, "knots": table.knots, "tail": table.tail, "rows": table.rows,
    }


def forest_arrays(forest: Forest) -> dict[str, np.ndarray[Any, Any]]:
    """The forest as stored."""
    return {
        "feature": forest.feature, "threshold": forest.threshold, "path": forest.path,
        "usual": np.array([forest.usual]),
    }


def rank_arrays(leg: RankTable, transaction: RankTable) -> dict[str, np.ndarray[Any, Any]]:
    """A model's two rank tables as stored."""
    return {
        f"{name}_{column}": value
        for name, table in (("leg", leg), ("transaction", transaction))
        for column, value in (("raw", table.raw), ("surprise", table.surprise), ("rows", np.array([table.rows])))
    }


def _known(raw: F64) -> F64:
    return raw[~np.isnan(raw)]


def _surprises(raw: F64, ranks: list[RankTable]) -> F64:
    known = raw[~np.isnan(raw[:, 0])]
    return np.stack([table.of(known[:, m]) for m, table in enumerate(ranks)], axis=1)
