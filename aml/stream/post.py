"""Writing letters: what a batch changed here that other shards must know, each table by columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

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


def write_letter(core: Core, head: Head, out: Outgoing) -> bytes:
    """The letter that tells another shard."""
    sheet = _Sheet(core)
    tables: dict[str, Array] = {
        "visits": sheet.visits(out), "segments": sheet.segments(out.segments), **sheet.facts(out.facts),
        **sheet.findings(out.findings), "wanted": sheet.wanted(out.wanted),
    }  # fmt: skip
    tables["transactions"] = sheet.transactions()
    return pack_letter(head, tables | sheet.holders() | sheet.ids())


class _Places:
    """Places 0, 1, 2 … for numbers, in order of first mention. Letters are short: a dictionary is fastest."""

    def __init__(self) -> None:
        self._place: dict[int, int] = {NONE: NONE}

    def of(self, numbers: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        """The place of each number, -1 for -1."""
        place = self._place
        wanted = numbers.tolist()
        for number in wanted:
            if number not in place:
                place[number] = len(place) - 1
        return np.array([place[number] for number in wanted], np.int32)

    @property
    def all(self) -> I64:
        """The numbers by place."""
        return np.array(list(self._place)[1:], np.int64)


class _Sheet:
    """The tables of one letter; transactions and holders are gathered as the others mention them."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.engine = core.engine
        self.tx = _Places()
        self.who = _Places()

    def visits(self, out: Outgoing) -> Array:
        numbers = np.concatenate([out.leave, out.enter])  # what leaves and enters in one batch stands
        table = np.zeros(numbers.size, VISIT)
        table["tx"] = self.tx.of(numbers)
        table["enters"] = np.arange(numbers.size) >= out.leave.size
        return table

    def facts(self, payments: I64) -> dict[str, Array]:
        rows = self.engine.transactions.places(payments)
        held = self.engine.transactions.rows[rows]
        trails, payers = trails_of(self.engine, rows)
        table = np.zeros(payments.size, FACT)
        table["tx"] = self.tx.of(payments)
        for name, column in (("segment", "debit_segment"), ("known", "debit_known"), ("behind", "behind"),
                             ("n_trails", "n_trails"), ("n_payers", "n_payers")):
            table[name] = held[column]
        told = np.zeros(trails.size, TRAIL)
        for name in TRAIL.names or ():
            told[name] = trails[name]
        used = np.arange(trails["tx"].shape[1]) < trails["n"][:, None]
        told["tx"] = NONE
        told["tx"][used] = self.tx.of(self.engine.transactions.numbers(trails["tx"][used]))
        return {"facts": table, "trails": told, "payers": self.tx.of(self.engine.transactions.numbers(payers))}

    def segments(self, payments: I64) -> Array:
        table = np.zeros(payments.size, SEGMENT)
        table["tx"] = self.tx.of(payments)
        table["segment"] = self.engine.transactions.of(payments)["credit_segment"]
        return table

    def findings(self, found: list[tuple[FindingKey, list[Hit]]]) -> dict[str, Array]:
        keys, hits = np.zeros(len(found), FINDING), [hit for _, told in found for hit in told]
        table, measured = np.zeros(len(hits), HIT), np.zeros((len(hits), WIDTH))
        evidence = [hit.evidence.astype(np.int64) for hit in hits]
        for k, (key, told) in enumerate(found):
            keys[k] = (key[0], key[1], key[2], len(told))
        for k, hit in enumerate(hits):
            table[k] = (hit.detector, hit.owner, hit.tx, hit.segment, hit.opens, hit.steps, hit.evidence.size)
            measured[k, : hit.facts.size] = hit.facts
        keys["subject"], table["owner"] = self.who.of(keys["subject"]), self.who.of(table["owner"])
        table["tx"] = self.tx.of(table["tx"])
        named = self.tx.of(np.concatenate(evidence)) if evidence else np.zeros(0, np.int32)
        return {"findings": keys, "hits": table, "measured": measured.ravel(), "evidence": named}

    def wanted(self, numbers: I64) -> Array:
        rows = self.core.movements.rows[self.engine.transactions.places(numbers)]
        table = np.zeros(numbers.size, [("hi", "u8"), ("lo", "u8")])
        table["hi"], table["lo"] = rows["hi"], rows["lo"]
        return table

    def transactions(self) -> Array:
        numbers = self.tx.all
        places = self.engine.transactions.places(numbers)
        held, beside = self.engine.transactions.rows[places], self.core.movements.rows[places]
        table = np.zeros(numbers.size, TRANSACTION)
        for name in _SAME:
            table[name] = held[name]
        for name in _WHO:
            table[name] = self.who.of(held[name])
        table["ref_hi"], table["ref_lo"], table["home"] = beside["hi"], beside["lo"], beside["home"]
        table["instrument"] = self.core.instruments.all[numbers]
        texts = self.core.acceptor.texts
        for bit, name in enumerate(_TEXTS):
            has = held[name] >= 0
            table["has"] |= (has << bit).astype(np.uint8)
            table[f"{name}_hi"][has], table[f"{name}_lo"][has] = _keys(texts[name], held[name][has])
        for side in ("debit", "credit"):
            known = self.core.acceptor.party_rows.facts(held[f"{side}_party"])
            for name, column in zip(("turnover", "opened", "segment_known", "cash"), known.values(), strict=True):
                table[f"{side}_{name}"] = column
        return table

    def holders(self) -> dict[str, Array]:
        numbers, book = self.who.all, self.core.acceptor.holders
        table = np.zeros(numbers.size, HOLDER)
        table["hi"], table["lo"] = _keys(book.names, numbers)
        table["ours"] = book.ours[numbers]
        sizes, data = book.texts.take(numbers)
        return {"holders": table, "holder_sizes": sizes.ravel(), "holder_texts": data}

    def ids(self) -> dict[str, Array]:
        sizes, data = self.core.movements.ids.take(self.engine.transactions.places(self.tx.all))
        return {"id_sizes": sizes.ravel(), "ids": data}


def _keys(names: Interner, numbers: npt.NDArray[Any]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    return names.hi[numbers], names.lo[numbers]


def by_shard(numbers: I64, shard: npt.NDArray[Any], me: int) -> Mapping[int, I64]:
    """Numbers by the shard beside each, mine and nobody's left out."""
    there = (shard >= 0) & (shard != me)
    return {int(s): np.unique(numbers[there & (shard == s)]) for s in np.unique(shard[there]).tolist()}
