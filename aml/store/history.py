"""The history: one row, in canonical bytes, for every change, written in the change's own transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from aml.store.encoding import canonical_json, rfc3339
from aml.store.statements import insert_all
from aml.store.tables import history

SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one object: `revision` counts the changes of that object from 1; `details` are JSON values."""

    institution: str
    object_kind: str
    object_id: str
    revision: int
    actor: str
    kind: str
    details: Mapping[str, Any]


def append(connection: Connection, changes: Sequence[Change], now: int) -> None:
    """Write one row per change, all at `now` (UTC microseconds)."""
    insert_all(connection, history, [_row(change, now) for change in changes])


def _row(change: Change, now: int) -> dict[str, Any]:
    body = canonical_json(
        {
            "institution": change.institution,
            "object": {"kind": change.object_kind, "id": change.object_id, "revision": change.revision},
            "at": rfc3339(now),
            "actor": change.actor,
            "kind": change.kind,
            **change.details,
        }
    )
    return {
        "institution": change.institution,
        "object_kind": change.object_kind,
        "object_id": change.object_id,
        "revision": change.revision,
        "at": now,
        "actor": change.actor,
        "kind": change.kind,
        "body": body,
        "sha256": hashlib.sha256(body).hexdigest(),
    }
