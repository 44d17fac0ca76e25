"""What kcat's users type just works: payments in a line each, alerts out as JSON, a secured broker by our settings."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from aml.content import folder
from aml.feed.rates import NO_RATES
from aml.feed.validate import Terms
from aml.stream.decode import Decoder
from aml.stream.forms import Message
from aml.stream.messages import AlertMessage
from aml.stream.settings import load_stream_settings
from tests.broker import Broker, SecuredBroker
from tests.factories import txn

pytestmark = pytest.mark.thorough


def kcat(*words: str | Path) -> str:
    program = shutil.which("kcat")
    if program is None:
        pytest.skip("kcat is not installed")
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("keyed", [True, False])
def test_a_file_of_payments(broker: Broker, tmp_path, keyed):
    topic = broker.topic(2)
    records = [txn(transaction_id=f"T{n}", originator_account=f"A{n % 3}") for n in range(50)]
    file = tmp_path / "tx.ndjson"
    before = [f"{one['originator_account']}:" if keyed else "" for one in records]
    file.write_text("".join(f"{key}{json.dumps(one)}\n" for key, one in zip(before, records, strict=True)))
    kcat("-P", "-b", broker.bootstrap, "-t", topic, *(["-K:"] if keyed else []), "-l", file)
    read = [Message(topic, m.partition, m.offset, m.timestamp * 1000, m.key, m.value) for m in broker.read(topic)]
    found = Decoder(Terms(topic, "main", 0, "USD", NO_RATES)).decode(read)
    assert found.rejects == []
    assert sorted(found.rows["transaction_id"]) == sorted(one["transaction_id"] for one in records)
    assert {m.key for m in read} == ({b"A0", b"A1", b"A2"} if keyed else {None})


def test_alerts_as_json(broker: Broker):
    from kafka import KafkaProducer

    topic = broker.topic(3)
    sample = (folder("streams") / "samples" / "alert.v1" / "valid" / "in-review.json").read_bytes()
    told = json.loads(sample)
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
    producer.send(topic, json.dumps(told).encode(), key=told["alert_id"].encode(), headers=[("version", b"3")])
    producer.close()
    (line,) = kcat("-C", "-b", broker.bootstrap, "-t", topic, "-e", "-q", "-J").splitlines()
    envelope = json.loads(line)
    assert (envelope["key"], envelope["headers"]) == (told["alert_id"], ["version", "3"])
    assert json.loads(envelope["payload"]) == told
    assert set(told) == set(AlertMessage.__struct_fields__)


def test_librdkafka_is_let_in_by_the_same_settings(tmp_path):
    with SecuredBroker(tmp_path / "kafka") as one:
        name = one.topic(1)
        environment = {
            "AML_KAFKA__BOOTSTRAP_SERVERS": one.secured,
            "AML_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            # librdkafka before 2.6.1 fails at SCRAM with Kafka 4, and Debian's kcat has such a one.
            "AML_KAFKA__SASL_MECHANISM": "PLAIN",
            "AML_KAFKA__SASL_USERNAME": one.user,
            "AML_KAFKA__SASL_PASSWORD": one.password,
            "AML_KAFKA__SSL_CA_LOCATION": str(one.material / "ca.pem"),
            "AML_KAFKA__SSL_CERTIFICATE_LOCATION": str(one.material / "client.crt"),
            "AML_KAFKA__SSL_KEY_LOCATION": str(one.material / "client.key"),
        }
        told = load_stream_settings(environment).librdkafka()
        options = [word for key, value in told.items() for word in ("-X", f"{key}={value}")]
        assert f'topic "{name}"' in kcat("-L", *options)
