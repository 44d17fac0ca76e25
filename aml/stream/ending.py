"""The end of a process that runs until it is told to stop: in order where servers let it, and in time in any case."""

from __future__ import annotations

import logging
import os
import signal
import threading
from typing import Final

ENDS_IN: Final = 6.0  # seconds; who supervises the process may kill it after ten


def told_to_stop(log: logging.Logger, seconds: float = ENDS_IN) -> threading.Event:
    """An event that SIGTERM and SIGINT set.

    Whoever then waits for a server that is away, longer than so many seconds, is not waited for: the process ends with
    code 0 all the same. That loses nothing, as kill -9 loses nothing: what was not committed is done again.
    """
    stop = threading.Event()

    def told(number: int, frame: object) -> None:
        if stop.is_set():
            return
        stop.set()
        timer = threading.Timer(seconds, _leave, (log, seconds))
        timer.daemon = True
        timer.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
    return stop


def _leave(log: logging.Logger, seconds: float) -> None:
    log.warning("ends after %.0f s without a server's answer: what was not committed the next one does again", seconds)
    for handler in logging.getLogger().handlers:
        handler.flush()
    os._exit(0)
