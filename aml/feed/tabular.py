"""CSV to columns of text: quotes, blank lines, odd rows and encodings seen to; every row keeps its line and bytes."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.domain.errors import AmlError
from aml.domain.transaction import RejectCode
from aml.feed.fields import FIELDS, REQUIRED, Kind
from aml.feed.formats import Source
from aml.feed.lines import Block, blocks
from aml.feed.mapping import Mapping
from aml.feed.raw import Reject

_DELIMITERS: Final = (",", ";", "\t", "|")
_SPAN: Final = 100  # lines that one quoted record may take
_LOOKED: Final = 1_000  # first amounts that are looked at for their decimal mark
_COMMA: Final = r"^\s*[+-]?[\d.' ]*\d,\d+\s*$"


@dataclass(slots=True)
class Sheet:
    """Rows of a table: columns of text under their own names, line and bytes of each row, rows that are none."""

    frame: pl.DataFrame
    place: pl.Series
    lines: list[bytes]
    failed: list[Reject] = field(default_factory=list)
    done: int = 0


def header_of(head: bytes, mapping: Mapping, shown: str, known: set[str]) -> tuple[list[str], str]:
    """The column names of a CSV and its delimiter, from its first bytes."""
    line = next((line for line in head.splitlines() if line.strip()), b"")
    try:
        text = line.decode(mapping.encoding)
    except UnicodeDecodeError as error:
        told = f"the header is not {mapping.encoding} text: name the encoding in a mapping"
        raise AmlError(f"{shown}:1: {told}") from error
    if mapping.delimiter is not None:
        return _cells(text, mapping.delimiter), mapping.delimiter
    wanted = known | FIELDS.keys() | set(mapping.wanted())
    split = {mark: _cells(text, mark) for mark in _DELIMITERS}
    best = max(_DELIMITERS, key=lambda mark: (len(wanted & set(split[mark])), len(split[mark])))
    return split[best], best


def _cells(text: str, mark: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([text.rstrip("\r")], delimiter=mark), [])]


def check_header(names: list[str], mapping: Mapping, shown: str) -> None:
    """Whether the columns can become transactions. Raises AmlError that names the column and the mend."""
    for name in names:
        if names.count(name) > 1:
            raise AmlError(f"{shown}:1: two columns are named {name!r}: rename one")
    for name in mapping.wanted():
        if name not in names:
            raise AmlError(f"{mapping.path}: columns: {shown} has no column {name!r}; it has {', '.join(names)}")
    ours = {*names, *mapping.columns, *mapping.constants}
    if mapping.ids == "content":
        ours.add("transaction_id")
    for name in REQUIRED:
        if name not in ours:
            raise AmlError(f"{shown}:1: no column {name}: name it in a mapping (--mapping); found {', '.join(names)}")


def sheets(source: Source, names: list[str], delimiter: str, encoding: str, size: int) -> Iterator[Sheet]:
    """The rows after the header, about `size` at a time."""
    held: list[bytes] = []
    first, header, number = 1, True, 0
    for block in blocks(source, size):
        lines, first = held + block.lines, block.first - len(held)
        if header:
            skip = next((i for i, line in enumerate(lines) if line.strip()), None)
            if skip is None:
                continue
            lines, first, header = lines[skip + 1 :], first + skip + 1, False
        whole = _whole(lines)
        held = lines[whole:]
        yield _sheet(Block(first, lines[:whole], block.done), source, names, delimiter, encoding)
        number = first + whole
    if held:
        yield _sheet(Block(number, held, source.done()), source, names, delimiter, encoding)


def _whole(lines: list[bytes]) -> int:
    """How many lines end no record in the middle: after the rest a quote may still be open."""
    near = max(0, len(lines) - 2 * _SPAN)
    before = b"\n".join(lines[:near]).count(b'"')
    counts = list(accumulate((line.count(b'"') for line in lines[near:]), initial=before))
    if counts[-1] % 2 == 0:
        return len(lines)
    even = [number for number, count in enumerate(counts) if count % 2 == 0]
    return near + even[-1] if even else len(lines)


def _sheet(block: Block, source: Source, names: list[str], delimiter: str, encoding: str) -> Sheet:
    sheet = Sheet(pl.DataFrame(), pl.Series("place", [], dtype=pl.Int64), [], done=block.done)
    # Lines that are no text in the encoding go first, so that what is left can be read at once.
    quoted = b'"' in block.data
    texts, places = _decoded(block, sheet, source.name, encoding, blank=quoted)
    rows = _Rows(block, names, delimiter)
    plain = _plain(texts, names, delimiter)
    odd = [number for number in np.flatnonzero(~plain).tolist() if texts[number].strip()]
    if odd:
        _read_odd(texts, places, odd, plain, rows, sheet, source.name)
    rows.take_plain(texts, places, plain)
    sheet.frame, sheet.place, sheet.lines = rows.frame()
    return sheet


def _decoded(
    block: Block, sheet: Sheet, name: str, encoding: str, *, blank: bool
) -> tuple[list[str], list[int]]:  # fmt: skip
    """Texts of the lines and their indices in the block; blank ones only where they may be part of a quoted cell."""
    places = [number for number, line in enumerate(block.lines) if blank or line.strip()]
    lines = block.lines if len(places) == len(block.lines) else [block.lines[number] for number in places]
    try:
        texts = b"\n".join(lines).decode(encoding).split("\n")
        if len(texts) == len(lines):
            return texts, places
    except UnicodeDecodeError:
        pass  # line by line, to find which
    good, kept = [], []
    for number, line in zip(places, lines, strict=True):
        try:
            good.append(line.decode(encoding))
            kept.append(number)
        except UnicodeDecodeError:
            told = f"not {encoding} text: name the encoding in a mapping"
            sheet.failed.append(Reject(RejectCode.NOT_AN_OBJECT, name, block.first + number, told, line))
    return (good, kept) if lines else ([], [])


def _plain(texts: list[str], names: list[str], delimiter: str) -> npt.NDArray[np.bool_]:
    """Lines that are a row each: as many cells as the header, a quoted one without quotes inside."""
    wanted = len(names) - 1
    if '"' not in "".join(texts):
        counts = np.fromiter((text.count(delimiter) for text in texts), np.int64, len(texts))
        return np.asarray(counts == wanted)
    mark = re.escape(delimiter)
    cell = rf'(?:[^"{mark}\r]*|"[^"]*")'
    return pl.Series(texts).str.contains(rf"^{cell}(?:{mark}{cell}){{{wanted}}}\r?$").to_numpy()


class _Rows:
    """The rows of a block: those of plain lines read at once, those of odd lines one by one."""

    def __init__(self, block: Block, names: list[str], delimiter: str) -> None:
        self.block, self.names, self.delimiter = block, names, delimiter
        self._odd: list[list[str]] = []
        self._odd_lines: dict[int, bytes] = {}  # index in the block -> the record's own bytes

    def take_odd(self, cells: list[str], number: int, lines: bytes) -> None:
        """One record that began at line `number` of the block."""
        self._odd.append(cells)
        self._odd_lines[number] = lines

    def take_plain(self, texts: list[str], places: list[int], plain: npt.NDArray[np.bool_]) -> None:
        """The lines that are plain rows."""
        schema = dict.fromkeys(self.names, pl.String)
        self._schema = schema
        self._frame = pl.DataFrame(schema=schema)
        if plain.all():
            self._numbers = places
        else:
            texts = [text for text, good in zip(texts, plain.tolist(), strict=True) if good]
            self._numbers = [number for number, good in zip(places, plain.tolist(), strict=True) if good]
        if texts:
            data = "\n".join(texts).replace("\r", "").encode() + b"\n"
            quote = '"' if b'"' in data else None
            self._frame = pl.read_csv(
                data, has_header=False, schema=schema, separator=self.delimiter, quote_char=quote,
                truncate_ragged_lines=False,
            )  # fmt: skip
        assert self._frame.height == len(texts)

    def frame(self) -> tuple[pl.DataFrame, pl.Series, list[bytes]]:
        """All rows in the order of the file, the line of each, and its own bytes."""
        lines = self.block.lines
        if not self._odd:
            place = pl.Series("place", self._numbers, dtype=pl.Int64) + self.block.first
            whole = len(self._numbers) == len(lines)
            return self._frame, place, lines if whole else [lines[number] for number in self._numbers]
        odd = pl.DataFrame(dict(zip(self.names, zip(*self._odd, strict=True), strict=True)), schema=self._schema)
        numbers = np.array([*self._numbers, *self._odd_lines], np.int64)
        order = np.argsort(numbers, kind="stable")
        frame = pl.concat([self._frame, odd])[order]
        own = [self._odd_lines.get(number, lines[number]) for number in numbers[order].tolist()]
        return frame, pl.Series("place", numbers[order]) + self.block.first, own


def _read_odd(
    texts: list[str], places: list[int], odd: list[int], plain: npt.NDArray[np.bool_], rows: _Rows, sheet: Sheet,
    name: str,
) -> None:  # fmt: skip
    """Records that begin at odd lines; lines within one are no rows of their own.

    A record that a stray quote would stretch is refused alone, its first line only.
    """
    done = 0
    for start in odd:
        if start < done:
            continue
        cells, used = _one_record(texts, start, rows.delimiter)
        number = places[start]
        if cells is not None and len(cells) == len(rows.names):
            own = b"\n".join(rows.block.lines[number : places[start + used - 1] + 1])
            rows.take_odd(cells, number, own)
            done = start + used
            plain[start:done] = False
        else:
            found = len(cells) if cells is not None and used == 1 else texts[start].count(rows.delimiter) + 1
            line = rows.block.lines[number]
            sheet.failed.append(_misshapen(line, name, rows.block.first + number, found, len(rows.names)))


def _one_record(texts: list[str], start: int, delimiter: str) -> tuple[list[str] | None, int]:
    """The cells of the record that begins here and how many lines it takes; None where there is none."""
    reader = csv.reader((text + "\n" for text in texts[start : start + _SPAN]), delimiter=delimiter)
    try:
        return next(reader), reader.line_num
    except (StopIteration, csv.Error):
        return None, 1


def _misshapen(line: bytes, name: str, place: int, cells: int, wanted: int) -> Reject:
    told = f"not a row: {cells} cells, the header has {wanted}"
    return Reject(RejectCode.NOT_AN_OBJECT, name, place, told, line)


def check_decimals(frame: pl.DataFrame, place: pl.Series, mapping: Mapping, shown: str) -> None:
    """Refuse a file whose first amounts have decimal commas that its mapping does not name. Raises AmlError."""
    if mapping.names_decimal:
        return
    for name, kind in frame.schema.items():
        if FIELDS.get(name) is not Kind.MONEY or kind != pl.String:
            continue
        column = frame.get_column(name).head(_LOOKED)
        commas = column.str.contains(_COMMA).fill_null(False)
        if commas.any() and not column.str.contains(r"^\s*[+-]?\d+\.\d+\s*$").fill_null(False).any():
            row = commas.arg_true()[0]
            theirs = " + ".join(mapping.columns.get(name, (name,)))
            raise AmlError(
                f"{shown}:{place[row]}: column {theirs}: {column[row]!r} has a decimal comma: "
                'set decimal = "," in a mapping (--mapping)'
            )
