"""The whole service: what comes through Kafka, intakes and workers is what `aml run` finds in the same file."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import time
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from aml.store.database import open_database
from aml.store.files import sha256_of
from aml.stream.failpoints import INTAKE, WORKER
from aml.stream.faustapp import FaustTerms, make_app
from aml.stream.inbox import Inbox
from aml.stream.takeover import LEGS, RECORDS
from tests.broker import Broker
from tests.service import BANK, MANIFESTS, Process, Service, found, lines, parties, same, simulated

PLACE = ["topic", "partition", "offset", "element"]
pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated bank, and what `aml run` finds in it: run.db."""
    return simulated(tmp_path_factory.mktemp("bank"))


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


def test_a_published_feed_reconciles_with_its_manifest_and_alerts_go_downstream(
    tmp_path: Path, bank: Path, postgres_url: str
):
    feed, table = str(bank / "transactions.ndjson"), str(bank / "parties.csv")
    with Broker(tmp_path / "kafka") as broker, Service(broker, tmp_path, postgres_url, 4, 3) as service:
        worker, intake = service.start("worker"), service.start("intake")
        sent = service.publish(feed, "--parties", table, "--hourly")
        again = service.publish(feed, "--again", "--singles", "--key", "account", "--rate", "100000")
        n = len(lines(bank))
        assert (sent["records"], again["records"], sent["rejects"]) == (n, n, 0)
        assert sent["manifests"] > 1000
        report = service.reconciled(2 * n, 240)
        assert (report["scored"], report["duplicates"], report["rejected"], report["faults"]) == (n, n, {}, [])
        assert sum(m["scored"] for m in report["manifests"]) == n
        same(bank, postgres_url)
        _, alerts, _ = found(postgres_url)
        time.sleep(16)  # the database's own figures are told every 15 s
        told_by_metrics(service, worker, intake, 2 * n, alerts)
        told: dict[str, dict[str, Any]] = {}
        for message in broker.read("aml.alerts.v1"):
            body = json.loads(message.value)
            assert message.key.decode() == body["alert_id"]
            assert "disposition" not in body
            if body["version"] >= told.get(body["alert_id"], body)["version"]:
                told[body["alert_id"]] = body
        standing = {id_: body["score"] for id_, body in told.items() if body["status"] != "withdrawn"}
        assert standing == {id_: row[0] for id_, row in alerts.items()}


def told_by_metrics(service: Service, worker: Process, intake: Process, n: int, alerts: dict[str, Any]) -> None:
    """Both serve metrics in Prometheus's form, whose figures are those of the database, and say that they are ready."""
    held: dict[str, float] = {}
    for process in (worker, intake):
        page = service.scrape(process)
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                held[sample.name] = held.get(sample.name, 0.0) + sample.value
                assert not set(sample.labels) & {"customer", "account", "transaction"}
        assert json.loads(service.scrape(process, "healthz")) == {"alive": True}
        assert json.loads(service.scrape(process, "readyz"))["ready"], service.scrape(process, "readyz")
    assert held["aml_elements_total"] == n
    assert held["aml_transactions_total"] == 2 * n, "consumed, and scored or duplicate"
    assert held["aml_alerts_open"] == len(alerts) <= held["aml_alerts_total"]
    assert {"aml_model_score_psi", "aml_feature_psi", "aml_missing_field_ratio"} <= held.keys()
    assert 0 < held["aml_transactions_held"] <= 2 * n
    assert (held["aml_reconcile_gap"], held["aml_feed_lag_records"], held["aml_outbox_pending"]) == (0, 0, 0)
    assert held["aml_end_to_end_seconds_count"] > 0


def test_a_publisher_that_was_killed_goes_on_and_nothing_is_missing(tmp_path: Path, bank: Path):
    with Broker(tmp_path / "kafka") as broker, Service(broker, tmp_path, "sqlite:///x.db", 2, 1) as service:
        feed = str(bank / "transactions.ndjson")
        dying = service.start("publish", feed, "--batch", "50", "--rate", "5000")
        until = time.monotonic() + 60
        while len(broker.read(BANK)) < 100 and time.monotonic() < until:
            time.sleep(0.05)
        dying.kill()
        before = sum(m.value.count(b"\n") + 1 for m in broker.read(BANK))
        done = service.publish(feed, "--batch", "50")
        ids = [json.loads(line)["transaction_id"] for m in broker.read(BANK) for line in m.value.splitlines()]
        assert 0 < done["skipped"] <= before < len(lines(bank))
        assert done["skipped"] + done["records"] == len(lines(bank))
        assert list(dict.fromkeys(ids)) == [json.loads(line)["transaction_id"] for line in lines(bank)]
        assert len(ids) - len(set(ids)) == before - done["skipped"] <= 5000
        assert service.publish(feed)["finished_before"] is True
        assert len(broker.read(MANIFESTS)) == 1


