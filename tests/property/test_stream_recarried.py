"""What a segment keeps of a record is all that a shard of any number ever reads of it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from hypothesis import assume, given
from hypothesis import strategies as st

from aml.engine.intern import text_rows
from aml.pipeline.carried import NUMBERS, TEXTS, carry
from aml.pipeline.parties import Parties, PartyRows
from aml.pipeline.resolved import FACTS, resolve
from aml.stream.block import Block, spread
from aml.stream.recarried import recarried
from aml.stream.records import ShardRecords
from aml.stream.wire import BlockHead
from tests import canonical
from tests.naive.fast import compiled, frame_of
from tests.strategies import streams

CODES = ("institution", "source", "currency", "debit_institution", "credit_institution")
FORGOTTEN = ("originator_customer", "beneficiary_customer", "conductor")


@given(streams(), st.randoms(use_true_random=False), st.sampled_from((1, 2, 3, 7)), st.booleans())
def test_a_record_from_the_archive_is_carried_as_the_intake_carried_it(stream, chance, shards, table):
    rows = [{k: v for k, v in row.items() if k not in FORGOTTEN or chance.random() < 0.5} for row in stream.rows]
    for row in rows:
        if chance.random() < 0.2:
            row["institution"] = chance.choice(("main", "zweite"))
    frame = frame_of(rows).with_columns(
        pl.lit("topic").alias("source"),
        *(pl.int_range(len(rows), dtype=kind).alias(name)
          for name, kind in (("_partition", pl.Int32), ("_offset", pl.Int64), ("_index", pl.Int32),
                             ("_received", pl.Int64))),
    )  # fmt: skip
    assume(rows)
    held = compiled(stream.profile)
    rows_of = canonical.parties([dict(row) for row in stream.parties]) if stream.parties and table else None
    known = None if rows_of is None else Parties(rows_of, PartyRows())
    wanted = carry(resolve(frame, held.profile, known, shards))
    seen = np.arange(len(rows)) + 7
    kept = archived(frame, held.profile, known, seen)
    found, whole = recarried(kept, held.profile, shards)
    assert whole.height == found.n == wanted.n
    assert found["seen"].tolist() == seen.tolist()
    facts = {f"{side}_{name}" for side in ("debit", "credit") for name in FACTS}
    for name in NUMBERS.keys() - {"seen", *CODES, *facts}:
        assert found[name].tolist() == wanted[name].tolist(), name
    nothing = PartyRows().facts(np.full(wanted.n, -1, np.int32))  # where there was no table
    for side in ("debit", "credit"):
        told, ours = wanted.facts(side) or nothing, found.facts(side)
        assert ours is not None
        assert {name: values.tolist() for name, values in ours.items()} == {
            name: values.tolist() for name, values in told.items()
        }
    for name in CODES:
        assert [found.words[c] for c in found[name]] == [wanted.words[c] for c in wanted[name]], name
    every = np.arange(wanted.n)
    for name in TEXTS:
        theirs, ours = text_rows(*found.text(name), every), text_rows(*wanted.text(name), every)
        assert (theirs[0].tolist(), theirs[1].tobytes()) == (ours[0].tolist(), ours[1].tobytes()), name


def archived(frame, profile, known, seen) -> pl.DataFrame:
    """The records as a segment of a single shard holds them."""
    carried = carry(resolve(frame, profile, known, 1))
    filled = frame.select([c for c in frame if not c.name.startswith("_") and c.null_count() < frame.height])
    ((rows, whole),) = spread(carried, filled, 1)
    with tempfile.TemporaryDirectory() as folder:
        records = ShardRecords(Path(folder))
        records.add(Block(BlockHead(0, 1, "x", 0, [], []), rows, whole), np.arange(rows.n), "topic", seen)
        sealed = records.seal(0, 0)
        assert sealed is not None
        return pl.read_parquet(Path(folder) / sealed.write(Path(folder)).name)
