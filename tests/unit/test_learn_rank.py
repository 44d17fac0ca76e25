"""Training ranks and their blend."""

from __future__ import annotations

import numpy as np
import pytest

from aml.learn.blend import fit_blend, fit_joint
from aml.learn.rank import STEP, fit_ranks, rank


def test_ranks_are_right_to_a_thousandth_and_finer_at_the_top():
    rng = np.random.default_rng(0)
    raw = rng.gamma(2.0, size=200_000)
    table = fit_ranks(raw)
    seen = np.sort(rng.choice(raw, 3_000))
    above = np.array([(raw >= x).mean() for x in seen])
    found = table.of(seen)
    assert np.abs(rank(found) - (1 - above)).max() <= 0.001 + 1e-9
    assert np.abs(found + np.log(above)).max() <= np.maximum(STEP, 0.001 / above).max()
    top = np.sort(raw)[-2:]
    assert np.exp(-table.of(top)) == pytest.approx([2 / 200_000, 1 / 200_000])
    assert table.raw.size < 2_500


def test_ranks_rise_strictly_and_never_beyond_what_the_rows_support():
    table = fit_ranks(np.arange(1_000.0))
    seen = np.linspace(0.0, 5_000.0, 10_001)
    found = table.of(seen)
    assert (np.diff(found) > 0).all()
    assert np.exp(-found[-1]) > 1 / 1_001


def test_ties_at_the_bottom_rank_last():
    table = fit_ranks(np.array([0.0] * 60 + [1.0] * 40))
    assert table.of(np.array([0.0]))[0] == 0.0
    assert np.exp(-table.of(np.array([1.0]))[0]) == pytest.approx(0.4)


def test_weights_stand_for_rows():
    weighted = fit_ranks(np.array([1.0, 2.0, 3.0]), np.array([5.0, 3.0, 2.0]))
    spelt = fit_ranks(np.array([1.0] * 5 + [2.0] * 3 + [3.0] * 2))
    assert (weighted.raw == spelt.raw).all()
    assert weighted.surprise == pytest.approx(spelt.surprise)
    assert weighted.rows == spelt.rows == 10


def test_nan_stays_nan():
    assert np.isnan(fit_ranks(np.arange(5.0)).of(np.array([np.nan]))).all()


def test_no_scores_cannot_be_ranked():
    with pytest.raises(ValueError, match="no score"):
        fit_ranks(np.zeros(0))


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 1.0), (1.0, 0.0)])
def test_the_blend_of_thinned_rows_ranks_like_that_of_all(weights):
    rng = np.random.default_rng(1)
    shared = rng.exponential(size=100_000)
    surprise = np.stack([shared + rng.exponential(size=100_000), shared + rng.exponential(size=100_000)], axis=1)
    share = np.array(weights)
    joint = fit_joint(surprise)
    assert joint.weight.sum() == 100_000
    assert joint.weight.size < 5_000
    blend = fit_blend(joint, share)
    summed = surprise @ share
    for p in (1e-4, 1e-3, 1e-2, 0.1, 0.5):
        at = np.quantile(summed, 1 - p)
        assert blend.ranks.of(np.array([at]))[0] == pytest.approx(-np.log(p), abs=0.25)
