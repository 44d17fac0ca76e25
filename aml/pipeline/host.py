"""The state of an embedded run: detection, models and archive, fed batch by batch; the slow half in a second thread.

A batch is accepted, then run through engine and rules; while it is run the next may be accepted, in another thread.
What became of it (records for the archive, legs for the models) is worked off behind it, in order. Whoever wants to
look at the whole has run all that was accepted and calls `settle` first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.detect.tags import tags
from aml.engine.engine import FindingKey, LegRows
from aml.learn.drift import mismatch
from aml.pipeline.accept import Arrivals
from aml.pipeline.census import Census
from aml.pipeline.detection import Accepted, Change, Detection, Step
from aml.pipeline.drawn import Drawn
from aml.pipeline.inforce import Judgement
from aml.pipeline.insufficient import Insufficient
from aml.pipeline.lineage import TRANSACTION, columns_of, with_lineage
from aml.pipeline.scored import ScoreBook
from aml.pipeline.scores import RunRows, all_findings
from aml.pipeline.standing import Standing
from aml.pipeline.strange import LegFacts, ModelFindings, first_seen
from aml.pipeline.threads import Behind
from aml.store.archive import Archive
from aml.store.files import writing_state

WAITING: Final = 2  # batches that may wait for the second thread
I64 = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray[Any]]


class _Named:
    """The records that detection asks for: it names transactions, and needs their ids only."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def append(self, first_row: int, frame: pl.DataFrame) -> None:
        """Nothing: records go to the archive with their lineage."""

    def take(self, rows: I64) -> pl.DataFrame:
        """The ids of these rows."""
        return self._archive.take(rows, ["transaction_id"])


@dataclass(frozen=True, slots=True)
class Terms:
    """What a host is made for. lateness: µs; received_at: when its records were read (UTC µs); remember: whether the
    findings of settled weeks stay in memory, as the scores of a whole run need them."""

    judgement: Judgement
    lateness: int
    parties: pl.DataFrame | None
    folder: Path
    received_at: int
    remember: bool = False


