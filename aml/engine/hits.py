"""The hits that hold now: where each hangs, so that it goes when its legs are run again, and what finding it serves.

Hits of a holder's legs, and those of scatter-gather that ends with a holder, hang on the holder, the latest on top;
hits of paths hang on the path's last payment. All hits of a finding are linked both ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from aml.engine.arrays import Hits, distinct, extended, look_up
from aml.engine.confirm import CHAIN, CYCLE, SCATTER, week_of
from aml.engine.facts import WIDTH
from aml.engine.layout import EMPTY_KEY, NONE
from aml.engine.tables import find, find_or_add, inner, jit, kernel, slot_of

HIT: Final = np.dtype(
    [
        ("key", "u8"),  # of the finding
        ("first", "i8"),  # place of its evidence
        ("number", "i4"),
        ("detector", "i4"),
        ("subject", "i4"),
        ("owner", "i4"),  # holder whose leg it was found at
        ("tx", "i4"),  # row of that leg's transaction
        ("at", "i4"),  # ordinal of the leg; of no meaning for paths
        ("steps", "i4"),
        ("below", "i4"),  # next older one where it hangs
        ("next", "i4"),  # in the finding
        ("previous", "i4"),
        ("hangs", "i1"),
        ("segment", "i1"),
        ("opens", "?"),
        ("facts", "f8", (WIDTH,)),
    ],
    align=True,
)
LOCAL, END, PATH, GONE = 0, 1, 2, 3
USED, FREE, EVIDENCE, WASTE, PATHS, FINDINGS, CHANGED = range(7)  # meter of the book
METERS: Final = 8


class Book(NamedTuple):
    """The arrays of the book: hits, evidence, hits of a payment, findings, meter, keys of findings that changed."""

    hits: np.ndarray
    evidence: np.ndarray
    paths: np.ndarray
    findings: np.ndarray
    meter: np.ndarray
    changed: np.ndarray


@kernel
def finding_key(rule: int, subject: int, week: int) -> Any:
    """Key of a finding: subject, rule, week."""
    return (np.uint64(subject) << np.uint64(32)) | (np.uint64(rule) << np.uint64(16)) | np.uint64(week)


@inner
def note_changed(book: Any, key: Any) -> None:
    """Remember that a finding changed."""
    book.changed[book.meter[CHANGED]] = key
    book.meter[CHANGED] += 1


@inner
def drop(book: Any, j: int) -> int:
    """Take hit j out of its finding and free its place; returns the next older one where it hung."""
    hit = book.hits[j]
    below = hit.below
    if hit.previous != NONE:
        book.hits[hit.previous].next = hit.next
    if hit.next != NONE:
        book.hits[hit.next].previous = hit.previous
    entry = book.findings[find(book.findings, hit.key)]
    entry.n -= 1
    if entry.last == j:
        entry.last = hit.next
    note_changed(book, hit.key)
    book.meter[WASTE] += hit.number
    hit.hangs = GONE
    hit.below = book.meter[FREE]
    book.meter[FREE] = j
    return int(below)


@kernel
def forget_legs(book: Any, led: Any, touched: np.ndarray) -> None:
    """Drop the hits of legs that were run again."""
    for j in range(touched.size):
        row = led.holders[touched[j]]
        while row.hits != NONE and book.hits[row.hits].at >= row.since:
            row.hits = drop(book, row.hits)
        while row.ends != NONE and book.hits[row.ends].at >= row.since:
            row.ends = drop(book, row.ends)


@kernel
def forget_ends(book: Any, led: Any, ends: np.ndarray) -> None:
    """Drop the hits of scatter-gather that will be tried again."""
    for j in range(ends.size):
        row = led.holders[ends[j]]
        while row.ends != NONE and book.hits[row.ends].at >= row.ends_since:
            row.ends = drop(book, row.ends)


@kernel
def forget_paths(book: Any, payments: np.ndarray) -> None:
    """Drop the hits of paths that end in these payments."""
    for j in range(payments.size):
        slot = find(book.paths, np.uint64(payments[j]))
        if slot != NONE:
            while book.paths[slot].last != NONE:
                book.paths[slot].last = drop(book, book.paths[slot].last)


@inner
def hang(book: Any, led: Any, j: int) -> None:
    """Put hit j on top of where it hangs and in front of its finding."""
    hit = book.hits[j]
    row = led.holders[hit.owner]
    if hit.hangs == LOCAL:
        hit.below, row.hits = row.hits, j
    elif hit.hangs == END:
        hit.below, row.ends = row.ends, j
    else:
        slot = find_or_add(book.paths, np.uint64(hit.tx), book.meter, PATHS)
        hit.below = book.paths[slot].last
        book.paths[slot].last = j
    entry = book.findings[find_or_add(book.findings, hit.key, book.meter, FINDINGS)]
    hit.previous = NONE
    hit.next = entry.last
    if entry.last != NONE:
        book.hits[entry.last].previous = j
    entry.last = j
    entry.n += 1


@kernel
def enter(book: Any, led: Any, tx: Any, new: Any, order: np.ndarray, rules: np.ndarray, kinds: np.ndarray) -> None:
    """Enter the new hits in the given order (of a holder's hits the earlier legs first)."""
    for o in range(order.size):
        n = order[o]
        j = book.meter[FREE]
        if j != NONE:
            book.meter[FREE] = book.hits[j].below
        else:
            j = book.meter[USED]
            book.meter[USED] += 1
        hit = book.hits[j]
        k = new.detector[n]
        hit.key = finding_key(rules[k], new.subject[n], week_of(tx[new.tx[n]].t))
        hit.detector, hit.subject, hit.owner, hit.tx, hit.at = k, new.subject[n], new.owner[n], new.tx[n], new.at[n]
        hit.segment, hit.opens, hit.steps = new.segment[n], new.opens[n], new.steps[n]
        hit.hangs = PATH if kinds[k] == CHAIN or kinds[k] == CYCLE else (END if kinds[k] == SCATTER else LOCAL)
        for f in range(WIDTH):
            hit.facts[f] = new.facts[n, f]
        hit.first, hit.number = book.meter[EVIDENCE], new.number[n]
        for e in range(hit.number):
            book.evidence[hit.first + e] = new.evidence[new.first[n] + e]
        book.meter[EVIDENCE] += hit.number
        hang(book, led, j)
        note_changed(book, hit.key)


@jit
def hits_under(book: Any, key: Any) -> np.ndarray:
    """Places of the hits of a finding."""
    slot = find(book.findings, key)
    n = book.findings[slot].n if slot != NONE else 0
    found = np.empty(n, np.int64)
    j = book.findings[slot].last if n else NONE
    for k in range(n):
        found[k] = j
        j = book.hits[j].next
    return found


@kernel
def _compact(old: Any, new: Any, kept: np.ndarray, moved: np.ndarray) -> None:
    """Copy the kept hits, their evidence and their payments' rows into a new book, in their order."""
    end = 0
    for n in range(kept.size):
        new.hits[n] = old.hits[kept[n]]
        hit = new.hits[n]
        for e in range(hit.number):
            y = old.evidence[hit.first + e]
            new.evidence[end + e] = moved[y] if moved.size else y
        hit.first = end
        end += hit.number
        hit.tx = moved[hit.tx] if moved.size else hit.tx
    new.meter[USED] = kept.size
    new.meter[EVIDENCE] = end


@kernel
def _hang_all(book: Any, led: Any, shard_of: np.ndarray, shard: int) -> None:
    """Hang the hits of one shard's holders anew, in their order."""
    for j in range(book.meter[USED]):
        if shard_of[book.hits[j].owner] == shard:
            hang(book, led, j)


@kernel
def _living(old: np.ndarray, new: np.ndarray) -> int:
    """Move the entries that still lead to hits; returns their number."""
    n = 0
    for i in range(old.size):
        if old[i].key != EMPTY_KEY and old[i].last != NONE:
            new[slot_of(new, old[i].key)] = old[i]
            n += 1
    return n


class HitBook:
    """The book and its room."""

    def __init__(self) -> None:
        self.book = _book(1024, 8192, 1024, 1024)

    def begin(self) -> None:
        """Forget what changed."""
        self.book.meter[CHANGED] = 0

    def forget(self, ledger: Any, touched: np.ndarray) -> None:
        """Drop the hits of the legs of these holders that were run again."""
        forget_legs(self._ready(), ledger, touched)

    def forget_ends(self, ledger: Any, ends: np.ndarray) -> None:
        """Drop the hits of scatter-gather that will be tried again."""
        forget_ends(self._ready(), ledger, ends)

    def forget_paths(self, payments: np.ndarray) -> None:
        """Drop the hits of paths that end in these payments."""
        forget_paths(self._ready(), payments)

    def _ready(self) -> Book:
        """The book, with room to note every hit as dropped."""
        meter = self.book.meter
        self.book = self.book._replace(changed=extended(self.book.changed, int(meter[CHANGED] + meter[USED])))
        return self.book

    def make_room(self, hits: int, evidence: int) -> None:
        """Make room for so many more hits, their evidence and the changes they make and undo."""
        b = self.book
        m = b.meter
        self.book = b._replace(
            hits=extended(b.hits, int(m[USED]) + hits), evidence=extended(b.evidence, int(m[EVIDENCE]) + evidence),
            paths=self._roomy(b.paths, PATHS, hits), findings=self._roomy(b.findings, FINDINGS, hits),
            changed=extended(b.changed, int(m[CHANGED]) + hits),
        )  # fmt: skip

    def _roomy(self, table: np.ndarray, used: int, more: int) -> np.ndarray:
        """The look-up with room for so many more entries; empty ones go before it grows."""
        if (int(self.book.meter[used]) + more) * 8 <= table.size * 5:
            return table
        living = int(np.count_nonzero((table["key"] != EMPTY_KEY) & (table["last"] != NONE)))
        size = table.size
        while size * 5 < (living + more) * 8:
            size *= 2
        larger = look_up(size)
        self.book.meter[used] = _living(table, larger)
        return larger

    def enter(self, ledger: Any, tx: Any, new: Hits, n: int, rules: np.ndarray, kinds: np.ndarray) -> None:
        """Enter n new hits of one shard."""
        if n == 0:
            return
        self.make_room(n, int(new.first[n - 1] + new.number[n - 1]))
        order = np.lexsort((new.at[:n], new.owner[:n]))
        enter(self.book, ledger, tx, new, order, rules, kinds)

    def changed(self) -> set[tuple[int, int, int]]:
        """Findings that changed since `begin`: (rule, subject, week)."""
        return _read_keys(self.book.changed[: self.book.meter[CHANGED]])

    def keys_about(self, subjects: np.ndarray | None) -> set[tuple[int, int, int]]:
        """Findings that hold about these subjects, or all of them."""
        hits = self.book.hits[: self.book.meter[USED]]
        holds = hits["hangs"] != GONE
        if subjects is not None:
            holds &= np.isin(hits["subject"], subjects)
        return _read_keys(hits["key"][holds])

    def of(self, rule: int, subject: int, week: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """The hits (dtype HIT) of a finding and each one's evidence, by rows of transactions; a shard's hits in no
        particular order."""
        places = hits_under(self.book, finding_key(rule, subject, week))
        hits = self.book.hits[places]
        spans = zip(hits["first"].tolist(), hits["number"].tolist(), strict=True)
        return hits, [self.book.evidence[first : first + number] for first, number in spans]

    def keep(self, kept: np.ndarray, moved: np.ndarray, ledgers: list[Any], shard_of: np.ndarray) -> None:
        """Hold only the hits at the places `kept` (rising); moved: new row of every transaction (none: unchanged)."""
        old = self.book
        evidence = int(old.hits["number"][kept].sum())
        self.book = _book(max(1024, kept.size), max(8192, evidence), 1024, 1024)
        _compact(old, self.book, kept, moved)
        self.book = self.book._replace(
            paths=self._roomy(self.book.paths, PATHS, kept.size),
            findings=self._roomy(self.book.findings, FINDINGS, kept.size), changed=old.changed,
        )  # fmt: skip
        for number, ledger in enumerate(ledgers):
            ledger.holders["hits"] = ledger.holders["ends"] = NONE
            _hang_all(self.book, ledger, shard_of, number)

    def living(self) -> np.ndarray:
        """Places of the hits that hold, in an order in which they can be hung anew."""
        hits = self.book.hits[: self.book.meter[USED]]
        places = np.flatnonzero(hits["hangs"] != GONE)
        return places[np.lexsort((places, hits["at"][places], hits["owner"][places]))]

    def state(self) -> dict[str, np.ndarray]:
        """The hits that hold and their evidence, as copies."""
        hits = self.book.hits[self.living()]
        number = hits["number"].astype(np.int64)
        first = np.cumsum(number) - number
        evidence = self.book.evidence[np.repeat(hits["first"] - first, number) + np.arange(int(number.sum()))]
        hits["first"] = first
        return {"hits": hits, "evidence": evidence}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray], ledgers: list[Any], shard_of: np.ndarray) -> HitBook:
        """The book whose `state` this is; hangs its hits on the ledgers."""
        self = cls()
        hits = state["hits"]
        self.book = self.book._replace(hits=hits.copy(), evidence=state["evidence"].copy())
        self.keep(np.arange(hits.size), np.zeros(0, np.int32), ledgers, shard_of)
        return self


def _read_keys(keys: np.ndarray) -> set[tuple[int, int, int]]:
    keys = distinct(keys)
    rule, subject, week = (keys >> 16) & 0xFFFF, keys >> 32, keys & 0xFFFF
    return set(zip(rule.tolist(), subject.tolist(), week.tolist(), strict=True))


def _book(hits: int, evidence: int, paths: int, findings: int) -> Book:
    meter = np.zeros(METERS, np.int64)
    meter[FREE] = NONE
    return Book(np.zeros(hits, HIT), np.zeros(evidence, np.int32), look_up(paths), look_up(findings), meter,
                np.zeros(1024, np.uint64))
