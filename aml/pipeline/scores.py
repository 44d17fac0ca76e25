"""The score of every transaction that a run scored, as one Parquet file: for ranking, and for `aml evaluate`."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.domain.finding import Family
from aml.engine.columns import Flag
from aml.engine.engine import FindingKey
from aml.engine.identity import REVERSED, SUPERSEDED, VOIDED
from aml.engine.intern import grown
from aml.engine.layout import DAY
from aml.learn.rank import rank
from aml.pipeline.accept import Arrivals
from aml.pipeline.detection import Detection
from aml.pipeline.scored import ScoreBook
from aml.scoring.combine import combine_rules
from aml.scoring.config import ScoringConfig
from aml.store.archive import Archive
from aml.store.files import writing

SCHEMA: Final[dict[str, pl.DataType]] = {
    "transaction_id": pl.String(), "score": pl.Float64(), "anomaly": pl.Float64(), "rules": pl.List(pl.String),
}  # fmt: skip
_VOID: Final = 128
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
RulesHit = dict[int, list[tuple[str, Family, int]]]
"""Transaction index -> (rule, family, points) of the rules hit at one of its legs, near misses with no points.

Measured on simulated banks: near misses are 1.2 % of all payments, and with points of their own they fill any list of
the worst 0.5 % (recall 20 % instead of 55-60 %).
"""


class RunRows:
    """The records that this run accepted: what each moves, and the marks it bears now."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.n = 0
        self._transaction = np.empty(1024, np.int32)
        self._mark = np.empty(1024, np.uint8)

    @property
    def transaction(self) -> npt.NDArray[np.int32]:
        """Index of each record's transaction, -1 where it moves nothing."""
        return self._transaction[: self.n]

    @property
    def mark(self) -> npt.NDArray[np.uint8]:
        """SUPERSEDED, VOIDED and REVERSED of `engine.identity`."""
        return self._mark[: self.n]

    def take(self, arrivals: Arrivals) -> None:
        """Take what a batch did, to its own records and to earlier ones of this run."""
        n, more = self.n, arrivals.flags.size
        self._transaction = grown(self._transaction, n, n + more)
        self._mark = grown(self._mark, n, n + more)
        self.n += more
        self._transaction[n : self.n] = arrivals.transaction
        self._mark[n : self.n] = np.where((arrivals.flags & Flag.VOID) != 0, _VOID, 0)
        mine = arrivals.marked_rows >= self.first
        places = arrivals.marked_rows[mine] - self.first
        marks = arrivals.marks[mine] & np.uint32(SUPERSEDED | VOIDED | REVERSED)
        self._mark[places] = (self._mark[places] & np.uint8(_VOID)) | marks.astype(np.uint8)

    @property
    def superseded(self) -> int:
        """Records replaced by a later revision, and not taken back besides."""
        return int(np.count_nonzero((self.mark & (SUPERSEDED | VOIDED)) == SUPERSEDED))

    @property
    def voided(self) -> int:
        """Records taken back."""
        return int(np.count_nonzero(self.mark & VOIDED))

    @property
    def scored(self) -> npt.NDArray[np.bool_]:
        """Which records have a score: all but voids and what is superseded or voided."""
        scored: npt.NDArray[np.bool_] = (self.mark & (SUPERSEDED | VOIDED | _VOID)) == 0
        return scored


def write_scores(
    path: Path, rows: RunRows, archive: Archive, detection: Detection, book: ScoreBook | None, scoring: ScoringConfig
) -> int:
    """Write transaction_id, score, anomaly and rules of every record of the run that has a score; returns how many.

    Part by part, segment by segment, so that the memory it takes does not grow with the run. Raises AmlError where the
    file cannot be written; then nothing is there.
    """
    hits = _hits(detection, rows, scoring)
    written = 0
    with writing(path, "--scores-out"):
        parts = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            for number, (first, ids) in enumerate(archive.scan(rows.first, ["transaction_id"])):
                part = _part(first, ids.collect(), rows, hits, book, scoring)
                part.write_parquet(parts / f"{number:06d}.parquet", compression="zstd", compression_level=1)
                written += part.height
            _join(parts, path)
        except pl.exceptions.PolarsError as error:
            raise OSError(str(error).splitlines()[0]) from error
        finally:
            shutil.rmtree(parts, ignore_errors=True)
    return written


