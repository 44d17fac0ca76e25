"""A producer by confluent-kafka, which is librdkafka, behind the small interface of client.py."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from aml.domain.errors import AmlError
from aml.stream.client import LARGEST, Connection, refused
from aml.stream.confluent import KafkaException, common_settings, confluent, is_fatal

_ROOM: Final = 60.0  # seconds that a message may wait for room


class ConfluentProducer:
    """A producer that retries until the broker takes what was handed over, or refuses it for good."""

    def __init__(self, connection: Connection, linger_ms: int = 0) -> None:
        self._producer = confluent.Producer(common_settings(connection) | {
            "enable.idempotence": True, "acks": "all", "compression.type": "lz4", "linger.ms": linger_ms,
            "message.max.bytes": LARGEST, "batch.size": 1 << 20, "message.timeout.ms": 0,
            "queue.buffering.max.kbytes": 1 << 20, "partitioner": "murmur2_random", "error_cb": self._told,
        })  # fmt: skip
        self._refused: tuple[str, Any] | None = None  # topic and error

    def _told(self, error: Any) -> None:
        if is_fatal(error):
            self._refused = "", error

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None:
            self._refused = message.topic(), error

    def send(
        self, topic: str, value: bytes | None, *, key: bytes | None = None, partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:  # fmt: skip
        """Hand a message over, waiting for room."""
        self._check()
        until = time.monotonic() + _ROOM
        told: list[tuple[str, str | bytes | None]] = [(name, content or b"") for name, content in headers]
        while True:
            try:
                self._producer.produce(
                    topic, value, key, -1 if partition is None else partition, self._delivered, headers=told
                )
                break
            except BufferError as error:
                if time.monotonic() > until:
                    raise AmlError(f"{topic}: no room for a message for {_ROOM:.0f} s: is Kafka there?") from error
                self._producer.poll(0.1)
            except KafkaException as error:
                raise refused(topic, error.args[0].str()) from error
        self._producer.poll(0)

    def flush(self, seconds: float) -> bool:
        """Whether all is acknowledged."""
        left = self._producer.flush(seconds)
        self._check()
        return left == 0

    def _check(self) -> None:
        if self._refused is not None:
            topic, error = self._refused
            raise refused(topic, error.str())

    def close(self) -> None:
        """What is not acknowledged is dropped."""
        self._producer.purge()
        self._producer.flush(1.0)
