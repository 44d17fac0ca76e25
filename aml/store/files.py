"""Files that are there whole or not at all: written under another name, fsynced, renamed."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Have `write` fill a new file, make it and its folder entry durable, and give it its name. Raises OSError."""
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("wb") as out:
        write(out)
        out.flush()
        os.fsync(out.fileno())
    unfinished.replace(path)
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
    orphans = sorted(p.name for pattern in patterns for p in folder.glob(pattern) if p.name not in kept)
    for name in orphans:
        (folder / name).unlink()
    return orphans
