"""`aml publish` against a real Kafka: what it sends is the feed, in every form, whatever ends it; rejects come back."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from aml.detect.profile import load_profile
from aml.domain.transaction import CANONICAL
from aml.feed.rates import NO_RATES
from aml.feed.validate import Terms
from aml.pipeline.resolved import resolve
from aml.stream.block import unpack_block
from aml.stream.decode import Decoder, Message
from aml.stream.intake import Assigned, IntakeCore
from tests.broker import Broker
from tests.factories import csv, ndjson, rejects, transactions, txn
from tests.service import AML, BANK, DEAD, MANIFESTS, ROOT, Service

pytestmark = pytest.mark.thorough
TERMS = Terms(BANK, "main", 0, "USD", NO_RATES)
PARTITIONS = 4


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A broker with its topics; neither intake nor worker runs."""
    with Broker(tmp_path / "kafka") as broker, Service(broker, tmp_path, "sqlite:///aml.db", 2, PARTITIONS) as made:
        yield made


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated bank."""
    folder = tmp_path_factory.mktemp("bank")
    size = ["--transactions", "20000", "--days", "20", "--out", str(folder)]
    subprocess.run([*AML, "simulate", *size], cwd=ROOT, check=True, capture_output=True)
    return folder


def read(broker: Broker, skip: int = 0) -> list[Message]:
    """Messages of the bank's topic behind the first so many by time of reading."""
    found = [
        Message(BANK, m.partition, m.offset, m.timestamp * 1000, m.key, m.value, tuple(m.headers))
        for m in broker.read(BANK)
    ]
    return sorted(found, key=lambda m: (m.at, m.partition, m.offset))[skip:]


def same(found: pl.DataFrame, feed: pl.DataFrame) -> bool:
    own = [name for name in CANONICAL if name != "place"]
    return found.select(own).sort("transaction_id").equals(feed.select(own).sort("transaction_id"))


@pytest.mark.parametrize(
    "asked",
    [(), ("--singles",), ("--batch", "77", "--key", "account"), ("--singles", "--key", "none"), ("--key", "id")],
)
def test_every_form_is_the_feed(service, bank, asked):
    path = bank / "transactions.parquet"
    feed = transactions(path, rates=NO_RATES)
    done = service.publish(str(path), *asked)
    messages = read(service.broker)
    assert (done["records"], done["messages"]) == (feed.height, len(messages) + 1)
    assert same(Decoder(TERMS).decode(messages).rows, feed)
    assert len({m.partition for m in messages}) == PARTITIONS
    if asked == ("--singles",):
        assert all(m.key == json.loads(m.value).get("originator_account", "\0").encode() for m in messages if m.key)
        assert {m.partition for m in messages if m.key is None} == set(range(PARTITIONS))
    assert elements(messages) == feed.height
    (manifest,) = (json.loads(m.value) for m in service.broker.read(MANIFESTS))
    sums = dict(feed.group_by("currency").agg(pl.col("amount").sum()).iter_rows())
    assert (manifest["records"], manifest["sums"]) == (feed.height, sums)


def elements(messages: list[Message]) -> int:
    """How many records the intake hands to shards."""
    profile = load_profile("us")
    core = IntakeCore("i", 3, Decoder(TERMS), lambda frame: resolve(frame, profile, None, 3))
    core.assign({(BANK, n): 0 for n in range(PARTITIONS)})
    core.take(sorted(messages, key=lambda m: (m.partition, m.offset)))
    places: set[tuple[int, ...]] = set()
    while core.held:
        done = core.flush(0, {(BANK, n): Assigned(PARTITIONS, False) for n in range(PARTITIONS)})
        assert not done.rejected
        for block in map(unpack_block, done.blocks):
            places.update(block.rows.places())
    return len(places)


def test_what_cannot_be_read_arrives_as_one_reject_each(service, tmp_path):
    lines = [txn(transaction_id="A"), b"[" + json.dumps(txn()).encode() + b"]", b"no json", txn(amount="-1"), txn()]
    rows = [txn(transaction_id="C", memo="x"), txn(transaction_id="D", amount="much", memo="a\nb")]
    for path in (ndjson(tmp_path / "f.ndjson", lines), csv(tmp_path / "f.csv", rows)):
        service.publish(str(path))
        before = len(transactions(path)), len(rejects(path))
        found = Decoder(TERMS).decode([m for m in read(service.broker) if path.name in _source(m)])
        assert (found.rows.height, len(found.rejects)) == before


def _source(message: Message) -> str:
    told = dict(message.headers).get("ce_source", b"").decode()
    return told or json.loads((message.value or b"").split(b"\n")[0])["source"]


