"""`aml reconcile`: asks database and broker, and tells whether every element is accounted for."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from aml.domain.errors import AmlError
from aml.store.completeness import load_known
from aml.store.database import Database
from aml.store.encoding import rfc3339
from aml.store.reused import find_reused
from aml.stream.ledger import Broker, Partition, Report, judge, tally_object
from aml.stream.peek import Message, Peeker, look


def reconcile(
    database: Database,
    peeking: Callable[[], AbstractContextManager[Peeker]],
    topics: Iterable[str],
    inner: tuple[str, str],
    elements_of: Callable[[Message], int],
    day: dt.date | None = None,
    archive: Path | None = None,
) -> Report:
    """The report of all days, or of one (UTC, of the broker's timestamps).

    topics: of the bank's transactions, beside those that the database knows; inner: those of legs and of records;
    elements_of: how many elements a message holds; archive: the folder of the shards' segments, of which ids that stand
    twice are looked for and named in the database. A broker that does not answer is told in the report; raises AmlError
    where the database was never filled by a stream.
    """
    missing = 0 if archive is None else _name_reused(database, archive)
    # The database first: what moves on meanwhile then shows as pending, never as lost.
    with database.read() as connection:
        known = load_known(connection)
    if not known.shards:
        raise AmlError(f"database {database.name}: no stream was consumed into it: start `aml worker`, or mend AML_DB")
    broker: Broker | str
    try:
        with peeking() as peeker:
            broker = look(peeker, known, topics, inner, elements_of)
    except AmlError as error:
        broker = str(error)
    report = judge(known, broker, database.clock(), day)
    if missing:
        report.alarms.append(
            f"{missing:,} segments of the archive are not under {archive}: ids in them were not compared; run this "
            "where AML_STATE is the workers'"
        )
    return report


def _name_reused(database: Database, archive: Path) -> int:
    """Name the ids that stand twice; returns how many segments lie elsewhere."""
    with database.read() as connection:
        compared = find_reused(connection, archive, database.clock())
    if compared.reused:
        with database.begin() as uow:
            uow.stream.reused(compared.reused)
    return compared.missing


def report_object(report: Report) -> dict[str, Any]:
    """The object that `aml reconcile --json` ends with."""
    return {
        "reconciles": report.reconciles,
        "consumed": report.total.consumed,
        **tally_object(report.total),
        "pending": report.pending,
        "pending_exact": report.exact,
        "oldest_unprocessed": None if report.oldest is None else rfc3339(report.oldest),
        "partitions": [_partition_object(partition) for partition in report.partitions],
        "days": report.days,
        "manifests": report.manifests,
        "unreadable_manifests": report.bad_manifests,
        "gaps": report.gaps,
        "silent": report.silent,
        "reused": report.reused,
        "reused_ids": report.reused_shown,
        "outbox": report.unsent,
        "faults": report.faults,
        "alarms": report.alarms,
    }


def _partition_object(partition: Partition) -> dict[str, Any]:
    return {
        "topic": partition.topic,
        "partition": partition.partition,
        "consumed": partition.tally.consumed,
        **tally_object(partition.tally),
        "pending": partition.pending,
        "unaccounted": partition.unaccounted,
        "next_offset": partition.next,
        "end_offset": partition.end,
    }
