"""Reading letters: what other shards told becomes numbers of holders and transactions here, all letters at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from aml.engine.engine import FindingKey
from aml.engine.facts import WIDTH
from aml.engine.intern import NONE, TextRows, text_rows
from aml.engine.layout import T_DAYP, T_LEG
from aml.engine.news import News
from aml.pipeline.holders import HOLDER_TEXTS
from aml.stream.foreign import make_hit
from aml.stream.mail import TABLES, Letter
from aml.stream.wire import Array

if TYPE_CHECKING:
    from aml.stream.core import Core

I64 = npt.NDArray[np.int64]
_SAME: Final = (
    "hi", "lo", "t", "debit_value", "credit_value", "debit_tag", "credit_tag", "debit_q", "credit_q", "day", "unit_day",
)  # fmt: skip
_WHO: Final = ("debit_holder", "credit_holder", "conductor_holder", "conductor")
_TEXTS: Final = ("branch", "terminal", "batch")


@dataclass(frozen=True, slots=True)
class Incoming:
    """What letters brought, by numbers of transactions here: visits that enter or leave, news of payments, findings
    whose hits elsewhere changed, records that others want as evidence."""

    visits: I64
    enters: npt.NDArray[np.bool_]
    news: News | None
    findings: set[FindingKey]
    asked: I64


class _Pile:
    """Letters laid together: their tables one after another, places moved accordingly."""

    def __init__(self, letters: list[Letter]) -> None:
        self.letters = letters
        self._holders = _starts(self._sizes("holders"))
        self._tx = _starts(self._sizes("transactions"))

    def plain(self, name: str) -> Array:
        """A table of all letters."""
        held = [letter.tables[name] for letter in self.letters if name in letter.tables]
        # Joined as bytes: NumPy compares every field of every part before it lays records together.
        return np.frombuffer(bytearray().join(part.tobytes() for part in held), TABLES[name])

    def transactions(self) -> Array:
        table = self.plain("transactions")
        start = self._start("transactions", self._holders)
        for name in _WHO:
            table[name] = _moved(table[name], start)
        return table

    def by_transaction(self, name: str) -> Array:
        """A table whose column `tx`, or whose every value, is a place among transactions."""
        table, start = self.plain(name), self._start(name, self._tx)
        if table.dtype.names is None:
            return _moved(table, start)
        if table.dtype["tx"].shape:
            start = start[:, None]
        table["tx"] = _moved(table["tx"], start)
        return table

    def findings(self) -> tuple[Array, Array]:
        """Findings, and the sender of each."""
        table = self.plain("findings")
        table["subject"] += self._start("findings", self._holders)
        senders = np.array([letter.head.sender for letter in self.letters], np.int64)
        return table, self._start("findings", senders)

    def hits(self) -> Array:
        table = self.plain("hits")
        table["owner"] += self._start("hits", self._holders)
        table["tx"] += self._start("hits", self._tx)
        return table

    def _sizes(self, name: str) -> I64:
        return np.array([len(letter.tables.get(name, ())) for letter in self.letters], np.int64)

    def _start(self, name: str, by_letter: I64) -> npt.NDArray[np.int32]:
        """For each row of a table what its letter has."""
        return np.repeat(by_letter.astype(np.int32), self._sizes(name))


def read_letters(core: Core, letters: Iterable[Letter]) -> Incoming:
    """Take over holders, transactions and hits that letters bring; what else they say is for the engine's next turn."""
    pile = _Pile(list(letters))
    if not pile.letters:
        return Incoming(np.zeros(0, np.int64), np.zeros(0, np.bool_), None, set(), np.zeros(0, np.int64))
    who = _holders(core, pile)
    tx = _transactions(core, pile, who)
    visits = pile.by_transaction("visits")
    last = last_of_each(tx[visits["tx"]])
    wanted = pile.plain("wanted")
    return Incoming(
        tx[visits["tx"]][last], visits["enters"][last], _news(pile, tx), _findings(core, pile, who, tx),
        core.movements.find((wanted["hi"].copy(), wanted["lo"].copy())),
    )  # fmt: skip


def _holders(core: Core, pile: _Pile) -> npt.NDArray[np.int32]:
    table = pile.plain("holders")

    def told(fresh: npt.NDArray[np.int32]) -> TextRows:
        sizes = pile.plain("holder_sizes").reshape(-1, len(HOLDER_TEXTS))
        return text_rows(sizes, pile.plain("holder_texts"), fresh)

    everywhere = np.ones(table.size, np.bool_)
    numbers = core.acceptor.holders.take((table["hi"].copy(), table["lo"].copy()), everywhere, told, table["ours"])
    return np.append(numbers, np.int32(NONE))


