"""Where a publisher writes: whether the topics are there, how many partitions, and which partition a key falls to."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from aml.domain.errors import AmlError
from aml.stream.client import Connection, no_topic, unreachable
from aml.stream.kafkapython import common_settings
from aml.stream.publish import Topics

try:
    import kafka
    from kafka import errors as kafka_errors
    from kafka.partitioner.default import murmur2
except ImportError as error:
    raise AmlError("kafka-python is not installed: pip install 'aml-monitor[stream]'") from error

_TIMEOUT_MS = 10_000


def look(connection: Connection, bank: str, parties: str, manifests: str, needed: Sequence[str]) -> Topics:
    """The topics as they are. needed: those that must be there.

    Raises AmlError where one is not, or no broker answers.
    """
    settings = common_settings(connection)
    known = ("bootstrap_servers", "reconnect_backoff_max_ms", "metadata_max_age_ms", *(connection.options or {}))
    try:
        admin = kafka.KafkaAdminClient(
            **{name: settings[name] for name in known}, bootstrap_timeout_ms=_TIMEOUT_MS
        )
        try:
            found = {one["name"]: one for one in admin.describe_topics(list(needed)) if not one["error_code"]}
        finally:
            admin.close()
    except kafka_errors.KafkaError as error:
        told = f"{type(error).__name__} {error}".strip()[:300]
        raise unreachable(connection.brokers, told, "--brokers or AML_KAFKA__BOOTSTRAP_SERVERS") from error
    for topic in needed:
        if topic not in found:
            raise no_topic(topic)
    identity = found[bank].get("topic_id")
    # Brokers before 2.8 give topics no id: the cluster's address must do.
    known_id = str(identity) if identity and identity != uuid.UUID(int=0) else connection.brokers
    return Topics(bank, parties, manifests, known_id, len(found[bank]["partitions"]))


def hashed(key: bytes) -> int:
    """A key's number, as Kafka's own producers reckon it."""
    return int(murmur2(key)) & 0x7FFFFFFF
