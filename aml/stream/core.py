"""One shard's detection: acceptance and engine of its own holders, and the letters that it exchanges with the others.

Pure: blocks and letters in, findings and letters out; no broker, no database, no clock. A transaction is accepted at
its home, the shard of its first visit; its other legs stand where their holders live. The debit side's shard decides a
payment's trails, payers and facts, and tells the credit side's; a finding belongs to the shard of its subject, and hits
on it that others see travel there.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.detect.compile import Compiled
from aml.detect.tags import given
from aml.engine.arrays import distinct, grown
from aml.engine.confirm import week_of
from aml.engine.engine import Applied, FindingKey, Hit
from aml.engine.evict import UNIT_DAYS
from aml.engine.identity import Outcome
from aml.engine.intern import NONE, text_rows
from aml.engine.layout import BUSINESS, DAY, PERSON, T_CARD, T_COUNTED, T_LEG, UNKNOWN
from aml.pipeline.accept import Verdicts
from aml.pipeline.carried import Carried
from aml.pipeline.detection import Detection
from aml.pipeline.holders import part as part_of
from aml.pipeline.scored import Instruments
from aml.scoring.config import ScoringConfig
from aml.stream.foreign import ForeignHits
from aml.stream.incoming import last_of_each, read_letters
from aml.stream.mail import Letter
from aml.stream.movements import Movements, references
from aml.stream.post import Outgoing, by_shard
from aml.stream.progress import SourceProgress

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
_NOBODY: Final = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn did. left: numbers of transactions whose legs left; keys: findings about subjects here that may
    have changed; out: what other shards must be told; asked: transactions whose records others want as evidence, -1 for
    one that is not known here any more."""

    applied: Applied
    left: I64
    keys: set[FindingKey]
    out: dict[int, Outgoing]
    asked: I64


class _Ids:
    """Ids of transactions by number, where a file run has the rows of its archive."""

    def __init__(self, core: Core) -> None:
        # No ring of references: the memory of a shard that is lost goes at once, not when garbage is looked for.
        self._core = weakref.proxy(core)

    def append(self, first_row: int, frame: pl.DataFrame) -> None:
        """Nothing: the core notes ids as transactions come."""

    def take(self, rows: I64) -> pl.DataFrame:
        """Ids of the transactions of these numbers."""
        ids = self._core.movements.ids
        places = self._core.engine.transactions.places(rows).tolist()
        told = [ids.row(place)[0] for place in places]
        return pl.DataFrame({"transaction_id": told}, schema={"transaction_id": pl.String})


