"""`aml simulate`: the same bytes from every process, files that `aml run` reads, errors that name the option."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import polars as pl
import pytest
from typer.testing import CliRunner

from aml.cli import app

SMALL = ["--transactions", "4000", "--days", "40", "--attempts", "30"]


def aml_simulate(*args, code=0):
    result = CliRunner().invoke(app, ["simulate", *map(str, args)])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_one_seed_gives_the_same_bytes_in_every_process(tmp_path):
    for name, hashing in (("one", "1"), ("two", "2")):
        env = {**os.environ, "PYTHONHASHSEED": hashing, "POLARS_MAX_THREADS": hashing}
        command = [sys.executable, "-m", "aml", "simulate", "--out", str(tmp_path / name), *SMALL]
        subprocess.run(command, env=env, check=True, capture_output=True)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two
    assert set(one) == {"transactions.parquet", "parties.csv", "truth.csv"}


def test_json_tells_what_was_made_and_where(tmp_path):
    told = json.loads(aml_simulate("--out", tmp_path, *SMALL, "--json").stdout)
    rows = pl.read_parquet(told["files"]["transactions"])
    truth = pl.read_csv(told["files"]["truth"])
    assert (told["transactions"], told["planted"], told["attempts"]) == (rows.height, truth.height, 30)
    assert truth.columns[:3] == ["transaction_id", "typology", "attempt"]


def test_no_launderers_leaves_the_rest_as_it_was(tmp_path):
    planted = json.loads(aml_simulate("--out", tmp_path / "a", *SMALL, "--json").stdout)
    clean = json.loads(aml_simulate("--out", tmp_path / "b", *SMALL, "--no-launderers", "--json").stdout)
    assert (clean["planted"], clean["attempts"]) == (0, 0)
    assert clean["transactions"] == planted["transactions"] - planted["planted"]
    assert (tmp_path / "a/parties.csv").read_bytes() == (tmp_path / "b/parties.csv").read_bytes()


@pytest.mark.parametrize("form", ["ndjson", "csv", "ndjson.gz", "csv.gz"])
def test_the_transactions_come_in_the_format_asked_for(tmp_path, form):
    shown = aml_simulate("--out", tmp_path, *SMALL, "--format", form).stdout
    assert (tmp_path / f"transactions.{form}").exists()
    assert f"aml run {tmp_path}/transactions.{form} --parties {tmp_path}/parties.csv" in shown


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--start", "5.1.2026"], "is not a date: write 2026-01-05"),
        (["--days", "3"], "--days"),
        (["--format", "xlsx"], "--format"),
        (["--transactions", "many"], "--transactions"),
    ],
)
def test_a_wrong_option_is_named(tmp_path, wrong, said):
    assert said in aml_simulate("--out", tmp_path, *wrong, code=2).output
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_profile_ends_with_one_line(tmp_path):
    result = aml_simulate("--out", tmp_path, "--profile", "eu", code=2)
    assert result.stderr == "error: simulate: profile 'eu' is none of us, ca, au\n"


def test_a_folder_that_cannot_be_written_ends_with_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    result = aml_simulate("--out", tmp_path / "file" / "bank", *SMALL, code=3)
    assert result.stderr.startswith(f"error: {tmp_path}/file/bank/transactions.parquet: cannot be written")
    assert len(result.stderr.splitlines()) == 1
