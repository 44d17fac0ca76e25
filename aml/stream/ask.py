"""What commands ask a broker for: a look at its topics, a producer, and what a message holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from aml.domain.errors import AmlError
from aml.settings import load_settings
from aml.stream import forms
from aml.stream.forms import lay_out
from aml.stream.kafkapython import common_settings
from aml.stream.peek import KafkaPeeker, Message, peeking
from aml.stream.settings import StreamSettings

_TIMEOUT_MS: Final = 10_000


@contextmanager
def peeker(settings: StreamSettings) -> Iterator[KafkaPeeker]:
    """A look at the brokers. Raises AmlError where they do not answer."""
    options = {**common_settings(settings.connection), "bootstrap_timeout_ms": _TIMEOUT_MS}
    with peeking(options, settings.brokers) as found:
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
def producer(settings: StreamSettings) -> Iterator[Acknowledged]:
    """A producer: acknowledged by all, idempotent. Raises AmlError where the brokers are away."""
    try:
        from kafka import KafkaProducer
        from kafka.errors import KafkaError
    except ImportError as error:
        raise AmlError("kafka-python is not installed: pip install 'aml-monitor[stream]'") from error
    try:
        made = KafkaProducer(**common_settings(settings.connection), acks="all", enable_idempotence=True)
        try:
            yield Acknowledged(made)
        finally:
            made.close(timeout=5)
    except KafkaError as error:
        told = f"{type(error).__name__} {error}".strip()
        raise AmlError(
            f"Kafka at {settings.brokers} did not take what was sent ({told}): mend it and repeat the command"
        ) from error
