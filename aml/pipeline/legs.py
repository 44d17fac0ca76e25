"""What a record is before it is judged: its ends, its legs, its days and the word of its flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.domain.transaction import EntrySide, InitiatedBy, Instrument, Method, Precision, Relation, Status
from aml.engine.columns import ABSENT, Flag
from aml.engine.identity import NO_TIME
from aml.engine.intern import I32
from aml.engine.keys import Fields, Keys
from aml.feed.gaps import filled
from aml.pipeline.holders import CUSTOMER, End, Mask, conductor_of, end_of, same_holder
from aml.pipeline.parties import EXCHANGE, Parties

if TYPE_CHECKING:
    from aml.pipeline.accept import Calendar

NO_BOOKING: Final = -(1 << 31)
REFUNDS: Final = (Relation.RETURN, Relation.REFUND, Relation.CHARGEBACK, Relation.RECALL)


@dataclass(frozen=True, slots=True)
class Legs:
    """Per record: both ends, which of them have legs, days (since 1970-01-01), flags, and whether it is a visit."""

    debit: End
    credit: End
    has_debit: Mask
    has_credit: Mask
    day: I32
    unit_day: I32
    flags: npt.NDArray[np.uint32]
    visits: Mask  # cash in, brought by one who is neither the recipient nor mandated


def legs_of(
    fields: Fields, tenant: Keys, calendar: Calendar, parties: Parties | None, t: npt.NDArray[np.int64]
) -> Legs:
    """Resolve a batch; pure in the records, the party table and the calendar."""
    frame = fields.frame
    at = np.where(t == NO_TIME, 0, t)
    day = calendar.local_day(at)
    booking = filled(frame.get_column("booking_date").cast(pl.Int32), NO_BOOKING)
    debit = end_of("originator", fields, tenant, parties, day)
    credit = end_of("beneficiary", fields, tenant, parties, day)
    code = {name: filled(frame.get_column(name), ABSENT) for name in _CODES}
    notes_in, notes_out = _notes(debit, code["originator_method"]), _notes(credit, code["beneficiary_method"])
    cash_in, cash_out = _cash(debit, credit, code, notes_in, notes_out)
    has_debit, has_credit = debit.present & ~cash_in & ~notes_in, credit.present & ~cash_out & ~notes_out
    # Notes for what is no account here, a cashier's cheque say: the customer has a leg for the models, and no rule may
    # take it for a withdrawal or a deposit.
    by_notes = ~has_debit & ~has_credit & (notes_in | notes_out)
    has_debit, has_credit = has_debit | (notes_in & by_notes), has_credit | (notes_out & by_notes)
    facts = _kinds(frame, code) | {Flag.CASH_IN: cash_in, Flag.CASH_OUT: cash_out}
    facts[Flag.BANK] |= by_notes
    facts[Flag.OWN] = same_holder(debit, credit, parties) & has_debit & has_credit
    facts[Flag.CROSS_BORDER] = _cross_border(fields, calendar.country)
    to_exchange = np.zeros(fields.rows, np.bool_)
    if parties is not None:
        to_exchange = (parties.kind == EXCHANGE)[credit.place] & (credit.place >= 0) & has_credit
    facts[Flag.EXIT] = has_debit & (cash_out | facts[Flag.CRYPTO] | to_exchange | facts[Flag.CROSS_BORDER])
    facts[Flag.CONDUCTED], facts[Flag.MANDATED] = _conducted(fields, tenant, parties, debit, credit, cash_in, day)
    facts[Flag.DEBIT_OURS] = has_debit & (True if parties is None else debit.place >= 0)
    facts[Flag.CREDIT_OURS] = has_credit & (True if parties is None else credit.place >= 0)
    never = facts[Flag.VOID] | facts[Flag.LUMP] | facts[Flag.OWN] | facts[Flag.REVERSAL]
    facts[Flag.MOVES] = facts[Flag.BOOKED] & ~never & (has_debit | has_credit)
    visits = cash_in & has_credit & facts[Flag.CONDUCTED] & ~facts[Flag.MANDATED] & ~facts[Flag.BANK]
    return Legs(debit, credit, has_debit, has_credit, day, calendar.unit_day(at, booking), _word(facts), visits)


_CODES: Final = (
    "instrument", "initiated_by", "status", "relation", "entry_side", "time_precision", "originator_method",
    "beneficiary_method",
)  # fmt: skip


def _notes(end: End, method: npt.NDArray[np.uint8]) -> Mask:
    """Whether the customer at this end handed over, or took, notes: no account of his moved."""
    return np.asarray(end.has_customer & ~end.has_account & (method == Method.CASH), np.bool_)


def _cash(
    debit: End, credit: End, code: dict[str, npt.NDArray[np.uint8]], notes_in: Mask, notes_out: Mask
) -> tuple[Mask, Mask]:
    """Cash belongs to one end: paid in (no originator's account), paid out (no beneficiary's).

    Cash that names accounts, or nothing but customers, at both ends is two ordinary legs, unless a method says cash.
    """
    cash = code["instrument"] == Instrument.CASH
    from_cash, to_cash = code["originator_method"] == Method.CASH, code["beneficiary_method"] == Method.CASH
    if not (cash.any() or from_cash.any() or to_cash.any()):
        return cash, cash
    one_in = credit.has_account | ~debit.present
    paid_in = credit.present & ~notes_out & ~debit.has_account & (from_cash | (cash & one_in))
    one_out = debit.has_account | ~credit.present
    paid_out = debit.present & ~notes_in & ~credit.has_account & (to_cash | (cash & one_out)) & ~paid_in
    return paid_in, paid_out


def _kinds(frame: pl.DataFrame, code: dict[str, npt.NDArray[np.uint8]]) -> dict[Flag, Mask]:
    void, lump = (frame.get_column(n).to_numpy() for n in ("void", "batch_lump"))
    booked = code["status"] == Status.BOOKED
    return {
        Flag.BOOKED: booked,
        Flag.VOID: void,
        Flag.LUMP: lump,
        Flag.REVERSAL: (code["relation"] == Relation.REVERSAL) & booked & ~void,
        Flag.REFUND: np.isin(code["relation"], REFUNDS),
        Flag.CARD: code["instrument"] == Instrument.CARD,
        Flag.CRYPTO: code["instrument"] == Instrument.CRYPTO,
        Flag.BANK: code["initiated_by"] == InitiatedBy.BANK,
        Flag.DAY_PRECISION: code["time_precision"] == Precision.DAY,
        Flag.DEBIT_ONLY: code["entry_side"] == EntrySide.DEBIT,
        Flag.CREDIT_ONLY: code["entry_side"] == EntrySide.CREDIT,
    }


def _cross_border(fields: Fields, home: str) -> Mask:
    """The beneficiary's country is known and another than the originator's (an originator of ours: else home)."""
    frame, there = fields.frame, fields.present("beneficiary_country")
    if not there.any():
        return there
    here = frame.get_column("originator_country")
    if here.null_count():
        ours = pl.col("originator_institution").is_null() | (
            pl.col("originator_institution") == pl.col("institution")
        )
        here = frame.select_seq(pl.col("originator_country").fill_null(pl.when(ours).then(pl.lit(home)))).to_series()
    return filled(frame.get_column("beneficiary_country") != here, False)


def _conducted(
    fields: Fields, tenant: Keys, parties: Parties | None, debit: End, credit: End, cash_in: Mask, day: I32
) -> tuple[Mask, Mask]:
    """Whether a conductor other than the holder is named, and whether he may act on the holder's account."""
    nobody = np.zeros(fields.rows, np.bool_)
    if fields.hashes("conductor") is None:
        return nobody, nobody
    at_credit = cash_in | ~debit.present
    holder, account = (
        tuple(np.where(at_credit, c, d) for c, d in zip(*pair, strict=True))
        for pair in ((credit.holder, debit.holder), (credit.account, debit.account))
    )
    key = conductor_of(fields, tenant)
    other = fields.present("conductor") & ~((key[0] == holder[0]) & (key[1] == holder[1]))
    if parties is None:
        return other, nobody
    acting = (account[0], account[1])
    fields.add(acting, CUSTOMER, "conductor", other)
    has_account = np.where(at_credit, credit.has_account, debit.has_account)
    return other, other & has_account & parties.may_act(acting, day)


def _word(facts: dict[Flag, Mask]) -> npt.NDArray[np.uint32]:
    word = np.zeros(next(iter(facts.values())).size, np.uint32)
    for flag, holds in facts.items():
        if holds.any():
            word |= np.where(holds, np.uint32(flag), np.uint32(0))
    return word
