"""Acceptance: a batch of canonical records becomes what enters the engine, what leaves it, and what is turned away.

Order of judgement: readable (the feed's part), identity, late. Holder, party rows and days are fixed here, from the
record and the party table alone, and never looked up again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.engine.arrays import distinct
from aml.engine.columns import ABSENT, Flag
from aml.engine.identity import NO_TIME, Incoming, Outcome, Registry
from aml.engine.intern import I32, NONE, Interner
from aml.engine.keys import Fields, Keys, content_hash, family_key, hash_columns, hash_row, hash_texts, order_key
from aml.pipeline.carried import Carried
from aml.pipeline.holders import TENANT, HolderBook, Mask, conductor_of, linked_to, part
from aml.pipeline.legs import Legs, legs_of
from aml.pipeline.older import Older, identity
from aml.pipeline.parties import Parties, PartyRows
from aml.pipeline.resolved import OURS_CONDUCTOR, OURS_CREDIT, OURS_DEBIT
from aml.pipeline.watermark import LATENESS, Progress

I64 = npt.NDArray[np.int64]
Columns = dict[str, npt.NDArray[Any]]
HORIZON: Final = 3  # times the lateness that identities stay in memory: a reversal acts twice the lateness back
CODES: Final = {Outcome.CONFLICT: "conflict", Outcome.TOO_LATE: "too_late"}


class Calendar(Protocol):
    """The institution's days, by its profile."""

    @property
    def country(self) -> str:
        """ISO 3166 code of the institution's own country."""

    def local_day(self, at: I64) -> I32:
        """Local calendar day (days since 1970-01-01) of instants in UTC µs."""

    def unit_day(self, at: I64, booking: I32) -> I32:
        """Unit day of instants in UTC µs and booking dates (days since 1970-01-01; the least int32: none)."""


@dataclass(slots=True)
class Counts:
    """What acceptance counts: read = scored + duplicates + Σ rejected. The others are subsets of scored, or warnings.
    """

    read: int = 0
    scored: int = 0
    duplicates: int = 0
    superseded: int = 0
    voided: int = 0
    reversed: int = 0
    idle_reversals: int = 0  # reversals that reverse nothing
    not_booked: int = 0
    own_account: int = 0
    late: int = 0
    mixed_accounts: int = 0  # accounts seen with and without a customer
    rejected: Counter[str] = field(default_factory=Counter)

    def add(self, other: Counts) -> None:
        """Add another batch's counts to these."""
        for name in self.__slots__:
            if name == "rejected":
                self.rejected.update(other.rejected)
            else:
                setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What became of a batch. Transaction indices count the movements ever accepted, in order of acceptance."""

    first_row: int  # global row of the first record accepted
    content: Keys  # of the accepted
    transaction: I32  # per accepted record its transaction index, -1 where it moves nothing
    flags: npt.NDArray[np.uint32]  # per accepted record
    columns: Columns  # the new transactions, by the names of `columns.TRANSACTION`
    first_transaction: int
    enter: I32  # transactions whose legs enter: new ones that stand, older ones that stand again
    leave: I32  # older transactions whose legs leave
    marked_rows: I64  # older records whose marks changed, new ones that bear marks: global rows
    marks: npt.NDArray[np.uint32]  # and their marks (identity.SUPERSEDED, VOIDED, REVERSED)
    counts: Counts
    outcome: npt.NDArray[np.uint8]  # `Outcome` of every record that came


@dataclass(frozen=True, slots=True)
class Arrivals(Verdicts):
    """What one batch brings."""

    accepted: pl.DataFrame  # the records accepted, whole, in arrival order
    rejected: pl.DataFrame  # the records refused, whole, with `code`


class _Who(NamedTuple):
    """Per record, for the debit and the credit side: the customer linked by the party table, whether the holder (and
    third, the conductor) may be a subject, the party row; and the conductors' keys, None where nobody conducts."""

    linked: tuple[pl.Series | None, ...]
    ours: tuple[Mask, ...]
    party: tuple[I32, ...]
    conductor: Keys | None


