"""Which transactions stand, that is have their legs in, by transaction index; a byte each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from aml.engine.intern import grown
from aml.pipeline.accept import Arrivals


class Standing:
    """Follows what enters and what leaves."""

    def __init__(self) -> None:
        self.n = 0
        self._stands = np.zeros(1024, np.bool_)

    @property
    def stands(self) -> npt.NDArray[np.bool_]:
        """Whether each transaction stands, a view."""
        return self._stands[: self.n]

    def take(self, arrivals: Arrivals) -> None:
        """Take what a batch did."""
        need = arrivals.first_transaction + arrivals.columns["t"].size
        self._stands = grown(self._stands, self.n, need)
        self._stands[self.n : need] = False
        self.n = need
        self._stands[arrivals.leave[arrivals.leave >= 0]] = False
        self._stands[arrivals.enter[arrivals.enter >= 0]] = True

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """A bit each, for a snapshot."""
        return {"stands": np.packbits(self.stands), "n": np.array([self.n], np.int64)}

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take over what `state` gave."""
        self.n = int(state["n"][0])
        self._stands = np.unpackbits(state["stands"], count=self.n).astype(np.bool_)
