"""One line of a figure, and the time of a thing."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


def say(name: str, value: str) -> None:
    """Print a figure at once."""
    sys.stdout.write(f"{name:44s} {value}\n")
    sys.stdout.flush()


class Clock:
    """Seconds that passed inside its blocks; cpu: of the processor, all threads together."""

    def __init__(self) -> None:
        self.seconds = self.cpu = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count this block's time."""
        began, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - began
            self.cpu += time.process_time() - cpu
