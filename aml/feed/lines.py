"""Cuts a stream of bytes into blocks of whole lines, each line with its number."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Final

from aml.feed.formats import Source

_BLOCK: Final = 1 << 22
LONGEST: Final = 1 << 20  # bytes of a line; what is longer is no payment


class Block:
    """Whole lines; `first` is the number of the first one, from 1. `done`: bytes of the file read.

    They are held as lines or as one text, and the other form is made when it is asked for.
    """

    def __init__(self, first: int, content: list[bytes] | bytes, done: int) -> None:
        self.first, self.done = first, done
        self._content = content

    @cached_property
    def lines(self) -> list[bytes]:
        """Lines without their line ends."""
        return self._content.split(b"\n") if isinstance(self._content, bytes) else self._content

    @cached_property
    def data(self) -> bytes:
        """All lines as one text, a line end between two."""
        return self._content if isinstance(self._content, bytes) else b"\n".join(self._content)

    def __len__(self) -> int:
        return self.data.count(b"\n") + 1 if isinstance(self._content, bytes) else len(self._content)


def blocks(source: Source, size: int) -> Iterator[Block]:
    """The lines of a source, some `size` at a time; the last line need not end."""
    first = 1
    parts: list[bytes] = []  # what was read and not handed on yet: its last line may not be whole
    lines = 0
    while data := source.read(_BLOCK):
        parts.append(data)
        lines += data.count(b"\n")
        if lines < size:
            continue
        end = data.rfind(b"\n")
        if end < 0:
            continue
        whole = b"".join([*parts[:-1], data[:end]])
        yield from _cut(Block(first, whole, source.done()), lines, size)
        first += lines
        parts, lines = [data[end + 1 :]], 0
    last = b"".join(parts)
    if last:
        last = last.removesuffix(b"\n")
        yield from _cut(Block(first, last, source.done()), last.count(b"\n") + 1, size)


def _cut(block: Block, lines: int, size: int) -> Iterator[Block]:
    """The block, in pieces if it holds twice as many lines as wanted."""
    if lines < 2 * size:
        yield block
        return
    for start in range(0, lines, size):
        yield Block(block.first + start, block.lines[start : start + size], block.done)
