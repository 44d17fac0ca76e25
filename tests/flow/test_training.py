"""From a bank's own history to models that score its next weeks and say why."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from aml.cli import app
from aml.domain.errors import AmlError
from aml.feed.simulate import SimulateSettings, simulate, write
from aml.learn.bundle import load_bundle
from aml.learn.infer import load_models
from aml.pipeline.training import TrainSettings, name_of, train_feeds

WEIGHTS = {"peer-tails": 1, "isolation-forest": 1}
SMALL = 'rows       = 600_000', 'rows       = 20_000'


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """Thirty thousand payments of sixty days, some of them laundering."""
    folder = tmp_path_factory.mktemp("bank")
    write(simulate(SimulateSettings(seed=31, transactions=30_000, days=60)), folder)
    return folder


def command(*args):
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def models(bank, tmp_path_factory):
    """Models of the first half."""
    frame = pl.read_parquet(bank / "transactions.parquet")
    frame.head(frame.height // 2).write_parquet(bank / "first.parquet")
    out = tmp_path_factory.mktemp("models")
    parties = ("--parties", bank / "parties.csv")
    told = json.loads(command("train", bank / "first.parquet", *parties, "--out", out, "--json"))
    assert told["transactions"] == frame.height // 2
    assert 20_000 < told["legs"] < 30_000
    assert [Path(m["folder"]).name for m in told["models"]] == ["peer-tails", "isolation-forest"]
    return out


def digests(folder):
    return [load_bundle(folder / name).sha256 for name in WEIGHTS]


def test_the_models_know_what_they_were_trained_on(bank, models):
    trained = load_models(models, WEIGHTS).bundles[0].fingerprint
    assert trained.data == "first.parquet"
    begun = pl.read_parquet(bank / "first.parquet")["executed_at"].dt.epoch("us")
    assert begun.quantile(0.15) < trained.first < trained.last <= begun.max()


def test_a_run_scores_with_them_and_evaluation_judges_it(bank, models, tmp_path):
    url, scores = f"sqlite:///{tmp_path / 'aml.db'}", tmp_path / "scores.parquet"
    command("run", bank / "transactions.parquet", "--parties", bank / "parties.csv", "--db", url, "--models", models,
            "--scores-out", scores)  # fmt: skip
    rows = pl.read_parquet(scores)
    assert rows["anomaly"].drop_nulls().is_between(0, 1).all() and rows["anomaly"].n_unique() > 1_000
    told = json.loads(command("evaluate", url, bank / "truth.csv", "--scores", scores, "--json"))
    truth = pl.read_csv(bank / "truth.csv")
    assert len(told["attempts"]) == truth["attempt"].n_unique()
    assert told["ranking"]["whole"]["rows"] == truth.join(rows, on="transaction_id", how="semi").height > 0
    people = {kind["kind"]: kind["customers"] for kind in told["kinds"]}
    owners = pl.read_csv(bank / "parties.csv").filter(pl.col("role") == "owner").unique("customer")
    assert 0.7 < people["person"] / owners.filter(pl.col("kind") == "person").height <= 1.0
    assert people["business"] > 0


def test_files_in_any_order_give_the_same_models(bank, models, tmp_path):
    frame = pl.read_parquet(bank / "first.parquet")
    parts = [bank / "part-a.ndjson", bank / "part-b.parquet"]
    frame.filter(pl.int_range(pl.len()) % 2 == 0).sample(fraction=1.0, shuffle=True, seed=3).write_ndjson(parts[0])
    frame.filter(pl.int_range(pl.len()) % 2 == 1).write_parquet(parts[1])
    settings = TrainSettings(tuple(map(str, parts)), parties=bank / "parties.csv", out=tmp_path)
    told = train_feeds(settings)
    assert told.transactions == frame.height
    assert digests(tmp_path) == digests(models)


def test_a_model_file_of_ones_own_is_trained_as_it_says(bank, models, tmp_path):
    text = (models / "peer-tails" / "model.toml").read_text()
    (tmp_path / "peer-tails").mkdir()
    edited = text.replace(*SMALL).replace("version     = 1", "version     = 7")
    (tmp_path / "peer-tails" / "model.toml").write_text(edited)
    told = train_feeds(TrainSettings((str(bank / "first.parquet"),), parties=bank / "parties.csv", out=tmp_path))
    assert told.legs <= 20_000
    assert [m.version for m in told.models] == [7, 1]
    assert load_models(tmp_path, WEIGHTS).bundles[0].spec.fit.rows == 20_000


def test_too_little_history_writes_nothing(tmp_path):
    feed = tmp_path / "few.ndjson"
    write(simulate(SimulateSettings(transactions=200, days=10, attempts=0)), tmp_path / "few")
    pl.read_parquet(tmp_path / "few" / "transactions.parquet").head(100).write_ndjson(feed)
    with pytest.raises(AmlError, match="too little history to train on"):
        train_feeds(TrainSettings((str(feed),), out=tmp_path / "models"))
    assert not (tmp_path / "models").exists()


def test_an_empty_feed_is_too_little_history_too(tmp_path):
    (tmp_path / "none.ndjson").write_text("")
    with pytest.raises(AmlError, match="0 legs, 1,000 are needed"):
        train_feeds(TrainSettings((str(tmp_path / "none.ndjson"),), out=tmp_path))


def test_standard_input_has_a_name():
    assert (name_of("-"), name_of("a/b.csv")) == ("standard input", "b.csv")
