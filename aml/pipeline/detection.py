"""The core that every host runs: acceptance, engine and rules over canonical frames; no clock and no database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.detect.compile import Compiled
from aml.detect.needs import Tags
from aml.detect.tags import given
from aml.domain.finding import FindingChange, finding_id
from aml.engine.arrays import distinct, grown
from aml.engine.columns import Flag
from aml.engine.confirm import CONDUCTED
from aml.engine.engine import Applied, Engine, FindingKey, Hit
from aml.engine.identity import NO_TIME
from aml.engine.layout import PARTY
from aml.pipeline.accept import Acceptor, Arrivals
from aml.pipeline.findings import Assembly, week_of
from aml.pipeline.watermark import LATENESS
from aml.scoring.config import ScoringConfig

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


class Records(Protocol):
    """Where accepted records are kept whole, by row number."""

    def append(self, first_row: int, frame: pl.DataFrame) -> None:
        """Keep the accepted records of a batch; the first has this row number."""

    def take(self, rows: I64) -> pl.DataFrame:
        """The canonical records of these rows, in their order."""


class InMemory:
    """Records held in memory, for trials and tests."""

    def __init__(self) -> None:
        self._frames: list[pl.DataFrame] = []

    def append(self, first_row: int, frame: pl.DataFrame) -> None:
        """Keep the accepted records of a batch."""
        self._frames.append(frame)

    def take(self, rows: I64) -> pl.DataFrame:
        """The canonical records of these rows, in their order."""
        if len(self._frames) > 1:
            self._frames = [pl.concat(self._frames)]
        return self._frames[0][rows]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A batch that was judged and not run yet: what the engine takes of it, and the holders that became subjects."""

    arrivals: Arrivals
    given: dict[str, npt.NDArray[Any]]
    party: np.ndarray
    shard_of: I32
    met: npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Step:
    """What one batch did; tags: of the debit and the credit legs of its movements."""

    arrivals: Arrivals
    applied: Applied
    tags: Tags


@dataclass(frozen=True, slots=True)
class Change:
    """One finding as it is now, and the rows of the records it names."""

    change: FindingChange
    rows: tuple[int, ...]


