"""What acceptance fixes about a record from its message and the party table alone, as columns beside the record.

The intake writes these columns, the shard's acceptance reads them: so holders, days and party facts are decided once,
where the party table is, and every shard that the record visits reads the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.engine.columns import Flag
from aml.engine.identity import NO_TIME
from aml.engine.intern import NONE
from aml.engine.keys import U64, Fields, Keys, content_hash, family_key, order_key
from aml.feed.gaps import filled
from aml.pipeline.holders import TENANT, End, Mask, conductor_of, linked_to
from aml.pipeline.legs import Legs, legs_of
from aml.pipeline.parties import Parties

if TYPE_CHECKING:
    from aml.pipeline.accept import Calendar

SHARD: Final = "_shard"  # of the first visit
EVERYWHERE: Final = "_everywhere"  # goes to every shard: what it acts on may stand at any
HAS_DEBIT, HAS_CREDIT, VISITS = 1, 2, 4  # bits of _sides
OURS_DEBIT, OURS_CREDIT, OURS_CONDUCTOR = 1, 2, 4  # bits of _ours
HAS_BRANCH, HAS_TERMINAL, HAS_BATCH, HAS_SEQUENCE = 1, 2, 4, 8  # bits of _has
FACTS: Final = ("turnover", "opened", "segment", "cash_intensive")
I32 = npt.NDArray[np.int32]


def resolve(frame: pl.DataFrame, calendar: Calendar, parties: Parties | None, shards: int) -> pl.DataFrame:
    """The canonical frame with what is fixed about each record; a pure function of the record and the party rows.

    `_shard` is of the first visit: see `shards_of`.
    """
    fields = Fields(frame)
    tenant = fields.key([(TENANT, "institution")])
    t = filled(frame.get_column("executed_at"), NO_TIME)
    legs = legs_of(fields, tenant, calendar, parties, t)
    conductor = conductor_of(fields, tenant)
    conducted = (legs.flags & Flag.CONDUCTED) != 0
    series = [*_keys("key", order_key(frame, fields)), *_keys("content", content_hash(frame, fields))]
    series += [*_keys("debit", legs.debit.holder), *_keys("credit", legs.credit.holder)]
    series += _keys("conductor", _where(conducted, conductor))
    family = family_key(frame, fields=fields)
    series += _keys("family", family)
    reversal = (legs.flags & Flag.REVERSAL) != 0
    series += _keys("target", _where(reversal, family_key(frame, "relates_to", fields)))
    visits = (
        (legs.debit.holder[0], legs.has_debit), (legs.credit.holder[0], legs.has_credit), (conductor[0], conducted),
    )  # fmt: skip
    revision = filled(frame.get_column("revision"), 1)
    everywhere = (revision > 1) | ((legs.flags & (Flag.VOID | Flag.REVERSAL)) != 0)
    series += [
        pl.Series("_flags", legs.flags), pl.Series("_day", legs.day), pl.Series("_unit_day", legs.unit_day),
        pl.Series("_sides", legs.has_debit * HAS_DEBIT + legs.has_credit * HAS_CREDIT + legs.visits * VISITS, pl.UInt8),
        pl.Series("_ours", _ours(legs, parties, conductor), pl.UInt8),
        *_texts(fields),
        shards_of(family[0], visits, shards),
        pl.Series(EVERYWHERE, everywhere),
    ]  # fmt: skip
    if parties is not None:
        for name, end in (("debit", legs.debit), ("credit", legs.credit)):
            series += _known(name, end, parties)
    return frame.hstack(series)


def shards_of(family: U64, visits: Sequence[tuple[U64, Mask]], shards: int) -> pl.Series:
    """`_shard` of each record: of the originator's holder, else the beneficiary's, else the conductor's, else of
    (tenant, transaction_id). family, visits: the high halves of their keys, and which records have the visit."""
    first = family.copy()
    for key, mine in reversed(visits):
        np.copyto(first, key, where=mine)
    return pl.Series(SHARD, (first % np.uint64(shards)).astype(np.int32))


def _texts(fields: Fields) -> list[pl.Series]:
    """Which of some fields a record has, and the keys of those that name a place or a batch."""
    has = fields.present("source_sequence") * HAS_SEQUENCE
    series = []
    for name, column, bit in (
        ("branch", "branch", HAS_BRANCH), ("terminal", "terminal", HAS_TERMINAL), ("batch", "batch_id", HAS_BATCH),
    ):  # fmt: skip
        has = has + fields.present(column) * bit
        series += _keys(name, fields.key([(0, column)]))
    return [*series, pl.Series("_has", has, pl.UInt8)]


def _keys(name: str, key: Keys) -> list[pl.Series]:
    return [pl.Series(f"_{name}_{half}", key[at]) for at, half in enumerate(("hi", "lo"))]


def _where(mask: Mask, key: Keys) -> Keys:
    return key[0] * mask, key[1] * mask


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
