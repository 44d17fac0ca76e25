"""Identities too old for memory: sorted rows on disk, one file per checkpoint, looked up by binary search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from aml.engine.identity import Outcome
from aml.engine.keys import Keys
from aml.store.files import write_whole

ROW: Final = np.dtype([("hi", "<u8"), ("lo", "<u8"), ("content_hi", "<u8"), ("content_lo", "<u8")])
MERGE_AT: Final = 12  # files, before they are made one


def identity(key: Keys, revision: npt.NDArray[np.int32], void: npt.NDArray[np.bool_]) -> Keys:
    """The key of (order key, revision, void)."""
    act = (revision.astype(np.uint64) * np.uint64(2) + void.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    return key[0] ^ act, key[1] + act


class Older:
    """Sorted files of identities under one folder; `names` are those in force, in order of writing."""

    def __init__(self, folder: Path, names: Sequence[str] = ()) -> None:
        self.folder = folder
        self.names = list(names)
        self._files = [np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in self.names]

    def add(self, identities: Keys, content: Keys) -> None:
        """Write the rows as one more sorted file, fsynced; many files are made one. Old files stay for the sweep."""
        if not identities[0].size:
            return
        rows = np.empty(identities[0].size, ROW)
        rows["hi"], rows["lo"] = identities
        rows["content_hi"], rows["content_lo"] = content
        if len(self.names) >= MERGE_AT:
            rows = np.concatenate([*self._files, rows])
            self.names, self._files = [], []
        name = f"older-{rows.size}-{rows['hi'].min():016x}-{rows['lo'].min():016x}.npy"
        rows = rows[np.lexsort((rows["lo"], rows["hi"]))]
        write_whole(self.folder / name, lambda out: np.save(out, rows, allow_pickle=False))
        self.names.append(name)
        self._files.append(np.load(self.folder / name, mmap_mode="r", allow_pickle=False))

    def look(self, identities: Keys, content: Keys) -> npt.NDArray[np.uint8]:
        """Per record an Outcome: DUPLICATE, CONFLICT, or NEW where no file holds the identity."""
        outcome = np.full(identities[0].size, Outcome.NEW, np.uint8)
        for rows in self._files:
            at = np.searchsorted(rows["hi"], identities[0])
            inside = np.flatnonzero(at < rows.size)
            held = rows[at[inside]]
            mine = (held["hi"] == identities[0][inside]) & (held["lo"] == identities[1][inside])
            same = (held["content_hi"] == content[0][inside]) & (held["content_lo"] == content[1][inside])
            outcome[inside[mine]] = np.where(same[mine], Outcome.DUPLICATE, Outcome.CONFLICT)
        return outcome