def _transactions(core: Core, pile: _Pile, who: npt.NDArray[np.int32]) -> I64:
    """The number of each transaction of the pile; unknown ones become known."""
    table = pile.transactions()
    refs = table["ref_hi"].copy(), table["ref_lo"].copy()
    numbers = core.movements.find(refs)
    unknown = np.flatnonzero(numbers < 0)
    if unknown.size:
        fresh = unknown[_first_of_each(refs[0][unknown], refs[1][unknown])]
        ids = text_rows(pile.plain("id_sizes").reshape(-1, 1), pile.plain("ids"), fresh)
        _append(core, table[fresh], who, ids)
        numbers = core.movements.find(refs)
    _refresh(core, numbers, table)
    return numbers


def _append(core: Core, new: Array, who: npt.NDArray[np.int32], ids: TextRows) -> None:
    acceptor, engine = core.acceptor, core.engine
    given = {name: new[name] for name in _SAME} | {name: who[new[name]] for name in _WHO}
    for bit, name in enumerate(_TEXTS):
        has = ((new["has"] >> bit) & 1).astype(np.bool_)
        given[name] = acceptor.texts[name].ids(new[f"{name}_hi"].copy(), new[f"{name}_lo"].copy(), has)
    for side in ("debit", "credit"):
        facts = {
            "turnover": new[f"{side}_turnover"], "opened": new[f"{side}_opened"],
            "segment": new[f"{side}_segment_known"], "cash_intensive": new[f"{side}_cash"],
        }  # fmt: skip
        given[f"{side}_party"] = acceptor.party_rows.take_facts(facts)
    first = engine.transactions.append(given)
    core.instruments.append(new["instrument"])
    refs = new["ref_hi"].copy(), new["ref_lo"].copy()
    nowhere = np.full(new.size, NONE, np.int64)
    core.movements.append(first, refs, ids, new["home"], nowhere)
    if np.any((new["debit_tag"] | new["credit_tag"]) & np.uint32(T_DAYP)):
        engine.knobs = engine.knobs._replace(day_precision=True)


def _refresh(core: Core, numbers: I64, table: Array) -> None:
    """Of payments between holders of other shards the senders know better; of others their own shards told."""
    rows = core.engine.transactions.places(numbers)
    tx = core.engine.transactions.rows
    mine = np.zeros(rows.size, np.bool_)
    for side in ("debit", "credit"):
        mine |= ((tx[f"{side}_tag"][rows] & T_LEG) != 0) & (core.shards_at(tx[f"{side}_holder"][rows]) == core.me)
    for name in ("debit_segment", "debit_known", "behind"):
        tx[name][rows[~mine]] = table[name][~mine]


def _news(pile: _Pile, tx: I64) -> News | None:
    facts, segments = pile.by_transaction("facts"), pile.by_transaction("segments")
    if not facts.size and not segments.size:
        return None
    trails = pile.by_transaction("trails")
    trails["tx"] = np.append(tx, NONE)[trails["tx"]]
    return News(
        tx[facts["tx"]], facts["segment"], facts["known"], facts["behind"], facts["n_trails"].astype(np.int64), trails,
        facts["n_payers"].astype(np.int64), tx[pile.by_transaction("payers")],
        tx[segments["tx"]], segments["segment"],
    )  # fmt: skip


def _findings(core: Core, pile: _Pile, who: npt.NDArray[np.int32], tx: I64) -> set[FindingKey]:
    told, senders = pile.findings()
    hits, measured = pile.hits(), pile.plain("measured").reshape(-1, WIDTH)
    evidence = tx[pile.by_transaction("evidence")]
    keys: set[FindingKey] = set()
    at, named = 0, 0
    for row, sender in zip(told.tolist(), senders.tolist(), strict=True):
        rule, subject, week, number = row
        key = (rule, int(who[subject]), week)
        made = []
        for k in range(at, at + number):
            hit = hits[k]
            detector = int(hit["detector"])
            width = len(core.engine.fact_names(detector))
            made.append(make_hit(
                core.engine.transactions, detector, key[1], int(who[hit["owner"]]), int(tx[hit["tx"]]),
                int(hit["segment"]), bool(hit["opens"]), int(hit["steps"]), measured[k, :width].copy(),
                evidence[named : named + int(hit["evidence"])],
            ))  # fmt: skip
            named += int(hit["evidence"])
        at += number
        core.foreign.put(key, sender, made)
        keys.add(key)
    return keys


def _starts(sizes: I64) -> I64:
    return np.cumsum(sizes) - sizes


def _moved(places: npt.NDArray[Any], start: npt.NDArray[np.int32]) -> npt.NDArray[Any]:
    return np.where(places >= 0, places + start, places)


def _first_of_each(hi: npt.NDArray[Any], lo: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """The first place of each pair, rising."""
    order = np.lexsort((hi, lo))
    new = np.ones(order.size, np.bool_)
    new[1:] = (hi[order[1:]] != hi[order[:-1]]) | (lo[order[1:]] != lo[order[:-1]])
    return np.sort(order[new])


def last_of_each(numbers: I64) -> npt.NDArray[np.int64]:
    """The last place of each number."""
    _, from_end = np.unique(numbers[::-1], return_index=True)
    return np.sort(numbers.size - 1 - from_end)
