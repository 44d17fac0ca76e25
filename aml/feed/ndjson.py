"""NDJSON lines to columns: one object a line, flat or nested, numbers by their decimal text, bad lines apart.

Plain lines are read by columns (plainjson); what is not plain is read line by line, and says what is wrong with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from operator import itemgetter
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from aml.domain.transaction import ENDS, RejectCode
from aml.feed.fields import END_FIELDS, FIELDS, Kind, encode
from aml.feed.lines import LONGEST, Block
from aml.feed.plainjson import Plain, read_plain
from aml.feed.raw import Raw, Reject, Verdicts, quoted

_NESTED: Final = {end: {part: f"{end}_{part}" for part in END_FIELDS} for end in ENDS}
_BANKS: Final = 3
_STEP: Final = 512
Record = dict[str, Any]
I64 = npt.NDArray[np.int64]
T = TypeVar("T")


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits
        return Decimal("Infinity")


_decode: Final = msgspec.json.Decoder(float_hook=_number).decode


class NdjsonReader:
    """Reads the blocks of one feed: plain lines by columns, the others one by one."""

    def __init__(self, source: str) -> None:
        self._source = source

    def read(self, block: Block) -> Raw:
        """The columns of a block of lines; blank lines count for nothing."""
        plain = read_plain(block)
        numbers = np.flatnonzero(~plain.lines)
        lines = [block.lines[number] for number in numbers.tolist()] if numbers.size else []
        rest = read_lines(lines, numbers + block.first, self._source)
        raw = _merged(plain, np.flatnonzero(plain.lines) + block.first, rest)
        raw.original = lambda row: block.lines[raw.place[row] - block.first]
        raw.done = block.done
        return raw


def _merged(plain: Plain, place: I64, rest: Raw) -> Raw:
    """Plain rows and the others in the order of their places."""
    if not rest.place.len():
        told = rest.original, rest.verdicts, rest.extra, rest.failed
        return Raw(plain.frame, pl.Series("place", place), *told, padded=plain.padded)
    if not place.size:
        return rest
    places = np.concatenate([place, rest.place.to_numpy()])
    order = np.argsort(places, kind="stable")
    row = np.empty(places.size, np.int64)
    row[order] = np.arange(places.size)
    moved = row[place.size :].tolist()
    whole = pl.concat([plain.frame, rest.frame], how="diagonal")[order]
    verdicts = Verdicts(_moved(rest.verdicts.found, moved), rest.verdicts.warnings, _moved(rest.verdicts.kept, moved))
    return Raw(
        whole, pl.Series("place", places[order]), rest.original, verdicts, _moved(rest.extra, moved), rest.failed
    )


def _moved(by_row: dict[int, T], rows: list[int]) -> dict[int, T]:
    return {rows[row]: value for row, value in by_row.items()}


def read_lines(lines: list[bytes], numbers: I64, source: str) -> Raw:
    """The columns of lines one by one, whatever stands in them; `numbers` are their places."""
    return _Gathered(lines, numbers.tolist(), source).raw()


class _Gathered:
    """The fields of some lines' records, gathered a few hundred lines at a time: while they are in the cache."""

    def __init__(self, lines: list[bytes], numbers: list[int], source: str) -> None:
        self._lines, self._numbers, self._source = lines, numbers, source
        self._fields: dict[str, list[Any]] = {}
        self._rows = 0
        self._kept: list[int] = []  # indices of the lines that became rows
        self._failed: list[Reject] = []
        self._extra: dict[int, dict[str, Any]] = {}
        self._verdicts = Verdicts()

    def raw(self) -> Raw:
        lines = self._lines
        for start in range(0, len(lines), _STEP):
            self._gather(lines[start : start + _STEP], start)
        columns = {name: column(name, self._fields[name], self._verdicts) for name in sorted(self._fields)}
        place = pl.Series("place", [self._numbers[index] for index in self._kept], dtype=pl.Int64)
        raw = Raw(
            pl.DataFrame(columns) if columns else pl.DataFrame(height=self._rows),
            place,
            lambda row: lines[self._kept[row]],
            self._verdicts,
            self._extra,
            self._failed,
        )
        if b"\\u0000" in b"\n".join(lines):
            _no_nul(raw)
        return raw

    def _gather(self, lines: list[bytes], start: int) -> None:
        rows = _values(lines)
        if set(map(type, rows)) == {dict}:
            self._kept += range(start, start + len(lines))
        else:
            rows = self._objects(rows, lines, start)
            if not rows:
                return
        present = set().union(*rows)
        for end in ENDS:
            if end in present:
                self._unfold(rows, end)
                present = set().union(*rows)
        if not present <= FIELDS.keys():
            self._keep_unknown(rows, present - FIELDS.keys())
            present &= FIELDS.keys()
        for name in present - self._fields.keys():
            self._fields[name] = [None] * self._rows
        for name in self._fields.keys() - present:
            self._fields[name] += [None] * len(rows)
        names = list(present)
        for name, values in zip(names, _by_field(rows, names), strict=True):
            self._fields[name] += values
        self._rows += len(rows)

    def _objects(self, values: list[Any], lines: list[bytes], start: int) -> list[Record]:
        """Those values that are objects; the others are rejects, blank lines nothing."""
        rows = []
        for number, value in enumerate(values):
            if type(value) is dict:
                self._kept.append(start + number)
                rows.append(value)
            elif (fault := _fault(value, lines[number])) is not None:
                place = self._numbers[start + number]
                self._failed.append(Reject(fault[0], self._source, place, fault[1], lines[number]))
        return rows

    def _unfold(self, rows: list[Record], end: str) -> None:
        """`originator` or `beneficiary` under flat names."""
        names = _NESTED[end]
        for number, row in enumerate(rows, self._rows):
            inner = row.pop(end, None)
            if type(inner) is dict:
                for part, value in inner.items():
                    name = names.get(part)
                    if name is None:
                        self._extra.setdefault(number, {}).setdefault(end, {})[part] = value
                    elif row.setdefault(name, value) != value:
                        self._verdicts.reject(number, RejectCode.WRONG_TYPE, f"{end}.{part} and {name} differ")
            elif inner is not None:
                told = f"{end}: {quoted(inner)} is not an object"
                self._verdicts.reject(number, RejectCode.WRONG_TYPE, told)

    def _keep_unknown(self, rows: list[Record], unknown: set[str]) -> None:
        for number, row in enumerate(rows, self._rows):
            kept = {name: row[name] for name in unknown if row.get(name) is not None}
            if kept:
                self._extra.setdefault(number, {}).update(kept)


