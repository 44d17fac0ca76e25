"""Small helpers by which a run keeps the cores busy: reading ahead, and work behind; each in one thread."""

from __future__ import annotations

import gc
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

T = TypeVar("T")
_END: Final = object()
_PATIENCE: Final = 0.2  # seconds between looks at whether anybody still waits


@contextmanager
def hasty_threads() -> Iterator[None]:
    """Let threads ask for the interpreter ten times as often as usual.

    A run's threads mostly compute outside it, each coming back for a moment thousands of times a second; one that reads
    text by rows would make every one of them wait its full turn.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(usual / 10)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def settled_objects() -> None:
    """Let the collector of garbage pass over all that is there now: modules and rules, which stay until the end."""
    gc.collect()
    gc.freeze()


class Ahead(Generic[T]):
    """The items of an iterable, made in a thread of its own, at most `depth` ahead of their use.

    What it raises is raised where the item would have come. `close` ends the thread, wherever it is.
    """

    def __init__(self, make: Callable[[], Iterable[T]], depth: int) -> None:
        self._make = make
        self._queue: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="aml-read", daemon=True)
        self._thread.start()

    def until(self, stop: Callable[[], bool]) -> Iterator[T]:
        """The items, until the iterable ends or `stop` says so, which is asked while waiting too."""
        while not stop():
            try:
                item, error = self._queue.get(timeout=_PATIENCE)
            except queue.Empty:
                continue
            if error is not None:
                raise error
            if item is _END:
                return
            yield item

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the thread end at its next item, without waiting for it: it may be waiting for input itself."""
        self._stopped.set()

    def _run(self) -> None:
        try:
            for item in self._make():
                if not self._put((item, None)):
                    return
            self._put((_END, None))
        except BaseException as error:
            self._put((None, error))

    def _put(self, item: tuple[Any, BaseException | None]) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=_PATIENCE)
                return True
            except queue.Full:
                continue
        return False


class Behind:
    """Does jobs one after the other in a thread of its own; `submit` waits while `depth` are waiting.

    What a job raises ends the work, and is raised by the next `submit` or by `drain`.
    """

    def __init__(self, depth: int) -> None:
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="aml-behind", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._error = self._error or error  # jobs that wait are not begun any more
        self._queue.put(None)
        self._thread.join()

    def submit(self, job: Callable[[], None]) -> None:
        """Have a job done after those before it."""
        self._raise()
        self._queue.put(job)

    def drain(self) -> None:
        """Wait until every job is done."""
        self._queue.join()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            try:
                if self._error is None:
                    job()
            except BaseException as error:
                self._error = error
            finally:
                self._queue.task_done()
        self._queue.task_done()
