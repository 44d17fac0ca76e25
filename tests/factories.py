"""Records and files as banks send them: a small wire unless told otherwise, in every format that the feed reads."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from aml.domain.transaction import CANONICAL
from aml.feed.mapping import Mapping
from aml.feed.rates import Rates
from aml.feed.raw import Chunk, Reject
from aml.feed.read import read_feed

NOW = 1_788_300_000_000_000  # 2026-09-01T21:20:00Z, when these feeds are read
Record = dict[str, Any]


def txn(**fields: Any) -> Record:
    """A record in the feed's own spelling: 100.00 USD by wire from A1 to B1; a field that is given None is left out."""
    record = {
        "transaction_id": "T1",
        "executed_at": "2026-03-02T09:30:00Z",
        "amount": "100.00",
        "currency": "USD",
        "instrument": "wire",
        "originator_account": "A1",
        "beneficiary_account": "B1",
    } | fields
    return {name: value for name, value in record.items() if value is not None}


def ndjson(path: Path, records: Sequence[Record | bytes]) -> Path:
    """Records, or lines as they are, as an NDJSON file; gzipped where the name ends in .gz."""
    lines = (line if isinstance(line, bytes) else json.dumps(line).encode() for line in records)
    return written(path, b"".join(line + b"\n" for line in lines))


def csv(path: Path, records: Sequence[Record]) -> Path:
    """Records as CSV with our flat names, absent fields empty."""
    frame = pl.DataFrame([{name: str(value) for name, value in r.items()} for r in records], infer_schema_length=None)
    return written(path, frame.write_csv().encode())


def written(path: Path, data: bytes) -> Path:
    """Bytes as a file; gzipped where the name ends in .gz."""
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def read(path: Path | str, **options: Any) -> list[Chunk]:
    """All chunks of a feed, by the defaults of these tests."""
    terms: Record = {"institution": "main", "ingest_time_us": NOW, "reporting_currency": "USD"}
    return list(read_feed(path, **(terms | options)))


def transactions(path: Path | str, **options: Any) -> pl.DataFrame:
    """The accepted transactions of a feed."""
    frames = [chunk.transactions for chunk in read(path, **options)]
    return pl.concat(frames) if frames else pl.DataFrame(schema=CANONICAL)


def rejects(path: Path | str, **options: Any) -> list[Reject]:
    """The rejects of a feed."""
    return [reject for chunk in read(path, **options) for reject in chunk.rejects]


__all__ = ["NOW", "Mapping", "Rates", "csv", "ndjson", "read", "rejects", "transactions", "txn", "written"]
