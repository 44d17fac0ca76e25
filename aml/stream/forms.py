"""The forms in which a bank may send payments: what elements a message holds, laid out as lines of JSON.

One object, also printed over several lines; a JSON array or a line each; CloudEvents, in headers or structured, bare or
inside a batch; Confluent's frame around any of these. Messages and batches are looked at one by one, payments are not.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from aml.domain.transaction import RejectCode
from aml.feed.validate import LONGEST

LARGEST_BATCH: Final = 100_000  # elements of a message: more than the shortest payments that 8 MiB hold
LARGEST_MESSAGE: Final = 8 << 20  # bytes of a message's value, once it is unpacked: brokers count it packed
_CUT: Final = 64 << 10  # bytes of a larger one that are kept
_STRUCTURED: Final = b"application/cloudevents"
_EVENT: Final = b'"specversion"'
_FRAMED: Final = 5  # Confluent's magic byte and the number of a schema
_SPACE: Final = b" \t\r\n\xef\xbb\xbf"
_elements: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_UNREADABLE: Final = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


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
    data_base64: str | None = None


_envelope: Final = msgspec.json.Decoder(_Envelope).decode
_whole: Final = msgspec.json.Decoder(msgspec.Raw).decode


class Failed(NamedTuple):
    """What is no line of JSON: message number, place in it, what its CloudEvent says, and what is wrong."""

    message: int
    element: int
    source: str
    code: RejectCode
    detail: str
    original: bytes


@dataclass(slots=True)
class Sheet:
    """Lines to read, each with its message's number and its place there; and what are no lines.

    sources: by line, what its CloudEvent says; originals: by line, its bytes where line ends in them became blanks.
    """

    lines: list[bytes] = field(default_factory=list)
    message: list[int] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    sources: dict[int, str] = field(default_factory=dict)
    originals: dict[int, bytes] = field(default_factory=dict)


def lay_out(messages: Iterable[Message]) -> Sheet:
    """The elements of messages. Every message gives one at least, if only one that cannot be read."""
    sheet = Sheet()
    lines, numbers, indices = sheet.lines, sheet.message, sheet.index
    for number, message in enumerate(messages):
        value = message.value
        # By far the most: an object on one line, nothing around it.
        if (
            value
            and value[0] == 0x7B
            and not message.headers
            and len(value) <= LARGEST_MESSAGE
            and b"\n" not in value
            and _EVENT not in value
        ):
            lines.append(value)
            numbers.append(number)
            indices.append(0)
        else:
            _Layout(sheet, number).message(message)
    return sheet


class _Layout:
    """Puts one message's elements on a sheet, or the whole message aside."""

    def __init__(self, sheet: Sheet, number: int) -> None:
        self._sheet, self._number, self._next = sheet, number, 0
        self._first = len(sheet.lines), len(sheet.failed)
        self._source = ""

    def message(self, message: Message) -> None:
        whole = message.value or b""
        if len(whole) > LARGEST_MESSAGE:
            told = f"{len(whole):,} bytes, more than {LARGEST_MESSAGE:,}: send smaller batches (its beginning is kept)"
            self._refuse(_Unreadable(RejectCode.NOT_AN_OBJECT, told), whole[:_CUT])
            return
        value = whole[_FRAMED:] if whole[:1] == b"\0" and len(whole) > _FRAMED else whole
        structured = self._headers(message.headers)
        value = value.strip(_SPACE)
        try:
            if not value.strip():
                raise _Unreadable(RejectCode.NOT_JSON, "the message is empty")
            if structured and _EVENT not in value:
                raise _Unreadable(RejectCode.NOT_JSON, "specversion: not in what says that it is a CloudEvent")
            self._value(value)
        except _Unreadable as error:
            self._refuse(error, whole)

    def _headers(self, headers: Sequence[tuple[str, bytes]]) -> bool:
        """Note a CloudEvent's source; whether the message says that it is a structured one."""
        structured = False
        for name, told in headers:
            lower = name.lower()
            if lower == "ce_source" and told and len(told) <= LONGEST:
                self._source = told.decode("utf-8", "replace")
            elif lower == "content-type" and told and told.lower().startswith(_STRUCTURED):
                structured = True
        return structured

    def _refuse(self, error: _Unreadable, whole: bytes) -> None:
        """The message whole as one element; what of it was laid out already is taken back."""
        sheet, (lines, failed) = self._sheet, self._first
        for at in range(lines, len(sheet.lines)):
            sheet.sources.pop(at, None)
            sheet.originals.pop(at, None)
        del sheet.lines[lines:], sheet.message[lines:], sheet.index[lines:], sheet.failed[failed:]
        sheet.failed.append(Failed(self._number, 0, self._source, error.code, str(error), whole))

    def _value(self, value: bytes) -> None:
        if value[:1] == b"[":
            try:
                # Of a bad element only its bytes can tell: one that is no JSON makes the array none.
                elements = list(map(bytes, _elements(value)))
            except _UNREADABLE as error:
                raise _Unreadable(RejectCode.NOT_JSON, f"no JSON array: {error}"[:200]) from error
            if not elements:
                raise _Unreadable(RejectCode.NOT_AN_OBJECT, "the array is empty")
        elif b"\n" not in value or _is_one(value):
            elements = [value]
        else:
            elements = [line for line in value.split(b"\n") if line.strip()]
        if self._next + len(elements) > LARGEST_BATCH:
            raise _Unreadable(RejectCode.NOT_AN_OBJECT, f"more than {LARGEST_BATCH:,} elements: send smaller batches")
        if _EVENT in value:
            for element in elements:
                self._event(element)
        else:
            self._add(elements)

    def _event(self, element: bytes) -> None:
        """An element that may be a structured CloudEvent: its data then, else itself."""
        try:
            event = _envelope(element)
            data = bytes(event.data) if event.data_base64 is None else base64.b64decode(event.data_base64, None, True)
        except binascii.Error as error:
            self._fail(RejectCode.NOT_JSON, f"data_base64: {error}", element)
            return
        except _UNREADABLE:
            self._add([element])  # it says itself what is wrong with it
            return
        data = data.strip(_SPACE)
        if not data.strip():
            self._fail(RejectCode.FIELD_MISSING, "data: a CloudEvent without it", element)
            return
        before = self._source
        if 0 < len(event.source.encode()) <= LONGEST:  # a longer one is no name of a feed
            self._source = event.source
        try:
            # An event within an event's data is a payment's own field: nobody sends that.
            self._value(data) if _EVENT not in data else self._add([data])
        except _Unreadable as error:
            self._fail(error.code, str(error), element)
        self._source = before

    def _add(self, elements: list[bytes]) -> None:
        sheet, first, n = self._sheet, len(self._sheet.lines), len(elements)
        if b"\n" in b"".join(elements):
            for at, element in enumerate(elements, first):
                if b"\n" in element:
                    sheet.originals[at] = element
            # In JSON a line end is only ever space between two words: in a text it must be escaped.
            elements = [element.replace(b"\n", b" ") for element in elements]
        sheet.lines += elements
        sheet.message += [self._number] * n
        sheet.index += range(self._next, self._next + n)
        self._next += n
        if self._source:
            sheet.sources.update(dict.fromkeys(range(first, first + n), self._source))

    def _fail(self, code: RejectCode, detail: str, element: bytes) -> None:
        self._sheet.failed.append(Failed(self._number, self._next, self._source, code, detail, element))
        self._next += 1


class _Unreadable(Exception):
    """A message that gives no elements."""

    def __init__(self, code: RejectCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def _is_one(value: bytes) -> bool:
    """Whether text of several lines is one JSON value, printed so."""
    try:
        _whole(value[: value.index(b"\n")])
    except _UNREADABLE:
        try:
            _whole(value)
        except _UNREADABLE:
            return False
        return True
    return False
