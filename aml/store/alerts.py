"""Alerts: recomputed from their findings by the system, closed by people.

Each change writes its history row and, where the database has a stream, the row of the outbox that tells others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from aml.domain.alert import AlertStatus, Disposition, alert_id
from aml.domain.errors import USAGE, AmlError
from aml.domain.finding import Subject
from aml.scoring.combine import AlertScore, score_alert
from aml.scoring.config import ScoringConfig
from aml.store import history
from aml.store.encoding import from_json, rfc3339, to_json
from aml.store.history import SYSTEM, Change
from aml.store.outbox import OutboxStore
from aml.store.recompute import Pile, read_piles
from aml.store.statements import CHUNK, delete_of, insert_all, update_all
from aml.store.subjects import load_subjects, lock_subjects
from aml.store.tables import alert_findings, alerts, subjects

# What one change of an alert may touch, and what its history row says before and after.
_STATE = ("status", "disposition", "score", "points", "band", "crossed_at", "parts", "networks")
_WRITTEN = (*_STATE, "closed_at", "scoring_sha256", "action_version", "revision")


@dataclass(slots=True)
class Recomputed:
    """How many alerts were raised, changed, withdrawn and woken; the raised by (leading rule, band)."""

    raised: int = 0
    changed: int = 0
    withdrawn: int = 0
    woken: int = 0
    opened: Counter[tuple[str, str]] = field(default_factory=Counter)


@dataclass(slots=True)
class _Batch:
    """The writes of one chunk of subjects, sent with one statement per table."""

    inserts: list[dict[str, Any]] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)
    relinked: list[str] = field(default_factory=list)
    links: list[dict[str, Any]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)


class AlertStore:
    """Writes alerts within one transaction."""

    def __init__(self, connection: Connection, now: int) -> None:
        self._connection = connection
        self._now = now
        self._outbox = OutboxStore(connection, now)

    def recompute(self, wanted: Iterable[Subject], config: ScoringConfig) -> Recomputed:
        """Make the alerts of these subjects what their undecided current findings say, under the subjects' locks.

        The subjects are those that `FindingStore.apply` returned in the same transaction.
        """
        by_key = lock_subjects(self._connection, wanted)
        keys = sorted(by_key)
        done = Recomputed()
        for start in range(0, len(keys), CHUNK):
            batch = _Batch()
            chunk = {key: by_key[key] for key in keys[start : start + CHUNK]}
            for pile in read_piles(self._connection, chunk, config):
                self._settle(pile, config, batch, done)
            self._write(batch)
        return done

    def recompute_all(self, config: ScoringConfig) -> Recomputed:
        """Recompute every subject's alerts, as a change of `rules/scoring.toml` asks for."""
        keys = self._connection.execute(select(subjects.c.subject_key)).scalars().all()
        return self.recompute(load_subjects(self._connection, keys).values(), config)

    def close(self, closing: str, disposition: Disposition, reason: str, actor: str) -> None:
        """Close an open alert: its current findings are decided, and the row of history names them.

        Raises AmlError where there is no such alert or it is not open.
        """
        subject_key = self._connection.execute(
            select(alerts.c.subject_key).where(alerts.c.alert_id == closing)
        ).scalar()
        if subject_key is None:
            raise AmlError(f"alert {closing}: there is none with this id: see `aml alerts list`", USAGE)
        lock_subjects(self._connection, load_subjects(self._connection, [subject_key]).values())
        row = self._connection.execute(select(alerts).where(alerts.c.alert_id == closing)).one()
        if not AlertStatus(row.status).is_open:
            raise AmlError(f"alert {closing}: is {row.status} already", USAGE)
        after = {
            **_written(row),
            "status": AlertStatus.CLOSED.value,
            "disposition": disposition.value,
            "closed_at": self._now,
            "action_version": row.action_version + 1,
            "revision": row.revision + 1,
        }
        links = alert_findings.c
        decided = self._connection.execute(
            select(links.finding_id, links.version).where(links.alert_id == closing).order_by(links.finding_id)
        )
        details = {"reason": reason, "decided": [list(pair) for pair in decided]}
        batch = _Batch(updates=[{"alert_id": closing, **after}])
        batch.changes.append(_change(row.institution, closing, "closed", actor, _written(row), after, details))
        self._write(batch)

    def _settle(self, pile: Pile, config: ScoringConfig, batch: _Batch, done: Recomputed) -> None:
        """Raise, change, withdraw, wake or leave the alert of one pile."""
        score = score_alert(pile.findings, config)
        if pile.alert is None:
            if score.opens:
                self._raise(pile, score, config, batch)
                done.raised += 1
                done.opened[score.parts[0].rule, score.band.value] += 1
            return
        kind = _kind_of_change(pile, score)
        if kind is None:
            return
        before = _written(pile.alert)
        status = {"withdrawn": AlertStatus.WITHDRAWN.value, "woken": AlertStatus.NEW.value}.get(kind, before["status"])
        after = {**before, **_scored(pile, score, config), "status": status, "revision": before["revision"] + 1}
        added, removed = self._relink(pile, pile.alert.alert_id, batch)
        if not added and not removed and all(before[key] == after[key] for key in _STATE):
            return
        batch.updates.append({"alert_id": pile.alert.alert_id, **after})
        details = {"findings": {"added": added, "removed": removed}}
        batch.changes.append(_change(pile.alert.institution, pile.alert.alert_id, kind, SYSTEM, before, after, details))
        setattr(done, kind, getattr(done, kind) + 1)

    def _raise(self, pile: Pile, score: AlertScore, config: ScoringConfig, batch: _Batch) -> None:
        institution = pile.subject.institution
        new_id = alert_id(institution, pile.queue, pile.subject, pile.closed)
        row = {
            "alert_id": new_id,
            "institution": institution,
            "queue": pile.queue,
            "subject_key": pile.subject.key,
            "closed_before": pile.closed,
            "previous_alert_id": pile.last_closed,
            "status": AlertStatus.NEW.value,
            "disposition": None,
            "raised_at": self._now,
            "closed_at": None,
            "action_version": 0,
            "revision": 1,
            **_scored(pile, score, config),
        }
        added, _ = self._relink(pile, new_id, batch)
        batch.inserts.append(row)
        details = {"findings": {"added": added, "removed": []}, "previous_alert_id": pile.last_closed}
        batch.changes.append(_change(institution, new_id, "raised", SYSTEM, None, row, details))

    def _relink(self, pile: Pile, linked: str, batch: _Batch) -> tuple[list[list[Any]], list[list[Any]]]:
        """Point the alert at the pile's findings; returns the (id, version) pairs added and removed."""
        before = set(pile.alert_findings.items())
        after = {(finding.finding_id, finding.version) for finding in pile.findings}
        if before != after:
            batch.relinked.append(linked)
            batch.links.extend(
                {
                    "alert_id": linked,
                    "finding_id": finding.finding_id,
                    "version": finding.version,
                    "substance_sha256": finding.substance_sha256,
                }
                for finding in pile.findings
            )
        return [list(pair) for pair in sorted(after - before)], [list(pair) for pair in sorted(before - after)]

    def _write(self, batch: _Batch) -> None:
        insert_all(self._connection, alerts, batch.inserts)
        update_all(self._connection, alerts, batch.updates, ("alert_id",))
        delete_of(self._connection, alert_findings, alert_findings.c.alert_id, batch.relinked)
        insert_all(self._connection, alert_findings, batch.links)
        history.append(self._connection, batch.changes, self._now)
        self._outbox.put([change.object_id for change in batch.changes])


