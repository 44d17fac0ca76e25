"""The engine: accepted transactions in, hits by subject out; one path for order, disorder, additions and removals.

Pure: no clock, no database, no rule texts. `apply` takes a batch and returns which findings changed; `hits_of` has
what each finding now rests on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from aml.engine.arrays import Books, Found, Hits, Transactions, new_found
from aml.engine.confirm import CHAIN, CYCLE, SCATTER
from aml.engine.facts import FACTS
from aml.engine.features import DEPTH, FITS
from aml.engine.group import in_order
from aml.engine.layout import DAY, TRAIL, Knobs
from aml.engine.program import Program
from aml.engine.shard import Forwarded, Shard

FindingKey = tuple[int, int, int]
"""Rule number, subject's holder, week (0 = the week of 29 December 1969, Mondays, UTC)."""


@dataclass(frozen=True, slots=True, eq=False)
class Hit:
    """A rule's condition holds at a leg."""

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
    """Feature rows of the legs that were run: x [n, 18], the transaction, the side (1 debit), and the peers' columns."""

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


@dataclass(slots=True)
class _HitBook:
    """Hits by what they hang on (local: holder; paths: last payment; ends: scatter-gather's end) and by finding."""

    local: dict[int, list[Hit]] = field(default_factory=dict)
    paths: dict[int, list[Hit]] = field(default_factory=dict)
    ends: dict[int, list[Hit]] = field(default_factory=dict)
    findings: dict[FindingKey, list[Hit]] = field(default_factory=dict)


