"""What is away, full or refused: one clear line, no loop that burns a core, and everything is there afterwards."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from aml.store.database import open_database
from aml.store.engine import parse_url
from tests.broker import Broker
from tests.service import BANK, DEAD, Process, Service

pytestmark = pytest.mark.thorough
ENDS_IN = 10.0


def payment(n: int, **more: object) -> bytes:
    told = {
        "transaction_id": f"T{n}", "executed_at": "2026-03-02T10:00:00Z", "amount": "12.50", "currency": "USD",
        "originator_account": f"A{n % 97}", "beneficiary_account": f"B{n % 89}", **more,
    }  # fmt: skip
    return json.dumps(told).encode()


def until(holds: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until it holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def stopped(process: Process, when: str) -> float:
    """Seconds that a process took to end in order after SIGTERM."""
    began = time.monotonic()
    assert process.stop() == 0, process.said[-3000:]
    seconds = time.monotonic() - began
    sys.stdout.write(f"{process.name} {when}: ended {seconds:.1f} s after SIGTERM\n")
    assert seconds < ENDS_IN, process.said[-3000:]
    return seconds


class Traffic:
    """A bank that sends two thousand payments five times a second or so, until it is told to end."""

    def __init__(self, service: Service) -> None:
        self._service, self._stop = service, threading.Event()
        self.sent = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._service.send([payment(self.sent + n) for n in range(2_000)], 100)
            self.sent += 2_000
            self._stop.wait(0.2)

    def end(self) -> int:
        self._stop.set()
        self._thread.join(30)
        return self.sent


def ready(process: Process, line: str) -> None:
    until(lambda: line in process.said, 60, process.said[-2000:])


def test_sigterm_ends_both_within_ten_seconds_under_traffic_and_without_a_broker(tmp_path: Path, postgres_url: str):
    with Broker(tmp_path / "kafka") as broker, Service(broker, tmp_path, postgres_url, 4, 4) as service:
        service.send_parties([{"account": "A1", "customer": "C1", "kind": "person", "role": "owner"}])
        worker, intake = service.start("worker"), service.start("intake")
        ready(worker, "has shards")
        ready(intake, "reads aml.transactions.v1[0]")
        traffic = Traffic(service)
        time.sleep(3)
        stopped(intake, "under traffic")
        stopped(worker, "under traffic")
        worker, intake = service.start("worker"), service.start("intake")
        ready(worker, "has shards")
        ready(intake, "reads aml.transactions.v1[0]")
        time.sleep(2)
        sent = traffic.end()
        broker.kill()
        time.sleep(4)
        stopped(intake, "without a broker")
        stopped(worker, "without a broker")
        broker.start()
        service.start("worker")
        service.start("intake")
        report = service.reconciled(sent, 120)
        assert (report["scored"], report["duplicates"], report["rejected"]) == (sent, 0, {})


def test_sigterm_ends_a_worker_whose_database_is_away_and_one_that_waits_for_a_broker(tmp_path: Path):
    with Broker(tmp_path / "kafka") as broker, Service(broker, tmp_path, "postgresql://a@127.0.0.1:9/x") as service:
        waiting = service.start("worker")
        ready(waiting, "does not answer")
        stopped(waiting, "without a database")
        service.db = f"sqlite:///{tmp_path}/x.db"
        broker.kill()
        for name in ("intake", "worker"):
            one = service.start(name)
            time.sleep(4)
            if one.popen.poll() is None:
                stopped(one, "started without a broker")
            else:
                assert "does not answer" in one.said.splitlines()[-1]


def test_revoked_rights_end_the_worker_with_one_line_and_it_goes_on_once_they_are_granted(
    tmp_path: Path, postgres_url: str
):
    open_database(postgres_url).close()
    admin = create_engine(parse_url(postgres_url), isolation_level="AUTOCOMMIT", poolclass=NullPool)

    def do(*statements: str) -> None:
        with admin.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))

    rights = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"
    role = f"clerk_{uuid.uuid4().hex[:8]}"
    do(f"CREATE ROLE {role} LOGIN PASSWORD 'x'", f"GRANT {rights} TO {role}",
       f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}")  # fmt: skip
    url = parse_url(postgres_url).set(username=role, password="x").render_as_string(hide_password=False)
    try:
        with Broker(tmp_path / "kafka") as broker, Service(broker, tmp_path, url, 4, 2) as service:
            intake, worker = service.start("intake"), service.start("worker")
            ready(worker, "has shards")
            service.send([payment(n) for n in range(1_000)], 100)
            service.reconciled(1_000, 60)
            for table, right in (("stream_counts", "INSERT"), ("stream_shards", "UPDATE"), ("outbox", "SELECT")):
                do(f"REVOKE {right} ON {table} FROM {role}")
                service.send([payment(2_000 + n, purpose=table) for n in range(100)], 100)
                code = worker.popen.wait(30)
                last = worker.said.splitlines()[-1]
                sys.stdout.write(f"without {right} on {table}: code {code}: {last}\n")
                assert code in (3, 4)
                assert f"permission denied for table {table}" in last and "grant it" in last
                assert "Traceback" not in worker.said
                assert worker.said.count("permission denied") == 1
                do(f"GRANT {rights} TO {role}")
                worker = service.start("worker")
                ready(worker, "has shards")
            report = service.reconciled(1_300, 60)
            assert report["scored"] + report["duplicates"] + sum(report["rejected"].values()) == 1_300
            assert [intake.stop(), worker.stop()] == [0, 0]
    finally:
        do(f"DROP OWNED BY {role}", f"DROP ROLE {role}")
        admin.dispose()


def test_messages_of_any_size_pass_and_their_neighbours_too(tmp_path: Path):
    """As large as brokers take them, unreadable and readable, and larger once they are unpacked."""
    from kafka import KafkaProducer

    largest = (8 << 20) - 1_000
    many = b"\n".join(b'{"transaction_id":"%040x","void":true}' % n for n in range(90_000))[:largest]
    values = [
        b"{" + random.Random(1).randbytes(largest - 1).replace(b"\n", b"x"),
        payment(1, purpose="x" * (largest - 400)),
        b"[" + b"1," * (40 << 20) + b"1]",
        many[: many.rindex(b"\n")],
    ]
    with Broker(tmp_path / "kafka") as broker, Service(broker, tmp_path, f"sqlite:///{tmp_path}/x.db", 4, 1) as service:
        assert service.run("topics", "apply", "--shards", "4").returncode == 0
        intake, worker = service.start("intake"), service.start("worker")
        producer = KafkaProducer(
            bootstrap_servers=broker.bootstrap, compression_type="lz4", max_request_size=1 << 30, linger_ms=0
        )
        for n, value in enumerate(values):
            producer.send(BANK, payment(100 + 2 * n))
            producer.send(BANK, value)
            producer.send(BANK, payment(101 + 2 * n))
        producer.flush()
        producer.close()
        voids = values[3].count(b"\n") + 1
        report = service.reconciled(2 * len(values) + 3 + voids, 120)
        assert report["rejected"].keys() <= {"not_json", "not_an_object"}
        assert sum(report["rejected"].values()) == 2
        assert report["scored"] == 2 * len(values) + 1 + voids
        dead = broker.read(DEAD)
        assert [len(message.value) for message in dead] == [largest, 64 << 10]
        assert dead[0].value == values[0]
        assert dict(dead[1].headers)["aml.error.cut"] == str(len(values[2])).encode()
        assert [intake.stop(), worker.stop()] == [0, 0]
