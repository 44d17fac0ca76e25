"""The feed's product: chunks of canonical transactions from a file of any format that we read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from aml.domain.errors import AmlError
from aml.feed import columnar, public, tabular
from aml.feed.coarse import Coarse, is_coarse
from aml.feed.fields import FIELDS
from aml.feed.formats import STDIN, Format, Source, look, open_source
from aml.feed.lines import blocks
from aml.feed.mapping import PLAIN, Mapping, mapped
from aml.feed.ndjson import NdjsonReader
from aml.feed.rates import NO_RATES, Rates
from aml.feed.raw import Chunk, Raw, Reject
from aml.feed.validate import Terms, validate

CHUNK: Final = 65_536
_NODES: Final = {"acct_id", "dsply_nm"}
KNOWN: Final = set(public.AMLWORLD_HEADER) | {"tran_id", "orig_acct", "bene_acct", "base_amt", "tran_timestamp"}


@dataclass(frozen=True, slots=True)
class FeedInfo:
    """What a feed is: its format, the public set it belongs to ("amlworld", "amlsim", None), about how many rows.

    `institution` is the tenant of records that do not name one, where the set gives it.
    """

    format: Format
    importer: str | None
    institution: str | None
    rows: int | None


def inspect_feed(path: str | Path, mapping: Mapping | None = None) -> FeedInfo:
    """Look at a feed without taking anything from it. Raises AmlError where it cannot be read.

    Of standard input only the first bytes are seen, and they stay there.
    """
    source = look(path)
    known = mapping is None or not mapping.describes
    if source.format is Format.PARQUET:
        assert source.path is not None
        importer = public.importer_of(columnar.schema_of(source.path).names()) if known else None
        return FeedInfo(source.format, importer, importer, columnar.rows_of(source.path))
    importer = None
    if source.format is Format.CSV and known:
        names, _ = tabular.header_of(source.head, PLAIN, source.shown, KNOWN)
        importer = public.importer_of(names)
    rows = None
    if source.format is not Format.EMPTY and source.total is not None and not source.gzipped:
        rows = source.total * source.head.count(b"\n") // max(len(source.head), 1)
    return FeedInfo(source.format, importer, importer, rows)


def read_feed(
    path: str | Path,
    *,
    institution: str,
    ingest_time_us: int,
    reporting_currency: str,
    rates: Rates | None = None,
    mapping: Mapping | None = None,
    start: dt.date | None = None,
    chunk: int = CHUNK,
) -> Iterator[Chunk]:
    """The records of a feed as canonical transactions (see `aml.domain.transaction.CANONICAL`), in its own order.

    `path` is a file, or "-" for standard input; its format is found by looking. `institution` is the tenant of records
    that name none, `ingest_time_us` the present (UTC µs), `start` the day of a public set's step 0 (default: what the
    mapping says). An empty feed gives nothing. Raises AmlError naming file, place and mend where the file itself, not a
    record, cannot be read.
    """
    source = open_source(path)
    terms = Terms(source.name, institution, ingest_time_us, reporting_currency, rates or NO_RATES, mapping or PLAIN)
    try:
        if start is None and terms.mapping.start is not None:
            start = dt.date.fromisoformat(terms.mapping.start)
        for raw in _raws(source, terms, start, terms.mapping.describes, chunk):
            if raw.read:
                yield validate(raw, terms, source.total)
    finally:
        source.close()


def _raws(source: Source, terms: Terms, start: dt.date | None, described: bool, chunk: int) -> Iterator[Raw]:
    match source.format:
        case Format.NDJSON:
            if terms.mapping.columns or terms.mapping.sides:
                raise AmlError(f"{terms.mapping.path}: columns: {source.shown} is NDJSON, whose fields have our names")
            reader = NdjsonReader(source.name)
            return (_constants(reader.read(block), terms) for block in blocks(source, chunk))
        case Format.CSV:
            return _csv(source, terms, start, described, chunk)
        case Format.PARQUET:
            return _parquet(source, terms, start, described, chunk)
        case Format.EMPTY:
            return iter(())


def _constants(raw: Raw, terms: Terms) -> Raw:
    """What a mapping says of NDJSON: constants, words, decimal marks."""
    if terms.mapping is not PLAIN and raw.frame.height:
        raw.frame = mapped(raw.frame, terms.mapping)
    return raw


def _csv(source: Source, terms: Terms, start: dt.date | None, described: bool, chunk: int) -> Iterator[Raw]:
    names, delimiter = tabular.header_of(source.head, terms.mapping, source.shown, KNOWN)
    kind = None if described else public.importer_of(names)
    names = public.column_names(names) if kind else names
    if kind is None:
        if set(names) >= _NODES:
            raise AmlError(f"{source.shown}: is AMLSim's table of accounts: give it with --parties")
        tabular.check_header(names, terms.mapping, source.shown)
    importer = public.make_importer(kind, start, terms.reporting_currency) if kind else None
    coarse = Coarse(terms.mapping) if is_coarse(terms.mapping) else None
    seen = False
    for sheet in tabular.sheets(source, names, delimiter, terms.mapping.encoding, chunk):
        lines = sheet.lines
        raw = Raw(sheet.frame, sheet.place, lines.__getitem__, failed=sheet.failed, done=sheet.done)
        _named(raw, terms, importer, coarse)
        if not seen and raw.frame.height:
            tabular.check_decimals(raw.frame, raw.place, terms.mapping, source.shown)
            seen = True
        elif not seen and len(sheet.failed) > 1:
            first: Reject = sheet.failed[0]
            raise AmlError(f"{source.shown}:{first.place}: no line fits the header: {first.detail}: name the delimiter")
        yield raw


def _parquet(source: Source, terms: Terms, start: dt.date | None, described: bool, chunk: int) -> Iterator[Raw]:
    path = source.path
    assert path is not None
    schema = columnar.schema_of(path)
    kind = None if described else public.importer_of(schema.names())
    importer = public.make_importer(kind, start, terms.reporting_currency) if kind else None
    coarse = Coarse(terms.mapping) if is_coarse(terms.mapping) else None
    if importer is None:
        flat = columnar.unfolded(pl.DataFrame(schema=schema))
        columnar.check_types(flat.schema, terms.mapping, path)
        tabular.check_header(flat.columns, terms.mapping, source.shown)
    rows = max(columnar.rows_of(path), 1)
    for first, part in columnar.frames(path, chunk):
        place = pl.int_range(first + 1, first + part.height + 1, eager=True).alias("place")
        done = (source.total or 0) * (first + part.height) // rows
        raw = Raw(columnar.unfolded(part), place, _row_of(part), done=done)
        _named(raw, terms, importer, coarse)
        yield raw


def _row_of(part: pl.DataFrame) -> Callable[[int], bytes]:
    return lambda row: columnar.row_bytes(part, row)


def _named(raw: Raw, terms: Terms, importer: public.Importer | None, coarse: Coarse | None) -> None:
    """Give a table's columns our names; what then has none of ours is kept as extra."""
    if importer is not None:
        frame = importer(raw.frame, raw.verdicts) if raw.frame.height else raw.frame
    else:
        frame = mapped(raw.frame, terms.mapping)
        if coarse is not None:
            frame = coarse.placed(raw.frame, frame, raw.verdicts)
    raw.beside = frame.select([name for name in frame.columns if name not in FIELDS])
    raw.frame = columnar.readable(frame.select([name for name in frame.columns if name in FIELDS]))


__all__ = ["CHUNK", "STDIN", "FeedInfo", "inspect_feed", "read_feed"]
