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
_FEW: Final = 256  # rows that are written quicker one by one
_CONTENT: Final = "content_hash"
_NEEDED: Final[dict[str, pl.DataType]] = {
    "institution": pl.String(), "transaction_id": pl.String(), "revision": pl.Int32(), "executed_at": pl.Int64(),
}  # fmt: skip


def evidence_of(changes: list[Change], kept: Archive) -> list[EvidenceRecord]:
    """The records that the findings name, each once, from the archive."""
    rows = np.array(sorted({row for change in changes for row in change.rows}), np.int64)
    return evidence_records(kept.take(rows)) if rows.size else []


def evidence_records(frame: pl.DataFrame) -> list[EvidenceRecord]:
    """Records as the archive keeps them, as the database does."""
    return _few_records(frame) if frame.height <= _FEW else _many_records(frame)


def _few_records(frame: pl.DataFrame) -> list[EvidenceRecord]:
    made = []
    for values in frame.iter_rows():
        row: dict[str, Any] = dict.fromkeys(_NEEDED) | dict(zip(frame.columns, values, strict=True))
        hi, lo = (row.pop(name) for name in _HASH)
        told = {name: value for name, value in row.items() if value is not None and not name.startswith(OWN)}
        text = to_json(told | {_CONTENT: f"{hi:016x}{lo:016x}"})
        made.append(
            EvidenceRecord(row["institution"], row["transaction_id"], row["revision"], row["executed_at"], text)
        )
    return made


def _many_records(frame: pl.DataFrame) -> list[EvidenceRecord]:
    lacking = [pl.lit(None, kind).alias(name) for name, kind in _NEEDED.items() if name not in frame.columns]
    frame = frame.with_columns(lacking) if lacking else frame
    texts = texts_of(_told(frame))
    columns = (frame.get_column(name).to_list() for name in _NEEDED)
    return [EvidenceRecord(*fields) for fields in zip(*columns, texts, strict=True)]


def _told(frame: pl.DataFrame) -> pl.DataFrame:
    """The record and its lineage, without what acceptance keeps for itself; the content's hash in hex."""
    halves = zip(*(frame.get_column(name).to_list() for name in _HASH), strict=True)
    names = [name for name in frame.columns if not name.startswith(OWN) and name not in _HASH]
    return frame.select(names).with_columns(pl.Series(_CONTENT, [f"{hi:016x}{lo:016x}" for hi, lo in halves]))


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