class Acceptor:
    """The state of acceptance for one database, and the judgement of each batch."""

    def __init__(
        self, calendar: Calendar, *, lateness: int = LATENESS, parties: pl.DataFrame | None = None,
        folder: Path | None = None,
    ) -> None:  # fmt: skip
        """`lateness` in µs; `folder` takes identities that leave memory (without it none does)."""
        self.calendar = calendar
        self.lateness = lateness
        self.rows = 0
        self.transactions = 0
        self.progress = Progress()
        self.holders = HolderBook()
        self.party_rows = PartyRows()
        self.registry = Registry(lateness)
        self.texts = {name: Interner() for name in ("tenant", "currency", "branch", "terminal", "batch")}
        self._words: dict[str, dict[str | None, int]] = {"tenant": {}, "currency": {}}  # their numbers in `texts`
        self.older = Older(folder) if folder else None
        self.use_parties(parties)

    def use_parties(self, parties: pl.DataFrame | None) -> None:
        """Let another party table hold for the records that come from now on."""
        self.parties = None if parties is None else Parties(parties, self.party_rows)

    @property
    def watermarks(self) -> dict[int, int]:
        """Watermark in UTC µs by tenant number, of tenants that have one."""
        return {i: m for i, m in enumerate(self.progress.marks.tolist()) if m != NO_TIME}

    def tenant_numbers(self, names: pl.Series) -> npt.NDArray[np.int32]:
        """The number of each institution named, -1 where it is not known."""
        return self.texts["tenant"].find(*hash_columns(names.to_frame("institution"), ["institution"]))

    def tenant_of_holders(self) -> npt.NDArray[np.int32]:
        """The tenant's number of each holder."""
        return self.texts["tenant"].find(*hash_texts(*self.holders.texts.column("institution")))

    def accept(self, frame: pl.DataFrame, source: int = 0) -> Arrivals:
        """Judge a canonical frame, its rows in arrival order."""
        fields = Fields(frame)
        t = _ints(frame, "executed_at", NO_TIME)
        tenant_key = fields.key([(TENANT, "institution")])
        tenant = self.texts["tenant"].ids(*tenant_key)
        key = order_key(frame, fields)
        before = self.progress.advance(tenant, t, key[1], source)
        legs = legs_of(fields, tenant_key, self.calendar, self.parties, t)
        who = self._who(fields, legs, tenant_key)
        incoming = self._incoming(fields, key, t, before, tenant, legs)
        verdicts = self._judge(incoming, lambda take: self._columns(fields, incoming, legs, who, take))
        arrivals = _with_records(verdicts, frame)
        is_new = arrivals.outcome == Outcome.NEW
        arrivals.counts.mixed_accounts = sum(
            self.holders.mixed_accounts(end, is_new) for end in (legs.debit, legs.credit)
        )
        return arrivals

    def watermarks_of(self, rows: Carried) -> I64:
        """By record the watermark to judge it by, UTC µs: the one that stands now, or stood when it came before."""
        if "seen" in rows.columns:
            return rows["seen"]
        tenant = self.numbers("tenant", rows.words, rows["institution"])
        marks = np.append(self.progress.marks, NO_TIME)  # one more for tenants of whom nothing is known yet
        return np.asarray(marks[np.minimum(tenant, marks.size - 1)])

    def accept_carried(self, rows: Carried, home: Mask, before: I64) -> Verdicts:
        """Judge records of a stream. before: by record the watermark.

        home: those whose first visit this is; of the others only the act (revision, void, reversal) is judged here.
        """
        tenant = self.numbers("tenant", rows.words, rows["institution"])
        flags, t, key, content = rows.flags(home), rows["t"], rows.key("key"), rows.key("content")
        known = self._known(key, rows["revision"], flags, t, before, content)
        incoming = Incoming(
            key, content, rows.key("family"), rows.key("target"), t, before, rows["amount"],
            self.numbers("currency", rows.words, rows["currency"]), tenant, rows["revision"], flags, known,
        )  # fmt: skip
        return self._judge(incoming, lambda take: self._columns_carried(rows, flags, take))

    def numbers(self, kind: str, words: Sequence[str | None], codes: npt.NDArray[np.uint32]) -> I32:
        """The numbers of institutions ("tenant") or currencies, given as codes of words."""
        held, table = self._words[kind], np.full(len(words), NONE, np.int32)
        for code in distinct(codes).tolist():
            word = words[code]
            if word not in held:
                hi, lo = hash_row([word])
                held[word] = int(self.texts[kind].ids(np.array([hi], np.uint64), np.array([lo], np.uint64))[0])
            table[code] = held[word]
        return table[codes]

    def _who(self, fields: Fields, legs: Legs, tenant_key: Keys) -> _Who:
        """Who stands at the ends, by the party table here."""
        parties = self.parties
        ends = (legs.debit, legs.credit)
        everybody = np.ones(fields.rows, np.bool_)
        conductor, ours = None, everybody
        if ((legs.flags & Flag.CONDUCTED) != 0).any():
            conductor = conductor_of(fields, tenant_key)
            ours = self._conductors_ours(conductor, legs.day)
        return _Who(
            tuple(linked_to(end, parties) for end in ends),
            (*(end.place >= 0 if parties is not None else everybody for end in ends), ours),
            (self._party(legs.debit.place, legs.has_debit), self._party(legs.credit.place, legs.has_credit)),
            conductor,
        )

    def _judge(self, incoming: Incoming, columns_of: Callable[[Mask], Columns]) -> Verdicts:
        """columns_of: the columns of the records of a mask, but `row`."""
        t, before = incoming.t, incoming.watermark
        tallies = self.registry.tallies
        judged = self.registry.judge(incoming, self.rows)
        is_new = judged.outcome == Outcome.NEW
        flags = incoming.flags[is_new]
        moves = (flags & Flag.MOVES) != 0
        transaction = np.where(moves, self.transactions + np.cumsum(moves) - 1, NONE).astype(np.int32)
        records = self.registry.records
        records["tx"][judged.first :] = transaction
        columns = columns_of(is_new & ((incoming.flags & Flag.MOVES) != 0))
        columns["row"] = self.rows + np.flatnonzero(moves)
        counts = self._count(judged.outcome, incoming, flags, t[is_new] < before[is_new], tallies)
        mine = np.flatnonzero(moves & judged.stands)
        marked = np.concatenate([judged.marked, judged.first + np.flatnonzero(records["mark"][judged.first :])])
        verdicts = Verdicts(
            first_row=self.rows,
            content=incoming.content if is_new.all() else (incoming.content[0][is_new], incoming.content[1][is_new]),
            transaction=transaction,
            flags=flags,
            columns=columns,
            first_transaction=self.transactions,
            enter=np.concatenate([records["tx"][judged.entered], transaction[mine]]),
            leave=records["tx"][judged.left],
            marked_rows=records["row"][marked],
            marks=records["mark"][marked],
            counts=counts,
            outcome=judged.outcome,
        )
        self.rows += judged.new
        self.transactions += int(np.count_nonzero(moves))
        return verdicts

    def _incoming(self, fields: Fields, key: Keys, t: I64, before: I64, tenant: I32, legs: Legs) -> Incoming:
        frame = fields.frame
        content, family = content_hash(frame, fields), family_key(frame, fields=fields)
        reversal = (legs.flags & Flag.REVERSAL) != 0
        target = family_key(frame, "relates_to", fields) if reversal.any() else family
        revision = _ints(frame, "revision", 1).astype(np.int32)
        known = self._known(key, revision, legs.flags, t, before, content)
        currency = self.texts["currency"].ids(*fields.key([(0, "currency")]))
        amount = _ints(frame, "amount", NONE)
        return Incoming(key, content, family, target, t, before, amount, currency, tenant, revision, legs.flags, known)

    def _known(
        self, key: Keys, revision: I32, flags: npt.NDArray[np.uint32], t: I64, before: I64, content: Keys
    ) -> npt.NDArray[np.uint8]:  # fmt: skip
        """Per record an Outcome by identities on the disk."""
        known = np.zeros(t.size, np.uint8)
        if self.older is not None and self.older.names:
            behind = np.flatnonzero(t < before)  # NO_TIME too: a void without a time may be of any age
            void = (flags[behind] & Flag.VOID) != 0
            ids = identity((key[0][behind], key[1][behind]), revision[behind], void)
            known[behind] = self.older.look(ids, (content[0][behind], content[1][behind]))
        return known

    def _columns(
        self, fields: Fields, x: Incoming, legs: Legs, who: _Who, take: Mask
    ) -> Columns:
        """The columns of the rows of the mask, but `row`; holders and texts are numbered in order of appearance."""
        frame = fields.frame
        debit = self.holders.enter(legs.debit, take & legs.has_debit, frame, who.linked[0], who.ours[0])
        credit = self.holders.enter(legs.credit, take & legs.has_credit, frame, who.linked[1], who.ours[1])
        conducted = take & ((legs.flags & Flag.CONDUCTED) != 0)
        conductor = np.full(take.size, NONE, np.int32)
        if who.conductor is not None and conducted.any():
            conductor = self.holders.enter_conductors(who.conductor, conducted, frame, who.ours[2])
        columns: Columns = {
            "key_hi": x.key[0], "key_lo": x.key[1], "t": x.t,
            "debit_holder": debit, "credit_holder": credit,
            "conductor_holder": np.where(legs.visits, conductor, np.int32(NONE)),
            "debit_value": _ints(frame, "debit_value", 0), "credit_value": _ints(frame, "credit_value", 0),
            "flags": legs.flags, "day": legs.day, "unit_day": legs.unit_day,
            "branch": self._numbers(fields, "branch", "branch", take),
            "terminal": self._numbers(fields, "terminal", "terminal", take),
            "conductor": conductor,
            "batch": self._numbers(fields, "batch", "batch_id", take),
            "debit_party": who.party[0], "credit_party": who.party[1],
            "instrument": _codes(frame, "instrument"), "channel": _codes(frame, "channel"),
        }  # fmt: skip
        return _some(columns, take)

    def _columns_carried(self, rows: Carried, flags: npt.NDArray[np.uint32], take: Mask) -> Columns:
        """The same, of what travelled."""
        has_debit, has_credit, visits = rows.legs()
        ours = rows["ours"]
        debit, credit = (
            self.holders.take(
                rows.key(side), take & has, lambda fresh, side=side: rows.holders(side, fresh),  # type: ignore[misc]
                (ours & bit) != 0,
            )
            for side, has, bit in (("debit", has_debit, OURS_DEBIT), ("credit", has_credit, OURS_CREDIT))
        )  # fmt: skip
        conducted = take & ((flags & Flag.CONDUCTED) != 0)
        conductor = np.full(rows.n, NONE, np.int32)
        if conducted.any():
            conductor = self.holders.take(
                rows.key("conductor"), conducted, lambda fresh: rows.holders("conductor", fresh),
                (ours & OURS_CONDUCTOR) != 0,
            )  # fmt: skip
        facts = [rows.facts(side) for side in ("debit", "credit")]
        nobody = np.full(rows.n, NONE, np.int32)
        party = [nobody if known is None else self.party_rows.take_facts(known) for known in facts]
        columns: Columns = {
            "key_hi": rows["key_hi"], "key_lo": rows["key_lo"], "t": rows["t"],
            "debit_holder": debit, "credit_holder": credit,
            "conductor_holder": np.where(visits, conductor, np.int32(NONE)),
            "debit_value": rows["debit_value"], "credit_value": rows["credit_value"],
            "flags": flags, "day": rows["day"], "unit_day": rows["unit_day"],
            **{name: self.texts[name].ids(*rows.key(name), take & rows.has(name)) for name in ("branch", "terminal")},
            "conductor": conductor,
            "batch": self.texts["batch"].ids(*rows.key("batch"), take & rows.has("batch")),
            "debit_party": party[0], "credit_party": party[1],
            "instrument": rows["instrument"], "channel": rows["channel"],
        }  # fmt: skip
        return _some(columns, take)

    def _conductors_ours(self, key: Keys, day: I32) -> Mask:
        if self.parties is None:
            return np.ones(day.size, np.bool_)
        return self.parties.by_customer(key, day) >= 0

    def _party(self, place: I32, where: Mask) -> I32:
        if self.parties is None:
            return place
        known = where & (place >= 0)
        rows = np.full(place.size, NONE, np.int32)
        rows[known] = self.parties.row[place[known]]
        return rows

    def _numbers(self, fields: Fields, name: str, column: str, take: Mask) -> I32:
        if fields.hashes(column) is None:
            return np.full(fields.rows, NONE, np.int32)
        return self.texts[name].ids(*fields.key([(0, column)]), take & fields.present(column))

    def _count(
        self, outcome: npt.NDArray[np.uint8], x: Incoming, flags: npt.NDArray[np.uint32], late: Mask,
        tallies: dict[str, int],
    ) -> Counts:  # fmt: skip
        by = np.bincount(outcome, minlength=len(Outcome)).tolist()
        void, booked = (flags & Flag.VOID) != 0, (flags & Flag.BOOKED) != 0
        counts = Counts(
            read=outcome.size, scored=by[Outcome.NEW], duplicates=by[Outcome.DUPLICATE],
            not_booked=int(np.count_nonzero(~booked & ~void)),
            own_account=int(np.count_nonzero(booked & ~void & ((flags & Flag.OWN) != 0))),
            late=int(np.count_nonzero(late & ~void)),
            rejected=Counter({code: by[o] for o, code in CODES.items() if by[o]}),
        )  # fmt: skip
        for name, now in self.registry.tallies.items():
            setattr(counts, name, now - tallies[name])
        return counts

    def checkpoint(self) -> None:
        """Move identities that nothing can concern any more from memory to disk, fsynced, before `state` is taken."""
        if self.older is None:
            return
        old = self.registry.older_than(self.progress.marks, HORIZON * self.lateness)
        if old.any():
            records = self.registry.records
            hi, lo, revision = (records[name][old] for name in ("key_hi", "key_lo", "revision"))
            void = (records["flags"][old] & Flag.VOID) != 0
            content = records["content_hi"][old], records["content_lo"][old]
            self.older.add(identity((hi, lo), revision, void), content)
            self.registry.forget(old)

    def state(self) -> dict[str, np.ndarray]:
        """Everything but the files of old identities (`older.names`), as flat named arrays for a snapshot."""
        state = {"numbers": np.array([self.rows, self.transactions, self.lateness], np.int64)}
        for prefix, held in self._parts().items():
            state |= {f"{prefix}.{k}": v for k, v in held.state().items()}
        return state

    def restore(self, state: Mapping[str, np.ndarray], older: list[str]) -> None:
        """Take over a state and the names of its files of old identities; the party table is taken afresh."""
        self.rows, self.transactions = state["numbers"][:2].tolist()
        self.progress = Progress.from_state(part(state, "progress"))
        self.holders = HolderBook.from_state(part(state, "holders"))
        self.registry = Registry.from_state(part(state, "registry"), self.lateness)
        self.texts = {name: Interner.from_state(part(state, f"text.{name}")) for name in self.texts}
        self._words = {"tenant": {}, "currency": {}}
        self.party_rows = PartyRows.from_state(part(state, "party_rows"))
        self.use_parties(None if self.parties is None else self.parties.frame)
        if self.older is not None:
            self.older = Older(self.older.folder, older)

    def _parts(self) -> dict[str, Progress | HolderBook | Registry | PartyRows | Interner]:
        texts = {f"text.{name}": interner for name, interner in self.texts.items()}
        return {
            "progress": self.progress, "holders": self.holders, "registry": self.registry,
            "party_rows": self.party_rows, **texts,
        }  # fmt: skip


