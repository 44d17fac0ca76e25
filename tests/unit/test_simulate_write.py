"""Simulated banks as files: the same bytes for one seed, the same content in every format."""

import gzip
import json

import polars as pl
import pytest

from aml.domain.errors import AmlError
from aml.feed.simulate import Bank, Simulation, simulate, write

FORMATS = ("parquet", "ndjson", "csv", "ndjson.gz", "csv.gz")
SETTINGS = Simulation(transactions=3_000, days=30, attempts=8)


@pytest.fixture(scope="module")
def bank() -> Bank:
    return simulate(SETTINGS)


def files(folder, bank, suffix):
    paths = [folder / f"{name}.{suffix}" for name in ("transactions", "parties", "truth")]
    write(bank, *paths)
    return paths


@pytest.mark.parametrize("suffix", FORMATS)
def test_one_seed_gives_the_same_bytes(tmp_path, bank, suffix):
    (tmp_path / "other").mkdir()
    first = files(tmp_path, bank, suffix)
    again = files(tmp_path / "other", simulate(SETTINGS), suffix)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]


def test_another_seed_gives_other_bytes(tmp_path, bank):
    write(bank, tmp_path / "one.parquet")
    write(simulate(Simulation(2, 3_000, 30, attempts=8)), tmp_path / "two.parquet")
    assert (tmp_path / "one.parquet").read_bytes() != (tmp_path / "two.parquet").read_bytes()


def test_parquet_reads_back_as_it_was(tmp_path, bank):
    for path, frame in zip(
        files(tmp_path, bank, "parquet"), (bank.transactions, bank.parties, bank.truth), strict=True
    ):
        assert pl.read_parquet(path).equals(frame)


@pytest.mark.parametrize("suffix", ["ndjson", "ndjson.gz"])
def test_json_lines_say_what_the_frame_says_and_leave_out_what_is_absent(tmp_path, bank, suffix):
    path, parties, truth = files(tmp_path, bank, suffix)
    lines = read_text(path).splitlines()
    assert len(lines) == bank.transactions.height
    for line, row in zip(lines, bank.transactions.iter_rows(named=True), strict=True):
        read = json.loads(line)
        wanted = {name: value for name, value in row.items() if value is not None}
        wanted["amount"] = str(wanted["amount"])
        wanted["executed_at"] = wanted["executed_at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        assert read == wanted
    first = json.loads(read_text(parties).splitlines()[0])
    assert first["cash_intensive"] is False
    assert first["opened"] == bank.parties["opened"][0].isoformat()
    assert json.loads(read_text(truth).splitlines()[0])["shape_rows"] == bank.truth["shape_rows"][0]


@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_csv_says_what_the_frame_says(tmp_path, bank, suffix):
    path, _, _ = files(tmp_path, bank, suffix)
    read = pl.read_csv(read_text(path).encode(), infer_schema=False)
    assert read.columns == bank.transactions.columns
    assert read["amount"].to_list() == [str(amount) for amount in bank.transactions["amount"]]
    assert read["conductor"].equals(bank.transactions["conductor"])
    assert (
        read["executed_at"]
        .str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_zone="UTC")
        .equals(bank.transactions["executed_at"])
    )


@pytest.mark.parametrize("suffix", ["ndjson", "csv"])
def test_a_bank_without_launderers_has_an_empty_truth(tmp_path, suffix):
    _, _, truth = files(tmp_path, simulate(Simulation(transactions=3_000, days=30, clean=True)), suffix)
    assert read_text(truth).splitlines()[1:] == []


def test_only_what_has_a_path_is_written(tmp_path, bank):
    write(bank, tmp_path / "transactions.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["transactions.csv"]


@pytest.mark.parametrize("name", ["bank.txt", "bank", "bank.parquet.gz", "bank.gz"])
def test_an_unknown_suffix_is_named_and_nothing_is_written(tmp_path, bank, name):
    with pytest.raises(AmlError, match=r"cannot tell the format"):
        write(bank, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def read_text(path):
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
