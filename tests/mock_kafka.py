"""librdkafka's own mock of a cluster for tests of confluent-kafka: no Java, and errors where a test wants them.

It speaks the protocol to librdkafka's clients over a real socket; it knows no rights, no transactions and no retention
but what a test asks of it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import confluent_kafka

OFFSET_COMMIT, OFFSET_FETCH, JOIN_GROUP, HEARTBEAT = 8, 9, 11, 12  # requests
_PRODUCER: Final = 0


def _library() -> Any:
    (path,) = Path(confluent_kafka.__file__).parents[1].glob("confluent_kafka.libs/librdkafka-*.so*")
    library = ctypes.CDLL(str(path))
    for name, result, *arguments in (
        ("conf_new", ctypes.c_void_p),
        ("new", ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t),
        ("destroy", None, ctypes.c_void_p),
        ("mock_cluster_new", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int),
        ("mock_cluster_destroy", None, ctypes.c_void_p),
        ("mock_cluster_bootstraps", ctypes.c_char_p, ctypes.c_void_p),
        ("mock_topic_create", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int),
        ("mock_topic_set_error", None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int),
        ("mock_group_initial_rebalance_delay_ms", None, ctypes.c_void_p, ctypes.c_int32),
        ("mock_push_request_errors_array", None, ctypes.c_void_p, ctypes.c_int16, ctypes.c_size_t, ctypes.c_void_p),
        ("mock_partition_delete_records", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32,
         ctypes.c_int64),
        ("mock_broker_set_down", ctypes.c_int, ctypes.c_void_p, ctypes.c_int32),
        ("mock_broker_set_up", ctypes.c_int, ctypes.c_void_p, ctypes.c_int32),
        ("mock_broker_set_rtt", ctypes.c_int, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int),
    ):  # fmt: skip
        function = getattr(library, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments
    return library


class MockKafka:
    """One broker that answers at `bootstrap`."""

    def __init__(self) -> None:
        self._lib = _library()
        self._client = self._lib.rd_kafka_new(_PRODUCER, self._lib.rd_kafka_conf_new(), None, 0)
        self._cluster = self._lib.rd_kafka_mock_cluster_new(self._client, 1)
        self._lib.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self.bootstrap = self._lib.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def close(self) -> None:
        self._lib.rd_kafka_mock_cluster_destroy(self._cluster)
        self._lib.rd_kafka_destroy(self._client)

    def topic(self, name: str, partitions: int) -> None:
        assert self._lib.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1) == 0

    def topic_fails(self, name: str, error: int) -> None:
        """Let Metadata say an error of a topic."""
        self._lib.rd_kafka_mock_topic_set_error(self._cluster, name.encode(), error)

    def fail(self, request: int, errors: Sequence[int]) -> None:
        """Answer the next requests of a kind with these errors; 0 lets one through."""
        codes = (ctypes.c_int * len(errors))(*errors)
        self._lib.rd_kafka_mock_push_request_errors_array(self._cluster, request, len(errors), codes)

    def remove(self, topic: str, partition: int, before: int) -> None:
        """Remove the messages before an offset."""
        code = self._lib.rd_kafka_mock_partition_delete_records(self._cluster, topic.encode(), partition, before)
        assert code == 0

    @contextmanager
    def away(self) -> Iterator[None]:
        """Without a broker for a while."""
        self._lib.rd_kafka_mock_broker_set_down(self._cluster, 1)
        try:
            yield
        finally:
            self._lib.rd_kafka_mock_broker_set_up(self._cluster, 1)

    def slow(self, milliseconds: int) -> None:
        """Let every answer take so long."""
        self._lib.rd_kafka_mock_broker_set_rtt(self._cluster, 1, milliseconds)