def test_whatever_kills_worker_or_intake_nothing_is_lost_or_doubled(tmp_path: Path, bank: Path, postgres_url: str):
    """Each point of a step and of a flush, once: killed there as by kill -9, the next one goes on."""
    sent = lines(bank)
    points = [("worker", name) for name in WORKER] + [("intake", name) for name in INTAKE]
    part = -(-len(sent) // len(points))
    with Broker(tmp_path / "kafka") as broker, Service(broker, tmp_path, postgres_url, 4, 2) as service:
        service.send_parties(parties(bank))
        service.settings["AML_SNAPSHOTS"] = "1"
        service.start("worker", "--name", "other")
        for n, (command, point) in enumerate(points):
            dying = service.start(command, AML_FAIL_POINT=f"{point}:{2 if command == 'worker' else 1}")
            living = service.start("intake" if command == "worker" else "worker")
            service.send(sent[n * part : (n + 1) * part], 20)
            assert dying.popen.wait(60) == -signal.SIGKILL, (point, dying.said[-2000:])
            living.kill()
        service.start("worker")
        service.start("intake")
        report = service.reconciled(len(sent), 120)
        assert (report["scored"], report["duplicates"], report["rejected"]) == (len(sent), 0, {})
        same(bank, postgres_url)
        archived(service, postgres_url)
        until = time.monotonic() + 60
        while len({path.parent for path in tmp_path.rglob("snapshot-*.aml")}) < 4:
            assert time.monotonic() < until, "every shard leaves a snapshot"
            time.sleep(0.2)
        for process in service.running:
            if process.name == "worker":
                process.kill()
        last = service.start("worker")
        owning(last)
        assert last.said.count("from the snapshot") == 4


def archived(service: Service, db: str) -> None:
    """Segments that the database names are there, whole; no record is in them twice or under another's id."""
    database = open_database(db, create=False)
    with database.read() as c:
        rows = c.execute(text("SELECT name, sha256, rows FROM stream_segments")).all()
        folder = service.folder / "state" / database.database_id
    database.close()
    assert rows
    frames = []
    for name, sha256, n in rows:
        assert sha256_of(folder / name) == sha256
        frames.append(pl.read_parquet(folder / name, columns=[*PLACE, "transaction_id"]))
        assert frames[-1].height == n
    coordinates = pl.concat(frames).unique()
    assert coordinates.height == coordinates.select(PLACE).unique().height


def test_faust_begins_where_the_database_stands_and_nowhere_else(tmp_path: Path, broker: Broker):
    """Kafka's own offsets say 15, the shard stands at 7: a Faust that seeks elsewhere must not be used."""
    from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition

    legs, records, group = broker.topic(1), broker.topic(1), f"g{uuid.uuid4().hex[:8]}"
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap, acks="all")
    for n in range(20):
        producer.send(legs, b"%d" % n)
    producer.flush()
    producer.close()
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, group_id=group, enable_auto_commit=False)
    consumer.assign([TopicPartition(legs, 0)])
    consumer.commit({TopicPartition(legs, 0): OffsetAndMetadata(15, "", -1)})
    consumer.close()
    handed: list[int] = []

    class Noted(Inbox):
        def put(self, source: tuple[str, int], offset: int, value: bytes) -> None:
            handed.append(offset)
            super().put(source, offset, value)

        def wanted(self) -> dict[tuple[str, int], int]:
            return {}  # nothing is mended: what Faust does by itself is what counts

    inbox = Noted()
    inbox.open(0, 7)
    terms = FaustTerms(
        broker.bootstrap, {}, group, "one", {LEGS: legs, RECORDS: records}, tmp_path
    )  # fmt: skip
    assigned: list[frozenset[int]] = []

    async def go() -> None:
        app = make_app(terms, SimpleNamespace(assign=assigned.append), inbox)
        await app.start()
        until = time.monotonic() + 30
        while (not handed or handed[-1] < 19) and time.monotonic() < until:
            await asyncio.sleep(0.05)
        await app.stop()

    asyncio.run(go())
    assert assigned[-1] == frozenset({0})
    assert handed == list(range(7, 20))


def test_a_backup_of_database_and_state_goes_on_where_the_topics_are(tmp_path: Path, bank: Path):
    """Restored, the database knows older offsets and epochs than the topics have seen: the outcome is the same."""
    db, state = tmp_path / "aml.db", tmp_path / "aml.db.state"
    sent = lines(bank)
    with Broker(tmp_path / "kafka") as broker, Service(broker, tmp_path, f"sqlite:///{db}", 3, 2) as service:
        service.settings["AML_SNAPSHOTS"] = "1"
        service.send_parties(parties(bank))
        service.start("intake")
        worker = service.start("worker")
        service.send(sent[: len(sent) // 2], 50)
        service.reconciled(len(sent) // 2, 120)
        time.sleep(3)
        assert worker.stop() == 0
        shutil.copytree(state, tmp_path / "kept")
        shutil.copy(db, tmp_path / "kept.db")
        for _ in range(2):  # epochs go on, payments too
            worker = service.start("worker")
            service.send(sent[len(sent) // 2 :][:2000], 50)
            owning(worker)
            time.sleep(3)
            assert worker.stop() == 0
        for left in tmp_path.glob("aml.db*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        shutil.copytree(tmp_path / "kept", state)
        shutil.copy(tmp_path / "kept.db", db)
        worker = service.start("worker")
        service.send(sent[len(sent) // 2 + 2000 :], 50)
        report = service.reconciled(len(sent) + 2000, 120)
        assert "the database knows" in worker.said, "the restored database's epochs lie below those that were seen"
        assert (report["scored"], report["duplicates"]) == (len(sent), 2000)
        same(bank, f"sqlite:///{db}")


def owning(worker: Process) -> None:
    until = time.monotonic() + 60
    while "has shards" not in worker.said:
        assert time.monotonic() < until, worker.said
        time.sleep(0.1)


def test_sqlite_takes_one_worker(tmp_path: Path):
    with Broker(tmp_path / "kafka") as broker, Service(broker, tmp_path, f"sqlite:///{tmp_path}/x.db", 2, 1) as service:
        first = service.start("worker")
        owning(first)
        second = service.run("worker")
        assert second.returncode == 3
        assert "works on it, and SQLite takes one" in second.stderr.splitlines()[-1]
        began = time.monotonic()
        assert first.stop() == 0
        assert time.monotonic() - began < 10
