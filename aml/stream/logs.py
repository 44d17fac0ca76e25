"""Log lines of the streaming processes: to standard error, and a line that comes over and over once in a while.

A client whose broker is away says so a hundred times a second; what matters is that it is away.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

SECONDS: Final = 10.0
_SHOWN: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Seldom(logging.Filter):
    """Lets a line of one place in the program through once in so many seconds, and says how many it held back."""

    def __init__(self, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._seconds, self._clock = seconds, clock
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        if record.levelno < logging.WARNING:
            return True
        place = (record.pathname, record.lineno, record.name)
        now = self._clock()
        last, held = self._seen.get(place, (-self._seconds, 0))
        if now < last + self._seconds:
            self._seen[place] = (last, held + 1)
            return False
        self._seen[place] = (now, 0)
        if held:
            record.msg = f"{record.msg} ({held:,} more such lines since)"
        return True


def begin() -> None:
    """Write log lines from now on."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_SHOWN))
    handler.addFilter(Seldom())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("aml").setLevel(logging.INFO)
