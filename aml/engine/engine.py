"""The engine: accepted transactions in, hits by subject out; one path for order, disorder, additions and removals.

Pure: no clock, no database, no rule texts. `apply` takes a batch and returns which findings changed; `hits_of` has
what each finding now rests on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from aml.engine.arrays import Books, Found, Transactions, distinct, new_found, with_room
from aml.engine.ends import legs_to_rerun
from aml.engine.evict import (
    UNIT_DAYS,
    drop_legs,
    evidence_of,
    legs_to_drop,
    mark_held,
    mark_trails,
    move_trails,
    older,
    reach,
    renumber,
    settled_hits,
)
from aml.engine.facts import FACTS
from aml.engine.features import DEPTH, FITS
from aml.engine.group import in_order
from aml.engine.hits import EVIDENCE, WASTE, HitBook
from aml.engine.layout import DAY, I64, NONE, TRAIL, Knobs
from aml.engine.news import NO_NEWS, Heard, News, take_news
from aml.engine.program import Program
from aml.engine.shard import NOT_AGAIN, Again, Forwarded, Shard
from aml.engine.snapshot import restore, shards_in, snapshot

FindingKey = tuple[int, int, int]
"""Rule number, subject's holder, week (0 = the week of 29 December 1969, Mondays, UTC)."""
MOST_SERIAL = 1 << 30  # of marks of evidence, before they begin anew
WASTED = 1 << 16  # places of evidence that may lie idle


@dataclass(frozen=True, slots=True, eq=False)
class Hit:
    """A rule's condition holds at a leg. Transactions are named by number."""

    detector: int
    subject: int
    owner: int  # holder whose leg it was found at
    tx: int
    order: tuple[int, int, int]
    segment: int
    opens: bool
    steps: int
    facts: np.ndarray
    evidence: np.ndarray  # transactions, less those already with an earlier hit of the same finding


class LegRows(NamedTuple):
    """Feature rows of the legs that were run: x [n, 18], number of the transaction, side (1 debit), and what the peers
    are: the segments of both ends. A leg that stands here twice counts as it stands last."""

    x: np.ndarray
    tx: np.ndarray
    side: np.ndarray
    sender: np.ndarray
    receiver: np.ndarray


@dataclass(slots=True)
class Applied:
    """What a batch changed."""

    findings: set[FindingKey]
    rows: LegRows
    rerun: int  # legs run again that were there before
    facts: I64  # payments of which something that other shards know may have changed, by number
    evaluated: I64  # those and all others that were computed, changed or not


class _Settled(NamedTuple):
    """What settling the trails of one shard found: paths, and payments whose facts changed."""

    found: Found
    paths: int
    changed: np.ndarray
    stale: np.ndarray  # of the changed: those whose legs' features rest on what changed
    newly: np.ndarray  # of the changed: those with other direct payers


