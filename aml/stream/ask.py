"""What commands need to ask a broker: which topics, how to connect, how to read what a message holds."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from aml.domain.errors import AmlError
from aml.settings import load_settings
from aml.stream import forms
from aml.stream.client import CLIENTS, Connection
from aml.stream.forms import lay_out
from aml.stream.peek import KafkaPeeker, Message, peeking

BANK: Final = "aml.transactions.v1"
INNER: Final = ("aml.legs.v1", "aml.records.v1")
_TIMEOUT_MS: Final = 10_000


def brokers() -> str:
    """The brokers that the environment names."""
    return os.environ.get("AML_KAFKA__BOOTSTRAP_SERVERS") or "127.0.0.1:9092"


def connection() -> Connection:
    """How the environment says that the brokers are reached, and by which client."""
    return Connection(brokers(), os.environ.get("AML_KAFKA__CLIENT") or CLIENTS[0])


@contextmanager
def peeker() -> Iterator[KafkaPeeker]:
    """A look at the broker of the settings. Raises AmlError where it does not answer."""
    named = brokers()
    settings: dict[str, Any] = {"bootstrap_servers": named.split(","), "bootstrap_timeout_ms": _TIMEOUT_MS}
    with peeking(settings, named) as found:
        yield found


def elements_of(message: Message) -> int:
    """How many elements a message holds, as the intake counts them; what cannot be read is one."""
    sheet = lay_out([_at_intake(message)])
    return len(sheet.lines) + len(sheet.failed)


def judge(message: Message) -> dict[int, tuple[str, str]]:
    """(code, detail) by place of the message's elements that would be rejected now, by the settings in force."""
    from aml.stream.decode import Decoder
    from aml.stream.terms import terms_of

    now = _at_intake(message)._replace(at=message.at or time.time_ns() // 1000)
    decoder = Decoder(terms_of(load_settings(), message.topic))
    return {r.index: (r.code, r.detail) for r in decoder.decode([now]).rejects}


def _at_intake(m: Message) -> forms.Message:
    return forms.Message(m.topic, m.partition, m.offset, m.at, m.key, m.value, m.headers)


class Acknowledged:
    """A kafka-python producer whose `flush` raises where a message was not acknowledged; its own does not."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._sent: list[Any] = []

    def send(self, topic: str, value: bytes, *, key: bytes | None, headers: list[tuple[str, bytes]]) -> None:
        """Hand over a message. Raises KafkaError where there is no room or no topic."""
        self._sent.append(self._producer.send(topic, value, key=key, headers=headers))

    def flush(self) -> None:
        """Wait for the broker. Raises the first error that a message met."""
        sent, self._sent = self._sent, []
        self._producer.flush()
        for future in sent:
            future.get(timeout=0)


@contextmanager
def producer() -> Iterator[Acknowledged]:
    """A producer to the broker of the settings: acknowledged by all, idempotent. Raises AmlError where it is away."""
    try:
        from kafka import KafkaProducer
        from kafka.errors import KafkaError
    except ImportError as error:
        raise AmlError("kafka-python is not installed: pip install 'aml-monitor[stream]'") from error
    named = brokers()
    try:
        made = KafkaProducer(bootstrap_servers=named.split(","), acks="all", enable_idempotence=True)
        try:
            yield Acknowledged(made)
        finally:
            made.close(timeout=5)
    except KafkaError as error:
        told = f"{type(error).__name__} {error}".strip()
        raise AmlError(
            f"Kafka at {named} did not take what was sent ({told}): mend it and repeat the command"
        ) from error
