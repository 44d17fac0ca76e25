"""What commands need to ask a broker: which topics, how to connect, how to read what a message holds."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import numpy as np

from aml.domain.errors import AmlError
from aml.settings import DEFAULT_INSTITUTION, load_settings
from aml.stream.peek import KafkaPeeker, Message, peeking

BANK: Final = "aml.transactions.v1"
INNER: Final = ("aml.legs.v1", "aml.records.v1")
_TIMEOUT_MS: Final = 10_000


def brokers() -> str:
    """The brokers that the environment names."""
    return os.environ.get("AML_KAFKA__BOOTSTRAP_SERVERS") or "127.0.0.1:9092"


@contextmanager
def peeker() -> Iterator[KafkaPeeker]:
    """A look at the broker of the settings. Raises AmlError where it does not answer."""
    named = brokers()
    settings: dict[str, Any] = {"bootstrap_servers": named.split(","), "bootstrap_timeout_ms": _TIMEOUT_MS}
    with peeking(settings, named) as found:
        yield found


def elements(value: bytes) -> list[bytes]:
    """What a message holds: the elements of a JSON array, lines of JSON; what cannot be read is one."""
    stripped = value.strip()
    if stripped.startswith(b"["):
        try:
            return [bytes(element) for element in msgspec.json.decode(stripped, type=list[msgspec.Raw])] or [value]
        except msgspec.DecodeError:
            return [value]
    return [line for line in stripped.split(b"\n") if line.strip()] or [value]


def elements_of(message: Message) -> int:
    """How many elements a message holds."""
    return len(elements(message.value or b""))


def judge(message: Message) -> dict[int, tuple[str, str]]:
    """(code, detail) by place of the message's elements that would be rejected now, by the settings in force."""
    from aml.detect.profile import load_profile
    from aml.feed.ndjson import read_lines
    from aml.feed.rates import NO_RATES
    from aml.feed.validate import Terms, validate

    settings = load_settings()
    terms = Terms(
        message.topic,
        settings.institution or DEFAULT_INSTITUTION,
        message.at or time.time_ns() // 1000,
        load_profile(settings.profile).currency,
        NO_RATES,
    )
    lines = elements(message.value or b"")
    chunk = validate(read_lines(lines, np.arange(len(lines)), message.topic), terms, None)
    return {int(reject.place): (str(reject.code), reject.detail) for reject in chunk.rejects}


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
