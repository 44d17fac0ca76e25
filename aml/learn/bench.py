"""How many legs a second both models score on one core (`python -m aml.learn.bench [MODELS]`)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from aml.learn.features import FEATURES, Legs
from aml.learn.infer import Models, load_models

LEGS: Final = 200_000
ROUNDS: Final = 5


def legs_like(models: Models, n: int, seed: int = 0) -> Legs:
    """Made-up legs, none of them cards, with each feature spread as in the model's training."""
    rng = np.random.default_rng(seed)
    trained = models.bundles[0].fingerprint
    x = np.empty((n, len(FEATURES)), np.float32)
    for j, feature in enumerate(FEATURES):
        edges = np.array(trained.edges[feature.name])
        shares = np.array(trained.shares[feature.name])
        bounds = np.concatenate([edges[:1] - 1.0, edges, edges[-1:] + 1.0])
        bins = rng.choice(shares.size, size=n, p=shares / shares.sum())
        x[:, j] = bounds[bins] + rng.random(n) * (bounds[bins + 1] - bounds[bins])

    def codes(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
        return rng.choice(np.array(values, np.int8), n)

    return Legs(x, codes(0, 1), codes(0, 1, 2, 3, 7), codes(0, 0, 1, 3), codes(0, 0, 1, 3), np.ones(n, np.bool_),
                np.arange(n, dtype=np.int64) // 2)


def rates(models: Models, legs: Legs) -> dict[str, float]:
    """Best legs per second over some rounds: raw scores of both models, and with training ranks and blend."""
    raw = models.legs(legs)
    return {
        "raw scores": legs.size / _best(lambda: models.legs(legs)),
        "ranks and blend": legs.size / _best(lambda: models.leg_surprise(raw)),
        "all, with the transactions' ranks": legs.size / _best(lambda: _all(models, legs)),
    }


def _all(models: Models, legs: Legs) -> None:
    raw = models.legs(legs)
    models.leg_surprise(raw)
    models.transactions(raw, legs.transaction, int(legs.transaction[-1]) + 1)


def _best(run: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    """Print the rates for the models of a directory."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("models")
    models = load_models(directory, {"peer-tails": 1, "isolation-forest": 1})
    for name, rate in rates(models, legs_like(models, LEGS)).items():
        sys.stdout.write(f"{name:40s} {rate:12,.0f} legs/s on one core\n")


if __name__ == "__main__":
    main()
