"""What is to be told of alerts: a row per change, written in the change's own transaction, relayed in their order.

Only a database that has a stream tells anything: its shards' workers relay the rows.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, select, update

from aml.store.encoding import rfc3339, to_json
from aml.store.statements import CHUNK, in_chunks, insert_all
from aml.store.stream_tables import outbox, stream_shards
from aml.store.tables import alert_findings, alerts, findings, subjects


@dataclass(frozen=True, slots=True)
class Told:
    """One change of an alert as others are told: `body` is JSON, `version` the alert's revision."""

    outbox_id: int
    shard: int
    alert_id: str
    version: int
    body: str


class OutboxStore:
    """Writes what is to be told within one transaction."""

    def __init__(self, connection: Connection, now: int) -> None:
        self._connection = connection
        self._now = now
        self._shards: int | None = None

    def put(self, changed: Sequence[str]) -> None:
        """Tell these alerts as they now are. A no-op where the database has no stream."""
        if not changed or not self._number_of_shards():
            return
        rows = list(in_chunks(self._connection, _told_of(), alerts.c.alert_id, sorted(changed)))
        rules = self._rules(sorted(changed))
        insert_all(self._connection, outbox, [self._row(row, rules.get(row.alert_id, [])) for row in rows])

    def _number_of_shards(self) -> int:
        if self._shards is None:
            self._shards = self._connection.execute(select(func.count()).select_from(stream_shards)).scalar_one()
        return self._shards

    def _rules(self, changed: Sequence[str]) -> dict[str, list[str]]:
        """The rules that each alert stands on, the strongest first."""
        links = alert_findings.c
        query = (
            select(links.alert_id, findings.c.rule)
            .join(findings, (findings.c.finding_id == links.finding_id) & (findings.c.version == links.version))
            .order_by(findings.c.opens.desc(), findings.c.points.desc(), findings.c.rule)
        )
        held: dict[str, dict[str, None]] = {}
        for alert_id, rule in in_chunks(self._connection, query, links.alert_id, changed):
            held.setdefault(alert_id, {})[rule] = None
        return {alert_id: list(rules) for alert_id, rules in held.items()}

    def _row(self, row: Row[Any], rules: list[str]) -> dict[str, Any]:
        # A pure function of the subject, so that changes by people and by any worker are relayed by the same one.
        shard = uuid.UUID(row.subject_key).int % self._number_of_shards()
        return {
            "shard": shard,
            "alert_id": row.alert_id,
            "version": row.revision,
            "institution": row.institution,
            "body": to_json(_body(row, rules, self._now)),
            "created_at": self._now,
            "sent_at": None,
        }

    def sent(self, told: Iterable[Told]) -> None:
        """Note that these were told."""
        ids = [row.outbox_id for row in told]
        for start in range(0, len(ids), CHUNK):
            chosen = outbox.c.outbox_id.in_(ids[start : start + CHUNK])
            self._connection.execute(update(outbox).where(chosen).values(sent_at=self._now))

    def again(self, alert_ids: Sequence[str]) -> None:
        """Tell the newest version of these alerts once more: an older one may have been told after it."""
        for start in range(0, len(alert_ids), CHUNK):
            self._unsend(outbox.c.alert_id.in_(alert_ids[start : start + CHUNK]))

    def again_since(self, shards: Iterable[int], since: int) -> None:
        """Tell the newest version of all of these shards' alerts that were told since then (UTC µs) once more."""
        self._unsend(outbox.c.shard.in_(sorted(shards)), outbox.c.sent_at >= since)

    def _unsend(self, *which: Any) -> None:
        other = outbox.alias("other")
        newest = select(func.max(other.c.version)).where(other.c.alert_id == outbox.c.alert_id).scalar_subquery()
        self._connection.execute(update(outbox).where(*which, outbox.c.version == newest).values(sent_at=None))

    def purge(self, before: int) -> int:
        """Forget what was told before then (UTC µs); returns how many rows went."""
        return self._connection.execute(delete(outbox).where(outbox.c.sent_at < before)).rowcount


def unsent(connection: Connection, epochs: Mapping[int, int], limit: int = 1000) -> list[Told]:
    """What is to be told next, in order, of those shards that are still owned under these epochs."""
    c = outbox.c
    query = select(c.outbox_id, c.shard, c.alert_id, c.version, c.body).where(c.sent_at.is_(None))
    query = query.where(c.shard.in_(owned(connection, epochs))).order_by(c.outbox_id).limit(limit)
    return [Told(*row) for row in connection.execute(query)]


def owned(connection: Connection, epochs: Mapping[int, int]) -> list[int]:
    """Those of the shards whose epoch still is the given one, in order."""
    c = stream_shards.c
    query = select(c.shard, c.epoch).where(c.shard.in_(sorted(epochs))).order_by(c.shard)
    return [shard for shard, epoch in connection.execute(query) if epochs[shard] == epoch]


def count_unsent(connection: Connection, shards: Iterable[int] | None = None) -> int:
    """How many changes are still to be told, of all shards or of these."""
    query = select(func.count()).select_from(outbox).where(outbox.c.sent_at.is_(None))
    if shards is not None:
        query = query.where(outbox.c.shard.in_(sorted(shards)))
    return connection.execute(query).scalar_one()


def _told_of() -> Select[Any]:
    return select(alerts, subjects.c.kind, subjects.c.id).join(subjects, subjects.c.subject_key == alerts.c.subject_key)


def _body(row: Row[Any], rules: list[str], now: int) -> dict[str, Any]:
    """The fields of `AlertMessage` (aml/stream/messages.py); what was decided is nobody's business downstream."""
    return {
        "alert_id": row.alert_id,
        "version": row.revision,
        "institution": row.institution,
        "subject_kind": row.kind,
        "subject_id": row.id,
        "status": row.status,
        "score": row.score,
        "band": row.band,
        "rules": rules,
        "raised_at": rfc3339(row.raised_at),
        "crossed_at": None if row.crossed_at is None else rfc3339(row.crossed_at),
        "updated_at": rfc3339(now),
    }
