"""Writing letters: what a batch changed here that other shards must know, each table of all letters by columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from aml.engine.arrays import distinct
from aml.engine.facts import WIDTH
from aml.engine.intern import NONE, Interner
from aml.engine.layout import TRAIL
from aml.engine.news import trails_of
from aml.stream.mail import FACT, FINDING, HIT, HOLDER, SEGMENT, TRANSACTION, VISIT, Head, pack_letter
from aml.stream.wire import Array

if TYPE_CHECKING:
    from aml.engine.engine import FindingKey, Hit
    from aml.stream.core import Core

I64 = npt.NDArray[np.int64]
_SAME: Final = (
    "hi", "lo", "t", "debit_value", "credit_value", "debit_tag", "credit_tag", "debit_q", "credit_q", "day", "unit_day",
    "debit_segment", "debit_known", "behind",
)  # fmt: skip
_TEXTS: Final = ("branch", "terminal", "batch")
_WHO: Final = ("debit_holder", "credit_holder", "conductor_holder", "conductor")
_EMPTY: Final = np.zeros(0, np.int64)
_BITS: Final = 44  # of a key of letter and number
_MASK: Final = (1 << _BITS) - 1


@dataclass(slots=True)
class Outgoing:
    """What one other shard must be told; transactions by number."""

    enter: I64 = field(default_factory=lambda: _EMPTY)
    leave: I64 = field(default_factory=lambda: _EMPTY)
    facts: I64 = field(default_factory=lambda: _EMPTY)  # payments whose debit side is here, the credit side there
    segments: I64 = field(default_factory=lambda: _EMPTY)  # payments whose credit side is here, the debit side there
    findings: list[tuple[FindingKey, list[Hit]]] = field(default_factory=list)  # about subjects there
    wanted: I64 = field(default_factory=lambda: _EMPTY)  # records whose home is there

    def __bool__(self) -> bool:
        numbers = (self.enter, self.leave, self.facts, self.segments, self.wanted)
        return any(a.size for a in numbers) or bool(self.findings)


def write_letters(core: Core, head: Callable[[int], Head], out: Mapping[int, Outgoing]) -> list[tuple[int, bytes]]:
    """The letters that tell other shards, by receiver; head: of the letter to one."""
    receivers = [to for to, one in sorted(out.items()) if one]
    if not receivers:
        return []
    sheet = _Sheet(core, [out[to] for to in receivers]).tables()
    return [
        (to, pack_letter(head(to), {name: table[cut[k] : cut[k + 1]] for name, (table, cut) in sheet.items()}))
        for k, to in enumerate(receivers)
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Pile:
    """Numbers of all letters, one letter after another. of: the letter of each."""

    of: I64
    numbers: I64

    @classmethod
    def laid(cls, parts: Sequence[npt.NDArray[Any]]) -> _Pile:
        """What each letter has, laid together."""
        sizes = [part.size for part in parts]
        return cls(np.repeat(np.arange(len(parts)), sizes), np.concatenate(parts).astype(np.int64))


class _Places:
    """Places 0, 1, 2 … in its letter for each number that is mentioned there."""

    def __init__(self, mentions: Sequence[_Pile], letters: int) -> None:
        keys = [_key(one.of, one.numbers)[one.numbers >= 0] for one in mentions]
        self._keys = distinct(*keys)
        self.all = _Pile(self._keys >> _BITS, self._keys & _MASK)
        self._starts = np.searchsorted(self.all.of, np.arange(letters))

    def __call__(self, pile: _Pile) -> npt.NDArray[np.int32]:
        """The place of each number, -1 for -1."""
        at = np.searchsorted(self._keys, _key(pile.of, pile.numbers)) - self._starts[pile.of]
        return np.where(pile.numbers >= 0, at, NONE).astype(np.int32)


def _key(of: I64, numbers: I64) -> I64:
    return (of << _BITS) | numbers


class _Sheet:
    """The tables of all letters of a step; transactions and holders are gathered as the others mention them."""

    def __init__(self, core: Core, letters: Sequence[Outgoing]) -> None:
        self.core, self.engine, self.letters = core, core.engine, letters
        self.visits = _Pile.laid([np.concatenate([one.leave, one.enter]) for one in letters])
        self.enters = np.concatenate([np.repeat([False, True], [one.leave.size, one.enter.size]) for one in letters])
        self.segments = _Pile.laid([one.segments for one in letters])
        self.wanted = _Pile.laid([one.wanted for one in letters])
        self._facts(_Pile.laid([one.facts for one in letters]))
        self._findings()
        mentions = [self.visits, self.segments, self.facts, self.steps, self.payers, self.hit_tx, self.evidence]
        self.tx = _Places(mentions, len(letters))
        self.held = self.engine.transactions.of(self.tx.all.numbers)
        mentions = [_Pile(self.tx.all.of, self.held[name].astype(np.int64)) for name in _WHO]
        self.who = _Places([*mentions, self.subjects, self.owners], len(letters))

    def tables(self) -> dict[str, tuple[Array, I64]]:
        """Each table with where every letter's part of it begins, and where the last ends."""
        laid: dict[str, tuple[Array, I64]] = {
            "visits": (self._visits(), self.visits.of), "segments": (self._segments(), self.segments.of),
            "facts": (self._told(), self.facts.of), "trails": (self._trails(), self.trails_of),
            "payers": (self.tx(self.payers), self.payers.of), "findings": (self._keys(), self.subjects.of),
            "hits": (self._hits(), self.owners.of),
            "measured": (self.measured.ravel(), np.repeat(self.owners.of, WIDTH)),
            "evidence": (self.tx(self.evidence), self.evidence.of), "wanted": (self._wanted(), self.wanted.of),
            "transactions": (self._transactions(), self.tx.all.of), **self._holders(), **self._ids(),
        }  # fmt: skip
        numbers = np.arange(len(self.letters) + 1)
        return {name: (table, np.searchsorted(of, numbers)) for name, (table, of) in laid.items()}

    # ------------------------------------------------------------------ what is mentioned

    def _facts(self, payments: _Pile) -> None:
        rows = self.engine.transactions.places(payments.numbers)
        self.facts, self.known = payments, self.engine.transactions.rows[rows]
        self.trails, payers = trails_of(self.engine, rows)
        self.trails_of = np.repeat(payments.of, self.known["n_trails"])
        self.used = np.arange(self.trails["tx"].shape[1]) < self.trails["n"][:, None]
        numbers = self.engine.transactions.numbers
        self.steps = _Pile(np.repeat(self.trails_of, self.trails["n"]), numbers(self.trails["tx"][self.used]))
        self.payers = _Pile(np.repeat(payments.of, self.known["n_payers"]), numbers(payers))

    def _findings(self) -> None:
        told = [(k, key, hits) for k, one in enumerate(self.letters) for key, hits in one.findings]
        self.found = told
        self.subjects = _pile([(k, key[1]) for k, key, _ in told])
        each = [(k, hit) for k, _, hits in told for hit in hits]
        self.each = [hit for _, hit in each]
        self.owners = _pile([(k, hit.owner) for k, hit in each])
        self.hit_tx = _pile([(k, hit.tx) for k, hit in each])
        self.evidence = _pile([(k, number) for k, hit in each for number in hit.evidence.tolist()])
        self.measured = np.zeros((len(each), WIDTH))
        for k, hit in enumerate(self.each):
            self.measured[k, : hit.facts.size] = hit.facts

    # ------------------------------------------------------------------ what is told of it

    def _visits(self) -> Array:
        table = np.zeros(self.visits.of.size, VISIT)
        table["tx"], table["enters"] = self.tx(self.visits), self.enters
        return table

    def _segments(self) -> Array:
        table = np.zeros(self.segments.of.size, SEGMENT)
        table["tx"] = self.tx(self.segments)
        table["segment"] = self.engine.transactions.of(self.segments.numbers)["credit_segment"]
        return table

    def _told(self) -> Array:
        table = np.zeros(self.facts.of.size, FACT)
        table["tx"] = self.tx(self.facts)
        for name, column in (("segment", "debit_segment"), ("known", "debit_known"), ("behind", "behind"),
                             ("n_trails", "n_trails"), ("n_payers", "n_payers")):
            table[name] = self.known[column]
        return table

    def _trails(self) -> Array:
        told = np.zeros(self.trails.size, TRAIL)
        for name in TRAIL.names or ():
            told[name] = self.trails[name]
        told["tx"] = NONE
        told["tx"][self.used] = self.tx(self.steps)
        return told

    def _keys(self) -> Array:
        table = np.array([(key[0], NONE, key[2], len(hits)) for _, key, hits in self.found], FINDING)
        table["subject"] = self.who(self.subjects)
        return table

    def _hits(self) -> Array:
        rows = [(h.detector, NONE, NONE, h.segment, h.opens, h.steps, h.evidence.size) for h in self.each]
        table = np.array(rows, HIT)
        table["owner"], table["tx"] = self.who(self.owners), self.tx(self.hit_tx)
        return table

    def _wanted(self) -> Array:
        rows = self.core.movements.rows[self.engine.transactions.places(self.wanted.numbers)]
        table = np.zeros(rows.size, [("hi", "u8"), ("lo", "u8")])
        table["hi"], table["lo"] = rows["hi"], rows["lo"]
        return table

    def _transactions(self) -> Array:
        numbers, of, held = self.tx.all.numbers, self.tx.all.of, self.held
        beside = self.core.movements.rows[self.engine.transactions.places(numbers)]
        table = np.zeros(numbers.size, TRANSACTION)
        for name in _SAME:
            table[name] = held[name]
        for name in _WHO:
            table[name] = self.who(_Pile(of, held[name].astype(np.int64)))
        table["ref_hi"], table["ref_lo"], table["home"] = beside["hi"], beside["lo"], beside["home"]
        table["instrument"] = self.core.instruments.all[numbers]
        texts = self.core.acceptor.texts
        for bit, name in enumerate(_TEXTS):
            has = held[name] >= 0
            table["has"] |= (has << bit).astype(np.uint8)
            table[f"{name}_hi"][has], table[f"{name}_lo"][has] = _names(texts[name], held[name][has])
        for side in ("debit", "credit"):
            known = self.core.acceptor.party_rows.facts(held[f"{side}_party"])
            for name, column in zip(("turnover", "opened", "segment_known", "cash"), known.values(), strict=True):
                table[f"{side}_{name}"] = column
        return table

    def _holders(self) -> dict[str, tuple[Array, I64]]:
        of, numbers, book = self.who.all.of, self.who.all.numbers, self.core.acceptor.holders
        table = np.zeros(numbers.size, HOLDER)
        table["hi"], table["lo"] = _names(book.names, numbers)
        table["ours"] = book.ours[numbers]
        sizes, data = book.texts.take(numbers)
        bytes_of = np.repeat(of, np.maximum(sizes, 0).sum(axis=1))
        return {
            "holders": (table, of), "holder_sizes": (sizes.ravel(), np.repeat(of, sizes.shape[1])),
            "holder_texts": (data, bytes_of),
        }  # fmt: skip

    def _ids(self) -> dict[str, tuple[Array, I64]]:
        of = self.tx.all.of
        sizes, data = self.core.movements.ids.take(self.engine.transactions.places(self.tx.all.numbers))
        return {"id_sizes": (sizes.ravel(), of), "ids": (data, np.repeat(of, np.maximum(sizes[:, 0], 0)))}


def _pile(pairs: list[tuple[int, int]]) -> _Pile:
    """Letters and numbers."""
    of, numbers = np.array(pairs, np.int64).reshape(-1, 2).T
    return _Pile(of, numbers)


def _names(names: Interner, numbers: npt.NDArray[Any]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    return names.hi[numbers], names.lo[numbers]


def by_shard(numbers: I64, shard: npt.NDArray[Any], me: int) -> Mapping[int, I64]:
    """Numbers by the shard beside each, mine and nobody's left out."""
    there = (shard >= 0) & (shard != me)
    return {int(s): distinct(numbers[there & (shard == s)]) for s in distinct(shard[there]).tolist()}