def _some(columns: Columns, take: Mask) -> Columns:
    return columns if take.all() else {name: column[take] for name, column in columns.items()}


def _with_records(verdicts: Verdicts, frame: pl.DataFrame) -> Arrivals:
    is_new = verdicts.outcome == Outcome.NEW
    accepted = frame if is_new.all() else frame.filter(pl.Series(is_new))
    told = {name.name: getattr(verdicts, name.name) for name in fields_of(verdicts)}
    return Arrivals(**told, accepted=accepted, rejected=_rejected(frame, verdicts.outcome))


def _ints(frame: pl.DataFrame, name: str, absent: int) -> I64:
    column = frame.get_column(name)
    if column.null_count() == column.len():
        return np.full(column.len(), absent, np.int64)
    return column.cast(pl.Int64).fill_null(absent).to_numpy()


def _codes(frame: pl.DataFrame, name: str) -> npt.NDArray[np.uint8]:
    return frame.get_column(name).fill_null(ABSENT).to_numpy()


def _rejected(frame: pl.DataFrame, outcome: npt.NDArray[np.uint8]) -> pl.DataFrame:
    refused = np.isin(outcome, list(CODES))
    codes = [CODES[Outcome(o)] for o in outcome[refused].tolist()]
    rows = frame.filter(pl.Series(refused)) if refused.any() else frame.clear()
    return rows.with_columns(pl.Series("code", codes, dtype=pl.String))