def _kind_of_change(pile: Pile, score: AlertScore) -> str | None:
    """What recomputing may do to the pile's alert; None for one that is withdrawn and stays so."""
    if pile.alert.status == AlertStatus.WITHDRAWN:
        return "woken" if score.opens else None
    untouched = pile.alert.status == AlertStatus.NEW and pile.alert.action_version == 0
    return "withdrawn" if untouched and not score.opens else "changed"


def _scored(pile: Pile, score: AlertScore, config: ScoringConfig) -> dict[str, Any]:
    parts = [
        [part.rule, part.family.value, part.points_full, part.points_counted, part.week.isoformat()]
        for part in score.parts
    ]
    return {
        "score": score.score,
        "points": score.points,
        "band": score.band.value,
        "crossed_at": score.crossed_at,
        "parts": to_json(parts),
        "networks": to_json(sorted({network for finding in pile.findings for network in finding.networks})),
        "scoring_sha256": config.sha256,
    }


def _written(row: Any) -> dict[str, Any]:
    return {key: getattr(row, key) for key in _WRITTEN}


def _change(
    institution: str,
    changed: str,
    kind: str,
    actor: str,
    before: dict[str, Any] | None,
    after: dict[str, Any],
    details: dict[str, Any],
) -> Change:
    states = {"before": _state(before), "after": _state(after)}
    return Change(institution, "alert", changed, after["revision"], actor, kind, {**states, **details})


def _state(written: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a history row says of an alert: readable values, times as texts."""
    if written is None:
        return None
    crossed_at = written["crossed_at"]
    return {
        **{key: written[key] for key in _STATE},
        "crossed_at": None if crossed_at is None else rfc3339(crossed_at),
        "parts": from_json(written["parts"]),
        "networks": from_json(written["networks"]),
    }
