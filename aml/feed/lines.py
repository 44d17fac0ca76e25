"""Cuts a stream of bytes into blocks of whole lines, each line with its number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from aml.feed.formats import Source

_BLOCK: Final = 1 << 22
LONGEST: Final = 1 << 20  # bytes of a line; what is longer is no payment


@dataclass(slots=True)
class Block:
    """Lines without their line ends; `first` is the number of the first one, from 1. `done`: bytes of the file read."""

    first: int
    lines: list[bytes]
    done: int


def blocks(source: Source, size: int) -> Iterator[Block]:
    """The lines of a source, `size` at a time; the last line need not end."""
    held: list[bytes] = []
    parts: list[bytes] = []  # the line that is not whole yet
    first = 1
    while block := source.read(_BLOCK):
        lines = block.split(b"\n")
        if len(lines) == 1:
            parts.append(block)
            continue
        parts.append(lines[0])
        lines[0] = b"".join(parts) if len(parts) > 1 else parts[0]
        parts = [lines.pop()]
        held += lines
        start = 0
        while len(held) - start >= size:
            yield Block(first, held[start : start + size], source.done())
            first, start = first + size, start + size
        held = held[start:]
    last = b"".join(parts)
    if last:
        held.append(last)
    if held:
        yield Block(first, held, source.done())
