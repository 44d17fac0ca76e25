"""A real Kafka for tests and trials: one node of Apache's own jars, on free ports, in a folder of its own."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

VERSION = "4.4.0"
_PORTS = range(20_000, 30_000)
_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>aml</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{version}</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
"""
_PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
message.max.bytes=8388608
num.network.threads=2
num.io.threads=4
"""
# A second listener, encrypted, that asks for a name and a password; the first one stays for the tests' own clients.
_SECURED = """listeners=PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{secured},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{secured}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={material}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={material}/ca.pem
listener.name.sasl_ssl.ssl.client.auth=requested
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
  user_{user}="{password}";
"""


def jars() -> Path:
    """The folder of Kafka's jars, filled by Maven the first time: AML_KAFKA_JARS, else in the checkout's cache."""
    folder = Path(os.environ.get("AML_KAFKA_JARS") or Path(__file__).parents[1] / ".cache" / "kafka" / VERSION)
    if any(folder.glob(f"kafka_2.13-{VERSION}.jar")):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        pom = Path(made) / "pom.xml"
        pom.write_text(_POM.format(version=VERSION))
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={made}/jars", "-DincludeScope=runtime"]
        subprocess.run(["mvn", "-q", "-B", "-f", str(pom), *goal], check=True)
        shutil.rmtree(folder, ignore_errors=True)
        (Path(made) / "jars").rename(folder)
    return folder


def free_ports(number: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, this process's until it ends.

    They lie below those that systems give to connections going out (Linux: 32,768), which would take the port of a
    broker that is down for a moment; and each is locked, so that no other process of the tests is told the same one
    before a server listens there.
    """
    folder = Path(tempfile.gettempdir()) / f"aml-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        if len(found) == number:
            return found
        lock = os.open(folder / str(port), os.O_CREAT | os.O_WRONLY)  # closed by the system when the process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            os.close(lock)
            continue
        found.append(port)
    raise AssertionError(f"no {number} free ports in {_PORTS}")


class Broker:
    """A broker whose data and ports outlive its stops."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, controller = free_ports(2)
        self.bootstrap = f"127.0.0.1:{self.port}"
        self._classes = f"{jars()}/*"
        self._properties = folder / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None
        self.closing: list[Callable[..., Any]] = []  # of a test's clients, called before the broker ends
        folder.mkdir(parents=True, exist_ok=True)
        self._properties.write_text(self._told(controller))

    def __enter__(self) -> Broker:
        return self.start()

    def __exit__(self, *_: object) -> None:
        for close in self.closing:
            close(timeout=1)
        self.kill()

    def start(self) -> Broker:
        """Start and wait until it answers."""
        log = (self.folder / "broker.log").open("ab")
        if not (self.folder / "data" / "meta.properties").exists():
            form = ["format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", *self._formatted(), "-c"]
            self._run("kafka.tools.StorageTool", *form, log=log).wait()
        self._process = self._run("kafka.Kafka", log=log)
        log.close()
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                if time.monotonic() > until or self._process.poll() is not None:
                    raise AssertionError(f"Kafka does not start: see {self.folder}/broker.log") from None
                time.sleep(0.05)
            else:
                return self

    def stop(self) -> None:
        """Stop in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Stop at once."""
        self._end(signal.SIGKILL)

    def topic(self, partitions: int = 1, name: str | None = None, **configs: str) -> str:
        """Make a topic whose timestamps are the broker's; its name, a new one unless given."""
        from kafka.admin import KafkaAdminClient, NewTopic

        made = name or f"t{uuid.uuid4().hex[:12]}"
        told = {"message.timestamp.type": "LogAppendTime"} | {k.replace("_", "."): v for k, v in configs.items()}
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            admin.create_topics([NewTopic(made, partitions, 1, topic_configs=told)])
        finally:
            admin.close()
        return made

    def read(self, topic: str) -> list[Any]:
        """Every message of a topic, as kafka-python has them, by partition."""
        from kafka import KafkaConsumer, TopicPartition

        consumer = KafkaConsumer(bootstrap_servers=self.bootstrap, isolation_level="read_committed")
        try:
            parts = [TopicPartition(topic, n) for n in sorted(consumer.partitions_for_topic(topic) or ())]
            ends, found = consumer.end_offsets(parts), []
            consumer.assign(parts)
            consumer.seek_to_beginning(*parts)
            while any(consumer.position(part) < ends[part] for part in parts):
                found += [one for some in consumer.poll(timeout_ms=500).values() for one in some]
            return sorted(found, key=lambda one: (one.partition, one.offset))
        finally:
            consumer.close()

    def _told(self, controller: int) -> str:
        return _PROPERTIES.format(port=self.port, controller=controller, data=self.folder / "data")

    def _formatted(self) -> list[str]:
        return []

    @property
    def pid(self) -> int:
        """Its process, while it runs."""
        assert self._process is not None, "the broker does not run"
        return self._process.pid

    def _run(self, name: str, *arguments: str, log: Any) -> subprocess.Popen[bytes]:
        options = ["-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        command = ["java", *options, "-cp", self._classes, name, *arguments, str(self._properties)]
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(30)


class SecuredBroker(Broker):
    """A broker that also listens at `secured` by SASL_SSL; `material` holds ca.pem, and client.pem with its key."""

    user, password = "aml", "correct horse battery"

    def __init__(self, folder: Path) -> None:
        (secured,) = free_ports(1)
        self.secured = f"127.0.0.1:{secured}"
        self.material = folder / "tls"
        self.material.mkdir(parents=True)
        certificates(self.material)
        super().__init__(folder)

    def _told(self, controller: int) -> str:
        plain = super()._told(controller)
        replaced = ("listeners=", "advertised.listeners=", "listener.security.protocol.map=")
        kept = [line for line in plain.splitlines() if not line.startswith(replaced)]
        told = {"port": self.port, "secured": self.secured.rsplit(":", 1)[1], "controller": controller}
        more = _SECURED.format(**told, material=self.material, user=self.user, password=self.password)
        return "\n".join([*kept, more])

    def _formatted(self) -> list[str]:
        return ["--add-scram", f'SCRAM-SHA-512=[name={self.user},password="{self.password}"]']


def certificates(folder: Path) -> None:
    """An authority of our own, and certificates with keys of a broker at 127.0.0.1 and of a client, all PEM."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ["-newkey", "rsa:2048", "-nodes"]
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test authority")
    for name in ("broker", "client"):
        openssl("req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
        openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.crt")
        pair = (folder / f"{name}.key").read_text() + (folder / f"{name}.crt").read_text()
        (folder / f"{name}.pem").write_text(pair)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The session's broker; tests take topics of their own."""
    with Broker(tmp_path_factory.mktemp("kafka")) as one:
        yield one
