"""Which member of its group a process is: the lowest free number under a file lock, the same again after a crash.

A static member that comes back with its own id takes its partitions over at once; the broker needs not wait for the
dead one's session to end. Two processes of one id would throw each other out: the lock prevents it on one machine, the
machine's name in the id between machines.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aml.domain.errors import AmlError

_MOST: Final = 1000
_UNFIT: Final = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, slots=True)
class Member:
    """A process's place in its group; it is held until `release`, or until the process ends in whatever way."""

    id: str  # unique in the group: the broker's group.instance.id
    name: str
    descriptor: int

    def release(self) -> None:
        """Let another process take the name."""
        os.close(self.descriptor)


def claim(state: Path, role: str, name: str | None = None) -> Member:
    """Take a name for a process of a role ("intake", "worker"): the one given, else the lowest free number.

    state: the folder for state, made where it is not there. Raises AmlError where the folder cannot be written, or the
    name that was given is taken.
    """
    folder = state / "members"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AmlError(f"{folder}: {error.strerror}: make it writable, or let AML_STATE name another folder") from error
    if name is not None and (not name or _UNFIT.search(name)):
        raise AmlError(f"--name {name!r}: letters, digits, point, dash and underscore make a name")
    for one in [name] if name is not None else map(str, range(_MOST)):
        descriptor = _lock(folder / f"{role}-{one}.lock")
        if descriptor is not None:
            host = _UNFIT.sub("-", socket.gethostname())
            return Member(f"aml-{role}-{host}-{one}", f"{role}-{one}", descriptor)
    raise AmlError(f"{role} {name or 'of any number'}: such a process runs already in {state}: stop it, or give --name")


def _lock(path: Path) -> int | None:
    """A descriptor that holds the lock; None where another process does."""
    try:
        # Not inherited: a child that outlives us must not keep the name.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise AmlError(f"{path}: {error.strerror}: make it writable, or let AML_STATE name another folder") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