def _join(parts: Path, path: Path) -> None:
    unfinished = path.with_name(path.name + ".part")
    try:
        if any(parts.iterdir()):
            pl.scan_parquet(sorted(parts.iterdir())).sink_parquet(unfinished, compression="zstd", compression_level=1)
        else:
            pl.DataFrame(schema=SCHEMA).write_parquet(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _part(
    first: int, ids: pl.DataFrame, rows: RunRows, hits: RulesHit, book: ScoreBook | None, scoring: ScoringConfig
) -> pl.DataFrame:
    """The scores of one segment's records; `first` is its first row."""
    start, stop = max(first, rows.first) - rows.first, min(first + ids.height, rows.first + rows.n) - rows.first
    chosen = start + np.flatnonzero(rows.scored[start:stop])
    transaction = rows.transaction[chosen]
    standing = (transaction >= 0) & ((rows.mark[chosen] & REVERSED) == 0)
    anomaly, points = np.full(chosen.size, np.nan), np.zeros(chosen.size)
    if book is not None and standing.any():
        moved = transaction[standing]
        surprise = book.surprise(moved)
        anomaly[standing], points[standing] = rank(surprise), graded(surprise, scoring)
    named: list[list[str]] = []
    at = np.flatnonzero(np.isin(transaction, np.fromiter(hits, np.int32, len(hits))))
    for place in at.tolist():
        found = hits[int(transaction[place])]
        points[place] += combine_rules(found, scoring)
        named.append(sorted({rule for rule, _, _ in found}))
    kept = ids[(chosen + rows.first - first).astype(np.uint32)]
    return _frame(kept, points / (points + scoring.half), anomaly, at, named)


def _frame(ids: pl.DataFrame, score: F64, anomaly: F64, at: I64, named: list[list[str]]) -> pl.DataFrame:
    """The columns of the file; `named`: the rules of the rows `at`, the others have none."""
    rules = pl.DataFrame({"row": at.astype(np.uint32), "rules": pl.Series(named, dtype=SCHEMA["rules"])})
    return (
        ids.with_columns(pl.Series("score", score), pl.Series("anomaly", anomaly).fill_nan(None))
        .with_row_index("row")
        .join(rules, on="row", how="left", maintain_order="left")
        .with_columns(pl.col("rules").fill_null(pl.lit([], dtype=SCHEMA["rules"])))
        .select(list(SCHEMA))
    )


def graded(surprise: F64, scoring: ScoringConfig) -> F64:
    """[n] points by a transaction's training rank, as `combine.model_points` gives them; 0 where there is none."""
    most = -np.log(scoring.opening_quantile)
    depth = np.clip(np.nan_to_num(surprise, nan=0.0), 0.0, most) / most
    points: F64 = np.round(scoring.model_cap * 1000 * depth) / 1000
    return points


def all_findings(detection: Detection) -> set[FindingKey]:
    """Keys of all findings that the engine has hits of."""
    hits = _standing_hits(detection)
    keys = zip(hits["rule"].to_list(), hits["subject"].to_list(), (hits["t"] // DAY + 3) // 7, strict=True)
    return set(keys)


def _hits(detection: Detection, rows: RunRows, scoring: ScoringConfig) -> RulesHit:
    """The rules hit at one of a transaction's legs, near misses included, for the transactions of this run."""
    mine = rows.transaction[rows.transaction >= 0]
    hits = _standing_hits(detection)
    # Of several alternatives or subjects at one transaction the strongest speaks for the rule.
    strongest = (
        hits.filter(
            (pl.col("number") >= (int(mine[0]) if mine.size else 1 << 62))
            & pl.col("told")
        )
        .group_by("number", "rule")
        .agg(pl.col("steps").filter(pl.col("opens")).max().fill_null(0))
        .sort("number", "rule")
    )
    found: RulesHit = {}
    for number, place, steps in strongest.rows():
        rule = detection.compiled.rules[place]
        scored = rule.id, rule.family, scoring.points_of(rule.severity, steps)
        found.setdefault(number, []).append(scored)
    return found


def _standing_hits(detection: Detection) -> pl.DataFrame:
    """Every hit that holds: its transaction's number and time, rule, subject, steps, whether it opens, and whether it
    is told."""
    engine = detection.engine
    hits = engine.hits.book.hits[engine.hits.living()]
    return pl.DataFrame(
        {
            "number": engine.transactions.numbers(hits["tx"]),
            "t": engine.transactions.rows["t"][hits["tx"]],
            "rule": detection.compiled.program.detectors["rule"][hits["detector"]].astype(np.int64),
            "subject": hits["subject"].astype(np.int64),
            "steps": hits["steps"].astype(np.int64),
            "opens": np.ascontiguousarray(hits["opens"]),
            "told": detection.tells(hits["subject"], hits["detector"]),
        }
    )
