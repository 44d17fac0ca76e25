"""Evidence is the record's own JSON, whatever stands in it; so are texts that are made by columns."""

from __future__ import annotations

import datetime as dt

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from aml.pipeline.evidence import evidence_records
from aml.store.encoding import to_json
from aml.store.findings import EvidenceRecord
from aml.stream.told import texts_of

SCHEMA = {
    "text": pl.String, "other": pl.String, "number": pl.Int64, "code": pl.UInt8, "flag": pl.Boolean, "day": pl.Date,
    "hash": pl.UInt64,
}  # fmt: skip
WORDS = st.text(st.characters(blacklist_categories=("Cs",)), max_size=6)
ROW = st.fixed_dictionaries(
    {
        "text": WORDS,
        "other": st.none() | WORDS | st.sampled_from(['"', "\\", "\n\t\r\b\f", "\x00\x1f\x7f", "é€😀", "</script>"]),
        "number": st.none() | st.integers(-(2**63), 2**63 - 1),
        "code": st.none() | st.integers(0, 255),
        "flag": st.none() | st.booleans(),
        "day": st.none() | st.dates(dt.date(1990, 1, 1), dt.date(2100, 1, 1)),
        "hash": st.none() | st.integers(0, 2**64 - 1),
    }
)


@given(st.lists(ROW, min_size=1, max_size=5))
def test_the_text_of_a_record_is_its_json(rows):
    frame = pl.DataFrame(rows, schema=SCHEMA)
    wanted = [to_json({name: value for name, value in row.items() if value is not None}) for row in rows]
    assert texts_of(frame) == wanted


@given(st.lists(ROW, min_size=1, max_size=5))
def test_a_record_is_kept_whole_but_for_what_acceptance_keeps_for_itself(rows):
    hashes = [{"content_hi": k, "content_lo": 2**64 - 1 - k, "_own": k} for k in range(len(rows))]
    key = {"institution": "main", "transaction_id": "T", "revision": 2}
    frame = pl.DataFrame(
        [row | key | more for row, more in zip(rows, hashes, strict=True)],
        schema={**SCHEMA, "content_hi": pl.UInt64, "content_lo": pl.UInt64, "_own": pl.Int64,
                "institution": pl.String, "transaction_id": pl.String, "revision": pl.Int32},
    )  # fmt: skip
    for k, (row, made) in enumerate(zip(rows, evidence_records(frame), strict=True)):
        told = {name: value for name, value in (row | key).items() if value is not None}
        content = f"{k:016x}{2**64 - 1 - k:016x}"
        assert made == EvidenceRecord("main", "T", 2, None, to_json(told | {"content_hash": content}))
