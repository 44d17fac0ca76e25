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


def texts_of(frame: pl.DataFrame) -> list[str]:
    """Each row as a JSON object, absent fields left out, its keys sorted: what `store.encoding.to_json` writes."""
    present = sorted(name for name in frame.columns if frame.get_column(name).null_count() < frame.height)
    members = pl.concat_str([_member(name, frame.schema[name]) for name in present], separator=",", ignore_nulls=True)
    return frame.select(pl.concat_str([pl.lit("{"), members, pl.lit("}")])).to_series().to_list()


def _member(name: str, kind: pl.DataType) -> pl.Expr:
    """A field's name and value, null where it is absent. Only texts need to be escaped."""
    if isinstance(kind, pl.String):
        object_ = pl.struct(pl.col(name)).struct.json_encode()
        return pl.when(pl.col(name).is_not_null()).then(object_.str.slice(1).str.head(-1))
    mark = '"' if isinstance(kind, pl.Date) else ""
    return pl.concat_str([pl.lit(f'"{name}":{mark}'), pl.col(name).cast(pl.String), pl.lit(mark)])
