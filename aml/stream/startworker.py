"""Puts a worker together, runs it in its threads beside Faust's loop, and ends all of it in order."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from aml.domain.errors import AmlError
from aml.pipeline.inforce import Judgement
from aml.store.database import Database
from aml.store.generations import resizing
from aml.stream import settings as names
from aml.stream.chores import Chores, Told
from aml.stream.drift import Drift
from aml.stream.faustapp import FaustTerms, make_app
from aml.stream.inbox import Inbox
from aml.stream.kafkalog import KafkaLog
from aml.stream.knock import knock
from aml.stream.manifests import ManifestReader
from aml.stream.member import Member
from aml.stream.outbox import Relay
from aml.stream.settings import StreamSettings
from aml.stream.takeover import LEGS, RECORDS, same_rules
from aml.stream.takeovers import Takeovers, WorkerTerms, patiently
from aml.stream.watch import WorkerWatch
from aml.stream.working import Worker

ENDS_IN: Final = 3.0  # seconds that Kafka's client, and then the last step, may take after the worker was told to stop
_log: Final = logging.getLogger("aml.worker")


@dataclass(slots=True)
class _Failure:
    """What ended a thread before its time."""

    error: BaseException | None = None


def work(
    settings: StreamSettings, member: Member, database: Database, judgement: Judgement, lateness: int, state: Path,
    stop: threading.Event, watcher: WorkerWatch, every: float,
) -> None:  # fmt: skip
    """Work until `stop` is set. every: seconds between two snapshots of a shard at least.

    Raises AmlError where going on would lose something, or something is not there.
    """
    knock(settings)
    connection = settings.connection
    topics = {LEGS: settings.topic(names.LEGS), RECORDS: settings.topic(names.RECORDS)}
    log = KafkaLog(connection, topics, stop.is_set)
    shards = _shards(log)
    generation = patiently(partial(_begun, database, shards, judgement), stop.is_set)
    terms = WorkerTerms(member.id, shards, generation, judgement, lateness, state, database)
    inbox = Inbox()
    takeovers = Takeovers(terms, lambda: KafkaLog(connection, topics, stop.is_set), stop.is_set)
    worker = Worker(terms, inbox, log, takeovers, stop.is_set, watcher, every)
    relay = Relay(database, Told(connection.producer()), settings.topic(names.ALERTS))
    watcher.inbox = lambda: inbox.size
    watcher.drift = None if judgement.models is None else Drift(judgement.models)
    manifests = ManifestReader(connection, settings.topic(names.MANIFESTS), database)
    chores = Chores(database, relay, lambda: worker.epochs, member.id, manifests, watcher.figures)
    chores.claim()
    failure = _Failure()
    steps = _thread("steps", worker.run, failure, stop)
    beside = _thread("chores", chores.run, failure, stop)
    group = settings.group(names.WORKERS)
    told = FaustTerms(settings.brokers, settings.aiokafka(), group, member.id, topics, state)
    try:
        asyncio.run(_faust(told, worker, inbox, stop))
    finally:
        stop.set()
        chores.end()
        steps.join(ENDS_IN)
        beside.join(ENDS_IN)
    chores.release()
    if failure.error is not None:
        raise failure.error


def _begun(database: Database, shards: int, judgement: Judgement) -> int:
    """The generation of the shards, begun where there are none. Raises AmlError where we may not work on them."""
    with database.begin() as uow:
        if resizing(uow.connection, uow.now) is not None:
            raise AmlError("the shards are being made anew: let `aml shards resize` end, or run it again")
        rows = uow.stream.begin(shards)
    for row in rows:
        same_rules(row, judgement, shards)
    return rows[0].generation


def _shards(log: KafkaLog) -> int:
    counts = {kind: log.partitions(kind) for kind in (LEGS, RECORDS)}
    if counts[LEGS] != counts[RECORDS]:
        raise AmlError(
            f"the topics of legs and records have {counts[LEGS]} and {counts[RECORDS]} partitions: they must have as "
            "many; remove the emptier one and make it again with `aml topics apply`"
        )
    return counts[LEGS]


def _thread(name: str, run: Callable[[], None], failure: _Failure, stop: threading.Event) -> threading.Thread:
    def guarded() -> None:
        try:
            run()
        except BaseException as error:  # told by the main thread, which ends the process
            failure.error = failure.error or error
            stop.set()

    thread = threading.Thread(target=guarded, name=name, daemon=True)
    thread.start()
    return thread


async def _faust(terms: FaustTerms, worker: Worker, inbox: Inbox, stop: threading.Event) -> None:
    """Be a member until told to stop."""
    app = make_app(terms, worker, inbox)
    await app.start()
    try:
        while not stop.is_set():
            if app.should_stop:
                raise app.crash_reason or AmlError("Kafka's client ended by itself: see the lines above")
            await asyncio.sleep(0.1)
    finally:
        try:
            await asyncio.wait_for(app.stop(), ENDS_IN)
        except TimeoutError:
            _log.warning("Kafka did not let the worker go within %.0f s: it ends without", ENDS_IN)
