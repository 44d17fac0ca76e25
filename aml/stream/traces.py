"""The trace that a message belongs to, by the W3C header `traceparent`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

HEADER: Final = "traceparent"
_FORM: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", re.S)


def trace_id(headers: Iterable[tuple[str, bytes | None]]) -> str | None:
    """The trace's id, 32 hexadecimal digits; None where no header says it in its form."""
    for name, value in headers:
        if name.lower() == HEADER and value is not None and (found := _FORM.fullmatch(value)):
            return found[1].decode()
    return None
