"""The whole service on one machine for tests: broker, intakes and workers as processes, database, a bank that sends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import text

from aml.store.database import open_database
from tests.broker import Broker

ROOT = Path(__file__).parents[1]
BANK, LEGS, RECORDS, ALERTS = "aml.transactions.v1", "aml.legs.v1", "aml.records.v1", "aml.alerts.v1"
PARTIES, DEAD, MANIFESTS = "aml.parties.v1", "aml.transactions.v1.dlq", "aml.manifests.v1"
# With the customer: two persons may hold a mandate on one account since the same day.
PARTY_KEY = ("account", "role", "customer", "valid_from")
AML = [sys.executable, "-c", "from aml.cli import main; main()"]


@dataclass
class Process:
    """One running command, its name and where its output goes."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait(30)

    def stop(self) -> int:
        """SIGTERM, and wait; its exit code."""
        self.popen.terminate()
        return self.popen.wait(30)

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


@dataclass
class Service:
    """Processes that end with it. shards: of the internal topics; partitions: of the bank's."""

    broker: Broker
    folder: Path
    db: str
    shards: int = 4
    partitions: int = 4
    settings: dict[str, str] = field(default_factory=dict)
    running: list[Process] = field(default_factory=list)
    started: int = 0

    def __enter__(self) -> Service:
        self.broker.topic(self.partitions, BANK)
        made = self.run("topics", "apply", "--shards", str(self.shards))
        assert made.returncode == 0, made.stderr
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running:
            process.popen.kill()
        for process in self.running:
            process.popen.wait(30)

    @property
    def environment(self) -> dict[str, str]:
        told = {
            "AML_KAFKA__BOOTSTRAP_SERVERS": self.broker.bootstrap, "AML_STATE": str(self.folder / "state"),
            "AML_DB": self.db, "PYTHONPATH": str(ROOT), "AML_METRICS_PORT": "0",
        }  # fmt: skip
        return {**os.environ, **told, **self.settings}

    def start(self, *arguments: str, **more: str) -> Process:
        """Start a command that runs until it is stopped."""
        log = self.folder / f"{self.started:03d}-{arguments[0]}.log"
        self.started += 1
        with log.open("wb") as out:
            popen = subprocess.Popen(
                [*AML, *arguments], cwd=ROOT, env={**self.environment, **more}, stdout=out, stderr=out
            )
        process = Process(arguments[0], popen, log)
        self.running.append(process)
        return process

    def run(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [*AML, *arguments], cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=timeout,
            check=False,
        )  # fmt: skip

    def publish(self, *arguments: str) -> dict[str, Any]:
        """`aml publish` to its end; what it says it did."""
        done = self.run("publish", *arguments, "--json", timeout=300)
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return said

    def scrape(self, process: Process, path: str = "metrics") -> str:
        """What a process serves."""
        at = re.search(r"metrics and health at (http://[\d.:]+)/metrics", process.said)
        assert at is not None, process.said
        try:
            with urllib.request.urlopen(f"{at[1]}/{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return f"{error.code} {error.read().decode()}"

    def send_parties(self, rows: Sequence[dict[str, Any]]) -> None:
        """The bank's party table, a message a row."""
        self._send(
            PARTIES,
            ((json.dumps([row.get(n) for n in PARTY_KEY]).encode(), json.dumps(row).encode(), 0)
             for row in rows),
        )  # fmt: skip

    def send(self, lines: Sequence[bytes], batch: int = 500, key: str = "turn") -> None:
        """The bank's payments, `batch` a message, in their order; to partitions in turn, or by a field of the first."""
        def messages() -> Iterator[tuple[bytes | None, bytes, int | None]]:
            for n in range(0, len(lines), batch):
                value = b"\n".join(lines[n : n + batch])
                if key == "turn":
                    yield None, value, n // batch % self.partitions
                else:
                    yield str(json.loads(lines[n]).get(key)).encode(), value, None

        self._send(BANK, messages())

    def _send(self, topic: str, messages: Any) -> None:
        from kafka import KafkaProducer

        producer = KafkaProducer(
            bootstrap_servers=self.broker.bootstrap, acks="all", compression_type="lz4", linger_ms=5, batch_size=1 << 18
        )
        try:
            for key, value, partition in messages:
                producer.send(topic, value, key=key, partition=partition)
            producer.flush()
        finally:
            producer.close(timeout=5)

    def reconciled(self, elements: int, seconds: float) -> dict[str, Any]:
        """Wait until so many elements are accounted for and nothing is pending; the last report."""
        until = time.monotonic() + seconds
        report: dict[str, Any] = {}
        while time.monotonic() < until:
            done = self.run("reconcile", "--json")
            if done.stdout.strip():
                report = json.loads(done.stdout.splitlines()[-1])
                counted = report["scored"] + report["duplicates"] + sum(report["rejected"].values())
                if done.returncode == 0 and counted >= elements:
                    return report
            dead = [p.log.name for p in self.running if p.popen.poll() not in (None, -signal.SIGKILL, 0)]
            assert not dead, [p.said[-3000:] for p in self.running if p.log.name in dead]
            time.sleep(1.0)
        tails = "\n".join(f"--- {p.log.name}\n{p.said[-1500:]}" for p in self.running)
        raise AssertionError(f"not reconciled in {seconds} s: {report}\n{done.stderr[-2000:]}\n{tails}")


def found(db: str) -> tuple[dict[str, Any], dict[str, Any], set[str]]:
    """Current findings with their transactions, alerts, and ids of evidence, as a database holds them."""
    database = open_database(db, create=False)
    try:
        with database.read() as c:
            named: dict[tuple[str, int], list[str]] = {}
            query = "SELECT finding_id, version, transaction_id FROM finding_transactions ORDER BY 1, 2, place"
            for finding, version, transaction in c.execute(text(query)):
                named.setdefault((finding, version), []).append(transaction)
            columns = "finding_id, version, rule, points, opens, crossed_at, total, measured, networks, path"
            rows = c.execute(text(f"SELECT {columns} FROM findings WHERE state = 'current'"))
            findings = {row[0]: (*row[2:], named.get((row[0], row[1]))) for row in rows}
            alerts = {
                row[0]: tuple(row[1:])
                for row in c.execute(text("SELECT alert_id, score, points, band, crossed_at, parts FROM alerts "
                                          "WHERE status <> 'withdrawn'"))
            }  # fmt: skip
            evidence = {row[0] for row in c.execute(text("SELECT transaction_id FROM evidence"))}
    finally:
        database.close()
    return findings, alerts, evidence


def simulated(folder: Path) -> Path:
    """A simulated bank in a folder, and what `aml run` finds in it: run.db."""
    told = ("--transactions", "20000", "--attempts", "40", "--format", "ndjson", "--seed", "11")
    _run("simulate", "--out", str(folder), *told)
    feed, table = str(folder / "transactions.ndjson"), str(folder / "parties.csv")
    _run("run", feed, "--parties", table, "--db", f"sqlite:///{folder}/run.db")
    return folder


def _run(*arguments: str) -> None:
    subprocess.run([*AML, *arguments], cwd=ROOT, check=True, capture_output=True)


def lines(bank: Path) -> list[bytes]:
    """Its payments."""
    return (bank / "transactions.ndjson").read_bytes().splitlines()


def parties(bank: Path) -> list[dict[str, Any]]:
    """Its party table."""
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