class Detection:
    """One database's acceptance and engine.

    step: judge a batch and let its legs enter and leave; changes: findings as they are now, for keys that steps named.
    """

    def __init__(
        self, compiled: Compiled, scoring: ScoringConfig, *, lateness: int = LATENESS, records: Records | None = None,
        parties: pl.DataFrame | None = None, folder: Path | None = None, shards: int = 1,
    ) -> None:  # fmt: skip
        """`lateness` in µs; `parties` a parties frame; `folder` takes identities that leave memory."""
        self.compiled = compiled
        self.records = InMemory() if records is None else records
        self.acceptor = Acceptor(compiled.profile, lateness=lateness, parties=parties, folder=folder)
        self.engine = Engine(compiled.program, shards=shards)
        self.rows = np.empty(0, np.int64)
        self._parts: list[I64] = []
        self._known = np.zeros(1, PARTY)  # what is known of parties, as the engine reads it; rows never change
        self._knows = 0
        self._assembly = Assembly(compiled, scoring)
        self._kinds = compiled.program.detectors["kind"]
        self._at_the_counter = set(compiled.program.detectors["rule"][self._kinds == CONDUCTED].tolist())
        self._shards = shards

    def step(self, frame: pl.DataFrame, source: int = 0) -> Step:
        """Judge a canonical frame, its rows in arrival order, and run the engine on what stands."""
        return self.apply(self.accept(frame, source))

    def accept(self, frame: pl.DataFrame, source: int = 0) -> Accepted:
        """The first half of a step, which knows nothing of the engine: the next batch may be judged while one runs."""
        holders = self.acceptor.holders
        known = len(holders)
        strangers = ~holders.ours[:known]
        arrivals = self.acceptor.accept(frame, source)
        self.records.append(arrivals.first_row, arrivals.accepted)
        met = np.flatnonzero(strangers & holders.ours[:known])
        return Accepted(arrivals, given(arrivals.columns, self.compiled), self._party(), self._shard_of(), met)

    def apply(self, accepted: Accepted) -> Step:
        """The second half, batch by batch in the order of acceptance: let legs enter and leave."""
        arrivals = accepted.arrivals
        self._parts.append(arrivals.columns["row"].astype(np.int64))
        self.engine.transactions.append(accepted.given)
        self._note_precision(arrivals.flags)
        applied = self.engine.apply(
            accepted.party, accepted.shard_of, arrivals.enter[arrivals.enter >= 0], arrivals.leave[arrivals.leave >= 0]
        )
        if accepted.met.size:
            # Findings about holders that became subjects only now are news too.
            applied.findings.update(self.engine.keys_about(set(accepted.met.tolist())))
        return Step(arrivals, applied, (accepted.given["debit_tag"], accepted.given["credit_tag"]))

    def replay(self, columns: Mapping[str, npt.NDArray[np.generic]], enter: I32) -> Applied:
        """Let the engine have movements that acceptance knows already, in their order, as changed rules ask for.

        columns: as acceptance made them (`columns.TRANSACTION`); enter: those of all that came so far whose legs enter.
        """
        self.engine.transactions.append(given(columns, self.compiled))
        self._note_precision(columns["flags"])
        return self.engine.apply(self._party(), self._shard_of(), enter, np.empty(0, np.int32))

    def changes(self, keys: Iterable[FindingKey]) -> list[Change]:
        """The findings of these keys as they are now, in the order of subject, rule and week."""
        held = [(key, self.hits_about(key)) for key in sorted(set(keys))]
        named = distinct(np.empty(0, np.int32), *(hit.evidence for _, hits in held for hit in hits))
        rows = self.rows_of(named)
        ids = self.records.take(rows).get_column("transaction_id").to_list() if named.size else []
        looked_up = dict(zip(named.tolist(), zip(ids, rows.tolist(), strict=True), strict=True))
        texts = self.acceptor.holders.texts
        out = []
        for key, hits in held:
            if hits:
                out.append(Change(*self._assembly.finding(key, hits, self.engine.transactions, looked_up, texts)))
            else:
                subject, rule = self._assembly.subject(texts, key[1]), self.compiled.rules[key[0]].id
                out.append(Change(FindingChange.withdraw(finding_id(subject, rule, week_of(key[2]))), ()))
        return out

    def evict(self, marks: I64, named: I64 | None = None) -> int:
        """Drop what nothing can change or read any more; returns how many legs went.

        marks: watermark (UTC µs, NO_TIME: none) by tenant when findings were last told. Of weeks that were settled then
        the engine knows no findings afterwards: they stand as they were told. named: transactions that stay known.
        """
        fixed = self._fixed(marks)
        self.engine.shard_of = self._shard_of()
        return self.engine.evict(fixed, named=named)

    def _fixed(self, marks: I64) -> I64:
        """By holder the time before which no leg enters or leaves any more."""
        tenant = self.acceptor.tenant_of_holders()
        mark = np.concatenate([marks, [NO_TIME]])[np.minimum(tenant, marks.size)]
        # A reversal comes up to the lateness after its original, and that late itself.
        return np.where(mark == NO_TIME, NO_TIME, mark - 2 * self.acceptor.lateness)

    def hits_about(self, key: FindingKey) -> list[Hit]:
        """What holds about a subject, in order: all of it where he is ours; about anybody else only that he brought
        cash to our counter, for a courier need not bank here."""
        if not self.acceptor.holders.ours[key[1]] and key[0] not in self._at_the_counter:
            return []
        return [hit for hit in self.engine.hits_of(key) if self.tells(key[1], hit.detector)]

    def tells(self, subject: Any, detector: Any) -> Any:
        """Whether a detector's hit about a holder is told, of numbers or of arrays of them."""
        return self.acceptor.holders.ours[subject] | (self._kinds[detector] == CONDUCTED)

    def rows_of(self, transactions: I32) -> I64:
        """Rows of the records of transactions, by number."""
        if self._parts:
            self.rows = np.concatenate([self.rows, *self._parts])
            self._parts = []
        taken: I64 = self.rows[transactions]
        return taken

    def _note_precision(self, flags: npt.NDArray[Any]) -> None:
        if np.any(flags & np.uint32(Flag.DAY_PRECISION)):
            self.engine.knobs = self.engine.knobs._replace(day_precision=True)

    def _party(self) -> np.ndarray:
        """What is known of parties, as the engine reads it."""
        rows, first = self.acceptor.party_rows, self._knows
        if len(rows) > first:
            self._known, self._knows = grown(self._known, len(rows)), len(rows)
            for name in ("turnover", "opened", "segment", "cash_intensive"):
                self._known[name][first : len(rows)] = getattr(rows, name)[first:]
        return self._known[: max(1, len(rows))]

    def _shard_of(self) -> I32:
        names = self.acceptor.holders.names
        return (names.hi[: len(names)] % np.uint64(self._shards)).astype(np.int32)

    def state(self) -> dict[str, np.ndarray]:
        """Everything but the records and the files of old identities, as flat named arrays for a snapshot.

        What is large is lent: it changes with the next batch.
        """
        self.rows_of(np.empty(0, np.int32))
        return {
            "rows": self.rows,
            **{f"accept.{k}": v for k, v in self.acceptor.state().items()},
            **{f"engine.{k}": v for k, v in self.engine.state().items()},
        }

    def restore_acceptance(self, state: Mapping[str, np.ndarray], older: list[str]) -> None:
        """Take over acceptance alone, for a replay under rules other than those of the state."""
        self.rows, self._parts, self._knows = state["rows"].copy(), [], 0
        self.acceptor.restore(_under(state, "accept."), older)

    def restore(self, state: Mapping[str, np.ndarray], older: list[str]) -> None:
        """Take over a state, and the names of its files of old identities."""
        self.restore_acceptance(state, older)
        self.engine = Engine.from_state(self.compiled.program, _under(state, "engine."))


def _under(state: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): held for name, held in state.items() if name.startswith(prefix)}
