"""Messages of a bank's topic as canonical records: one JSON object a message, a batch, or a CloudEvent.

What becomes of a message is a function of that message alone, whatever comes beside it: its records are judged at the
broker's own time of it. Nothing here loops over transactions; messages are looked at one by one.
"""

from __future__ import annotations

import base64
import binascii
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import polars as pl

from aml.domain.transaction import RejectCode
from aml.feed.lines import Block as Lines
from aml.feed.ndjson import NdjsonReader
from aml.feed.raw import Chunk
from aml.feed.validate import Terms, validate
from aml.stream.wire import RejectRow

_STRUCTURED: Final = b"application/cloudevents"
_FRAMED: Final = 5  # Confluent's magic byte and the number of a schema
_FUTURE: Final = RejectCode.TIME_IN_FUTURE
_elements: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_whole: Final = msgspec.json.Decoder(msgspec.Raw).decode


class Message(NamedTuple):
    """One message as the broker has it; at: its timestamp, UTC µs."""

    topic: str
    partition: int
    offset: int
    at: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


class _Envelope(msgspec.Struct):
    """A structured CloudEvent, as far as it matters."""

    specversion: str
    source: str = ""
    data: msgspec.Raw = msgspec.Raw(b"")
    data_base64: str = ""


@dataclass(slots=True)
class Decoded:
    """Records (canonical, with _partition, _offset, _index, _received), and what could not be read."""

    rows: pl.DataFrame
    rejects: list[RejectRow] = field(default_factory=list)


@dataclass(slots=True)
class _Sheet:
    """Lines to read, with the message and the place in it of each; and elements that are no lines."""

    lines: list[bytes] = field(default_factory=list)
    message: list[int] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    failed: list[tuple[int, int, RejectCode, str, bytes]] = field(default_factory=list)
    sources: dict[int, str] = field(default_factory=dict)

    def add(self, message: int, lines: Iterable[bytes]) -> None:
        before = len(self.lines)
        self.lines += lines
        more = len(self.lines) - before
        self.message += [message] * more
        self.index += range(more)

    def fail(self, message: int, code: RejectCode, detail: str, original: bytes) -> None:
        self.failed.append((message, 0, code, detail, original))


class Decoder:
    """Reads messages of one topic. terms: as a file's, but for the clock: that is each message's own."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    def decode(self, messages: Sequence[Message]) -> Decoded:
        """The records of messages and what of them cannot be read, each with its coordinates."""
        sheet = _Sheet()
        for number, message in enumerate(messages):
            _lay_out(sheet, number, message)
        chunk = self._judged(sheet, messages)
        numbers, index = np.array(sheet.message, np.int64), np.array(sheet.index, np.int32)
        rows = chunk.transactions
        at = rows.get_column("place").to_numpy() - 1
        of = numbers[at] if at.size else np.zeros(0, np.int64)
        rows = rows.with_columns(
            _column("_partition", [m.partition for m in messages], of, pl.Int32),
            _column("_offset", [m.offset for m in messages], of, pl.Int64),
            pl.Series("_index", index[at] if at.size else [], pl.Int32),
            _column("_received", [m.at for m in messages], of, pl.Int64),
        )
        if sheet.sources:
            rows = _sourced(rows, of, sheet.sources, self._terms.source)
        return Decoded(rows, self._rejects(chunk, sheet, messages))

    def _judged(self, sheet: _Sheet, messages: Sequence[Message]) -> Chunk:
        """All lines judged; where some lie in the future of the earliest message, those by their own message's time."""
        if not sheet.lines:
            return self._read([], 1, 0)
        earliest = min(messages[number].at for number in set(sheet.message))
        chunk = self._read(sheet.lines, 1, earliest)
        ahead = [reject.place - 1 for reject in chunk.rejects if reject.code == _FUTURE]
        if not ahead:
            return chunk
        by_time = defaultdict(list)
        for line in ahead:
            by_time[messages[sheet.message[line]].at].append(line)
        parts = [chunk.transactions]
        rejects = [reject for reject in chunk.rejects if reject.code != _FUTURE]
        for at, lines in sorted(by_time.items()):
            again = self._read([sheet.lines[line] for line in lines], 1, at)
            places = np.array(lines, np.int64) + 1
            rejects += [replace(reject, place=int(places[reject.place - 1])) for reject in again.rejects]
            moved = pl.Series("place", places[again.transactions.get_column("place").to_numpy() - 1])
            parts.append(again.transactions.with_columns(moved))
        rows = pl.concat(parts).sort("place")
        return replace(chunk, transactions=rows, rejects=sorted(rejects, key=lambda reject: reject.place))

    def _read(self, lines: list[bytes], first: int, at: int) -> Chunk:
        raw = NdjsonReader(self._terms.source).read(Lines(first, lines, 0))
        return validate(raw, replace(self._terms, ingest_time_us=at), None)

    def _rejects(self, chunk: Chunk, sheet: _Sheet, messages: Sequence[Message]) -> list[RejectRow]:
        found = [
            (sheet.message[r.place - 1], sheet.index[r.place - 1], r.code, r.detail, r.original) for r in chunk.rejects
        ]
        rows = []
        for number, index, code, detail, original in sorted([*found, *sheet.failed], key=lambda one: one[:2]):
            m = messages[number]
            source = sheet.sources.get(number, self._terms.source)
            rows.append(RejectRow(
                m.topic, m.partition, m.offset, index, self._terms.institution, source, day_of(m.at), str(code), detail,
                original,
            ))  # fmt: skip
        return rows


