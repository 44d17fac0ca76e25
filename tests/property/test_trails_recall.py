"""Trails know at least 95 % of what exhaustive search knows of simulated layering; a lower cap would be felt."""

from __future__ import annotations

import pytest

from aml.detect.compile import MOST_TRAILS
from tests.layering import WORDS, recall

ENOUGH = 0.95
# What a crowd may push out of the eight best trails of a payment: some of the many subjects and first payments, never
# the payment itself nor the attempt.
WHOLE = ("attempts", "payments")


@pytest.mark.parametrize(
    ("kind", "seeds", "asserted"),
    [
        ("simulated", (4_711,), tuple(WORDS)),
        ("quiet", (4_711, 4_712, 4_713), tuple(WORDS)),
        ("crowded", (4_711, 4_712, 4_713), WHOLE),
    ],
)
def test_recall_against_exhaustive_search(kind, seeds, asserted):
    found = recall(kind, seeds, (MOST_TRAILS, 1))
    kept, one = found[MOST_TRAILS], found[1]
    assert min(kept.searched.values()) >= 20
    assert {what: kept.of(what) for what in asserted if kept.of(what) < ENOUGH} == {}
    assert one.of("payments") < min(ENOUGH, kept.of("payments"))
    assert one.of("chains") < 0.6 * kept.of("chains")
