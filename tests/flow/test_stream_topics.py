"""`aml topics` on a real broker: makes what is missing, mends what falls short, names what it cannot mend."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from aml.stream.contract import load_contracts
from tests.broker import Broker
from tests.service import BANK, LEGS, RECORDS, Service

pytestmark = pytest.mark.thorough


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Broker(tmp_path / "kafka") as broker:
        yield Service(broker, tmp_path, f"sqlite:///{tmp_path}/aml.db")


def told(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, object]]:
    assert done.stdout, done.stderr
    return {one["topic"]: one for one in json.loads(done.stdout.splitlines()[-1])["topics"]}


def test_topics_are_made_checked_and_mended(service: Service):
    missing = service.run("topics", "check")
    assert missing.returncode == 1
    assert "aml.alerts.v1 is not there: `aml topics apply` makes it" in " ".join(missing.stderr.split())
    service.broker.topic(6, BANK, retention_ms="1000", message_timestamp_type="CreateTime")
    dry = told(service.run("topics", "apply", "--dry-run", "--json"))
    assert dry[LEGS]["did"] == ["made"]
    made = told(service.run("topics", "apply", "--shards", "5", "--json"))
    assert {one.topic for one in load_contracts()} == set(made)
    assert (made[LEGS]["partitions"], made[RECORDS]["partitions"], made[BANK]["partitions"]) == (5, 5, 6)
    assert made[BANK]["did"] == [
        "max.message.bytes = 8388608", "message.timestamp.type = LogAppendTime", "retention.ms = 1209600000"
    ] or made[BANK]["did"] == ["message.timestamp.type = LogAppendTime", "retention.ms = 1209600000"]
    checked = service.run("topics", "check", "--json")
    assert checked.returncode == 0, checked.stderr
    again = told(service.run("topics", "apply", "--json"))
    assert all(one["did"] == [] for one in again.values())


def test_unequal_internal_topics_are_named_and_stop_a_worker(service: Service):
    service.broker.topic(3, LEGS)
    service.run("topics", "apply", "--shards", "4")
    checked = service.run("topics", "check", "--json")
    assert checked.returncode == 1
    faults = told(checked)[LEGS]["faults"]
    assert any("as many partitions each (aml.legs.v1 3, aml.records.v1 4)" in fault for fault in faults)
    worker = service.run("worker")
    assert worker.returncode == 3
    assert worker.stderr.splitlines()[-1].startswith("error: the topics of legs and records have 3 and 4 partitions")


def test_a_broker_that_is_not_there_is_one_line(service: Service):
    service.settings["AML_KAFKA__BOOTSTRAP_SERVERS"] = "127.0.0.1:1"
    done = service.run("topics", "check")
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith("error: Kafka at 127.0.0.1:1 does not answer")
