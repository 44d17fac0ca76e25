"""What a run's alerts found of what was planted: the database and the truth, brought together (`aml evaluate`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from aml.domain.alert import Alert
from aml.domain.errors import AmlError
from aml.domain.finding import Family, Finding
from aml.learn.evaluate import Ranking, evaluate
from aml.learn.features import F64
from aml.learn.outcome import Outcome, Planted, Raised, judge, top_transactions
from aml.pipeline.census import kind_of, population
from aml.store.database import open_database
from aml.store.findings import load_findings
from aml.store.queries import list_alerts
from aml.store.runs import load_counters

TRUTH: Final = ("transaction_id", "typology", "attempt")
SCORES: Final = ("transaction_id", "anomaly")
CHUNK: Final = 2_000  # alerts at a time: their findings are whole


def evaluate_database(url: str, truth: Path, scores: Path | None = None) -> Outcome:
    """Judge the alerts of a database by the truth, and the models by the scores that the run wrote.

    truth: CSV, NDJSON or Parquet with transaction_id, typology, attempt, and, where known, executed_at and shape_rows.
    Raises AmlError naming file, column and mend.
    """
    planted = read_truth(truth)
    ids, anomaly = read_scores(scores) if scores is not None else ([], np.zeros(0))
    database = open_database(url, create=False)
    try:
        with database.read() as connection:
            listed = list_alerts(connection)
            alerts: list[Raised] = []
            for start in range(0, len(listed), CHUNK):
                chunk = listed[start : start + CHUNK]
                found = load_findings(connection, (pair for alert in chunk for pair in alert.findings))
                alerts += [raised(alert, [found[pair] for pair in alert.findings]) for alert in chunk]
            people = population(load_counters(connection))
    finally:
        database.close()
    if scores is None:
        return judge(alerts, planted, people)
    return judge(alerts, planted, people, top_transactions(ids, anomaly), rank_by(ids, anomaly, planted))


def raised(alert: Alert, findings: Sequence[Finding]) -> Raised:
    """An alert as evaluation sees it; rules alone would have raised it if one of their findings opens."""
    rules = [f for f in findings if f.family is not Family.MODEL]
    opened = [f for f in rules if f.opens and f.opened_at is not None]
    crossed = [f.opened_at for f in opened if f.opened_at is not None] or [alert.crossed_at or 0]
    return Raised(
        alert.alert_id, min(crossed), _named(findings), _named(rules) if opened else (), _kind(opened or findings)
    )


def rank_by(ids: Sequence[str], anomaly: F64, planted: Sequence[Planted]) -> Ranking:
    """How the scores rank the planted rows that they know."""
    known = {row.transaction_id: row for row in planted}
    rows = [known.get(name) for name in ids]
    return evaluate(anomaly, [r.typology if r else "" for r in rows], [r.attempt if r else "" for r in rows])


def read_truth(path: Path) -> list[Planted]:
    """What was planted. Raises AmlError naming the file and the mend."""
    frame = _table(path, TRUTH)
    when: list[int | None] = [None] * frame.height
    if "executed_at" in frame.columns:
        when = _microseconds(path, frame.get_column("executed_at"))
    shape = [0] * frame.height
    if "shape_rows" in frame.columns:
        shape = frame.get_column("shape_rows").cast(pl.Int64, strict=False).fill_null(0).to_list()
    named = (frame.get_column(name).cast(pl.String).to_list() for name in TRUTH)
    return [Planted(*row) for row in zip(*named, when, shape, strict=True)]


def read_scores(path: Path) -> tuple[list[str], F64]:
    """Transaction ids and anomalies (NaN where there is none) of `aml run --scores-out`."""
    frame = _table(path, SCORES)
    anomaly = frame.get_column("anomaly").cast(pl.Float64).fill_null(np.nan).to_numpy()
    return frame.get_column("transaction_id").cast(pl.String).to_list(), anomaly


def _named(findings: Sequence[Finding]) -> tuple[str, ...]:
    return tuple(sorted({name for finding in findings for name in finding.transaction_ids}))


def _kind(findings: Sequence[Finding]) -> str:
    """Kind of customer by the segment that the newest finding was judged in."""
    newest = max(findings, key=lambda f: (f.last_at, f.rule), default=None)
    segment = None if newest is None else newest.parameters.get("segment")
    return kind_of(segment) if isinstance(segment, str) else ""


def _table(path: Path, needed: Sequence[str]) -> pl.DataFrame:
    frame = _read(path)
    for name in needed:
        if name not in frame.columns:
            raise AmlError(f"{path}: no column {name}; found {', '.join(frame.columns) or 'none'}")
        lacking = frame.get_column(name).is_null().arg_true()
        if name in TRUTH and lacking.len():
            raise AmlError(f"{path}: {name}: missing in row {lacking[0] + 1}")
    return frame


def _read(path: Path) -> pl.DataFrame:
    name = path.name.removesuffix(".gz")
    try:
        if name.endswith(".parquet"):
            return pl.read_parquet(path)
        if name.endswith((".ndjson", ".jsonl")):
            return pl.read_ndjson(path)
        return pl.read_csv(path, infer_schema=False)
    except FileNotFoundError as error:
        raise AmlError(f"{path}: does not exist: check the path") from error
    except pl.exceptions.NoDataError as error:
        raise AmlError(f"{path}: is empty: a header at least is needed") from error
    except (OSError, pl.exceptions.PolarsError) as error:
        raise AmlError(f"{path}: cannot be read as a table: {str(error).splitlines()[0]}") from error


def _microseconds(path: Path, values: pl.Series) -> list[int | None]:
    try:
        if values.dtype == pl.String:
            values = values.str.to_datetime(time_unit="us", time_zone="UTC")
        return values.cast(pl.Datetime("us", "UTC")).to_physical().to_list()
    except pl.exceptions.PolarsError as error:
        raise AmlError(f"{path}: executed_at: not all are RFC 3339 with offset") from error
