"""Compiled: where the values of plain JSON lines stand, and the same values written out as rows of columns.

A line is plain if it is one object whose fields are all known, none twice, each a text without escapes, a number or
truth value as its field may be, or null; an end may be an object of such fields. Whether its bytes are UTF-8 is not
looked at here.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

TEXT, WHOLE, DECIMAL, TRUTH = 1, 2, 4, 8  # bits: what a field may hold besides null
SEPARATOR: Final = 1  # a sign that no plain line holds
NONE: Final = -1
_END: Final = 10  # of a line
_NULL, _NOTHING = 0, 16
_DIGITS, _DECIMALS = 18, 6  # of numbers that are taken
_QUOTE, _COLON, _COMMA, _OPEN, _CLOSE, _ESCAPE = (ord(sign) for sign in '":,{}\\')
_MINUS, _POINT, _ZERO, _NINE, _N, _T, _F = (ord(sign) for sign in "-.09ntf")
_I32 = npt.NDArray[np.int32]
Keys = tuple[npt.NDArray[np.uint8], _I32, _I32, _I32, _I32, _I32]
"""The names of keys, one after another, and their bounds [keys + 1]; then, [keys] each: the group in which it is known,
0 for a line's own members; the field that it names; what it takes; the group of its object's members, 0 for none."""
kernel = njit(cache=True, nogil=True, error_model="numpy", _nrt=False)  # type: ignore[call-overload]
inner = njit(nogil=True, error_model="numpy", _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]


@inner
def _after_blanks(data: np.ndarray, at: int) -> int:
    # All reading stops at the line's end at the latest.
    while data[at] == 32 or data[at] == 9 or data[at] == 13:
        at += 1
    return at


@inner
def _text_end(data: np.ndarray, at: int) -> int:
    """The closing quote of the text that begins here; NONE for one with escapes, or without end."""
    while data[at] != _QUOTE:
        if data[at] < 32 or data[at] == _ESCAPE:
            return NONE
        at += 1
    return at


@inner
def _digits_end(data: np.ndarray, at: int) -> int:
    while _ZERO <= data[at] <= _NINE:
        at += 1
    return at


@inner
def _number(data: np.ndarray, at: int) -> tuple[int, int]:
    """What number stands here, and what follows it. One that has another text once it is read is none: 1e3, -0."""
    first = at + (data[at] == _MINUS)
    end = _digits_end(data, first)
    if end == first or end - first > _DIGITS or (data[first] == _ZERO and end > first + 1):
        return _NOTHING, end
    if data[end] != _POINT:
        return (_NOTHING if data[first] == _ZERO and first > at else WHOLE), end
    last = _digits_end(data, end + 1)
    return (DECIMAL if 0 < last - end - 1 <= _DECIMALS else _NOTHING), last


@inner
def _word_end(data: np.ndarray, at: int, word: bytes) -> int:
    for k in range(len(word)):
        if data[at + k] != word[k]:
            return NONE
    return at + len(word)


@inner
def _value(data: np.ndarray, at: int) -> tuple[int, int]:
    """What stands here, and what follows it: of a text, its closing quote."""
    if data[at] == _QUOTE:
        kind, end = TEXT, _text_end(data, at + 1)
    elif data[at] == _N:
        kind, end = _NULL, _word_end(data, at, b"null")
    elif data[at] == _T:
        kind, end = TRUTH, _word_end(data, at, b"true")
    elif data[at] == _F:
        kind, end = TRUTH, _word_end(data, at, b"false")
    else:
        kind, end = _number(data, at)
    return (kind if end != NONE else _NOTHING), end


@inner
def _is_key(data: np.ndarray, at: int, end: int, group: int, keys: Keys, key: int) -> bool:
    names, bounds, groups = keys[0], keys[1], keys[2]
    first, size, k = bounds[key], end - at, 0
    same = bool(groups[key] == group) and bool(bounds[key + 1] - first == size)
    while same and k < size:
        same = bool(data[at + k] == names[first + k])
        k += 1
    return same


@inner
def _key(data: np.ndarray, at: int, end: int, group: int, keys: Keys, likely: int) -> int:
    """Which key of the group this is; NONE for one that is not known."""
    if _is_key(data, at, end, group, keys, likely):
        return likely
    for key in range(keys[2].size):
        if _is_key(data, at, end, group, keys, key):
            return key
    return NONE


@inner
def _padded(data: np.ndarray, first: int, end: int) -> bool:
    """Whether blanks may stand around a text: some are of several bytes."""
    return end > first and not (32 < data[first] < 128 and 32 < data[end - 1] < 128)


@inner
def _read_line(
    data: np.ndarray, at: int, number: int, keys: Keys, follows: np.ndarray, seen: np.ndarray,
    cells: np.ndarray, used: int, padded: np.ndarray,
) -> tuple[int, int]:  # fmt: skip
    """How many cells are used after the line that begins here, NONE where it is not plain; and how far was read."""
    fields, takes, opens = keys[3], keys[4], keys[5]
    group, key = 0, opens.size
    at = _after_blanks(data, at)
    if data[at] != _OPEN:
        return NONE, at
    while True:  # a brace or a comma stands here, and a member has to follow
        at = _after_blanks(data, at + 1)
        end = _text_end(data, at + 1) if data[at] == _QUOTE else NONE
        if end == NONE:
            return NONE, at
        before = key
        key = _key(data, at + 1, end, group, keys, follows[before])
        if key == NONE or seen[fields[key]] == number:
            return NONE, at
        seen[fields[key]], follows[before] = number, key
        at = _after_blanks(data, end + 1)
        if data[at] != _COLON:
            return NONE, at
        at = _after_blanks(data, at + 1)
        if data[at] == _OPEN and opens[key]:
            group = opens[key]
            first = _after_blanks(data, at + 1)
            if data[first] != _CLOSE:
                continue
            at = first
        else:
            kind, end = _value(data, at)
            if kind | takes[key] != takes[key]:
                return NONE, at
            if kind != _NULL:
                first = at + (kind == TEXT)
                cells[used].field, cells[used].first, cells[used].size = fields[key], first, end - first
                padded[fields[key]] |= kind == TEXT and _padded(data, first, end)
                used += 1
            at = _after_blanks(data, end + (kind == TEXT))
        while data[at] == _CLOSE:
            at = _after_blanks(data, at + 1)
            if group == 0:
                return (used if data[at] == _END else NONE), at
            group = 0
        if data[at] != _COMMA:
            return NONE, at


@kernel
def find_cells(
    data: np.ndarray, keys: Keys, follows: np.ndarray, seen: np.ndarray,
    cells: np.ndarray, counts: np.ndarray, padded: np.ndarray,
) -> int:  # fmt: skip
    """Find the cells of all lines and say how many they are; each line's count, NONE where it is not plain.

    Every line of the data has an end. padded: by field, whether blanks may stand around some text. Room, of zeros:
    follows [keys + 1], which key came last after each, and first in a line; seen [fields and ends], in which line last.
    """
    used, at = 0, 0
    for line in range(counts.size):
        now, at = _read_line(data, at, line + 1, keys, follows, seen, cells, used, padded)
        counts[line] = NONE if now == NONE else now - used
        used = max(used, now)
        while data[at] != _END:
            at += 1
        at += 1
    return used


@kernel
def write_rows(
    data: np.ndarray, cells: np.ndarray, counts: np.ndarray, wanted: np.ndarray, places: np.ndarray,
    held: np.ndarray, out: np.ndarray,
) -> int:  # fmt: skip
    """Write a row for each line wanted, a separator before each value, and say how many bytes they are.

    places: by field, where it stands in a row; held: room for a row's values.
    """
    at, cell = 0, 0
    for line in range(counts.size):
        first_cell, cell = cell, cell + max(counts[line], 0)
        if not wanted[line]:
            continue
        held[:] = NONE
        for k in range(first_cell, cell):
            held[places[cells[k].field]] = k
        for place in range(held.size):
            out[at] = SEPARATOR
            at += 1
            if held[place] != NONE:
                first, size = cells[held[place]].first, cells[held[place]].size
                for k in range(size):
                    out[at + k] = data[first + k]
                at += size
        out[at] = _END
        at += 1
    return at
