"""What acceptance fixes about a record from its message and the party table alone, as columns beside the record.

The intake writes these columns, the shard's acceptance reads them: so holders, days and party facts are decided once,
where the party table is, and every shard that the record visits reads the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.domain.transaction import CANONICAL
from aml.engine.columns import Flag
from aml.engine.identity import NO_TIME
from aml.engine.intern import NONE
from aml.engine.keys import Fields, Keys, content_hash, family_key, order_key
from aml.pipeline.holders import TENANT, End, Mask, conductor_of, linked_to
from aml.pipeline.legs import Legs, legs_of
from aml.pipeline.parties import Parties

if TYPE_CHECKING:
    from aml.pipeline.accept import Calendar

SHARD: Final = "_shard"  # of the first visit
EVERYWHERE: Final = "_everywhere"  # goes to every shard: what it acts on may stand at any
HAS_DEBIT, HAS_CREDIT, VISITS = 1, 2, 4  # bits of _sides
OURS_DEBIT, OURS_CREDIT, OURS_CONDUCTOR = 1, 2, 4  # bits of _ours
FACTS: Final = ("turnover", "opened", "segment", "cash_intensive")
I32 = npt.NDArray[np.int32]


def resolve(frame: pl.DataFrame, calendar: Calendar, parties: Parties | None, shards: int) -> pl.DataFrame:
    """The canonical frame with what is fixed about each record; a pure function of the record and the party rows.

    `_shard` is the shard of the first visit: of the originator's holder, else the beneficiary's, else the conductor's,
    else of (tenant, transaction_id).
    """
    fields = Fields(frame)
    tenant = fields.key([(TENANT, "institution")])
    t = frame.get_column("executed_at").fill_null(NO_TIME).to_numpy()
    legs = legs_of(fields, tenant, calendar, parties, t)
    conductor = conductor_of(fields, tenant)
    conducted = (legs.flags & Flag.CONDUCTED) != 0
    series = [*_keys("key", order_key(frame, fields)), *_keys("content", content_hash(frame, fields))]
    series += [*_keys("debit", legs.debit.holder), *_keys("credit", legs.credit.holder)]
    if conducted.any():
        series += _keys("conductor", conductor)
    first = family_key(frame, fields=fields)[0].copy()
    for key, mine in (
        (conductor, conducted), (legs.credit.holder, legs.has_credit), (legs.debit.holder, legs.has_debit),
    ):  # fmt: skip
        np.copyto(first, key[0], where=mine)
    revision = frame.get_column("revision").fill_null(1).to_numpy()
    everywhere = (revision > 1) | ((legs.flags & (Flag.VOID | Flag.REVERSAL)) != 0)
    series += [
        pl.Series("_flags", legs.flags), pl.Series("_day", legs.day), pl.Series("_unit_day", legs.unit_day),
        pl.Series("_sides", legs.has_debit * HAS_DEBIT + legs.has_credit * HAS_CREDIT + legs.visits * VISITS, pl.UInt8),
        pl.Series("_ours", _ours(legs, parties, conductor), pl.UInt8),
        pl.Series(SHARD, (first % np.uint64(shards)).astype(np.int32)),
        pl.Series(EVERYWHERE, everywhere),
    ]  # fmt: skip
    if parties is not None:
        for name, end in (("debit", legs.debit), ("credit", legs.credit)):
            series += _known(name, end, parties)
    return frame.with_columns(series)


def _keys(name: str, key: Keys) -> list[pl.Series]:
    return [pl.Series(f"_{name}_{half}", key[at]) for at, half in enumerate(("hi", "lo"))]


def _ours(legs: Legs, parties: Parties | None, conductor: Keys) -> npt.NDArray[np.uint8]:
    if parties is None:
        return np.full(legs.day.size, OURS_DEBIT | OURS_CREDIT | OURS_CONDUCTOR, np.uint8)
    ours = (legs.debit.place >= 0) * OURS_DEBIT + (legs.credit.place >= 0) * OURS_CREDIT
    ours = ours + (parties.by_customer(conductor, legs.day) >= 0) * OURS_CONDUCTOR
    return np.asarray(ours, np.uint8)


def _known(name: str, end: End, parties: Parties) -> list[pl.Series]:
    """The customer to whom the party table links the account, and what it knows of the holder."""
    row = np.where(end.place >= 0, parties.row[end.place], NONE)
    linked = linked_to(end, parties)
    texts = [] if linked is None else [linked.alias(f"_{name}_customer")]
    return [*texts, *(pl.Series(f"_{name}_{n}", a) for n, a in parties.rows.facts(row).items())]


class Carried:
    """The columns of `resolve`, read back; absent ones as they are where no party table was."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self.sides = frame.get_column("_sides").to_numpy()
        self.ours = frame.get_column("_ours").to_numpy()

    def legs(self, home: Mask) -> Legs:
        """As `legs_of` made them; away from home a record moves nothing, but acts on what it is about."""
        flags = self.frame.get_column("_flags").to_numpy().copy()
        flags[~home] &= np.uint32(~int(Flag.MOVES) & 0xFFFFFFFF)
        day, unit_day = (self.frame.get_column(name).to_numpy() for name in ("_day", "_unit_day"))
        sides = [(self.sides & bit) != 0 for bit in (HAS_DEBIT, HAS_CREDIT, VISITS)]
        return Legs(
            self._end("debit", "originator"), self._end("credit", "beneficiary"), sides[0], sides[1], day, unit_day,
            flags, sides[2],
        )  # fmt: skip

    def key(self, name: str) -> Keys:
        """Keys that travelled: `key` orders, `content` is of all that the record says, `conductor` is a holder's."""
        names = (f"_{name}_hi", f"_{name}_lo")
        if names[0] not in self.frame.columns:
            return np.zeros(self.frame.height, np.uint64), np.zeros(self.frame.height, np.uint64)
        hi, lo = (self.frame.get_column(half).to_numpy() for half in names)
        return hi, lo

    def facts(self, side: str) -> dict[str, npt.NDArray[np.generic]] | None:
        """What the party table knew of a side's holder; None where there was none."""
        if f"_{side}_segment" not in self.frame.columns:
            return None
        return {name: self.frame.get_column(f"_{side}_{name}").to_numpy() for name in FACTS}

    def customer(self, side: str) -> pl.Series | None:
        """The customer to whom the party table linked the account."""
        name = f"_{side}_customer"
        return self.frame.get_column(name) if name in self.frame.columns else None

    def _end(self, side: str, name: str) -> End:
        frame, none = self.frame, np.full(self.frame.height, NONE, np.int32)
        has_account, has_customer = (
            frame.get_column(f"{name}_{what}").is_not_null().to_numpy() for what in ("account", "customer")
        )
        customer = self.customer(side)
        owner = none if customer is None else np.where(customer.is_not_null().to_numpy(), 0, NONE).astype(np.int32)
        return End(name, self.key(side), self.key(side), has_account, has_customer, none, owner)


def whole(frame: pl.DataFrame) -> pl.DataFrame:
    """A block's rows with every canonical column again: those that were null throughout did not travel."""
    absent = [pl.lit(None, kind).alias(name) for name, kind in CANONICAL.items() if name not in frame.columns]
    return frame.with_columns(absent) if absent else frame