class Core(Detection):
    """The detection of shard `me` of `of`."""

    def __init__(
        self, compiled: Compiled, scoring: ScoringConfig, me: int, of: int, *, lateness: int, folder: Path | None = None
    ) -> None:  # fmt: skip
        super().__init__(compiled, scoring, lateness=lateness, folder=folder)
        self.acceptor.progress = SourceProgress()
        self.records = _Ids(self)
        self.me, self.of = me, of
        self.movements = Movements()
        self.instruments = Instruments()
        self.foreign = ForeignHits()
        self._waiting: list[Verdicts] = []
        self._strangers = np.zeros(0, np.bool_)  # holders that were no subjects before what waits
        self._shard_at = np.zeros(0, np.int32)  # by holder its shard; and 0 where it is this one, else 1
        self._elsewhere = np.zeros(0, np.int32)
        self._placed = 0
        self._first = 0  # transactions known at the last turn

    def admit(self, rows: Carried, before: I64) -> Verdicts:
        """Judge the records of one block, each by a watermark; they wait for the next turn."""
        known = len(self.acceptor.holders)
        self._strangers = self._strangers if self._waiting else ~self.acceptor.holders.ours[:known]
        verdicts = self.acceptor.accept_carried(rows, rows["shard"] == self.me, before)
        self._enter(rows, verdicts)
        self._waiting.append(verdicts)
        return verdicts

    def turn(self, letters: Iterable[Letter], *, all_told: bool = False) -> Turn:
        """Take what was accepted since the last turn, then letters; evaluate once.

        all_told: tell the others of everything that was evaluated, changed or not, as after a takeover.
        """
        holders = self.acceptor.holders
        strangers = self._strangers if self._waiting else ~holders.ours[: len(holders)]
        first, arrivals, self._waiting = self._first, self._waiting, []
        incoming = read_letters(self, letters)
        met = set(np.flatnonzero(strangers & holders.ours[: strangers.size]).tolist())
        homed, enters = self._homed(arrivals)
        added, removed = self._standing(
            np.concatenate([homed, incoming.visits]), np.concatenate([enters, incoming.enters])
        )
        self._assume(added)
        applied = self.engine.apply(self._party(), self._shard_of(), added, removed, incoming.news)
        keys = {key for key in applied.findings if self._is_mine(key[1])} | incoming.findings
        if met:
            keys |= {key for key in self.engine.keys_about(met) if self._is_mine(key[1])} | self.foreign.keys_about(met)
        self._first = self.engine.transactions.count
        if self.of == 1:  # nobody to tell
            return Turn(applied, removed, keys, {}, incoming.asked)
        if all_told:
            applied.facts = applied.evaluated
            homed = np.concatenate([homed, applied.evaluated, np.arange(first, self._first)])
        enter, leave = self._homed_here(distinct(homed))
        again = np.intersect1d(incoming.visits[incoming.visits < first], added, assume_unique=True)
        return Turn(applied, removed, keys, self._outgoing(enter, leave, applied, again), incoming.asked)

    # ------------------------------------------------------------------ what comes in

    def _enter(self, rows: Carried, verdicts: Verdicts) -> None:
        """Make the movements among what was accepted known to the engine."""
        moves = np.flatnonzero(verdicts.outcome == Outcome.NEW)[verdicts.transaction >= 0]
        self._note_precision(verdicts.flags)
        first = self.engine.transactions.append(given(verdicts.columns, self.compiled))
        self._parts.append(first + np.arange(moves.size))
        self.instruments.append(verdicts.columns["instrument"])
        names = references(rows["partition"][moves], rows["offset"][moves], rows["index"][moves])
        home, row = np.full(moves.size, self.me, np.int16), verdicts.columns["row"].astype(np.int64)
        self.movements.append(first, names, text_rows(*rows.text("id"), moves), home, row)

    def _assume(self, entering: I64) -> None:
        """Until its shard has spoken, whoever gets a payment from another counts as the party table says, else as a
        business where a card paid him and as a person elsewhere; to that shard it is what it told before.

        A function of the payment alone, so that both shards assume the same; most of those whom cards pay are shops.
        """
        debit, credit, _ = self._sides(entering)
        crossing = (debit >= 0) & (credit >= 0) & (debit != credit)
        rows = self.engine.transactions.places(entering[crossing])
        tx = self.engine.transactions.rows
        segment = self.acceptor.party_rows.facts(tx["credit_party"][rows])["segment"].astype(np.int8)
        usual = np.where(tx["credit_tag"][rows] & T_CARD, BUSINESS, PERSON).astype(np.int8)
        tx["credit_segment"][rows] = np.where(segment == UNKNOWN, usual, segment)

    def _homed(self, arrivals: list[Verdicts]) -> tuple[I64, npt.NDArray[np.bool_]]:
        """Transactions, by their numbers here, that acceptance lets enter or leave, in the order of its judgement."""
        self.rows = np.concatenate([self.rows, *self._parts])
        self._parts = []
        parts = [(getattr(one, name), name == "enter") for one in arrivals for name in ("leave", "enter")]
        numbers = [self.rows[accepted[accepted >= 0]] for accepted, _ in parts]
        enters = np.repeat([enter for _, enter in parts], [n.size for n in numbers]).astype(np.bool_)
        return np.concatenate([_NOBODY, *numbers]), enters

    def _standing(self, numbers: I64, enters: npt.NDArray[np.bool_]) -> tuple[I64, I64]:
        """What enters and what leaves now, by the last word on each, against what stands."""
        last = last_of_each(numbers)
        numbers, enters = numbers[last], enters[last]
        rows = self.engine.transactions.places(numbers)
        inside = self.movements.rows["inside"][rows]
        self.movements.rows["inside"][rows] = enters
        return numbers[enters & ~inside], numbers[~enters & inside]

    # ------------------------------------------------------------------ what goes out

    def _outgoing(self, enter: I64, leave: I64, applied: Applied, again: I64) -> dict[int, Outgoing]:
        """What each other shard must be told. again: visits that were here before and may have been told otherwise."""
        out: dict[int, Outgoing] = {}

        def told(name: str, numbers: I64, shard: npt.NDArray[Any]) -> None:
            for to, mine in by_shard(numbers, shard, self.me).items():
                letter = out.setdefault(to, Outgoing())
                setattr(letter, name, distinct(getattr(letter, name), mine))

        for name, numbers in (("leave", leave), ("enter", enter)):
            for shard in self._sides(numbers):
                told(name, numbers, shard)
        facts, segments = distinct(applied.facts, enter), distinct(applied.facts, again)
        debit, credit, _ = self._sides(facts)
        told("facts", facts, np.where((debit == self.me) & self._inside(facts), credit, NONE))
        debit, credit, _ = self._sides(segments)
        told("segments", segments, np.where((credit == self.me) & self._inside(segments), debit, NONE))
        shard_of = self.shards_of_holders()
        for key in sorted(applied.findings):
            if shard_of[key[1]] != self.me:
                out.setdefault(int(shard_of[key[1]]), Outgoing()).findings.append((key, self.engine.hits_of(key)))
        return out

    def _homed_here(self, numbers: I64) -> tuple[I64, I64]:
        """Those at home here that stand, and those that do not."""
        mine = numbers[self.movements.rows["home"][self.engine.transactions.places(numbers)] == self.me]
        inside = self._inside(mine)
        return mine[inside], mine[~inside]

    def _inside(self, numbers: I64) -> npt.NDArray[np.bool_]:
        """Which transactions have their legs in the engine here."""
        return np.asarray(self.movements.rows["inside"][self.engine.transactions.places(numbers)], np.bool_)

    def _sides(self, numbers: I64) -> tuple[npt.NDArray[Any], ...]:
        """Shards where a transaction has legs: of its debit, its credit, its conductor; -1 where it has none there."""
        rows, tx = self.engine.transactions.places(numbers), self.engine.transactions.rows
        debit, credit = tx["debit_tag"][rows], tx["credit_tag"][rows]
        return (
            np.where(debit & T_LEG, self.shards_at(tx["debit_holder"][rows]), NONE),
            np.where(credit & T_LEG, self.shards_at(tx["credit_holder"][rows]), NONE),
            np.where(credit & T_COUNTED, self.shards_at(tx["conductor_holder"][rows]), NONE),
        )

    # ------------------------------------------------------------------ what is remembered

    def forget(self, marks: I64) -> bool:
        """Drop what nothing can change or read any more; whether anything went. marks: see `evict`; all that changed
        was told."""
        fixed = np.maximum(self._fixed(marks), -(1 << 61)) - UNIT_DAYS * DAY
        self.foreign.forget(week_of.py_func(fixed))
        before = self.engine.transactions.numbers(np.arange(self.engine.transactions.n))
        if not self.evict(marks, self.foreign.evidence()):
            return False
        self.movements.keep(self.engine.transactions, before)
        return True

    def state(self) -> dict[str, np.ndarray]:
        """As a detection's, with what travels between shards; between turns only."""
        parts = {"movements": self.movements.state(), "foreign": self.foreign.state()}
        told = {f"{prefix}.{name}": array for prefix, part in parts.items() for name, array in part.items()}
        return {**super().state(), **told, "instruments": self.instruments.all.copy()}

    def restore(self, state: Mapping[str, np.ndarray], older: list[str]) -> None:
        """Take over a state, and the names of its files of old identities."""
        super().restore(state, older)
        self._placed = 0
        self.acceptor.progress = SourceProgress.from_state(part_of(state, "accept.progress"))
        self.movements = Movements.from_state(part_of(state, "movements"), self.engine.transactions)
        self.foreign = ForeignHits.from_state(part_of(state, "foreign"), self.engine.transactions)
        self.instruments = Instruments()
        self.instruments.append(state["instruments"])
        self._first = self.engine.transactions.count

    # ------------------------------------------------------------------ whose is what

    def hits_about(self, key: FindingKey) -> list[Hit]:
        """What holds about a subject here, found here or elsewhere, in order."""
        told = [hit for hit in self.foreign.of(key) if self.tells(key[1], hit.detector)]
        if not told:
            return super().hits_about(key)
        return sorted([*super().hits_about(key), *told], key=lambda hit: (hit.order, hit.detector))

    def rows_of(self, transactions: I32) -> I64:
        """Here records go by their transactions' numbers."""
        return np.asarray(transactions, np.int64)

    def shards_of_holders(self) -> I32:
        """The shard of every holder known."""
        names, first = self.acceptor.holders.names, self._placed
        n = len(names)
        if n > first:
            self._shard_at, self._elsewhere = grown(self._shard_at, n), grown(self._elsewhere, n)
            self._shard_at[first:n] = np.mod(names.hi[first:n], np.uint64(self.of))
            self._elsewhere[first:n] = self._shard_at[first:n] != self.me
            self._placed = n
        return self._shard_at[:n]

    def shards_at(self, holders: npt.NDArray[Any]) -> I32:
        """The shard of each of these holders, -1 for -1."""
        shards = self.shards_of_holders()
        return np.where(holders >= 0, shards[holders], np.int32(NONE)) if shards.size else holders.astype(np.int32)

    def _shard_of(self) -> I32:
        """To the engine its own shard is 0, and all others are elsewhere."""
        n = self.shards_of_holders().size
        return self._elsewhere[:n]

    def _is_mine(self, holder: int) -> bool:
        return int(self.acceptor.holders.names.hi[holder]) % self.of == self.me