def test_told_to_stop_it_sends_nothing_twice(service, bank):
    path = str(bank / "transactions.parquet")
    ended = service.start("publish", path, "--batch", "20", "--rate", "4000")
    until = time.monotonic() + 60
    while len(read(service.broker)) < 50 and time.monotonic() < until:
        time.sleep(0.1)
    began = time.monotonic()
    assert ended.stop() == 130, ended.said
    assert time.monotonic() - began < 5
    done = service.publish(path)
    ids = Counter(Decoder(TERMS).decode(read(service.broker)).rows["transaction_id"].to_list())
    assert set(ids.values()) == {1}
    assert done["skipped"] + done["records"] == len(ids) and done["skipped"] > 0


def test_a_broker_that_goes_amid_and_comes_back_has_all_once(service, bank):
    path = str(bank / "transactions.parquet")
    sending = service.start("publish", path, "--batch", "20", "--rate", "3000")
    until = time.monotonic() + 60
    while len(read(service.broker)) < 50 and time.monotonic() < until:
        time.sleep(0.1)
    service.broker.stop()
    time.sleep(5)
    assert sending.popen.poll() is None, sending.said
    service.broker.start()
    assert sending.popen.wait(60) == 0, sending.said
    ids = Counter(Decoder(TERMS).decode(read(service.broker)).rows["transaction_id"].to_list())
    assert (len(ids), set(ids.values())) == (transactions(path).height, {1})
    assert len(sending.said.splitlines()) < 60, sending.said


@pytest.mark.parametrize(("brokers", "topic", "said"), [
    ("127.0.0.1:1", BANK, "Kafka at 127.0.0.1:1 does not answer"),
    (None, "nowhere", "topic nowhere is not there: make it with `aml topics apply`"),
])  # fmt: skip
def test_what_is_not_there_is_one_clear_line(service, bank, brokers, topic, said):
    where = ["--brokers", brokers or service.broker.bootstrap, "--topic", topic]
    failed = service.run("publish", str(bank / "transactions.parquet"), *where)
    assert failed.returncode == 3
    (line,) = [line for line in failed.stderr.splitlines() if line.startswith("error:")]
    assert said in line


def test_rejects_of_a_stream_are_listed_shown_and_replayed_once_their_cause_is_mended(tmp_path):
    """Euros without a rate are rejected; with rates a replay scores them; a second one sends nothing."""
    feed = [txn(transaction_id=f"U{n}") for n in range(20)]
    euros = [txn(transaction_id=f"E{n}", currency="EUR", executed_at="2026-03-03T10:00:00Z") for n in range(5)]
    path = ndjson(tmp_path / "feed.ndjson", [*feed, *euros, b"poison"])
    (tmp_path / "rates.csv").write_text("date,currency,rate\n2026-03-02,EUR,1.10\n")
    db = f"sqlite:///{tmp_path / 'aml.db'}"
    with Broker(tmp_path / "kafka") as broker, Service(broker, tmp_path, db, 2, 2) as service:
        service.start("worker")
        intake = service.start("intake")
        service.publish(str(path))
        report = service.reconciled(26, 120)
        assert (report["scored"], report["rejected"]) == (20, {"no_rate": 5, "not_json": 1})
        assert len(broker.read(DEAD)) == 2
        (manifest,) = report["manifests"]
        assert (manifest["sent"], manifest["scored"]) == (25, 20), "the five are missed, and found among the rejects"
        listed = dlq(service, "list", "--code", "no_rate")
        assert listed["counts"] == {"no_rate": 5, "not_json": 1}
        assert "EUR" in dlq(service, "show", str(listed["dead_letters"][0]["dead_letter_id"]))["original"]
        assert dlq(service, "replay", "--code", "no_rate", "--dry-run")["wrong_still"] == 5
        intake.stop()
        service.settings["AML_RATES"] = str(tmp_path / "rates.csv")
        service.start("intake")
        dry = dlq(service, "replay", "--code", "no_rate", "--dry-run")
        assert (dry["sent"], dry["would_send"], dry["wrong_still"]) == (0, 5, 0)
        assert dlq(service, "replay", "--code", "no_rate")["sent"] == 5
        again = dlq(service, "replay", "--code", "no_rate")
        assert (again["sent"], again["would_send"]) == (0, 0)
        assert dlq(service, "replay", "--code", "no_rate", "--again")["sent"] == 5
        # The whole message of 25 went out each time: what was scored before is a duplicate.
        report = service.reconciled(26 + 25 + 25, 60)
        assert (report["scored"], report["duplicates"]) == (25, 20 + 25)
        assert report["faults"] == []


def dlq(service: Service, *arguments: str) -> dict[str, Any]:
    done = service.run("dlq", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_sigint_of_a_terminal_is_told_as_any_interrupt(service, bank):
    slow = service.start("publish", str(bank / "transactions.parquet"), "--rate", "10")
    until = time.monotonic() + 60
    while not read(service.broker) and time.monotonic() < until:
        time.sleep(0.1)
    slow.popen.send_signal(signal.SIGINT)
    assert slow.popen.wait(10) == 130
    assert "run the same command again to continue" in slow.said
