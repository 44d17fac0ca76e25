"""Plain JSON lines to columns without an object per value; whatever is not plain is left to the patient reader.

Nothing that the patient reader would refuse, warn of or keep as extra passes here unseen: `cells` says what is plain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.domain.transaction import ENDS
from aml.feed.cells import DECIMAL, NONE, SEPARATOR, TEXT, TRUTH, WHOLE, Keys, find_cells, write_rows
from aml.feed.fields import END_FIELDS, FIELDS, Kind
from aml.feed.lines import Block

_BARE: Final = {Kind.MONEY: WHOLE | DECIMAL, Kind.INTEGER: WHOLE, Kind.FLAG: WHOLE | TRUTH}
_CELL: Final = np.dtype([("first", np.int64), ("size", np.int32), ("field", np.int32)])
_LEAST: Final = 4  # bytes of a member of an object
Mask = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Plain:
    """The plain lines of a block as text columns by our flat names, and which lines they are.

    padded: the columns in which blanks may stand around a text.
    """

    frame: pl.DataFrame
    lines: Mask
    padded: frozenset[str]


def read_plain(block: Block) -> Plain:
    """Read the plain lines of a block; a column in which they hold nothing is left out."""
    data = np.frombuffer(block.data + b"\n", np.uint8)
    cells, counts = np.empty(data.size // _LEAST, _CELL), np.empty(len(block), np.int32)
    follows, seen = np.zeros(_KEYS[2].size + 1, np.int32), np.zeros(len(FIELDS) + len(ENDS), np.int32)
    padded = np.zeros(len(FIELDS), np.bool_)
    cells = cells[: find_cells(data, _KEYS, follows, seen, cells, counts, padded)]
    plain = (counts != NONE) & _are_texts(block)
    held = np.bincount(cells["field"], minlength=len(FIELDS)) > 0
    names = [name for name, some in zip(FIELDS, held.tolist(), strict=True) if some]
    room = np.empty(len(names), np.int64)
    out = np.empty(int(cells["size"].sum()) + plain.size * (len(names) + 1), np.uint8)
    size = write_rows(data, cells, counts, plain, np.cumsum(held) - 1, room, out)
    frame = _table(out[:size], names, int(np.count_nonzero(plain)))
    return Plain(frame, plain, frozenset(np.array(list(FIELDS))[padded].tolist()))


def _table(rows: npt.NDArray[np.uint8], names: list[str], height: int) -> pl.DataFrame:
    """The columns of rows, each of which begins with a separator: so none is blank, and nothing stands for a mark."""
    if not names or not height:
        return pl.DataFrame(height=height)
    schema = dict.fromkeys(["", *names], pl.String)
    sign = chr(SEPARATOR)
    frame = pl.read_csv(rows.tobytes(), has_header=False, schema=schema, separator=sign, quote_char=None)
    frame.drop_in_place("")
    assert frame.height == height
    return frame


def _are_texts(block: Block) -> Mask:
    """Which lines are UTF-8."""
    if block.data.isascii() or _is_text(block.data):
        return np.ones(len(block), np.bool_)
    return np.array([_is_text(line) for line in block.lines], np.bool_)


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _keys() -> Keys:
    """All known keys: the fields by their flat names, the ends, and within each end its fields."""
    number = {name: place for place, name in enumerate(FIELDS)}
    takes = {name: _BARE.get(kind, 0) | (TEXT if kind is not Kind.LIST else 0) for name, kind in FIELDS.items()}
    found = [(name, 0, number[name], takes[name], 0) for name in FIELDS]
    for group, end in enumerate(ENDS, 1):
        found.append((end, 0, len(FIELDS) + group - 1, 0, group))
        found += [(part, group, number[f"{end}_{part}"], takes[f"{end}_{part}"], 0) for part in END_FIELDS]
    names, *columns = zip(*found, strict=True)
    bounds = np.cumsum([0, *map(len, names)], dtype=np.int32)
    groups, fields, bits, opens = (np.array(column, np.int32) for column in columns)
    return np.frombuffer("".join(names).encode(), np.uint8), bounds, groups, fields, bits, opens


_KEYS: Final = _keys()
