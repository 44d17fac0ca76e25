"""Whether a model is asked about data unlike those it was trained on."""

from __future__ import annotations

import datetime as dt
import math
from typing import Final

from aml.learn.bundle import Bundle
from aml.learn.features import FEATURES, Legs
from aml.learn.fingerprint import cell_shares, spread
from aml.learn.peers import ranked

OTHER_DATA: Final = 0.25  # population stability index from which a distribution counts as another one
SHIFTED: Final = 3  # features: some, such as payments per pair, grow with the age of any history
PEERS: Final = "peers"
LEAST_ROWS: Final = 1_000
LEAST_SHARE: Final = 1e-4  # an empty bin counts as this share, so that one stray row says little


def psi(expected: list[float], seen: list[float]) -> float:
    """Population stability index: Σ (seen − expected) · ln(seen ÷ expected)."""
    total = 0.0
    for e, s in zip(expected, seen, strict=True):
        e, s = max(e, LEAST_SHARE), max(s, LEAST_SHARE)
        total += (s - e) * math.log(s / e)
    return total


def shifts(bundle: Bundle, legs: Legs) -> dict[str, float]:
    """Index of each feature, and of the mix of peers under PEERS, against the training rows, largest first."""
    rows = ranked(legs)
    trained = bundle.fingerprint
    found = {
        f.name: psi(trained.shares[f.name], spread(legs.x[rows, j], trained.edges[f.name]))
        for j, f in enumerate(FEATURES)
    }
    now = cell_shares(legs)
    every = sorted(trained.cells.keys() | now.keys())
    found[PEERS] = psi([trained.cells.get(c, 0.0) for c in every], [now.get(c, 0.0) for c in every])
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def mismatch(bundle: Bundle, legs: Legs) -> str | None:
    """One sentence if the sample of legs is unlike the training data, with the mend; else None.

    Unlike is an index over 0.25 in three features, or in the mix of peers.

    Needs 1,000 ranked legs to say anything. Give legs from the whole run: a feed's first days are unlike any history.
    """
    if int(ranked(legs).sum()) < LEAST_ROWS:
        return None
    found = shifts(bundle, legs)
    other = [name for name, index in found.items() if index > OTHER_DATA]
    if len(other) < SHIFTED and PEERS not in other:
        return None
    named = ", ".join(f"{name} {found[name]:.2f}" for name in other[:SHIFTED])
    trained = bundle.fingerprint
    return (
        f"model {bundle.spec.id} was trained on other data ({trained.data}, {day(trained.first)} to "
        f"{day(trained.last)}) than it scores: shifted are {named} (stability index over {OTHER_DATA}); "
        "train on your own history: aml train FEED --out models, then aml run --models models"
    )


def day(t: int) -> str:
    """UTC date of a time in µs."""
    return (dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=t)).date().isoformat()
