"""The worker's side of Kafka, on Faust: which shards are ours, and their messages into the inbox.

Faust gives membership, rebalances and life cycle; it keeps no table, acknowledges nothing and never decides where to
read on. What it does by default would lose messages (an exception in an agent commits what it did not do) or begin at
offsets that Kafka holds; here the database's offsets are sought, through the inbox, which notices any other place.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import aiokafka
import faust
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from faust.transport.drivers import aiokafka as driver

from aml.stream.client import LONG_POLL_MS
from aml.stream.inbox import Inbox
from aml.stream.sharing import share
from aml.stream.takeover import LEGS, RECORDS
from aml.stream.working import Worker

SESSION: Final = 10.0  # seconds until a silent worker's shards are another's
FETCH: Final = 2 << 20  # bytes of a partition that Kafka hands out at once
_MEND: Final = 0.02  # seconds between looks at what must be sought
_FULL: Final = 0.01
_log: Final = logging.getLogger("aml.worker")


@dataclass(frozen=True, slots=True)
class FaustTerms:
    """How the worker is a member: brokers, how to reach them (aiokafka's options), group, static member id, topics by
    input, and a folder that Faust may call its own."""

    brokers: str
    options: Mapping[str, Any]
    group: str
    member: str
    topics: Mapping[str, str]
    folder: Path


def make_app(terms: FaustTerms, worker: Worker, inbox: Inbox) -> faust.App:
    """An app that tells the worker its shards and fills the inbox, once it is started."""
    app = faust.App(
        terms.group,
        broker=[f"kafka://{host.strip()}" for host in terms.brokers.split(",")],
        consumer_group_instance_id=terms.member,
        broker_session_timeout=SESSION,
        broker_heartbeat_interval=2.0,
        broker_max_poll_interval=3600.0,
        broker_check_crcs=True,
        consumer_max_fetch_size=FETCH,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=5_000,
        stream_buffer_maxsize=64,
        stream_wait_empty=False,
        stream_processing_timeout=3600.0,
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        datadir=str(terms.folder),
        logging_config=None,
        producer_request_timeout=10.0,
    )
    kinds = {topic: kind for kind, topic in terms.topics.items()}
    guide = _Guide(worker, inbox, kinds)
    app.transport = _Transport(app.conf.broker_consumer, app, guide, terms.options)
    topic = app.topic(*terms.topics.values(), key_type=bytes, value_type=bytes, key_serializer="raw",
                      value_serializer="raw")  # fmt: skip

    @app.agent(topic)
    async def take(stream: Any) -> None:
        async for event in stream.noack().events():
            message = event.message
            while inbox.full:
                await asyncio.sleep(_FULL)
            inbox.put((kinds[message.topic], message.partition), message.offset, message.value or b"")

    @app.task
    async def mend() -> None:
        """Seek whatever does not come as it should."""
        while not app.should_stop:
            await asyncio.sleep(_MEND)
            await guide.mend(app.consumer)

    return app


class _Guide:
    """Knows where to read on."""

    def __init__(self, worker: Worker, inbox: Inbox, kinds: Mapping[str, str]) -> None:
        self._worker, self._inbox = worker, inbox
        self._topics = {kind: topic for topic, kind in kinds.items()}
        self._kinds = kinds

    def assigned(self, parts: Iterable[Any]) -> dict[Any, int]:
        """Tell the worker its shards; where their inputs go on, as far as that is known."""
        found = [part for part in parts if part.topic in self._kinds]
        by_kind = {kind: {p.partition for p in found if self._kinds[p.topic] == kind} for kind in (LEGS, RECORDS)}
        both = by_kind[LEGS] & by_kind[RECORDS]
        self._worker.assign(frozenset(both))
        return self._parts(found)

    def _parts(self, parts: Iterable[Any]) -> dict[Any, int]:
        known = self._inbox.positions()
        places = {part: (self._kinds[part.topic], part.partition) for part in parts}
        return {part: known[place] for part, place in places.items() if place in known}

    async def mend(self, consumer: Any) -> None:
        """Seek the inputs that the inbox asks for, of those that are ours."""
        try:
            assigned = {(part.topic, part.partition): part for part in consumer.assignment()}
        except faust.exceptions.ConsumerNotStarted:
            return
        if not consumer.flow_active:
            return
        wanted = {
            assigned[self._topics[kind], shard]: offset
            for (kind, shard), offset in self._inbox.wanted().items()
            if (self._topics[kind], shard) in assigned
        }
        if wanted:
            try:
                await consumer.seek_wait(wanted)
            except Exception as error:  # a rebalance took them, or the broker is away: the inbox asks again
                _log.info("seeking did not work, trying on: %r", error)


class SharedOut(AbstractPartitionAssignor):
    """`share` as Kafka's protocol wants it."""

    name: ClassVar[str] = "aml-shards"
    version: ClassVar[int] = 0
    owned: ClassVar[tuple[int, ...]] = ()

    @classmethod
    def assign(cls, cluster: Any, members: Mapping[str, Any]) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Every member's partitions."""
        topics = sorted({topic for member in members.values() for topic in member.subscription})
        shards = min(len(cluster.partitions_for_topic(topic) or ()) for topic in topics)
        owned = {member: json.loads(told.user_data or b"[]") for member, told in members.items()}
        return {
            member: ConsumerProtocolMemberAssignment(cls.version, [(topic, mine) for topic in topics], b"")
            for member, mine in share(owned, shards).items()
        }

    @classmethod
    def metadata(cls, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """What a member says as it joins: the shards it has."""
        return ConsumerProtocolMemberMetadata(cls.version, list(topics), json.dumps(cls.owned).encode())

    @classmethod
    def on_assignment(cls, assignment: Any) -> None:
        """Note what we have."""
        cls.owned = tuple(sorted({part for _, parts in assignment.assignment for part in parts}))


class _Thread(driver.AIOKafkaConsumerThread):
    """Kafka's client with our way of sharing, and messages of whole transactions only."""

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        conf = self.app.conf
        return aiokafka.AIOKafkaConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=conf.consumer_group_instance_id,
            bootstrap_servers=driver.server_list(transport.url, transport.default_port),
            partition_assignment_strategy=[SharedOut],
            enable_auto_commit=False,
            auto_offset_reset=conf.consumer_auto_offset_reset,
            isolation_level="read_committed",
            max_poll_interval_ms=int(conf.broker_max_poll_interval * 1000),
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            metadata_max_age_ms=conf.consumer_metadata_max_age_ms,
            fetch_max_wait_ms=LONG_POLL_MS,
            request_timeout_ms=40_000,
            retry_backoff_ms=500,
            **transport.options,
        )


class _Consumer(driver.Consumer):
    """Reads on where the shards stand, never where Kafka thinks."""

    def _new_consumer_thread(self) -> Any:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def seek_to_committed(self) -> Mapping[Any, int]:
        """Where everything that is ours goes on; what is not known yet is sought when its shard is taken over."""
        transport = self.transport
        assert isinstance(transport, _Transport)
        found = transport.guide.assigned(self.assignment())
        if found:
            await self.seek_wait(found)
        return found


class _Transport(driver.Transport):
    """Faust's transport with our consumer. Overrides what is half internal: the version is pinned, a test holds it."""

    Consumer: ClassVar[type[_Consumer]] = _Consumer

    def __init__(self, url: Any, app: faust.App, guide: _Guide, options: Mapping[str, Any]) -> None:
        super().__init__(url, app)
        self.guide, self.options = guide, options
