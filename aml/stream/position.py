"""How far a feed was published: a file that the next attempt begins from, moved on once the broker has acknowledged.

It belongs to the feed's content and to what its records are made by, and to one topic of one cluster: a topic that was
made anew has another id. How records are packed, keyed and paced may change between two attempts.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from aml.domain.errors import AmlError
from aml.store.files import sha256_of, write_whole, writing_state

_EVERY: Final = 0.25  # seconds between two notes of where it stands: so much may be sent twice after a crash
_FORM: Final = 1  # another order of records: another number


class Stand(msgspec.Struct):
    """Where a feed stands. done: records and rejects acknowledged, in the order of reading; held: whether they were all
    sorted first; parties: whether the party table was sent; finished: manifests too."""

    feeds: tuple[str, ...]
    topic: str
    done: int = 0
    held: bool = False
    parties: bool = False
    finished: bool = False


def name_of(feeds: Sequence[str], made_by: Sequence[object]) -> str:
    """What the position of these files is called: by their names and contents, and all else that decides what is sent.

    Raises AmlError where a file cannot be read.
    """
    try:
        told = [(Path(path).name, sha256_of(Path(path))) for path in feeds]
    except OSError as error:
        raise AmlError(f"{error.filename}: cannot be read: {error.strerror}: check the path") from error
    return hashlib.sha256(msgspec.json.encode([_FORM, told, [str(one) for one in made_by]])).hexdigest()[:24]


class Position:
    """The position of one feed, held by one process at a time. folder None: nothing is kept, as of standard input.

    Raises AmlError where another process publishes the same, or the state folder cannot be written.
    """

    def __init__(
        self, folder: Path | None, name: str, stand: Stand, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.stand = stand
        self._clock, self._noted = clock, clock()
        self._lock: int | None = None
        self._path = None if folder is None else folder / f"{name}.json"
        if folder is not None and self._path is not None:
            with writing_state(folder):
                folder.mkdir(parents=True, exist_ok=True)
                self._lock = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._begin(self._path)

    def _begin(self, path: Path) -> None:
        assert self._lock is not None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            told = f"{', '.join(self.stand.feeds)}: another process publishes it to {self.stand.topic}"
            raise AmlError(f"{told}: wait for it, or stop it") from error
        try:
            self.stand = msgspec.json.decode(path.read_bytes(), type=Stand)
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as error:
            raise AmlError(f"{path}: cannot be read ({error}): remove it to publish the feed from its start") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            os.close(self._lock)

    def again(self, *, held: bool = False) -> None:
        """Begin from the start."""
        self.stand.done, self.stand.held, self.stand.finished = 0, held, False
        self.note(now=True)

    def moved(self, done: int) -> None:
        """So many are acknowledged."""
        self.stand.done = done
        self.note()

    def note(self, *, now: bool = False) -> None:
        """Write where it stands, a few times a second or now. Raises StoreError."""
        if self._path is None or not (now or self._clock() >= self._noted + _EVERY):
            return
        with writing_state(self._path.parent):
            write_whole(self._path, lambda out: out.write(msgspec.json.encode(self.stand)))
        self._noted = self._clock()
