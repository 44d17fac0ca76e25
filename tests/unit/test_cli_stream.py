"""`aml reconcile` and `aml dlq` for streams: what they print, and how they end; no broker is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext

import pytest
from typer.testing import CliRunner

from aml.cli import app
from aml.store.database import open_database
from aml.store.dead_letters import of_stream
from aml.store.stream import CountKey, Manifest, Move, SourceRow, TotalKey
from aml.stream import ask
from aml.stream.peek import Message

BANK = "aml.transactions.v1"
GOOD = (
    b'{"transaction_id":"T1","executed_at":"2024-01-02T10:00:00Z","amount":"5.00","currency":"USD",'
    b'"originator":{"account":"A"},"beneficiary":{"account":"B"}}'
)


class Broker:
    def __init__(self, *values):
        self.values = values

    def ends(self, topic):
        return {0: (0, len(self.values))} if topic == BANK else {}

    def read(self, spans, take, most, seconds):
        for (topic, partition), (first, end) in spans.items():
            for offset in range(first, end):
                take(Message(topic, partition, offset, 1_700_000_000_000_000, b"k", self.values[offset], ()))
        return {}


class Producer:
    def __init__(self):
        self.sent = []

    def send(self, topic, value, *, key, headers):
        self.sent.append(value)

    def flush(self):
        pass


def aml(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


@pytest.fixture
def url(tmp_path):
    """A database whose stream consumed three messages, in which one element was rejected."""
    made = f"sqlite:///{tmp_path / 'aml.db'}"
    database = open_database(made)
    with database.begin() as uow:
        (row,) = uow.stream.begin(1)
        row = uow.stream.take_over(0, "a")
        uow.stream.advance([Move(0, row.epoch, 0, 3, 0, 0, {"covered": {f"{BANK}:0": 3}})])
        uow.stream.sources([SourceRow(BANK, 0, 0, 3, 1, 5, True, 0)])
        key = (BANK, 0, "main", "core", "2024-01-02")
        counts = {"consumed": 4, "scored": 2, "duplicate": 1, "rejected:not_json": 1, "late": 1}
        uow.stream.count(0, {CountKey(*key, name): number for name, number in counts.items()})
        uow.stream.total(0, {TotalKey("main", "core", "2024-01-02T10", "USD"): (2, 1000)})
        hour = "2024-01-02T10"
        uow.stream.manifests([Manifest("main", "core", "ten", 2, {"USD": 1000}, first_hour=hour, last_hour=hour)])
        uow.dead_letters.add([of_stream("main", BANK, 0, 1, 1, "not_json", "no JSON", b"{oops")])
    database.close()
    return made


@pytest.fixture
def broker(monkeypatch):
    """A broker of which nothing waits; message 1 holds a good and a bad line."""
    made = Broker(GOOD, GOOD + b"\n{oops", GOOD)
    made.producer = Producer()
    monkeypatch.setattr(ask, "peeker", lambda settings: nullcontext(made))
    monkeypatch.setattr(ask, "producer", lambda settings: nullcontext(made.producer))
    return made


def test_reconcile_ends_with_one_object_and_code_0_where_all_adds_up(url, broker):
    (line,) = aml("reconcile", "--db", url, "--json").stdout.splitlines()
    told = json.loads(line)
    assert (told["scored"], told["duplicates"], told["rejected"], told["pending"]) == (2, 1, {"not_json": 1}, 0)
    (partition,) = told["partitions"]
    assert (partition["scored"], partition["duplicates"], partition["rejected"], partition["pending"]) == (
        2, 1, {"not_json": 1}, 0,
    )  # fmt: skip
    assert told["reconciles"] is True


def test_reconcile_in_words(url, broker):
    shown = aml("reconcile", "--db", url).stdout
    for word in ("consumed", "not_json", "of them late", f"{BANK}", "ten", "equal", "everything reconciles"):
        assert word in shown


def test_reconcile_ends_with_code_1_and_says_what_is_wrong(url, broker):
    broker.values = (*broker.values, GOOD)
    failed = aml("reconcile", "--db", url, code=1)
    assert "elements under way: 1" in failed.stdout
    assert "everything reconciles" not in failed.stdout
    assert failed.stderr.splitlines()[-1] == "error: does not reconcile: 1 fault, see above"
    failed = aml("reconcile", "--db", url, "--json", code=1)
    assert json.loads(failed.stdout.splitlines()[-1])["pending"] == 1
    assert "under way" in failed.stderr


def test_reconcile_of_one_day(url, broker):
    assert json.loads(aml("reconcile", "--db", url, "--day", "2024-01-02", "--json").stdout)["scored"] == 2
    assert json.loads(aml("reconcile", "--db", url, "--day", "2024-01-03", "--json").stdout)["scored"] == 0
    assert "is not a date" in aml("reconcile", "--db", url, "--day", "monday", code=2).stderr


def test_reconcile_without_a_broker_tells_what_it_knows(url):
    """In a process of its own: kafka-python leaves the sockets open on which nobody answered."""
    code = (
        "import sys; from aml.stream import ask; from aml.cli import main; ask._TIMEOUT_MS = 300; "
        f"sys.argv = ['aml', 'reconcile', '--json', '--db', {url!r}]; main()"
    )
    environment = {**os.environ, "AML_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    failed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    told = json.loads(failed.stdout.splitlines()[-1])
    assert (told["scored"], told["pending"], told["partitions"][0]["pending"]) == (2, None, None)
    first, last = failed.stderr.splitlines()
    assert first.startswith("what is pending is not known: Kafka at 127.0.0.1:1 does not answer")
    assert last == "error: does not reconcile: 1 fault, see above"


def test_reconcile_of_a_file_run_says_that_there_is_no_stream(tmp_path, broker):
    made = f"sqlite:///{tmp_path / 'files.db'}"
    open_database(made).close()
    assert "no stream was consumed into it" in aml("reconcile", "--db", made, code=3).stderr


def test_dead_letters_of_a_stream_say_where_they_stood(url):
    told = json.loads(aml("dlq", "list", "--db", url, "--json").stdout)
    (letter,) = told["dead_letters"]
    assert (letter["topic"], letter["partition"], letter["message_offset"], letter["element"]) == (BANK, 0, 1, 1)
    assert letter["replayed_at"] is None
    assert f"{BANK}[0]:1.1" in aml("dlq", "list", "--db", url).stdout
    shown = aml("dlq", "show", 1, "--db", url).stdout
    assert f"{BANK}[0]:1.1" in shown and "never" in shown and "{oops" in shown


def test_a_dry_replay_sends_nothing_and_tells_what_would_become(url, broker):
    told = json.loads(aml("dlq", "replay", "--dry-run", "--db", url, "--json").stdout)
    assert (told["sent"], told["would_send"], told["wrong_still"], told["dry_run"]) == (0, 1, 1, True)
    (letter,) = told["dead_letters"]
    assert letter["code_now"] == "not_json"
    assert broker.producer.sent == []
    assert "1 record would be sent, 1 of them still wrong" in aml("dlq", "replay", "--dry-run", "--db", url).stdout


def test_a_replay_sends_the_message_notes_it_and_sends_it_no_second_time(url, broker):
    shown = aml("dlq", "replay", "--code", "not_json", "--db", url).stdout
    assert "1 record sent" in shown and "not_json" in shown
    assert broker.producer.sent == [broker.values[1]]
    assert json.loads(aml("dlq", "list", "--db", url, "--json").stdout)["dead_letters"][0]["replayed_at"] is not None
    assert "nothing to send" in aml("dlq", "replay", "--db", url).stdout
    aml("dlq", "replay", 1, "--db", url)
    aml("dlq", "replay", "--again", "--db", url)
    assert len(broker.producer.sent) == 3


@pytest.mark.parametrize(
    ("value", "elements"),
    [(b"{}", 1), (b"[{}, {} ,1]", 3), (b"[]", 1), (b"[{", 1), (b"{}\n\n{}\n", 2), (b"", 1), (b"\xff", 1)],
)
def test_elements_of_a_message(value, elements):
    assert ask.elements_of(Message(BANK, 0, 0, 0, None, value, ())) == elements
