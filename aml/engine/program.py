"""Rules as the engine takes them: detectors, filters and conditions in arrays, and the knobs they need."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aml.engine.layout import Knobs


@dataclass(frozen=True, slots=True)
class Program:
    """Compiled rules.

    detectors: DETECTOR records; rules: the rule id of each detector's `rule` number; kinds: the fact list of each
    detector (a key of `facts.FACTS`); filters: FILTER records, one per detector (trigger 0 where no filter applies:
    paths and scatter-gather come from the trails); steps: STEP records of all conditions.
    """

    rules: tuple[str, ...]
    kinds: tuple[str, ...]
    detectors: np.ndarray
    filters: np.ndarray
    steps: np.ndarray
    knobs: Knobs

    @property
    def most_trails(self) -> int:
        """Trails kept per payment."""
        return self.knobs.most_trails
