"""Whole runs for tests: a small invented bank, feeds made of it, and what a database holds after a run."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import polars as pl

from aml.feed.simulate import Bank, SimulateSettings, simulate
from aml.pipeline.embedded import RunSettings, RunSummary, run_feeds
from aml.store.database import open_database
from aml.store.export import export_alerts

DAY: Final = 86_400_000_000
Row = dict[str, Any]
# What may depend on how and when records arrived.
ARRIVAL: Final = ("raised_at",)


def invented(transactions: int = 4_000, days: int = 45, seed: int = 3, attempts: int = 30) -> Bank:
    """A bank with much laundering for its size."""
    return simulate(SimulateSettings(transactions=transactions, days=days, seed=seed, attempts=attempts))


def lines(frame: pl.DataFrame) -> list[Row]:
    """The transactions as records of the feed's own spelling, absent fields left out."""
    text = frame.with_columns(
        pl.col("executed_at").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"), pl.col("amount").cast(pl.String)
    )
    return [{name: value for name, value in row.items() if value is not None} for row in text.iter_rows(named=True)]


def ndjson(path: Path, rows: Iterable[Row]) -> Path:
    """Records as NDJSON."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def url(folder: Path, name: str = "aml.db") -> str:
    """The URL of an SQLite database in a folder."""
    return f"sqlite:///{folder / name}"


def run(db: str, *feeds: Path | str, **given: Any) -> RunSummary:
    """One run of the embedded host."""
    return run_feeds(RunSettings(feeds=tuple(map(str, feeds)), db=db, **given))


def exported(db: str, *, whole: bool = False) -> list[Row]:
    """Every current alert as other programs read it, without what may depend on arrival unless `whole` is asked for."""
    database = open_database(db, create=False)
    with database.read() as connection:
        alerts = list(export_alerts(connection))
    database.close()
    left_out = () if whole else ARRIVAL
    return [{name: value for name, value in alert.items() if name not in left_out} for alert in alerts]


def current(db: str) -> list[tuple[Any, ...]]:
    """Every current finding of an SQLite database, near misses too: all of it but its version and when it was made."""
    columns = "finding_id, points, opens, crossed_at, opened_at, first_at, last_at, total, hits, measured, path"
    query = f"SELECT {columns}, networks FROM findings WHERE state = 'current' ORDER BY finding_id"
    return asked(db, query)


def asked(db: str, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query on an SQLite database."""
    connection = sqlite3.connect(db.removeprefix("sqlite:///"))
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def archived(db: str) -> pl.DataFrame:
    """All that the archive of an SQLite database holds, in order."""
    folder = Path(db.removeprefix("sqlite:///") + ".state")
    return pl.concat([pl.read_parquet(path) for path in sorted(folder.glob("segment-*.parquet"))], how="diagonal")
