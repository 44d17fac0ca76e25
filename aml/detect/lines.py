"""On which line of a TOML file a key stands: tomllib does not say, and errors should."""

from __future__ import annotations

import re
from typing import Final

_STEP: Final = re.compile(r"([^.\[\]]+)(?:\[(\d+)\])?")


def line_of(text: str, key: str) -> int | None:
    """The line (from 1) of a key such as "detect[1].when.units", or of the nearest table around it that can be found.

    Tables are looked for under headers of their own and within a line, as rule files write them.
    """
    steps = [(match[1], match[2]) for match in _STEP.finditer(key)]
    lines = text.splitlines()
    found, at = None, 0
    for name, place in steps:
        line = _header(lines, name, 0 if place is None else int(place)) if at == 0 else None
        if line is None:
            line = _key(lines, name, at)
        if line is None:
            return found
        found, at = line, line
    return found


def _header(lines: list[str], name: str, place: int) -> int | None:
    """The line of the header [name], or of the place-th [[name]]."""
    heads = [k for k, line in enumerate(lines, start=1) if line.split("#")[0].strip() in (f"[{name}]", f"[[{name}]]")]
    return heads[place] if place < len(heads) else None


def _key(lines: list[str], name: str, after: int) -> int | None:
    """The first line from `after` on that gives the key, before the next header."""
    written = re.compile(rf"(^|[\s{{,]){re.escape(name)}\s*=")
    for k in range(max(after, 1), len(lines) + 1):
        line = lines[k - 1]
        if k > after and line.lstrip().startswith("["):
            return None
        if written.search(line):
            return k
    return None