def day_of(at: int) -> str:
    """UTC day of a timestamp in µs."""
    return str(np.datetime64(at // 86_400_000_000, "D"))


def _column(name: str, values: list[int], of: Any, kind: Any) -> pl.Series:
    return pl.Series(name, np.array(values, np.int64)[of] if of.size else [], kind)


def _sourced(rows: pl.DataFrame, of: Any, sources: dict[int, str], default: str) -> pl.DataFrame:
    """Records that name no source have their event's."""
    told = pl.Series([sources.get(number) for number in of.tolist()], dtype=pl.String)
    mine = pl.when(pl.col("source") == default).then(told.fill_null(default)).otherwise(pl.col("source"))
    return rows.with_columns(mine.alias("source"))


def _lay_out(sheet: _Sheet, number: int, message: Message) -> None:
    """Put the elements of a message on the sheet."""
    value = message.value or b""
    if value[:1] == b"\0" and len(value) > _FRAMED:
        value = value[_FRAMED:]
    if message.headers:
        structured = _headers(sheet, number, message)
        if structured:
            value = _opened(sheet, number, value) or b""
            if not value:
                return
    begins = value[:1]
    if begins == b"{" and b"\n" not in value:
        if b'"specversion"' in value:
            value = _opened(sheet, number, value, maybe=True) or b""
        sheet.add(number, [value] if value else [])
        return
    value = value.strip(b" \t\r\n\xef\xbb\xbf")
    if not value:
        sheet.fail(number, RejectCode.NOT_JSON, "the message is empty", message.value or b"")
    elif value[:1] == b"[":
        _array(sheet, number, value)
    else:
        _lines(sheet, number, value)


def _headers(sheet: _Sheet, number: int, message: Message) -> bool:
    """Note a CloudEvent's source; whether the message is a structured one."""
    structured = False
    for name, told in message.headers:
        lower = name.lower()
        if lower == "ce_source" and told:
            sheet.sources[number] = told.decode("utf-8", "replace")
        elif lower == "content-type" and told and told.startswith(_STRUCTURED):
            structured = True
    return structured


def _opened(sheet: _Sheet, number: int, value: bytes, maybe: bool = False) -> bytes | None:
    """The data of a structured CloudEvent, None where it was put aside as unreadable. maybe: else the value itself."""
    try:
        event = msgspec.json.decode(value, type=_Envelope)
        data = base64.b64decode(event.data_base64, validate=True) if event.data_base64 else bytes(event.data)
    except (msgspec.MsgspecError, binascii.Error, RecursionError, UnicodeDecodeError) as error:
        if maybe:
            return value
        sheet.fail(number, RejectCode.NOT_JSON, f"no CloudEvent: {error}"[:200], value)
        return None
    if not data:
        if maybe:
            return value
        sheet.fail(number, RejectCode.FIELD_MISSING, "data: a CloudEvent without it", value)
        return None
    if event.source:
        sheet.sources[number] = event.source
    return b" ".join(data.splitlines()) if b"\n" in data else data


def _array(sheet: _Sheet, number: int, value: bytes) -> None:
    # Within JSON a line end is only ever space: in a text it must be escaped.
    try:
        elements = _elements(value.replace(b"\n", b" ") if b"\n" in value else value)
    except (msgspec.MsgspecError, RecursionError) as error:
        sheet.fail(number, RejectCode.NOT_JSON, f"no JSON array: {error}"[:200], value)
        return
    if not elements:
        sheet.fail(number, RejectCode.NOT_AN_OBJECT, "the array is empty", value)
    sheet.add(number, map(bytes, elements))


def _lines(sheet: _Sheet, number: int, value: bytes) -> None:
    """One object over several lines, else one object a line."""
    lines = [line for line in value.split(b"\n") if line.strip()]
    if len(lines) > 1 and not lines[0].rstrip().endswith(b"}"):
        try:
            _whole(value)
        except (msgspec.MsgspecError, RecursionError):
            pass
        else:
            lines = [b" ".join(lines)]
    sheet.add(number, lines)
