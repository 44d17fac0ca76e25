"""Files that are there whole or not at all: written under another name, fsynced, renamed."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from aml.domain.errors import AmlError, StoreError

_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Have `write` fill a new file, make it and its folder entry durable, and give it its name. Raises OSError."""
    unfinished = path.with_name(path.name + ".part")
    try:
        with unfinished.open("wb") as out:
            write(out)
            out.flush()
            os.fsync(out.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and removals in the folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: Path, patterns: Collection[str], keep: Collection[str]) -> list[str]:
    """Remove the files of the patterns that are not in `keep` (left by a stop before a checkpoint); their names."""
    kept = set(keep)
    orphans = sorted({p.name for pattern in patterns for p in folder.glob(pattern)} - kept)
    for name in orphans:
        (folder / name).unlink()
    return orphans


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def writing_state(folder: Path) -> Iterator[None]:
    """What the file system refuses about the state folder becomes one StoreError with its mend."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"state folder {folder}: {reason(error, 'make it writable')}") from error


@contextmanager
def writing(path: Path, option: str) -> Iterator[None]:
    """What the file system refuses about a result file becomes one AmlError that names the option to change."""
    try:
        yield
    except OSError as error:
        raise AmlError(f"{path}: cannot be written: {reason(error, f'give another {option}')}") from error


def reason(error: OSError, otherwise: str) -> str:
    """What went wrong in words, and the mend: space where there is none, else the other one."""
    if error.errno in _FULL or "no space left" in str(error).lower():
        return "the disk is full: free some space and run again"
    return f"{error.strerror or error}: {otherwise}"
