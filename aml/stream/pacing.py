"""How fast a feed goes out: all at once, so many a second, or as fast as its own times passed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
SPAN: Final = 0.25  # seconds of sending that are acknowledged together
_BEHIND: Final = 1.0  # what is later than this is not made up for: nobody asked for a burst
_LOOK: Final = 0.2  # seconds between looks at whether to go on waiting


class Pacer:
    """When each record is due. rate: records a second; speed: seconds of the feed's time in a second; None: at once.

    clock: seconds, never backwards.
    """

    def __init__(
        self,
        rate: float | None = None,
        speed: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate, self._speed, self._clock, self._sleep = rate, speed, clock, sleep
        self._sent = 0
        self._first: int | None = None  # UTC µs of the first record with a time
        self._reached = 0.0
        self._began: float | None = None

    @property
    def is_paced(self) -> bool:
        """Whether records wait for anything."""
        return self._rate is not None or self._speed is not None

    def due(self, at: I64) -> F64:
        """Seconds after the beginning at which the next records are due, ascending.

        at: their times (UTC µs), below 0 where they have none: those go with what comes before them.
        """
        if self._rate is not None:
            due = (self._sent + np.arange(at.size)) / self._rate
        elif self._speed is not None:
            known = at[at >= 0]
            if self._first is None and known.size:
                self._first = int(known[0])
            since = np.where(at >= 0, (at - (self._first or 0)) / (1e6 * self._speed), 0.0)
            due = np.maximum(np.maximum.accumulate(since), self._reached)
            self._reached = float(due[-1]) if due.size else self._reached
        else:
            due = np.zeros(at.size)
        self._sent += at.size
        return due

    def wait(self, due: float, stop: Callable[[], bool]) -> bool:
        """Wait until then; False where `stop` said so meanwhile."""
        now = self._clock()
        if self._began is None:
            # What comes after what was skipped is due at once.
            self._began = now - due
        self._began = max(self._began, now - due - _BEHIND)
        while (left := self._began + due - self._clock()) > 0:
            if stop():
                return False
            self._sleep(min(left, _LOOK))
        return True


def cut(due: F64, most: int) -> list[tuple[int, int]]:
    """The records in pieces [first, past): at most so many each, and no more than a moment of sending."""
    pieces, first = [], 0
    while first < due.size:
        past = int(np.searchsorted(due, due[first] + SPAN, "right")) if due[-1] > due[first] + SPAN else due.size
        past = max(first + 1, min(past, first + most))
        pieces.append((first, past))
        first = past
    return pieces