class Host:
    """Everything between a batch of records and a checkpoint."""

    def __init__(self, terms: Terms, archive: Archive) -> None:
        judgement = terms.judgement
        self.terms = terms
        self.archive = archive
        self.detection = Detection(
            judgement.compiled, judgement.scoring, lateness=terms.lateness, records=_Named(archive),
            parties=terms.parties, folder=terms.folder,
        )  # fmt: skip
        self.book = None if judgement.models is None else ScoreBook(judgement.models)
        self.strange = None if judgement.models is None else ModelFindings(judgement.models, judgement.scoring)
        self.standing = Standing()
        self.census = Census()
        self.insufficient = Insufficient(judgement.compiled)
        self.rows = RunRows(archive.rows)
        self.records: Counter[str] = Counter()  # accepted records by institution
        self.changed: set[FindingKey] = set()
        self._told: I64 | None = None  # watermarks by tenant when findings were last told
        self._drawn = Drawn()
        self._behind = Behind(WAITING)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._behind.__exit__(kind, error, trace)

    def accept(self, frame: pl.DataFrame) -> Accepted:
        """Judge one batch of canonical records with the column `file`; it may be done while the one before is run."""
        return self.detection.accept(frame)

    def apply(self, accepted: Accepted) -> Arrivals:
        """Run an accepted batch, in the order of acceptance."""
        step = self.detection.apply(accepted)
        self.changed |= step.applied.findings
        self.rows.take(step.arrivals)
        arrivals, rows = step.arrivals, step.applied.rows
        facts = self._facts(arrivals.first_transaction, arrivals.columns, rows)
        self._behind.submit(partial(self._follow, step, facts))
        return arrivals

    def _facts(self, first: int, columns: Mapping[str, npt.NDArray[Any]], rows: LegRows) -> LegFacts:
        """What the engine alone knows of the legs that it ran, while it stands still."""
        engine = self.detection.engine
        return LegFacts(first, columns, rows, engine.transactions, first_seen(engine))

    def _segments(self) -> npt.NDArray[np.int8]:
        """Segment of each row of the party table; a row never changes."""
        return self.detection.acceptor.party_rows.segment

    def settle(self) -> None:
        """Wait until all batches are worked off, and write what the archive holds."""
        self._behind.drain()
        with writing_state(self.terms.folder):
            self.archive.flush()

    def at_rest(self) -> None:
        """Join what was put off, so that two threads may read the state at once; the host is settled."""
        self.detection.rows_of(np.empty(0, np.int32))

    @property
    def news(self) -> bool:
        """Whether any finding changed since they were last told."""
        return bool(self.changed) or (self.strange is not None and self.strange.news)

    def forget(self) -> None:
        """Let go what nothing could change or read any more when findings were last told; the host is at rest."""
        if self._told is not None and not self.terms.remember:
            self.detection.evict(self._told)

    def changes(self) -> list[Change]:
        """The findings that changed since this was last asked, as they are now; the host is settled."""
        changes = self.detection.changes(self.changed)
        self.changed, self._told = set(), self._marks()
        return changes + (self.strange.changes(self.detection) if self.strange is not None else [])

    def _follow(self, step: Step, facts: LegFacts) -> None:
        """The second thread's half of a batch."""
        arrivals = step.arrivals
        self.records.update(_by_institution(arrivals.accepted))
        with writing_state(self.terms.folder):
            self.archive.append(with_lineage(arrivals, self.terms.received_at))
        self.standing.take(arrivals)
        self.census.step(step)
        self.insufficient.take(
            arrivals.accepted, arrivals.transaction >= 0, arrivals.columns, step.tags, self._segments()
        )
        if self.book is not None and self.strange is not None:
            surprise = self.book.step(step)
            self.strange.take(arrivals.leave, step.applied.rows, surprise, facts, self.book.instruments)
            self._drawn.take(step.applied.rows, self.book.instruments)

    @property
    def older(self) -> list[str]:
        """Names of the files of identities that have left memory."""
        held = self.detection.acceptor.older
        return [] if held is None else list(held.names)

    def _marks(self) -> I64:
        return self.detection.acceptor.progress.marks.copy()

    @property
    def watermarks(self) -> dict[str, int]:
        """Watermark in UTC µs of each institution that has one."""
        marks = self.detection.acceptor.watermarks
        return {name: marks[number] for name, number in self.tenants().items() if number in marks}

    def tenants(self) -> dict[str, int]:
        """Number of each institution by which acceptance knows it."""
        names = sorted(self.records)
        numbers = self.detection.acceptor.tenant_numbers(pl.Series(names, dtype=pl.String))
        return {name: number for name, number in zip(names, numbers.tolist(), strict=True) if number >= 0}

    def drift(self) -> str | None:
        """One sentence where the models were trained on other data than this run brought."""
        models = self.terms.judgement.models
        legs = self._drawn.legs()
        if models is None or legs is None:
            return None
        return next((told for bundle in models.bundles if (told := mismatch(bundle, legs)) is not None), None)

    def state(self) -> Arrays:
        """Everything, for a snapshot; the host is settled."""
        parts: dict[str, Mapping[str, npt.NDArray[Any]]] = {
            "detection": self.detection.state(), "standing": self.standing.state(), "census": self.census.state(),
            "insufficient": self.insufficient.state(),
        }  # fmt: skip
        if self.book is not None and self.strange is not None:
            parts |= {"book": self.book.state(), "strange": self.strange.state()}
        return {f"{prefix}.{name}": array for prefix, part in parts.items() for name, array in part.items()}

    def restore(self, state: Arrays, older: list[str], records: Mapping[str, int]) -> None:
        """Take over a state made under the same rules and models."""
        self._restore_records(state, records)
        self.insufficient.restore(under(state, "insufficient"))
        self.detection.restore(under(state, "detection"), older)
        if self.book is not None and self.strange is not None:
            self.book.restore(under(state, "book"))
            self.strange.restore(under(state, "strange"), self.detection.acceptor.holders.ours)
        self._told = self._marks()

    def rejudge(self, state: Arrays, older: list[str], records: Mapping[str, int]) -> None:
        """Take over a state made under other rules or models: all that was accepted is judged anew, from the archive.

        Acceptance stands as it was (holders, days, identities, what was superseded); every finding counts as changed.
        """
        self._restore_records(state, records)
        self.detection.restore_acceptance(under(state, "detection"), older)
        nobody = np.empty(0, np.int32)
        first = 0
        for row, segment in self.archive.segments():
            columns = columns_of(segment, row)
            last = first + columns["t"].size
            moves = segment.get_column(TRANSACTION).to_numpy() >= 0
            self.insufficient.take(segment, moves, columns, tags(columns, self.detection.compiled), self._segments())
            enter = first + np.flatnonzero(self.standing.stands[first:last]).astype(np.int32)
            rows = self.detection.replay(columns, enter).rows
            if self.book is not None and self.strange is not None:
                facts = self._facts(first, columns, rows)
                surprise = self.book.take(rows, self.book.instruments.append(columns["instrument"]))
                self.strange.take(nobody, rows, surprise, facts, self.book.instruments)
            first = last
        self.changed |= all_findings(self.detection)
        if self.strange is not None:
            self.strange.ask_all()

    def _restore_records(self, state: Arrays, records: Mapping[str, int]) -> None:
        self.standing.restore(under(state, "standing"))
        self.census.restore(under(state, "census"))
        self.records = Counter(records)


def under(state: Mapping[str, npt.NDArray[Any]], prefix: str) -> Arrays:
    """The arrays of one part, without its name."""
    return {name[len(prefix) + 1 :]: array for name, array in state.items() if name.startswith(prefix + ".")}


def _by_institution(frame: pl.DataFrame) -> dict[str, int]:
    counted = frame.get_column("institution").value_counts()
    return dict(zip(counted["institution"].to_list(), counted["count"].to_list(), strict=True))
