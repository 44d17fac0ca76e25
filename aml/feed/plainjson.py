"""Plain JSON lines to columns without an object per value; whatever is not plain is left to the patient reader.

A line is plain if it is one object whose fields are all known, none twice, each a text without escapes, a number or
truth value where the field may be one, or null; `originator` and `beneficiary` may be objects of such fields. That is
told by one regular expression a line, and by as many cells in the columns as the line has values: nothing that the
patient reader would refuse, warn of or keep as extra passes here unseen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.domain.transaction import ENDS
from aml.feed.fields import END_FIELDS, FIELDS, Kind
from aml.feed.lines import Block

_BLANK: Final = r"[ \t\r]*"
_TEXT: Final = r'"[^"\\\x00-\x1f]*"'
_PAIR: Final = rf"{_TEXT}{_BLANK}:{_BLANK}{_TEXT}"
_PAIRS: Final = rf"{_PAIR}(?:{_BLANK},{_BLANK}{_PAIR})*"
_END: Final = rf'"(?:{"|".join(ENDS)})"{_BLANK}:{_BLANK}\{{'
_MEMBER: Final = rf"(?:{_PAIR}|{_END}{_BLANK}(?:{_PAIRS})?{_BLANK}\}})"
_PLAIN: Final = rf"^{_BLANK}\{{{_BLANK}{_MEMBER}(?:{_BLANK},{_BLANK}{_MEMBER})*{_BLANK}\}}{_BLANK}$"


_NUMBER: Final = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"


def _bare(kinds: tuple[Kind, ...], value: str, known: Iterable[str]) -> str | None:
    """Known fields of these kinds with a value that is no text: key, value, what follows. None if there are none."""
    names = {name for name in known if FIELDS[name] in kinds}
    names |= {name.removeprefix(f"{end}_") for name in names for end in ENDS}
    return rf'("(?:{"|".join(sorted(names))})"{_BLANK}:{_BLANK})({value})({_BLANK}[,}}])' if names else None


# Null as a text that no line holds, so that it is counted like any value.
_NULL: Final = "\ue000"
_DIGIT, _TRUTH = (rf":{_BLANK}(?:{sign})" for sign in ("[-0-9]", "true|false"))
_SEPARATOR: Final = "\x01"  # in no plain line
_WORTH: Final = 0.2  # share of plain lines in a block from which looking for them pays
_PAUSE: Final = 15
_FEW: Final = 1 << 10  # lines that are cut quicker one by one
Mask = npt.NDArray[np.bool_]


class PlainReader:
    """Reads the plain lines of one feed; it learns which fields the feed has."""

    def __init__(self) -> None:
        self._names = {name for name, kind in FIELDS.items() if kind is not Kind.LIST}
        self._learnt = False
        self._nested = False  # whether ends were seen that are objects
        self._pause = 0  # blocks left to the patient reader, because hardly a line of the last was plain

    def expect(self, names: Sequence[str]) -> None:
        """Fields of lines that were not plain: others may have them too."""
        self._names.update(name for name in names if FIELDS[name] is not Kind.LIST)

    def read(self, block: Block) -> tuple[pl.DataFrame, Mask]:
        """The plain lines as text columns by our flat names, and which lines they are."""
        if self._pause:
            self._pause -= 1
            return pl.DataFrame(), np.zeros(len(block), np.bool_)
        frame, found = self._read(block)
        if np.count_nonzero(found) < _WORTH * found.size:
            self._pause = _PAUSE
        return frame, found

    def _read(self, block: Block) -> tuple[pl.DataFrame, Mask]:
        nothing = pl.DataFrame(), np.zeros(len(block), np.bool_)
        texts = _texts(block)
        if texts is None:
            return nothing
        plain = texts.str.contains(_PLAIN).fill_null(False)
        nulls, data = False, block.data
        if not plain.all():
            texts, nulls = self._as_texts(texts, ~plain)
            plain = texts.str.contains(_PLAIN).fill_null(False)
            if not plain.any():
                return nothing
            texts = texts if plain.all() else texts.filter(plain)
            data = texts.str.join("\n").item().encode()
        quotes = texts.str.count_matches('"', literal=True)
        frame, values = self._parsed(data, texts, self._nested)
        whole = (quotes == values).to_numpy()
        if not self._nested and not whole.all() and texts.filter(~whole).str.contains(_END).any():
            self._nested = True
            frame, values = self._parsed(data, texts, True)
            whole = (quotes == values).to_numpy()
        found = plain.to_numpy().copy()
        if not whole.all():
            found[np.flatnonzero(found)[~whole]] = False
            frame = frame.filter(pl.Series(whole))
        if nulls:
            frame = frame.select(
                pl.when(pl.col(name) != _NULL).then(pl.col(name)).alias(name) for name in frame.columns
            )
        present = [column.name for column in frame if column.null_count() < frame.height]
        if not self._learnt and frame.height:
            self._names, self._learnt = set(present), True
        return frame.select(present), found

    def _as_texts(self, texts: pl.Series, odd: pl.Series) -> tuple[pl.Series, bool]:
        """Numbers, truth values, nulls of odd lines put into quotes where they may stand; whether there were nulls."""
        rows = odd.arg_true()
        found = texts if len(rows) == len(texts) else texts.gather(rows)
        numbers = _bare((Kind.MONEY, Kind.INTEGER, Kind.FLAG), _NUMBER, self._names)
        truths = _bare((Kind.FLAG,), "true|false", self._names)
        for sign, bare in ((_DIGIT, numbers), (_TRUTH, truths)):
            if bare is not None and found.str.contains(sign).any():
                found = found.str.replace_all(bare, '${1}"${2}"${3}')
        nulls = False
        for bare in (":null", ": null"):
            # Within a text the added quotes spoil the line, and the patient reader gets it as it was.
            if found.str.contains(bare, literal=True).any():
                found, nulls = found.str.replace_all(bare, f':"{_NULL}"', literal=True), True
        return (found if len(rows) == len(texts) else texts.scatter(rows, found)), nulls

    def _parsed(self, data: bytes, lines: pl.Series, nested: bool) -> tuple[pl.DataFrame, pl.Series]:
        """Columns by our flat names, and how many quotes each line has if its values are all in them."""
        schema: dict[str, pl.DataType] = {name: pl.String() for name in FIELDS if name in self._names}
        if nested:
            schema |= {end: pl.Struct(dict.fromkeys(END_FIELDS, pl.String())) for end in ENDS}
        # An end that is a text becomes no cell, and its line none that is whole.
        frame = pl.read_ndjson(data, schema=schema, ignore_errors=True)
        assert frame.height == len(lines)
        if not nested:
            return frame, 4 * _cells(frame)
        quotes = 2 * lines.str.count_matches(_END)
        for end in ENDS:
            inner = frame.get_column(end).struct.unnest()
            inner = inner.rename({part: f"{end}_{part}" for part in inner.columns})
            frame = _joined(frame.drop(end), inner)
        return frame, quotes + 4 * _cells(frame)


def _texts(block: Block) -> pl.Series | None:
    """The lines as texts, null where one is none or blank; None where nothing can be told from them."""
    data = block.data
    if _NULL.encode() in data:
        return None
    if len(block) > _FEW and _SEPARATOR.encode() not in data and not data.startswith(b"\xef\xbb\xbf"):
        # The quickest way to cut a text into lines: a table of one column.
        lines = {"line": pl.String}
        try:
            table = pl.read_csv(data, has_header=False, schema=lines, separator=_SEPARATOR, quote_char=None)
        except pl.exceptions.ComputeError:
            table = pl.DataFrame(schema=lines)  # some line is no text: below it is found which
        if table.height == len(block):
            return table.to_series()
    return pl.Series([_text(line) for line in block.lines], dtype=pl.String)


def _text(line: bytes) -> str | None:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return None


def _joined(frame: pl.DataFrame, inner: pl.DataFrame) -> pl.DataFrame:
    """Both spellings of an end's fields in one; of a value in both spellings one cell is left, so the line is odd."""
    both = [name for name in inner.columns if name in frame.columns]
    merged = [frame.get_column(name).fill_null(inner.get_column(name)) for name in both]
    return frame.with_columns(merged).hstack(inner.drop(both))


def _cells(frame: pl.DataFrame) -> pl.Series:
    """How many cells of each row hold something."""
    return frame.select(pl.sum_horizontal(pl.all().is_not_null().cast(pl.UInt32))).to_series()
