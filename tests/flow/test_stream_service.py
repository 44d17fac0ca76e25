"""The whole service: what comes through Kafka, intakes and workers is what `aml run` finds in the same file."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.broker import Broker
from tests.service import AML, ROOT, Service, found

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated bank, and what `aml run` finds in it: run.db."""
    folder = tmp_path_factory.mktemp("bank")
    told = ("--transactions", "20000", "--attempts", "40", "--format", "ndjson", "--seed", "11")
    run(folder, "simulate", "--out", str(folder), *told)
    feed, parties = str(folder / "transactions.ndjson"), str(folder / "parties.csv")
    run(folder, "run", feed, "--parties", parties, "--db", f"sqlite:///{folder}/run.db")
    return folder


def run(folder: Path, *arguments: str) -> None:
    subprocess.run([*AML, *arguments], cwd=ROOT, check=True, capture_output=True)


def lines(bank: Path) -> list[bytes]:
    return (bank / "transactions.ndjson").read_bytes().splitlines()


def parties(bank: Path) -> list[dict[str, Any]]:
    rows = pl.read_csv(bank / "parties.csv", infer_schema=False).to_dicts()
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def same(bank: Path, db: str) -> None:
    """What stands in a database is what `aml run` found; evidence may be more: what findings named once."""
    (findings, alerts, evidence), (ours, told, held) = found(f"sqlite:///{bank}/run.db"), found(db)
    assert len(findings) > 100
    assert len(alerts) > 5
    assert ours.keys() == findings.keys()
    assert {id_: (ours[id_], one) for id_, one in findings.items() if ours[id_] != one} == {}
    assert told == alerts
    assert evidence <= held


@pytest.mark.parametrize(
    ("partitions", "shards", "workers", "batch", "key", "kind"),
    [
        (1, 4, 1, 500, "turn", "sqlite"),
        (4, 4, 3, 1, "originator_account", "postgresql"),
        (12, 12, 3, 100, "transaction_id", "postgresql"),
        (4, 12, 1, 1, "beneficiary_account", "postgresql"),
    ],
)
def test_findings_and_alerts_equal_those_of_a_file_run(
    tmp_path: Path, bank: Path, request: pytest.FixtureRequest, partitions, shards, workers, batch, key, kind
):
    db = f"sqlite:///{tmp_path}/aml.db" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    with Broker(tmp_path / "kafka") as broker, Service(broker, tmp_path, db, shards, partitions) as service:
        service.send_parties(parties(bank))
        for _ in range(workers):
            service.start("worker")
        intakes = [service.start("intake") for _ in range(2 if partitions > 1 else 1)]
        sent = lines(bank)
        service.send(sent, batch, key)
        report = service.reconciled(len(sent), 240)
        assert (report["scored"], report["pending"]) == (len(sent), 0)
        assert [process.stop() for process in intakes] == [0] * len(intakes)
        assert [p.stop() for p in service.running if p.name == "worker"] == [0] * workers
        same(bank, db)