def _by_field(rows: list[Record], names: list[str]) -> Iterable[Iterable[Any]]:
    """The values of each name over the rows, None where a row has none."""
    if len(names) > 1:
        try:
            return list(zip(*map(itemgetter(*names), rows), strict=True))
        except KeyError:  # not every record has every field: the slower way
            pass
    return [[row.get(name) for row in rows] for name in names]


def _values(lines: list[bytes]) -> list[Any]:
    """Each line's value, or the exception that it is."""
    values: list[Any] = []
    left = iter(lines)
    while True:
        try:
            # What was decoded before a bad line stays in the list, and the iterator stands behind that line.
            values.extend(map(_decode, left))
            return values
        except (ValueError, RecursionError) as error:
            values.append(_second_opinion(lines[len(values)], error))


def _second_opinion(line: bytes, error: Exception) -> Any:
    """What the fast reader refuses although it is JSON: whole numbers of any length."""
    if not isinstance(error, msgspec.ValidationError) or len(line) > LONGEST:
        return error
    try:
        return json.loads(line, parse_float=_number, parse_int=_number)
    except (ValueError, RecursionError) as second:
        return second


def _fault(value: Any, line: bytes) -> tuple[RejectCode, str] | None:
    if isinstance(value, Exception):
        if not line.strip():
            return None
        what = "nested too deep" if isinstance(value, RecursionError) else str(value)
        return RejectCode.NOT_JSON, f"not JSON: {what}"
    return RejectCode.NOT_AN_OBJECT, f"not an object but {quoted(value)}"


def column(name: str, values: list[Any], verdicts: Verdicts) -> pl.Series:
    """A field's JSON values as a series; of another type than the field's, they are defects."""
    kind = FIELDS[name]
    if kind is Kind.LIST:
        values = [_banks(row, name, value, verdicts) for row, value in enumerate(values)]
    elif kind is Kind.MONEY:
        values = [value if type(value) is str or value is None else _plain(value) for value in values]
    elif kind is Kind.INTEGER or kind is Kind.FLAG:
        values = [value if type(value) is str or value is None else _small(value) for value in values]
    try:
        return pl.Series(name, values, dtype=pl.String, strict=True)
    except TypeError:
        return pl.Series(name, [_text(row, name, value, verdicts) for row, value in enumerate(values)], dtype=pl.String)


def _text(row: int, name: str, value: Any, verdicts: Verdicts) -> str | None:
    if value is None or type(value) is str:
        return value
    wanted = {Kind.MONEY: "decimal text or a number", Kind.INTEGER: "a whole number", Kind.FLAG: "true or false"}
    what = f"is not {wanted.get(FIELDS[name], 'a text')}"
    verdicts.defect(row, name, value, RejectCode.WRONG_TYPE, what)
    return None


def _plain(value: Any) -> Any:
    """A JSON number's decimal text; other types stay what they are."""
    return str(value) if type(value) is int or type(value) is Decimal else value


def _small(value: Any) -> Any:
    """The text of a whole number or of true and false; other types stay what they are."""
    if type(value) is bool:
        return "true" if value else "false"
    return str(value) if type(value) is int else value


def _banks(row: int, name: str, value: Any, verdicts: Verdicts) -> str | None:
    """Intermediaries as canonical JSON text, or a warning."""
    if value is None:
        return None
    if isinstance(value, list) and len(value) <= _BANKS and all(_bank(one) for one in value):
        named = [{part: text for part, text in one.items() if text} for one in value]
        return encode(named).decode() if named else None
    verdicts.warn(row, name, value)
    return None


def _bank(value: Any) -> bool:
    texts = isinstance(value, dict) and all(isinstance(text, str | None) for text in value.values())
    return texts and value.keys() <= {"institution", "country"}


def banks_of_text(texts: Sequence[str | list[Record] | None], verdicts: Verdicts) -> list[str | None]:
    """Intermediaries that came as JSON text or as lists in a column, as canonical JSON text."""
    found: list[str | None] = []
    for row, text in enumerate(texts):
        try:
            value = _decode(text) if isinstance(text, str) else text
        except (ValueError, RecursionError):
            value = text
        found.append(_banks(row, "intermediaries", value, verdicts))
    return found


def _no_nul(raw: Raw) -> None:
    """No text of a payment holds the character NUL: databases refuse it."""
    for name, values in zip(raw.frame.columns, raw.frame, strict=True):
        if values.dtype == pl.String:
            found = values.str.contains("\0", literal=True).fill_null(False)
            for row in found.arg_true():
                raw.verdicts.reject(row, RejectCode.WRONG_TYPE, f"{name}: holds the character NUL")
