"""Log lines of the streaming processes: to standard error, and a line that comes over and over once in a while.

AML_LOG=json writes one JSON object a line, for collectors; AML_LOG=text lines for people, the default on a terminal.
Lines name topics, partitions, offsets, shards and ids of alerts, never a customer, an account or an amount.

A client whose broker is away says so a hundred times a second; what matters is that it is away.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Final

from aml.domain.errors import USAGE, AmlError

PLACES: Final = ("shard", "topic", "partition", "offset", "alert_id", "transaction_id", "trace_id")
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


class JsonLines(logging.Formatter):
    """A line of JSON: time (RFC 3339, UTC), level, logger, process, message, and where an error came from."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        at = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        told = {
            "time": at.replace("+00:00", "Z"), "level": record.levelname.lower(), "logger": record.name,
            "process": self._process, "message": record.getMessage(),
        }  # fmt: skip
        # Named places of a line, by which lines of one thing are found together.
        told |= {name: value for name in PLACES if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


def begin(process: str) -> None:
    """Write log lines from now on. Raises AmlError where AML_LOG asks for what is not known."""
    form = os.environ.get("AML_LOG") or ("text" if sys.stderr.isatty() else "json")
    if form not in ("text", "json"):
        raise AmlError(f"AML_LOG={form}: is neither text nor json", USAGE)
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines(process) if form == "json" else logging.Formatter(_SHOWN))
    handler.addFilter(Seldom())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("aml").setLevel(logging.INFO)
