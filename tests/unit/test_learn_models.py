"""Training, storing, loading and scoring together."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aml.domain.errors import AmlError
from aml.learn.bundle import load_bundle, save_bundle
from aml.learn.drift import mismatch, shifts
from aml.learn.features import NAMES, Legs, Unit, readable
from aml.learn.infer import join_models, load_models, transaction_sums
from aml.learn.rank import rank
from aml.learn.sample import sample
from aml.learn.spec import read_spec, read_specs
from aml.learn.tails import fit_tails
from aml.learn.train import train
from aml.learn.words import drivers, share_below, why
from tests.learn_factory import CARD, CASH, WEIGHTS, WIRE, random_legs, specs, times_and_keys

MODELS = Path(__file__).parents[2] / "models"
SHIPPED = ("peer-tails", "isolation-forest")


@pytest.fixture(scope="module")
def legs():
    return random_legs(4_000)


@pytest.fixture(scope="module")
def bundles(legs):
    return train(legs, *times_and_keys(legs), specs(), "made up")


@pytest.fixture(scope="module")
def models(bundles):
    return join_models(bundles, WEIGHTS)


@pytest.fixture
def folder(bundles, tmp_path):
    """Both models on disk, with the shipped texts."""
    texts = [read_spec(MODELS / name / "model.toml") for name in SHIPPED]
    for bundle, spec in zip(bundles, texts, strict=True):
        save_bundle(replace(bundle, spec=spec), tmp_path)
    return tmp_path


def test_training_does_not_depend_on_the_order_of_the_legs(legs, bundles):
    t, key = times_and_keys(legs)
    turned = np.random.default_rng(9).permutation(legs.size)
    again = train(legs.take(turned), t[turned], key[turned], specs(), "made up")
    assert [b.sha256 for b in again] == [b.sha256 for b in bundles]


def test_the_sample_is_of_whole_transactions_after_the_cold_start(legs):
    t, key = times_and_keys(legs)
    fit = specs(cold_start=0.5)["peer-tails"].fit
    drawn = sample(legs, t, key, fit)
    assert drawn.t.min() >= np.quantile(t, 0.5, method="lower")
    assert 1_990 <= drawn.legs.size <= 2_002
    small = sample(legs, t, key, type(fit)(1_001, 0.0))
    assert small.legs.size == 1_000
    assert (np.bincount(small.legs.transaction) == 2).all()


def test_too_little_history_is_one_clear_line(legs):
    t, key = times_and_keys(legs)
    few = np.arange(900)
    with pytest.raises(AmlError, match="900 legs, 1,000 are needed"):
        train(legs.take(few), t[few], key[few], specs(), "made up")


def test_only_cards_cannot_train(legs):
    t, key = times_and_keys(legs)
    cards = Legs(legs.x, legs.direction, np.full(legs.size, CARD, np.int8), legs.sender, legs.receiver, legs.scored,
                 legs.transaction)
    with pytest.raises(AmlError, match="card payment"):
        train(cards, t, key, specs(), "made up")


def test_strange_transactions_come_first_and_cards_last(models):
    seen = random_legs(4_000, seed=3, strange=20)
    raw = models.legs(seen)
    found = models.transactions(raw, seen.transaction, 2_000)
    assert set(np.argsort(-found)[:20]) == set(range(20))
    cards = seen.instrument == CARD
    assert (raw[cards] == 0).all() and (raw[~cards] > 0).all()
    assert (models.leg_surprise(raw)[cards] == 0).all()


def test_ranks_of_the_training_data_are_even(models, legs):
    raw = models.legs(legs)
    for surprise, last in ((models.leg_surprise(raw), 0), (models.transactions(raw, legs.transaction, 2_000), 0)):
        ranks = rank(surprise)
        assert ranks.min() == last and ranks.max() < 1
        for q in (0.5, 0.9, 0.99):
            assert (ranks >= q).mean() == pytest.approx(1 - q, abs=0.02)


def test_a_transaction_is_the_sum_of_its_legs(models, legs):
    raw = models.legs(legs)
    backwards = np.arange(legs.size)[::-1]
    summed = transaction_sums(raw[backwards], legs.transaction[backwards], 2_000)
    for k in range(0, 2_000, 97):
        assert summed[k] == pytest.approx(raw[2 * k] + raw[2 * k + 1])


def test_a_payment_with_one_end_counts_it_twice(models, legs):
    one = int(np.flatnonzero(legs.instrument == CASH)[0])
    raw = models.legs(legs)[[one, 2, 3]]
    assert raw[0].min() > 0
    assert transaction_sums(raw, np.array([0, 1, 1]), 3)[0] == pytest.approx(2 * raw[0])


def test_legs_that_take_no_part_have_no_score(models, legs):
    silent = legs.take(np.arange(8))
    silent.scored[:4] = False
    raw = models.legs(silent)
    assert np.isnan(raw[:4]).all() and not np.isnan(raw[4:]).any()
    found = models.transactions(raw, silent.transaction, 4)
    assert np.isnan(found[:2]).all() and not np.isnan(found[2:]).any()


def test_scores_do_not_depend_on_the_batch(models, legs):
    whole = models.legs(legs)
    parts = [models.legs(legs.take(np.arange(i, min(i + 700, legs.size)))) for i in range(0, legs.size, 700)]
    assert (np.concatenate(parts) == whole).all()


def test_peer_tails_alone_ranks_by_its_own_table(bundles, legs):
    alone = join_models(bundles[:1], {"peer-tails": 1})
    raw = alone.legs(legs)
    assert raw.shape == (legs.size, 1)
    inside = raw[:, 0] <= alone.leg_ranks[0].raw[-1]
    found = alone.leg_surprise(raw)
    assert found[inside] == pytest.approx(alone.leg_ranks[0].of(raw[inside, 0]), abs=1e-9)


def test_a_weight_of_nothing_leaves_a_model_out(bundles, legs):
    only = join_models(bundles, {"peer-tails": 1, "isolation-forest": 0})
    raw = only.legs(legs)
    ordered = np.argsort(only.leg_surprise(raw), kind="stable")
    assert (np.diff(raw[ordered, 0]) >= 0).all()


def test_stored_models_score_as_trained(folder, models, legs):
    loaded = load_models(folder, WEIGHTS)
    raw = models.legs(legs)
    assert (loaded.legs(legs) == raw).all()
    assert (loaded.leg_surprise(raw) == models.leg_surprise(raw)).all()


def test_the_same_models_give_the_same_bytes(bundles, folder, tmp_path_factory):
    loaded = [load_bundle(folder / name) for name in SHIPPED]
    other = tmp_path_factory.mktemp("again")
    for bundle in loaded:
        save_bundle(bundle, other)
    for path in sorted(folder.glob("*/*")):
        assert (other / path.parent.name / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("name", ["model.toml", "artefact.json", "artefact.npz"])
def test_one_flipped_byte_is_refused_and_the_file_named(folder, name):
    path = folder / "isolation-forest" / name
    whole = path.read_bytes()
    for at in sorted({0, 1, len(whole) - 2, *range(7, len(whole), max(1, len(whole) // 60))}):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
        with pytest.raises(AmlError) as raised:
            load_bundle(path.parent)
        assert str(path) in str(raised.value) or name == "artefact.json"
        assert "isolation-forest" in str(raised.value) and "\n" not in str(raised.value)
    path.write_bytes(whole)
    load_bundle(path.parent)


@pytest.mark.parametrize("name", ["artefact.json", "artefact.npz", "model.toml"])
def test_a_missing_file_is_named(folder, name):
    (folder / "peer-tails" / name).unlink()
    with pytest.raises(AmlError, match=f"peer-tails/{name}"):
        load_models(folder, WEIGHTS)


def test_a_place_that_cannot_be_written_is_named(bundles, tmp_path):
    (tmp_path / "peer-tails").write_text("in the way")
    with pytest.raises(AmlError, match="peer-tails: the model cannot be written"):
        save_bundle(bundles[0], tmp_path)


def test_specs_are_read_by_name(folder, tmp_path_factory):
    assert sorted(read_specs(folder)) == sorted(SHIPPED)
    with pytest.raises(AmlError, match="holds no model"):
        read_specs(tmp_path_factory.mktemp("empty"))


def test_models_that_were_not_trained_together_are_refused(bundles, legs):
    t, key = times_and_keys(legs)
    other = train(legs, t, key, specs(step=0.125), "made up")
    with pytest.raises(AmlError, match="train both"):
        join_models([other[0], bundles[1]], WEIGHTS)


def test_a_model_without_a_weight_is_no_silent_passenger(folder):
    with pytest.raises(AmlError, match=r"isolation-forest: has no weight"):
        load_models(folder, {"peer-tails": 1})


def test_a_weight_without_a_model_is_refused(folder):
    with pytest.raises(AmlError, match="third"):
        load_models(folder, {**WEIGHTS, "third": 1})


def test_weights_of_nothing_are_refused(bundles):
    with pytest.raises(AmlError, match="all are 0"):
        join_models(bundles, {"peer-tails": 0, "isolation-forest": 0})


@pytest.mark.parametrize(("was", "now", "message"), [
    ('"over_max"', '"over_maxx"', "number 3 is 'over_maxx'"),
    ('"depth", "similar"', '"depth"', "17 listed"),
    ("trees ", "treees ", "fit.treees: unknown key"),
    ("trees         = 64", "trees = 0", "fit.trees: must be a whole number from 1"),
    ("cold_start    = 0.2", 'cold_start = "0.2"', "fit.cold_start: must be a share"),
    ('kind        = "isolation-forest"', 'kind = "forest"', "kind: must be one of"),
    ("title ", "titel ", "titel: unknown key"),
    ("version     = 1", "version = 0", "version: must be"),
    ('id          = "isolation-forest"', 'id = "other"', "id: must be the folder's name"),
    ("[fit]", "[fit", "not valid TOML"),
])
def test_an_impossible_model_file_names_key_and_mend(folder, was, now, message):
    path = folder / "isolation-forest" / "model.toml"
    text = path.read_text()
    assert was in text
    path.write_text(text.replace(was, now, 1))
    with pytest.raises(AmlError) as raised:
        read_spec(path)
    assert str(path) in str(raised.value) and message in str(raised.value)


def test_the_model_says_when_data_are_unlike_its_own(bundles, legs):
    assert mismatch(bundles[0], random_legs(4_000, seed=8)) is None
    other = random_legs(4_000, seed=8)
    other.x[:, 0] += 2.0
    assert mismatch(bundles[0], other) is None
    other.x[:, [9, 11]] += 1.0
    said = mismatch(bundles[0], other)
    assert said is not None and "ln_amount" in said and "made up" in said and "aml train" in said
    assert next(iter(shifts(bundles[0], other))) == "ln_amount"


def test_other_peers_are_other_data(bundles):
    other = random_legs(4_000, seed=8)
    other.receiver[:] = 3
    said = mismatch(bundles[0], other)
    assert said is not None and "peers" in said


def test_a_handful_of_legs_is_no_proof_of_drift(bundles):
    few = random_legs(400, seed=8)
    few.x[:, 0] += 5.0
    assert mismatch(bundles[0], few) is None


def test_words_name_the_rarest_of_each_theme(models):
    seen = random_legs(4_000, seed=3)
    seen.instrument[0], seen.direction[0], seen.sender[0], seen.receiver[0] = WIRE, 1, 0, 0
    seen.x[0] = -9.0
    seen.x[0, [NAMES.index("ln_amount"), NAMES.index("new_4d")]] = 9.4, 9.0
    said = why(models.table, seen)[0]
    assert len(said) == 2
    assert said[0].startswith("larger than 99.") and said[0].endswith("of person-to-person wires")
    assert said[1].startswith("9 new payees in the four days before") and said[1].endswith("of them")


def test_words_take_the_strongest_of_a_theme(legs):
    seen = legs.take(np.flatnonzero(legs.instrument == WIRE)[:1])
    table = fit_tails(legs, 20_000, 100, 9.0, 0.0)
    seen.x[0] = -9.0
    seen.x[0, [NAMES.index("z_own"), NAMES.index("over_max")]] = 1.5, 3.0
    assert [p.split(",")[0] for p in why(table, seen)[0]] == ["20.1 times the holder's largest so far"]


@pytest.mark.parametrize(("unit", "value", "words"), [
    (Unit.LN_MONEY, math.log(12_500), "12,500"),
    (Unit.LN_MONEY_1, math.log1p(2), "2"),
    (Unit.MINUS_LN_COUNT, -math.log1p(3), "3"),
    (Unit.SHARE, 0.25, "25 %"),
    (Unit.LN_RATIO, math.log(2.5), "2.5"),
    (Unit.LN_HOURS, math.log(0.5), "30 minutes"),
    (Unit.LN_HOURS, math.log(40), "40 hours"),
    (Unit.LN_HOURS, math.log(24 * 30), "30 days"),
    (Unit.DEVIATIONS, 2.25, "2.2"),
    (Unit.COUNT, 4.0, "4"),
])
def test_values_are_readable(unit, value, words):
    assert readable(unit, value) == words


def test_cards_and_silent_legs_are_not_explained(models):
    seen = random_legs(100, seed=3, strange=2)
    seen.scored[0] = False
    assert why(models.table, seen)[0] == []
    assert why(models.table, seen)[1] != []
    assert all(said == [] for said, i in zip(why(models.table, seen), seen.instrument, strict=True) if i == CARD)


def test_drivers_are_shares_of_the_whole(models):
    seen = random_legs(100, seed=3, strange=2)
    shares = drivers(models.table, seen)[0]
    assert sum(s for _, s in shares) == pytest.approx(1.0, abs=1e-5)
    assert shares == sorted(shares, key=lambda s: (-s[1], s[0]))


@pytest.mark.parametrize(("above", "words"), [
    (0.07, "93 %"), (0.1, "90 %"), (0.004, "99.60 %"), (0.03, "97.0 %"), (0.0001234, "99.98 %"),
])
def test_shares_are_never_rounded_up(above, words):
    assert share_below(-math.log(above)) == words


def test_small_peers_are_called_all_payments(legs):
    seen = random_legs(400, seed=3, strange=2)
    seen.instrument[:2], seen.direction[:2], seen.receiver[:2] = CASH, 0, 0
    few, many = (fit_tails(legs, 500, group, 9.0, 0.0) for group in (10, 10_000))
    assert why(few, seen)[0][0].endswith("of cash deposits of persons")
    assert why(many, seen)[0][0].endswith("of all payments")


def test_the_manifest_is_plain_json(folder):
    values = json.loads((folder / "peer-tails" / "artefact.json").read_text())
    assert values["trained_on"]["data"] == "made up"
    assert values["needs"] == {}
