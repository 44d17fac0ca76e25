"""The records that findings name, whole, as the database keeps them: JSON texts."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import polars as pl

from aml.pipeline.detection import Change
from aml.pipeline.lineage import OWN
from aml.store.archive import Archive
from aml.store.encoding import to_json
from aml.store.findings import EvidenceRecord

_HASH: Final = ("content_hi", "content_lo")
_CONTENT: Final = "content_hash"
_KEY: Final = ("institution", "transaction_id", "revision")


def evidence_of(changes: list[Change], kept: Archive) -> list[EvidenceRecord]:
    """The records that the findings name, each once, from the archive."""
    rows = np.array(sorted({row for change in changes for row in change.rows}), np.int64)
    return evidence_records(kept.take(rows)) if rows.size else []


def evidence_records(frame: pl.DataFrame) -> list[EvidenceRecord]:
    """Records as the archive keeps them, as the database does: what acceptance keeps for itself is left out."""
    told = [(name, at) for at, name in enumerate(frame.columns) if not name.startswith(OWN) and name not in _HASH]
    hi, lo = (frame.columns.index(name) for name in _HASH)
    made = []
    for row in frame.rows():
        record: dict[str, Any] = {name: value for name, at in told if (value := row[at]) is not None}
        text = to_json(record | {_CONTENT: f"{row[hi]:016x}{row[lo]:016x}"})
        institution, transaction, revision = (record[name] for name in _KEY)
        made.append(EvidenceRecord(institution, transaction, revision, record.get("executed_at"), text))
    return made
