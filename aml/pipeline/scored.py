"""The bridge from the engine's legs to the models: legs as the models read them, and every payment's anomaly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aml.engine.arrays import grown
from aml.engine.columns import ABSENT
from aml.engine.engine import LegRows
from aml.learn.features import F64, I64, Legs
from aml.learn.infer import Models
from aml.pipeline.detection import Step

SIDES: Final = 2  # of a transaction, as the engine numbers them: 0 credit, 1 debit
Codes = npt.NDArray[np.uint8]


def legs_for_models(rows: LegRows, instrument: Codes) -> Legs:
    """The engine's feature rows as legs to score.

    instrument: code of `Instrument` (255 none) of every transaction known, by its index, as in the column
    `instrument` of acceptance. What enters the engine moved money, so every leg takes part; `transaction` is the
    transaction's index.
    """
    return Legs(
        x=np.ascontiguousarray(rows.x),
        direction=rows.side.astype(np.int8),
        instrument=instrument[rows.tx].view(np.int8),
        sender=rows.sender.astype(np.int8),
        receiver=rows.receiver.astype(np.int8),
        scored=np.ones(rows.tx.size, np.bool_),
        transaction=rows.tx.astype(np.int64),
    )


class Instruments:
    """The instrument of every movement accepted, by transaction index; a byte each."""

    def __init__(self) -> None:
        self.n = 0
        self._codes: Codes = np.empty(1024, np.uint8)

    def append(self, codes: npt.NDArray[Any]) -> Codes:
        """Add those of a batch, the column `instrument` of `Arrivals.columns`; returns all."""
        first, self.n = self.n, self.n + codes.size
        self._codes = grown(self._codes, self.n, ABSENT)
        self._codes[first : self.n] = codes
        return self.all

    @property
    def all(self) -> Codes:
        """The codes of all, a view."""
        return self._codes[: self.n]


class ScoreBook:
    """The raw scores of the legs that stand now, by transaction index and side; 17 bytes a transaction.

    Feed it every step: a leg that ran again overwrites itself, what left is dropped; then anomalies are a function of
    the legs that stand, however they came.
    """

    def __init__(self, models: Models) -> None:
        self.models = models
        self.instruments = Instruments()
        self._raw = self._empty(1024)

    def step(self, step: Step) -> F64:
        """Take what a batch did; returns the surprise of each of its `applied.rows`, as `take` does."""
        known = self.instruments.append(step.arrivals.columns["instrument"])
        self.drop(step.arrivals.leave)
        return self.take(step.applied.rows, known)

    def take(self, rows: LegRows, instrument: Codes) -> F64:
        """Score the rows of a batch and keep them; returns each row's surprise by the blend (−ln of the share of
        training legs at least as strange): what a model finding opens by."""
        legs = legs_for_models(rows, instrument)
        raw = self.models.legs(legs)
        need = int(rows.tx.max(initial=-1)) + 1
        self._raw = grown(self._raw, need, np.nan)
        self._raw[rows.tx, rows.side] = raw  # of a leg that stands here twice the later, newer row stays
        return self.models.leg_surprise(raw)

    def drop(self, transactions: npt.NDArray[np.int32]) -> None:
        """Forget the legs of transactions that left."""
        known = (transactions >= 0) & (transactions < self._raw.shape[0])
        self._raw[transactions[known]] = np.nan

    def surprise(self, transactions: npt.NDArray[np.int32] | I64) -> F64:
        """[n] of each transaction −ln of the share of training payments at least as strange; NaN without a leg.

        `learn.rank.rank` makes it the published anomaly.
        """
        raw = self._of(transactions).reshape(-1, self._raw.shape[2])
        number = np.repeat(np.arange(transactions.size), SIDES)
        return self.models.transactions(raw, number, transactions.size)

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """Everything, for a snapshot; the raw scores fit only the models that made them."""
        return {"raw": self._raw.copy(), "instrument": self.instruments.all.copy()}

    def restore(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Take over what `state` gave."""
        self._raw = state["raw"].copy()
        self.instruments = Instruments()
        self.instruments.append(state["instrument"])

    def _of(self, transactions: npt.NDArray[np.int32] | I64) -> F64:
        self._raw = grown(self._raw, int(transactions.max(initial=-1)) + 1, np.nan)
        return self._raw[transactions].astype(np.float64)

    def _empty(self, rows: int) -> npt.NDArray[np.float32]:
        return np.full((rows, SIDES, len(self.models.bundles)), np.nan, np.float32)
