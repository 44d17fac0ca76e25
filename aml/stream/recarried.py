"""Records of the archive, made again what the intake made of them, for another number of shards.

Holders, days and what the party table knew are as they were fixed then: no later row of the table changes an old
record. The watermark that each was judged by comes along.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from aml.domain.transaction import CANONICAL
from aml.engine.columns import Flag
from aml.engine.keys import Fields
from aml.pipeline.accept import Calendar
from aml.pipeline.carried import ENDS, Carried, carry
from aml.pipeline.holders import TENANT, conductor_of
from aml.pipeline.parties import PartyRows
from aml.pipeline.resolved import HAS_CREDIT, HAS_DEBIT, resolve, shards_of
from aml.stream.records import KEPT, KNOWN, SEEN

_COORDINATES: Final = {"partition": "_partition", "offset": "_offset", "element": "_index", "received_at": "_received"}
_NOTHING: Final = {name: value[0] for name, value in PartyRows().facts(np.array([-1], np.int32)).items()}


def recarried(frame: pl.DataFrame, calendar: Calendar, shards: int) -> tuple[Carried, pl.DataFrame]:
    """What shards need of records as segments hold them, and the records; `shard` is of so many."""
    records = frame.select(
        pl.col(name) if name in frame.columns else pl.lit(None, kind).alias(name) for name, kind in CANONICAL.items()
    )
    told = resolve(records, calendar, None, shards).with_columns(
        *(frame.get_column(f"_{name}") for name in KEPT if name != "shard"),
        *(frame.get_column(name).alias(f"_{name}") for name in ("content_hi", "content_lo")),
        *(frame.get_column(name).alias(to) for name, to in _COORDINATES.items()),
        *(_known(frame, name) for name in KNOWN),
        *(frame.get_column(name) for name in _linked(frame)),
        frame.get_column(SEEN),
    )
    fields = Fields(records)
    conductor = conductor_of(fields, fields.key([(TENANT, "institution")]))
    conducted = (told.get_column("_flags").to_numpy() & np.uint32(Flag.CONDUCTED)) != 0
    sides = told.get_column("_sides").to_numpy()
    family, debit, credit = (told.get_column(f"_{name}_hi").to_numpy() for name in ("family", "debit", "credit"))
    visits = (debit, (sides & HAS_DEBIT) != 0), (credit, (sides & HAS_CREDIT) != 0), (conductor[0], conducted)
    told = told.with_columns(
        pl.Series("_conductor_hi", conductor[0] * conducted), pl.Series("_conductor_lo", conductor[1] * conducted),
        shards_of(family, visits, shards),
    )  # fmt: skip
    return carry(told), records.select([c for c in records if c.null_count() < records.height])


def _known(frame: pl.DataFrame, name: str) -> pl.Series:
    """A fact of the party table; of records before there was one nothing is known."""
    nothing = _NOTHING[name.partition("_")[2]]
    if f"_{name}" not in frame.columns:
        return pl.Series(f"_{name}", np.full(frame.height, nothing))
    return frame.get_column(f"_{name}").fill_null(nothing.item())


def _linked(frame: pl.DataFrame) -> list[str]:
    return [name for side in ENDS if (name := f"_{side}_customer") in frame.columns]
