"""Simulated banks as files: the same bytes for one seed, the same content in every format."""

import gzip
import json

import polars as pl
import pytest

from aml.domain.errors import AmlError
from aml.feed.simulate import FORMATS, Bank, SimulateSettings, simulate, write
from aml.feed.simulate.files import write_frame

SETTINGS = SimulateSettings(transactions=3_000, days=30, attempts=8)


@pytest.fixture(scope="module")
def bank() -> Bank:
    return simulate(SETTINGS)


@pytest.mark.parametrize("form", FORMATS)
def test_one_seed_gives_the_same_bytes(tmp_path, bank, form):
    first = write(bank, tmp_path / "one", form)
    again = write(simulate(SETTINGS), tmp_path / "two", form)
    assert [path.read_bytes() for path in first.values()] == [path.read_bytes() for path in again.values()]


def test_another_seed_gives_other_bytes(tmp_path, bank):
    one = write(bank, tmp_path / "one")
    two = write(simulate(SimulateSettings(2, 3_000, 30, attempts=8)), tmp_path / "two")
    assert all(one[name].read_bytes() != two[name].read_bytes() for name in one)


def test_three_files_are_written_and_named(tmp_path, bank):
    written = write(bank, tmp_path / "made" / "here", "csv.gz")
    assert {name: path.name for name, path in written.items()} == {
        "transactions": "transactions.csv.gz",
        "parties": "parties.csv",
        "truth": "truth.csv",
    }
    assert sorted(path.name for path in (tmp_path / "made" / "here").iterdir()) == sorted(
        path.name for path in written.values()
    )


def test_parquet_reads_back_as_it_was(tmp_path, bank):
    for name, frame in (("t", bank.transactions), ("p", bank.parties), ("truth", bank.truth)):
        write_frame(frame, tmp_path / f"{name}.parquet")
        assert pl.read_parquet(tmp_path / f"{name}.parquet").equals(frame)


@pytest.mark.parametrize("form", ["ndjson", "ndjson.gz"])
def test_json_lines_say_what_the_frame_says_and_leave_out_what_is_absent(tmp_path, bank, form):
    for name, frame in (("t", bank.transactions), ("p", bank.parties), ("truth", bank.truth)):
        write_frame(frame, tmp_path / f"{name}.{form}")
    lines = read_text(tmp_path / f"t.{form}").splitlines()
    assert len(lines) == bank.transactions.height
    for line, row in zip(lines, bank.transactions.iter_rows(named=True), strict=True):
        read = json.loads(line)
        wanted = {name: value for name, value in row.items() if value is not None}
        wanted["amount"] = str(wanted["amount"])
        wanted["executed_at"] = wanted["executed_at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        assert read == wanted
    first = json.loads(read_text(tmp_path / f"p.{form}").splitlines()[0])
    assert first["cash_intensive"] is False
    assert first["opened"] == bank.parties["opened"][0].isoformat()
    assert (
        json.loads(read_text(tmp_path / f"truth.{form}").splitlines()[0])["shape_rows"] == bank.truth["shape_rows"][0]
    )


@pytest.mark.parametrize("form", ["csv", "csv.gz"])
def test_csv_says_what_the_frame_says(tmp_path, bank, form):
    path = write(bank, tmp_path, form)["transactions"]
    read = pl.read_csv(read_text(path).encode(), infer_schema=False)
    assert read.columns == bank.transactions.columns
    assert read["amount"].to_list() == [str(amount) for amount in bank.transactions["amount"]]
    assert read["conductor"].equals(bank.transactions["conductor"])
    assert (
        read["executed_at"]
        .str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_zone="UTC")
        .equals(bank.transactions["executed_at"])
    )


def test_a_bank_without_launderers_has_an_empty_truth(tmp_path):
    clean = simulate(SimulateSettings(transactions=3_000, days=30, launderers=False))
    truth = write(clean, tmp_path)["truth"]
    assert read_text(truth) == "transaction_id,typology,attempt,shape_rows,degenerate,executed_at\n"
    write_frame(clean.truth, tmp_path / "truth.ndjson")
    assert (tmp_path / "truth.ndjson").read_bytes() == b""


@pytest.mark.parametrize("name", ["bank.txt", "bank", "bank.parquet.gz", "bank.gz"])
def test_an_unknown_suffix_is_named_and_nothing_is_written(tmp_path, bank, name):
    with pytest.raises(AmlError, match=r"cannot tell the format"):
        write_frame(bank.truth, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_half_a_file(tmp_path, bank, monkeypatch):
    def full(frame, path, form):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("aml.feed.simulate.files._write", full)
    with pytest.raises(AmlError, match=r"transactions\.parquet: cannot be written: No space left on device"):
        write(bank, tmp_path)
    assert list(tmp_path.iterdir()) == []


def read_text(path):
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