class Engine:
    """All shards of one process."""

    def __init__(self, program: Program, *, shards: int = 1) -> None:
        self.program = program
        self.knobs: Knobs = program.knobs
        self.transactions = Transactions()
        self.books = Books(np.zeros(1024, TRAIL), np.zeros(4096, np.int32))
        self.book_use = np.zeros(2, np.int64)  # trails, payers used
        self.shards = [Shard(n, program) for n in range(shards)]
        self.shard_of = np.zeros(0, np.int32)
        self.tried = np.zeros(program.detectors.size, np.int64)
        self._hits = _HitBook()

    def apply(self, party: np.ndarray, shard_of: np.ndarray, added: np.ndarray, removed: np.ndarray) -> Applied:
        """Let legs of transactions enter (added) and leave (removed), by index in `transactions`, in any order.

        shard_of: shard of every holder known.
        """
        tx = self.transactions.rows
        self.shard_of = shard_of
        entries = np.concatenate([added, removed]).astype(np.int32)
        ordered = in_order(tx, entries)
        leaving = np.zeros(self.transactions.n, np.bool_)
        leaving[removed] = True
        adds = ~leaving[ordered]
        changed: set[FindingKey] = set()
        done = [s.forward(tx, party, self.knobs, shard_of, ordered, adds, {}) for s in self.shards]
        self._forget_paths(removed, changed)
        tx["n_trails"][removed] = tx["n_payers"][removed] = 0
        tx["delivered"][removed] = 255
        rows, stale = self._settle_and_confirm(party, done, changed)
        rerun = int(rows.tx.size) - 2 * added.size
        again = self._stale_legs(done, stale)
        if any(again):
            none = np.zeros(0, np.int32)
            second = [s.forward(tx, party, self.knobs, shard_of, none, none.astype(np.bool_), a) for s, a in zip(self.shards, again, strict=True)]
            more, _ = self._settle_and_confirm(party, second, changed)
            rows = LegRows(*(np.concatenate([a, b]) for a, b in zip(rows, more, strict=True)))
        return Applied(changed, rows, max(0, rerun))

    def hits_of(self, key: FindingKey) -> list[Hit]:
        """The hits a finding rests on, in order; empty where nothing holds any more."""
        return sorted(self._hits.findings.get(key, ()), key=lambda hit: (hit.order, hit.detector))

    def fact_names(self, detector: int) -> tuple[str, ...]:
        """Names of a detector's facts, in the order of its vector."""
        return FACTS[self.program.kinds[detector]]

    def _settle_and_confirm(self, party: np.ndarray, done: list[Forwarded], changed: set[FindingKey]) -> tuple[LegRows, np.ndarray]:
        tx = self.transactions.rows
        found, processed = self._settle(done)
        parts = []
        stale = []
        for shard, forwarded, (trails, paths, n_changed) in zip(self.shards, done, found, strict=True):
            ends = shard.carrying_ends(tx, forwarded)
            for x in trails.changed[:n_changed]:
                self._note_end(ends, shard.number, int(x))
            self._forget(forwarded, changed)
            stale.append(trails.changed[:n_changed][trails.stale[:n_changed]])
            stale.append(forwarded.run.stale[: forwarded.rows[3]])
            parts.append((shard, forwarded, trails, paths, n_changed, ends))
        self._forget_paths(processed, changed)
        self._note_other_ends(parts)
        for shard, forwarded, trails, paths, _, ends in parts:
            self._forget_ends(ends, changed)
            hits, n = shard.confirm(tx, party, self.knobs, self.books, forwarded, trails, paths, ends, self.tried)
            self._enter(hits, n, changed)
        return self._rows(done), np.concatenate(stale)

    def _settle(self, done: list[Forwarded]) -> tuple[list[tuple], np.ndarray]:
        """Trails of every shard, in rounds until none has news for another; with the payments computed."""
        tx = self.transactions.rows
        results: list[list] = [[] for _ in self.shards]
        news = [True] * len(self.shards)
        first = True
        processed = []
        while any(news):
            outgoing = []
            for s in self.shards:
                if not news[s.number]:
                    continue
                hops, heads = self._hops(done[s.number]) if first else (np.zeros(0, np.int32), np.zeros((1, 3), np.int32))
                s.meters[2:4] = self.book_use
                self.books, found, paths, n_changed = s.settle(tx, self.books, self.knobs, self.shard_of, hops, heads)
                self.book_use = s.meters[2:4].copy()
                results[s.number].append((found, paths, n_changed))
                processed.append(hops)
                processed.append(found.changed[:n_changed])
                outgoing.append((s.number, found.changed[:n_changed]))
            first = False
            news = [False] * len(self.shards)
            for number, sent in outgoing:
                ends = tx["credit_holder"][sent]
                for s in self.shards:
                    theirs = sent[(ends >= 0) & (self.shard_of[ends] == s.number)] if s.number != number else sent[:0]
                    if theirs.size:
                        s.hear(tx, self.knobs, theirs)
                        news[s.number] = True
        return [_joined(r) for r in results], np.concatenate(processed) if processed else np.zeros(0, np.int32)

    def _hops(self, forwarded: Forwarded) -> tuple[np.ndarray, np.ndarray]:
        tx = self.transactions.rows
        n = int(forwarded.rows[2])
        hops = forwarded.run.hop_tx[:n]
        place = np.empty(self.transactions.n, np.int64)
        place[hops] = np.arange(n)
        ordered = in_order(tx, hops)
        tx["queued"][hops] = 1
        heads = forwarded.run.hop_heads[: max(n, 1)]
        return ordered, heads[place[ordered]] if n else heads

    def _rows(self, done: list[Forwarded]) -> LegRows:
        tx = self.transactions.rows
        x = np.concatenate([f.run.x[: f.rows[0]] for f in done])
        index = np.concatenate([f.run.row_tx[: f.rows[0]] for f in done])
        side = np.concatenate([f.run.row_side[: f.rows[0]] for f in done])
        behind = tx["behind"][index]
        x[:, FITS] = behind >> 7
        x[:, DEPTH] = behind & 15
        return LegRows(x, index, side, tx["debit_segment"][index], tx["credit_segment"][index])

    def _stale_legs(self, done: list[Forwarded], stale: np.ndarray) -> list[dict[int, int]]:
        """Legs whose features rest on the other side's facts, which changed, and that were not run in this batch."""
        again: list[dict[int, int]] = [{} for _ in self.shards]
        if stale.size == 0:
            return again
        tx = self.transactions.rows
        since = [dict(zip(f.touched.tolist(), f.since.tolist(), strict=True)) for f in done]
        for x in np.unique(stale):
            for h, at in ((int(tx["debit_holder"][x]), int(tx["debit_at"][x])), (int(tx["credit_holder"][x]), int(tx["credit_at"][x]))):
                if h < 0 or at < 0:
                    continue
                s = int(self.shard_of[h])
                if at < since[s].get(h, 1 << 40) and at < again[s].get(h, 1 << 40):
                    again[s][h] = at
        return again

    def _note_end(self, ends: dict[int, int], shard: int, x: int) -> None:
        tx = self.transactions.rows
        h = int(tx["credit_holder"][x])
        if h >= 0 and self.shard_of[h] == shard and tx["credit_at"][x] >= 0:
            ends[h] = min(ends.get(h, 1 << 40), int(tx["credit_at"][x]))

    def _note_other_ends(self, parts: list[tuple]) -> None:
        for shard, _, trails, _, n_changed, _ in parts:
            for other, _, _, _, _, ends in parts:
                if other is not shard:
                    for x in trails.changed[:n_changed]:
                        self._note_end(ends, other.number, int(x))

    def _order(self, x: int) -> tuple[int, int, int]:
        tx = self.transactions.rows
        return int(tx["t"][x]), int(tx["hi"][x]), int(tx["lo"][x])

    def _forget(self, forwarded: Forwarded, changed: set[FindingKey]) -> None:
        """Drop the hits of the legs that were run again."""
        held = self._hits.local
        if not held:
            return
        for h, since in zip(forwarded.touched.tolist(), forwarded.since.tolist(), strict=True):
            hits = held.get(h)
            if not hits:
                continue
            ledger = self.shards[int(self.shard_of[h])].ledger
            row = ledger.holders[h]
            before = int(since) - int(row["dropped"]) - 1  # the last leg that was not run again
            last = self._order(int(ledger.legs["tx"][int(row["start"]) + before])) if before >= 0 else (-(1 << 62), 0, 0)
            self._drop([hit for hit in hits if hit.order > last], changed)
            held[h] = [hit for hit in hits if hit.order <= last]

    def _forget_paths(self, payments: np.ndarray, changed: set[FindingKey]) -> None:
        if not self._hits.paths:
            return
        for x in payments.tolist():
            hits = self._hits.paths.pop(x, None)
            if hits:
                self._drop(hits, changed)

    def _forget_ends(self, ends: dict[int, int], changed: set[FindingKey]) -> None:
        tx = self.transactions.rows
        for h, since in ends.items():
            hits = self._hits.ends.get(h)
            if hits:
                gone = [hit for hit in hits if int(tx["credit_at"][hit.tx]) >= since]
                self._hits.ends[h] = [hit for hit in hits if int(tx["credit_at"][hit.tx]) < since]
                self._drop(gone, changed)

    def _drop(self, hits: list[Hit], changed: set[FindingKey]) -> None:
        for hit in hits:
            key = self._key(hit)
            changed.add(key)
            rest = [other for other in self._hits.findings[key] if other is not hit]
            if rest:
                self._hits.findings[key] = rest
            else:
                del self._hits.findings[key]

    def _key(self, hit: Hit) -> FindingKey:
        week = (hit.order[0] // DAY + 3) // 7
        return int(self.program.detectors["rule"][hit.detector]), hit.subject, week

    def _enter(self, hits: Hits, n: int, changed: set[FindingKey]) -> None:
        """Enter new hits into the books."""
        kinds = self.program.detectors["kind"]
        for j in range(n):
            first, number = int(hits.first[j]), int(hits.number[j])
            hit = Hit(
                int(hits.detector[j]), int(hits.subject[j]), int(hits.owner[j]), int(hits.tx[j]), self._order(int(hits.tx[j])),
                int(hits.segment[j]), bool(hits.opens[j]), int(hits.steps[j]), hits.facts[j].copy(),
                hits.evidence[first : first + number].copy(),
            )
            kind = kinds[hit.detector]
            if kind in (CHAIN, CYCLE):
                self._hits.paths.setdefault(hit.tx, []).append(hit)
            elif kind == SCATTER:
                self._hits.ends.setdefault(hit.owner, []).append(hit)
            else:
                self._hits.local.setdefault(hit.owner, []).append(hit)
            key = self._key(hit)
            self._hits.findings.setdefault(key, []).append(hit)
            changed.add(key)


def _joined(results: list[tuple]) -> tuple:
    """The results of several rounds of one shard as one."""
    if len(results) == 1:
        return results[0]
    if not results:
        return new_found(1), 0, 0
    later: np.ndarray = np.zeros(0, np.int32)
    parts = []
    for found, paths, n_changed in reversed(results):
        keep = ~np.isin(found.path_tx[:paths], later)  # a payment computed again in a later round counts as it is there
        parts.append((found.path[:paths][keep], found.path_tx[:paths][keep], found.path_cycle[:paths][keep]))
        later = np.concatenate([later, found.changed[:n_changed]])
    path, path_tx, path_cycle = (np.concatenate(a) for a in zip(*parts, strict=True))
    changed = np.concatenate([f.changed[:c] for f, _, c in results])
    stale = np.concatenate([f.stale[:c] for f, _, c in results])
    return Found(path, path_tx, path_cycle, changed, stale), int(path_tx.size), int(changed.size)
