"""CSV to columns of text: quotes, blank lines, odd rows and encodings seen to; every row keeps its line and bytes."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

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
    quoted = b'"' in b"".join(block.lines)
    # Lines that are no text in the encoding go first, so that what is left can be read at once.
    texts, places = _decoded(block, sheet, source.name, encoding)
    if quoted:
        _read_quoted(texts, places, block, sheet, source.name, names, delimiter)
    else:
        _read_plain(texts, places, block, sheet, source.name, names, delimiter)
    return sheet


def _decoded(block: Block, sheet: Sheet, name: str, encoding: str) -> tuple[list[str], list[int]]:
    """Texts of the lines that are not blank, and their indices in the block."""
    places = [number for number, line in enumerate(block.lines) if line.strip()]
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


def _read_plain(
    texts: list[str], places: list[int], block: Block, sheet: Sheet, name: str, names: list[str], delimiter: str
) -> None:
    """Rows without any quote: a line is a row, and its delimiters count its cells."""
    wanted = len(names) - 1
    counts = [text.count(delimiter) for text in texts]
    if counts.count(wanted) != len(counts):
        for text_number, count in enumerate(counts):
            if count != wanted:
                number = places[text_number]
                sheet.failed.append(_misshapen(block.lines[number], name, block.first + number, count + 1, wanted + 1))
        kept = [number for number, count in enumerate(counts) if count == wanted]
        texts, places = [texts[number] for number in kept], [places[number] for number in kept]
    sheet.lines = [block.lines[number] for number in places]
    sheet.place = pl.Series("place", places, dtype=pl.Int64) + block.first
    schema = dict.fromkeys(names, pl.String)
    if not texts:
        sheet.frame = pl.DataFrame(schema=schema)
        return
    data = "\n".join(texts).replace("\r", "").encode() + b"\n"
    sheet.frame = pl.read_csv(
        data, has_header=False, schema=schema, separator=delimiter, quote_char=None, truncate_ragged_lines=False
    )
    assert sheet.frame.height == len(places)


def _read_quoted(
    texts: list[str], places: list[int], block: Block, sheet: Sheet, name: str, names: list[str], delimiter: str
) -> None:
    """Rows with quotes; a record that a stray quote would stretch is refused alone, its first line only."""
    rows: list[list[str]] = []
    begun: list[int] = []
    start = 0
    while start < len(texts):
        reader = csv.reader((text + "\n" for text in texts[start:]), delimiter=delimiter)
        base = start
        try:
            for row in reader:
                used = base + reader.line_num - start
                if len(row) == len(names) and used <= _SPAN:
                    number = places[start]
                    rows.append([cell.rstrip("\r\n") if last else cell for cell, last in _marked(row)])
                    begun.append(number)
                    sheet.lines.append(b"\n".join(block.lines[number : places[start + used - 1] + 1]))
                    start += used
                else:
                    raise _StrayQuote(len(row))
        except (_StrayQuote, csv.Error) as error:
            cells = error.cells if isinstance(error, _StrayQuote) else 0
            number = places[start]
            sheet.failed.append(_misshapen(block.lines[number], name, block.first + number, cells, len(names)))
            start += 1
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())
    sheet.frame = pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String))
    sheet.place = pl.Series("place", begun, dtype=pl.Int64) + block.first


def _marked(row: list[str]) -> Iterator[tuple[str, bool]]:
    last = len(row) - 1
    return ((cell, place == last) for place, cell in enumerate(row))


class _StrayQuote(Exception):
    """A row of another number of cells than the header's."""

    def __init__(self, cells: int) -> None:
        super().__init__(cells)
        self.cells = cells


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
