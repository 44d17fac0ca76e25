"""Snapshots of a shard: all it remembers in one file, named by the offsets it stands at and its own hash."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aml.domain.errors import AmlError
from aml.engine.snapshot import FORMAT
from aml.pipeline.inforce import Judgement
from aml.store.encoding import digest
from aml.store.files import sha256_of
from aml.store.snapshots import read_snapshot, write_snapshot

KEPT: Final = 3
_NAME: Final = re.compile(r"snapshot-(\d{16})-(\d{16})-([0-9a-f]{16})\.aml")
Arrays = dict[str, npt.NDArray[Any]]


def in_force(judgement: Judgement) -> str:
    """Hash of all that a shard's memory rests on."""
    return digest(
        FORMAT, judgement.rules_sha256, judgement.history_sha256, judgement.models_sha256, judgement.scoring.sha256
    )


def write(folder: Path, database_id: str, epoch: int, at: tuple[int, int], state: Arrays) -> Path:
    """Write a state under the offsets it stands at, and remove all but the latest few. Raises OSError."""
    draft = folder / f"draft-e{epoch}"  # an owner that was replaced may write at the same time
    write_snapshot(draft, database_id, state)
    path = folder / f"snapshot-{at[0]:016d}-{at[1]:016d}-{sha256_of(draft)[:16]}.aml"
    draft.rename(path)
    for old, _ in sorted(_found(folder), key=lambda one: one[1])[:-KEPT]:
        old.unlink()
    return path


def newest(folder: Path, database_id: str, not_after: tuple[int, int]) -> Iterator[tuple[Path, Arrays | str]]:
    """Snapshots that are not ahead of the database, the newest first; in place of one that cannot be used, why."""
    for path, at in sorted(_found(folder), key=lambda one: one[1], reverse=True):
        if at[0] > not_after[0] or at[1] > not_after[1]:
            yield path, f"is ahead of the database, which stands at {not_after}"
        elif sha256_of(path)[:16] != path.stem.rsplit("-", 1)[1]:
            yield path, "is damaged"
        else:
            try:
                yield path, read_snapshot(path, database_id)
            except AmlError as error:
                yield path, str(error)


def _found(folder: Path) -> list[tuple[Path, tuple[int, int]]]:
    names = ((path, _NAME.fullmatch(path.name)) for path in folder.glob("snapshot-*.aml"))
    return [(path, (int(m[1]), int(m[2]))) for path, m in names if m is not None]


def told(value: Any) -> npt.NDArray[np.uint8]:
    """Plain values as an array, for a snapshot."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def read(array: npt.NDArray[Any]) -> Any:
    """What `told` made an array of."""
    return json.loads(array.tobytes())
