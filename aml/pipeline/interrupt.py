"""Ctrl-C as a wish to end well: the first is noted, and the run ends after the batch; the second ends it at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupt:
    """While entered, notes SIGINT. In a thread other than the main one it notes nothing: signals do not come there."""

    def __init__(self) -> None:
        self._came = False
        self._before: Any = None

    def came(self) -> bool:
        """Whether the user asked to stop."""
        return self._came

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._came:
            raise KeyboardInterrupt
        self._came = True
