"""The own bytes of records, fetched again by their places: for what was refused long after it was read."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from aml.feed import columnar, public, tabular
from aml.feed.formats import STDIN, Format, Source, open_source
from aml.feed.lines import blocks
from aml.feed.mapping import PLAIN, Mapping
from aml.feed.read import KNOWN

_SIZE: Final = 1 << 16


def originals(path: str, places: Collection[int], mapping: Mapping | None = None) -> dict[int, bytes]:
    """The records at these rows or lines (from 1), as they stand in the file; of standard input none.

    Raises AmlError where the file cannot be read.
    """
    if path == STDIN or not places:
        return {}
    wanted = sorted(set(places))
    found: dict[int, bytes] = {}
    source = open_source(path)
    try:
        for place, original in _all(source, mapping, wanted):
            found[place] = original
            if len(found) == len(wanted):
                break
    finally:
        source.close()
    return found


def _all(source: Source, mapping: Mapping | None, wanted: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    match source.format:
        case Format.NDJSON:
            for block in blocks(source, _SIZE):
                for place in _between(wanted, block.first, len(block.lines)):
                    yield place, block.lines[place - block.first]
        case Format.CSV:
            names, delimiter = tabular.header_of(source.head, mapping or PLAIN, source.shown, KNOWN)
            names = public.column_names(names)
            for sheet in tabular.sheets(source, names, delimiter, (mapping or PLAIN).encoding, _SIZE):
                lines = dict(zip(sheet.place.to_list(), sheet.lines, strict=True))
                yield from ((place, lines[place]) for place in wanted if place in lines)
        case Format.PARQUET:
            yield from _rows(Path(source.shown), wanted)
        case Format.EMPTY:
            return


def _rows(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    for first, part in columnar.frames(path, _SIZE):
        for place in _between(wanted, first + 1, part.height):
            yield place, columnar.row_bytes(part, place - first - 1)


def _between(places: Sequence[int], first: int, number: int) -> Sequence[int]:
    return places[bisect_left(places, first) : bisect_left(places, first + number)]
