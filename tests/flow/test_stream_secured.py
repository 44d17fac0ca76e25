"""A Kafka that encrypts and asks for a password: every command works by settings and secret files alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.broker import SecuredBroker
from tests.factories import txn

pytestmark = pytest.mark.thorough
ROOT = Path(__file__).parents[2]
LEGS = "uat.aml.legs.v1"


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    with SecuredBroker(tmp_path_factory.mktemp("kafka")) as one:
        yield one


@pytest.fixture
def given(secured, tmp_path):
    """The environment of a deployment: its secrets lie in files."""
    (tmp_path / "password").write_text(f"{secured.password}\n")
    config = tmp_path / "aml.toml"
    config.write_text(f'[kafka]\nssl.ca.location = "{secured.material}/ca.pem"\nprefix = "uat."\n')
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "AML_CONFIG": str(config),
        "AML_STATE": str(tmp_path / "state"),
        "AML_SHARDS": "2",
        "AML_KAFKA__BOOTSTRAP_SERVERS": secured.secured,
        "AML_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "AML_KAFKA__SASL_MECHANISMS": "SCRAM-SHA-512",
        "AML_KAFKA__SASL_USERNAME": secured.user,
        "AML_KAFKA__SASL_PASSWORD_FILE": str(tmp_path / "password"),
    }


def aml(given, *words: str):
    command = [sys.executable, "-m", "aml", *words]
    return subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, timeout=120, check=False)


def test_topics_intake_and_reconcile(secured, given, tmp_path):
    made = aml(given, "topics", "apply")
    assert made.returncode == 0, made.stderr
    assert aml(given, "topics", "check").returncode == 0
    _send(secured, 20)
    with subprocess.Popen(
        [sys.executable, "-m", "aml", "intake", "--json"], cwd=ROOT, env=given, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as intake:  # fmt: skip
        try:
            _wait_for(secured, intake, 20)
            intake.send_signal(signal.SIGTERM)
            out, said = intake.communicate(timeout=15)
        finally:
            intake.kill()
    assert json.loads(out.splitlines()[-1])["read"] == 20, said
    assert "SASL" not in said and secured.password not in said
    assert _groups(secured) == {"uat.aml-intake"}
    reconciled = aml(given, "reconcile", "--json", "--db", _database(tmp_path))
    told = json.loads(reconciled.stdout.splitlines()[-1])
    # Nothing scored it yet: all of it is pending, and the broker said so.
    assert (reconciled.returncode, told["pending"]) == (1, 20), reconciled.stderr


def _send(broker: SecuredBroker, number: int) -> None:
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
    for n in range(number):
        producer.send("uat.aml.transactions.v1", json.dumps(txn(transaction_id=f"T{n}")).encode())
    producer.close()


def _wait_for(broker: SecuredBroker, intake: subprocess.Popen[str], rows: int) -> None:
    from aml.stream.block import unpack_block

    until = time.monotonic() + 60
    while sum(unpack_block(message.value).rows.n for message in broker.read(LEGS)) < rows:
        assert intake.poll() is None and time.monotonic() < until
        time.sleep(0.3)


def _groups(broker: SecuredBroker) -> set[str]:
    from kafka.admin import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    try:
        return {one["group_id"] for one in admin.list_groups()}
    finally:
        admin.close()


def _database(folder: Path) -> str:
    from aml.store.database import open_database

    url = f"sqlite:///{folder / 'aml.db'}"
    database = open_database(url)
    with database.begin() as uow:
        uow.stream.begin(2)
    database.close()
    return url


REFUSED = [
    ({"AML_KAFKA__SASL_PASSWORD_FILE": "", "AML_KAFKA__SASL_PASSWORD": "wrong"}, "refuses user aml"),
    ({"AML_KAFKA__SASL_MECHANISMS": "PLAIN", "AML_KAFKA__SASL_USERNAME": "nobody"}, "refuses user nobody"),
    ({"AML_KAFKA__SASL_MECHANISMS": "SCRAM-SHA-256"}, "not SCRAM-SHA-256: mend AML_KAFKA__SASL_MECHANISM"),
    ({"AML_CONFIG": ""}, "is not trusted (unable to get local issuer certificate): mend AML_KAFKA__SSL_CA_LOCATION"),
]


@pytest.mark.parametrize("command", [("intake",), ("topics", "check")])
@pytest.mark.parametrize(("changed", "said"), REFUSED)
def test_who_is_not_let_in_learns_why_in_one_line_and_soon(given, changed, said, command):
    began = time.monotonic()
    failed = aml(given | changed, *command)
    assert time.monotonic() - began < 10
    assert failed.returncode == 3
    line = failed.stderr.splitlines()[-1]
    assert "Traceback" not in failed.stderr
    assert said in line and line.startswith("error: ")


def test_a_host_that_the_certificate_is_not_for_and_an_open_port(given, secured):
    other = secured.secured.replace("127.0.0.1", "localhost")
    failed = aml(given | {"AML_KAFKA__BOOTSTRAP_SERVERS": other}, "topics", "check")
    assert "name the host that it is for" in failed.stderr
    named = {"AML_KAFKA__SSL_ENDPOINT_IDENTIFICATION_ALGORITHM": "none"}
    assert (
        "is not trusted" not in aml(given | {"AML_KAFKA__BOOTSTRAP_SERVERS": other} | named, "topics", "check").stderr
    )
    failed = aml(given | {"AML_KAFKA__BOOTSTRAP_SERVERS": secured.bootstrap}, "topics", "check")
    assert "does not speak TLS there" in failed.stderr


def test_plain_passwords_and_certificates_of_our_own_work_too(given, secured):
    own = {"AML_KAFKA__SASL_MECHANISMS": "PLAIN"}
    own["AML_KAFKA__SSL_CERTIFICATE_LOCATION"] = str(secured.material / "client.pem")
    made = aml(given | own, "topics", "apply")
    assert made.returncode == 0, made.stderr


def test_faust_is_let_in_by_the_same_settings(given):
    """aiokafka's own client with the credentials that a Faust app is given."""
    code = (
        "import asyncio\n"
        "from aiokafka.admin import AIOKafkaAdminClient\n"
        "import os\n"
        "from aml.settings import with_files\n"
        "from aml.stream.settings import load_stream_settings\n"
        "os.environ.update(with_files(os.environ))\n"
        "async def main():\n"
        "    stream = load_stream_settings()\n"
        "    admin = AIOKafkaAdminClient(bootstrap_servers=stream.brokers, **stream.aiokafka())\n"
        "    await admin.start()\n"
        "    print(len(await admin.list_topics()))\n"
        "    await admin.close()\n"
        "asyncio.run(main())\n"
    )
    asked = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=False)
    assert asked.returncode == 0 and int(asked.stdout) >= 0, asked.stderr


def test_librdkafka_is_let_in_by_the_same_settings(given):
    """confluent-kafka, with the options as it is given them."""
    code = (
        "from confluent_kafka.admin import AdminClient\n"
        "import os\n"
        "from aml.settings import with_files\n"
        "from aml.stream.settings import load_stream_settings\n"
        "os.environ.update(with_files(os.environ))\n"
        "found = AdminClient(load_stream_settings().librdkafka()).list_topics(timeout=20)\n"
        "print(len(found.brokers))\n"
    )
    asked = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=False)
    assert (asked.returncode, asked.stdout) == (0, "1\n"), asked.stderr
