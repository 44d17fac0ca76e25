"""Messages of a bank's topic as canonical records, and what of them cannot be read.

What becomes of a message is a function of that message alone, whatever comes beside it: its records are judged at the
broker's own time of it. Nothing here loops over payments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from aml.feed.lines import Block as Lines
from aml.feed.ndjson import NdjsonReader
from aml.feed.raw import Chunk
from aml.feed.times import DAY
from aml.feed.validate import LONGEST, Terms, validate
from aml.stream.forms import LARGEST_BATCH, Message, Sheet, lay_out
from aml.stream.wire import RejectRow

__all__ = ["LARGEST_BATCH", "Decoded", "Decoder", "Message", "day_of"]
_UNSAID: Final = "\0"  # a source that no record can name
I64 = npt.NDArray[np.int64]


@dataclass(slots=True)
class Decoded:
    """Records (canonical, with _partition, _offset, _index, _received), and what could not be read."""

    rows: pl.DataFrame
    rejects: list[RejectRow] = field(default_factory=list)


class Decoder:
    """Reads messages of one topic. terms: as a file's, but for the clock: that is each message's own."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    def decode(self, messages: Sequence[Message]) -> Decoded:
        """The records of messages and what of them cannot be read, each with its coordinates; in their order."""
        sheet = lay_out(messages)
        of = np.array(sheet.message, np.int64)  # by line, the message
        chunk = self._judged(sheet, np.array([m.at for m in messages], np.int64)[of])
        rows, line = chunk.transactions, chunk.transactions.get_column("place").to_numpy() - 1
        of = of[line]
        source = self._source(rows, line, sheet)
        rows = rows.hstack([
            _column("_partition", [m.partition for m in messages], of, pl.Int32),
            _column("_offset", [m.offset for m in messages], of, pl.Int64),
            pl.Series("_index", np.array(sheet.index, np.int32)[line], pl.Int32),
            _column("_received", [m.at for m in messages], of, pl.Int64),
        ]).replace_column(rows.get_column_index("source"), source)  # fmt: skip
        return Decoded(rows, self._rejects(chunk, sheet, messages))

    def _judged(self, sheet: Sheet, clock: I64) -> Chunk:
        raw = NdjsonReader(_UNSAID).read(Lines(1, sheet.lines, 0))
        return validate(raw, replace(self._terms, source=_UNSAID, ingest_time_us=clock), None)

    def _source(self, rows: pl.DataFrame, line: I64, sheet: Sheet) -> pl.Series:
        """The record's own source, else its event's, else the topic."""
        own = rows.get_column("source")
        unsaid = own == _UNSAID
        if not sheet.sources:
            return own.set(unsaid, self._terms.source)
        told = pl.Series("source", [sheet.sources.get(n, self._terms.source) for n in line.tolist()], pl.String)
        return own.zip_with(~unsaid, told)

    def _rejects(self, chunk: Chunk, sheet: Sheet, messages: Sequence[Message]) -> list[RejectRow]:
        nobody = ("", "")
        told = [(f.message, f.element, nobody, f.source, f.code, f.detail, f.original) for f in sheet.failed]
        for r in chunk.rejects:
            line = r.place - 1
            original = sheet.originals.get(line, r.original)
            source = sheet.sources.get(line, "")
            whose = _says(original)
            told.append((sheet.message[line], sheet.index[line], whose, source, r.code, r.detail, original))
        rejects = []
        for number, element, (institution, own), source, code, detail, original in sorted(told, key=itemgetter(0, 1)):
            m = messages[number]
            rejects.append(RejectRow(
                m.topic, m.partition, m.offset, element, institution or self._terms.institution,
                own or source or self._terms.source, day_of(m.at), str(code), detail, original,
            ))  # fmt: skip
        return rejects


class _Named(msgspec.Struct):
    """What a record says of whose it is; of any type."""

    institution: Any = None
    source: Any = None


_named: Final = msgspec.json.Decoder(_Named).decode


def _says(record: bytes) -> tuple[str, str]:
    """Institution and source of a record that was rejected, as far as it can be read: so its own feed misses it."""
    try:
        found = _named(record)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return "", ""
    institution, source = map(_name, (found.institution, found.source))
    return institution, source


def _name(told: Any) -> str:
    """A name as it counts; nothing where it is none, or longer than names may be."""
    name = told.strip() if isinstance(told, str) else ""
    return name if len(name.encode("utf-8", "surrogatepass")) <= LONGEST else ""


def day_of(at: int) -> str:
    """UTC day of a timestamp in µs."""
    return str(np.datetime64(at // DAY, "D"))


def _column(name: str, values: list[int], of: I64, kind: Any) -> pl.Series:
    return pl.Series(name, np.array(values, np.int64)[of], kind)
