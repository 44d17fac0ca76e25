"""The shipped models are whole, small, in force, and what their files say."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

from aml.domain.errors import AmlError
from aml.learn.bench import legs_like
from aml.learn.bundle import load_bundle
from aml.learn.drift import OTHER_DATA, shifts
from aml.learn.features import FEATURES, NAMES, Theme
from aml.learn.infer import load_models
from aml.learn.spec import ModelKind, read_spec
from aml.learn.words import why
from tests.naive import features as naive

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
FOLDERS = sorted(path.parent for path in MODELS.glob("*/model.toml"))


@pytest.fixture(scope="module")
def weights():
    return tomllib.loads((ROOT / "rules" / "scoring.toml").read_text())["model"]["weights"]


@pytest.fixture(scope="module")
def models(weights):
    return load_models(MODELS, weights)


def test_each_kind_of_model_ships_once():
    assert sorted(read_spec(folder / "model.toml").kind for folder in FOLDERS) == sorted(ModelKind)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_a_model_says_what_an_alert_needs(folder):
    said = tomllib.loads((folder / "model.toml").read_text())
    assert "not that anything is wrong" in said["explain"]
    assert all(len(said[key]) >= 2 for key in ("blind_spots", "false_positives", "triage"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
@pytest.mark.parametrize(("old", "new", "told"), [
    ('explain = """', "explain = 7\nrest = \"\"\"", "unknown key"),
    ("triage = [", "triage = [7, ", "triage: must be a list of texts"),
    ('false_positives = [', 'false_positivs = [', "false_positivs: unknown key"),
])  # fmt: skip
def test_what_is_wrong_in_it_is_named(folder, old, new, told, tmp_path):
    path = tmp_path / folder.name / "model.toml"
    path.parent.mkdir()
    path.write_text((folder / "model.toml").read_text().replace(old, new, 1))
    with pytest.raises(AmlError, match=told):
        read_spec(path)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_a_model_folder_is_whole_and_small(folder):
    files = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert set(files) == {"model.toml", "CARD.md", "artefact.json", "artefact.npz"}
    assert max(files.values()) < 2**20


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_no_array_needs_pickle(folder):
    for name, array in load_bundle(folder).arrays.items():
        assert array.dtype.kind in "iuf", name


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_the_card_says_what_the_model_was_trained_on(folder):
    bundle = load_bundle(folder)
    card = (folder / "CARD.md").read_text()
    assert bundle.fingerprint.data in card
    for heading in ("## Use", "## Limits", "## Measured", "## Drift"):
        assert heading in card


def test_the_weights_name_the_shipped_models(weights):
    assert sorted(weights) == [folder.name for folder in FOLDERS]


def test_the_features_are_eighteen_of_every_theme_and_the_slow_twins():
    assert len(NAMES) == len(set(NAMES)) == 18
    assert naive.NAMES == NAMES
    assert {f.theme for f in FEATURES} == set(Theme)


def test_legs_like_the_training_are_no_other_data(models):
    found = shifts(models.bundles[0], legs_like(models, 20_000))
    assert max(index for name, index in found.items() if name != "peers") < OTHER_DATA


def test_the_shipped_models_score_and_explain(models):
    legs = legs_like(models, 2_000)
    legs.x[:20] += 8.0
    raw = models.legs(legs)
    assert np.isfinite(raw).all()
    assert set(range(20)) >= set(np.argsort(-models.leg_surprise(raw))[:5].tolist())
    assert all(why(models.table, legs.take(np.arange(20))))