class Engine:
    """The shards of one process: all there are, or one of many."""

    def __init__(self, program: Program, *, shards: int = 1) -> None:
        self.program = program
        self.knobs: Knobs = program.knobs
        self.transactions = Transactions()
        self.books = Books(np.zeros(1024, TRAIL), np.zeros(4096, np.int32))
        self.book_use = np.zeros(2, np.int64)  # trails, payers used
        self.shards = [Shard(n, program) for n in range(shards)]
        self.shard_of = np.zeros(0, np.int32)
        self.tally = np.zeros(1 + program.detectors.size, np.int64)
        self.hits = HitBook()
        self._facts: list[np.ndarray] = []  # rows of payments, of the batch in hand: see `Applied`
        self._evaluated: list[np.ndarray] = []

    @property
    def tried(self) -> np.ndarray:
        """Candidates that the filters let pass, by detector."""
        return self.tally[1:]

    def apply(self, party: np.ndarray, shard_of: np.ndarray, added: np.ndarray, removed: np.ndarray,
              news: News | None = None) -> Applied:
        """Let legs of transactions enter (added) and leave (removed), by number, in any order.

        shard_of: shard of every holder known; a number of no shard here means that its holders live elsewhere. news:
        what those other shards said of payments. Raises ValueError for a transaction dropped as settled.
        """
        self.shard_of = shard_of
        self._renew_marks()
        self.hits.begin()
        self._facts, self._evaluated = [], []
        heard = NO_NEWS if news is None else take_news(self, news)
        tx = self.transactions.rows
        leaving = self.transactions.places(removed)
        entries = np.concatenate([self.transactions.places(added), leaving])
        adds = np.arange(entries.size) < added.size
        order = in_order(tx, entries)
        done = [s.forward(tx, party, self.knobs, shard_of, entries[order], adds[order]) for s in self.shards]
        self._take_out(leaving)
        rows, stale = self._settle_and_confirm(party, done, heard)
        rerun = int(rows.tx.size) - 2 * added.size
        again = [self._again(s, stale) for s in self.shards]
        self._rest(done)
        if any(a.holders.size for a in again):
            rows = _after(rows, self._run_again(party, again))
        self._tidy()
        facts, hops = (
            self.transactions.numbers(distinct(*told)) for told in (self._facts, self._evaluated)
        )
        return Applied(self.hits.changed(), rows, max(0, rerun), facts, distinct(rows.tx, hops, facts))

    def hits_of(self, key: FindingKey) -> list[Hit]:
        """The hits a finding rests on, in order; empty where nothing holds any more."""
        tx = self.transactions.rows
        hits, evidence = self.hits.of(*key)
        order = np.lexsort((hits["detector"], *(tx[name][hits["tx"]] for name in ("lo", "hi", "t"))))
        numbers = self.transactions.numbers(hits["tx"]).tolist()
        made = []
        for k in order.tolist():
            hit, row = hits[k], tx[hits["tx"][k]]
            made.append(Hit(
                int(hit["detector"]), int(hit["subject"]), int(hit["owner"]), numbers[k],
                (int(row["t"]), int(row["hi"]), int(row["lo"])), int(hit["segment"]), bool(hit["opens"]),
                int(hit["steps"]), hit["facts"], self.transactions.numbers(evidence[k]),
            ))  # fmt: skip
        return made

    def keys_about(self, subjects: Collection[int] | None) -> set[FindingKey]:
        """Findings that hold now about these subjects, or all of them."""
        return self.hits.keys_about(None if subjects is None else np.fromiter(subjects, np.int64))

    def fact_names(self, detector: int) -> tuple[str, ...]:
        """Names of a detector's facts, in the order of its vector."""
        return FACTS[self.program.kinds[detector]]

    def evict(self, fixed: int | np.ndarray, least: float = 0.2, named: np.ndarray | None = None) -> int:
        """Drop what nothing can read any more, once it makes up the share `least` of the legs held.

        fixed: UTC µs, of all holders or by holder: no leg before it enters or leaves any more (the watermark less twice
        the lateness: a reversal comes up to the lateness after its original). Hits of weeks before it are forgotten:
        those findings stand. named: numbers of transactions that stay. Returns how many legs were dropped.
        """
        bound = np.maximum(np.broadcast_to(np.asarray(fixed, np.int64), self.shard_of.shape), -(1 << 61))
        rerun = bound - UNIT_DAYS * DAY
        far = reach(self.program)
        drops = [np.zeros(self.shard_of.size, np.int32) for _ in self.shards]
        for s, many in zip(self.shards, drops, strict=True):
            s.ledger = with_room(s.ledger, self.shard_of.size, 0, 0, 0)
            legs_to_drop(s.ledger, rerun, far.legs, far.cash, many)
        total = sum(int(many.sum()) for many in drops)
        held = sum(int(s.ledger.holders["n"].sum()) for s in self.shards)
        if total == 0 or total < least * held:
            return 0
        for s, many in zip(self.shards, drops, strict=True):
            s.ledger = drop_legs(s.ledger, many)
        self._compact(bound, rerun, far.trails, np.zeros(0, np.int64) if named is None else named)
        return total

    def _compact(self, bound: np.ndarray, rerun: np.ndarray, trails: int, named: np.ndarray) -> None:
        """Keep only the transactions that something still names, and give them new rows."""
        tx = self.transactions.rows[: self.transactions.n]
        idle = older(tx, rerun, trails)
        tx["n_trails"][idle] = tx["n_payers"][idle] = 0
        hits = self.hits.living()
        hits = hits[~settled_hits(self.hits.book.hits, hits, tx, rerun)]
        kept = ~older(tx, bound, 0)
        kept[evidence_of(self.hits.book, hits)] = True
        kept[self.transactions.places(named)] = True
        n_trails, n_payers = mark_trails(tx, self.books.trails, self.books.payers, kept)
        for s in self.shards:
            mark_held(s.ledger, kept)
        moved = self.transactions.keep(kept)
        books = Books(np.zeros(max(1024, n_trails), TRAIL), np.zeros(max(4096, n_payers), np.int32))
        move_trails(self.transactions.rows, self.books, books, moved)
        self.books, self.book_use = books, np.array([n_trails, n_payers], np.int64)
        for s in self.shards:
            renumber(s.ledger, moved)
        self.hits.keep(hits, moved, [s.ledger for s in self.shards], self.shard_of)

    def state(self) -> dict[str, np.ndarray]:
        """All that is remembered, as flat arrays; between batches only."""
        return snapshot(self)

    @classmethod
    def from_state(cls, program: Program, state: Mapping[str, np.ndarray]) -> Engine:
        """The engine whose `state` this is, under the same program. Raises ValueError for another format."""
        self = cls(program, shards=shards_in(state))
        restore(self, state)
        return self

    def _renew_marks(self) -> None:
        if self.tally[0] > MOST_SERIAL:
            self.transactions.rows["seen"] = NONE
            self.tally[0] = 0
            for s in self.shards:
                s.scratch.work.marks["done"] = NONE

    def _take_out(self, leaving: np.ndarray) -> None:
        """What left has no place, trails or payers, nor is anything known of it should it come again."""
        if leaving.size:
            tx = self.transactions.rows
            for name in ("debit_at", "credit_at", "told_known", "debit_segment", "credit_segment"):
                tx[name][leaving] = NONE
            for name in ("n_trails", "n_payers", "behind", "queued"):
                tx[name][leaving] = 0
            tx["delivered"][leaving] = 255
            self.hits.forget_paths(leaving)

    def _run_again(self, party: np.ndarray, again: list[Again]) -> LegRows:
        """Run legs whose features rest on facts of the other side that changed."""
        tx = self.transactions.rows
        none, nothing = np.zeros(0, np.int32), np.zeros(0, np.bool_)
        done = [
            s.forward(tx, party, self.knobs, self.shard_of, none, nothing, a)
            for s, a in zip(self.shards, again, strict=True)
        ]
        rows, _ = self._settle_and_confirm(party, done)
        self._rest(done)
        return rows

    def _settle_and_confirm(self, party: np.ndarray, done: list[Forwarded],
                            heard: Heard = NO_NEWS) -> tuple[LegRows, np.ndarray]:
        tx = self.transactions.rows
        settled, processed = self._settle(done, heard)
        for s, forwarded in zip(self.shards, done, strict=True):
            self.hits.forget(s.ledger, forwarded.touched)
        self.hits.forget_paths(processed)
        newly = np.concatenate([heard.newly, *(r.newly for r in settled)])
        detectors = self.program.detectors
        for s, forwarded, result in zip(self.shards, done, settled, strict=True):
            ends = s.ends(tx, forwarded.touched, newly, self.shard_of)
            self.hits.forget_ends(s.ledger, ends)
            hits, n = s.confirm(tx, party, self.knobs, self.books, forwarded, result.found, result.paths, ends,
                                self.tally)
            self.hits.enter(s.ledger, tx, hits, n, detectors["rule"], detectors["kind"])
            s.rest(np.zeros(0, np.int32), ends)
        stale = [heard.stale] + [r.stale for r in settled] + [f.run.stale[: f.rows[3]] for f in done]
        self._facts += [r.changed for r in settled] + stale
        self._evaluated.append(processed)
        return self._rows(done), distinct(*stale)

    def _settle(self, done: list[Forwarded], heard: Heard) -> tuple[list[_Settled], np.ndarray]:
        """Trails of every shard, in rounds until none has news for another; with the payments computed."""
        tx = self.transactions.rows
        results: list[list[_Settled]] = [[] for _ in self.shards]
        hops = [self._hops(forwarded) for forwarded in done]
        for s in self.shards:
            mine = heard.changed[self.shard_of[tx["credit_holder"][heard.changed]] == s.number]
            if mine.size:
                s.hear(tx, self.knobs, mine)
        processed = [x for x, _ in hops]
        news = [True] * len(self.shards)
        fresh = True
        while any(news):
            sent = [self._settle_one(s, *hops[s.number], fresh) if news[s.number] else None for s in self.shards]
            hops = [(np.zeros(0, np.int32), np.zeros((1, 3), np.int32))] * len(hops)
            fresh = False
            news = [False] * len(self.shards)
            for number, result in enumerate(sent):
                if result is None:
                    continue
                results[number].append(result)
                processed.append(result.changed)
                ends = tx["credit_holder"][result.changed]
                to = np.where((ends >= 0) & (tx["credit_at"][result.changed] >= 0), self.shard_of[ends], number)
                for s in self.shards:
                    theirs = result.changed[to == s.number] if s.number != number else result.changed[:0]
                    if theirs.size:
                        s.hear(tx, self.knobs, theirs)
                        news[s.number] = True
        return [_joined(r) for r in results], np.concatenate(processed)

    def _settle_one(self, s: Shard, hops: np.ndarray, heads: np.ndarray, fresh: bool) -> _Settled:
        s.meters[2:4] = self.book_use
        self.books, found, paths, n = s.settle(self.transactions.rows, self.books, self.knobs, self.shard_of, hops,
                                               heads, fresh)
        self.book_use = s.meters[2:4].copy()
        changed = found.changed[:n]
        return _Settled(found, paths, changed, changed[found.stale[:n]], changed[found.newly[:n]])

    def _hops(self, forwarded: Forwarded) -> tuple[np.ndarray, np.ndarray]:
        """Payments of the batch that may be hops, in order, and the fitting credits that they found."""
        tx = self.transactions.rows
        n = int(forwarded.rows[2])
        hops = forwarded.run.hop_tx[:n]
        order = in_order(tx, hops)
        tx["queued"][hops] = 1
        return hops[order], forwarded.run.hop_heads[order] if n else forwarded.run.hop_heads[:1]

    def _rows(self, done: list[Forwarded]) -> LegRows:
        tx = self.transactions.rows
        runs = [(f.run, int(f.rows[0])) for f in done]
        if len(runs) == 1:
            run, n = runs[0]
            x, place, side = run.x[:n], run.row_tx[:n], run.row_side[:n]
        else:
            x, place, side = (np.concatenate([getattr(r, a)[:n] for r, n in runs]) for a in ("x", "row_tx", "row_side"))
        behind = tx["behind"][place]
        x[:, FITS] = behind >> 7
        x[:, DEPTH] = np.maximum(behind & 15, behind >> 7)
        numbers = self.transactions.numbers(place)
        return LegRows(x, numbers, side, tx["debit_segment"][place], tx["credit_segment"][place])

    def _again(self, s: Shard, stale: np.ndarray) -> Again:
        """Legs of a shard whose features rest on the other side's facts, which changed, and that were not run in this
        batch."""
        if stale.size == 0:
            return NOT_AGAIN
        holders, since = np.empty(2 * stale.size, np.int32), np.empty(2 * stale.size, np.int64)
        n = legs_to_rerun(s.ledger, self.transactions.rows, stale, self.shard_of, s.number, holders, since)
        order = np.lexsort((since[:n], holders[:n]))
        holders, since = holders[order], since[order]
        first = np.ones(n, np.bool_)
        first[1:] = holders[1:] != holders[:-1]
        return Again(holders[first], since[first])

    def _rest(self, done: list[Forwarded]) -> None:
        for s, forwarded in zip(self.shards, done, strict=True):
            s.rest(forwarded.touched, np.zeros(0, np.int32))

    def _tidy(self) -> None:
        """Make evidence dense again where hits that went have left most of it idle."""
        meter = self.hits.book.meter
        if meter[WASTE] > WASTED and 2 * meter[WASTE] > meter[EVIDENCE]:
            ledgers = [s.ledger for s in self.shards]
            self.hits.keep(self.hits.living(), np.zeros(0, np.int32), ledgers, self.shard_of)


def _after(rows: LegRows, more: LegRows) -> LegRows:
    return LegRows(*(np.concatenate([a, b]) for a, b in zip(rows, more, strict=True)))


def _joined(results: list[_Settled]) -> _Settled:
    """The results of several rounds of one shard as one."""
    if len(results) == 1:
        return results[0]
    later: np.ndarray = np.zeros(0, np.int32)
    parts = []
    for found, paths, changed, _, _ in reversed(results):
        keep = ~np.isin(found.path_tx[:paths], later)  # a payment computed again in a later round counts as it is there
        parts.append((found.path[:paths][keep], found.path_tx[:paths][keep], found.path_cycle[:paths][keep]))
        later = np.concatenate([later, changed])
    path, path_tx, path_cycle = (np.concatenate(a) for a in zip(*parts, strict=True))
    names = ("changed", "stale", "newly")
    changed, stale, newly = (np.concatenate([getattr(r, name) for r in results]) for name in names)
    found = new_found(0)._replace(path=path, path_tx=path_tx, path_cycle=path_cycle)
    return _Settled(found, int(path_tx.size), changed, stale, newly)
