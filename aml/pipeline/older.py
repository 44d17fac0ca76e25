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

HI, LO, CONTENT_HI, CONTENT_LO = range(4)  # rows of a file's array, each contiguous: a search reads few pages
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
        held = np.stack([*identities, *content]).astype("<u8")
        if len(self.names) >= MERGE_AT:
            held = np.concatenate([*self._files, held], axis=1)
            self.names, self._files = [], []
        name = f"older-{held.shape[1]}-{held[HI].min():016x}-{held[LO].min():016x}.npy"
        held = held[:, np.lexsort((held[LO], held[HI]))]
        write_whole(self.folder / name, lambda out: np.save(out, held, allow_pickle=False))
        self.names.append(name)
        self._files.append(np.load(self.folder / name, mmap_mode="r", allow_pickle=False))

    def look(self, identities: Keys, content: Keys) -> npt.NDArray[np.uint8]:
        """Per record an Outcome: DUPLICATE, CONFLICT, or NEW where no file holds the identity."""
        outcome = np.full(identities[0].size, Outcome.NEW, np.uint8)
        for held in self._files if outcome.size else ():
            at = np.searchsorted(held[HI], identities[HI])
            looked = np.flatnonzero(at < held.shape[1])
            while looked.size:
                found = held[:, at[looked]]
                looked, found = looked[same := found[HI] == identities[HI][looked]], found[:, same]
                mine = found[LO] == identities[LO][looked]
                equal = (found[CONTENT_HI] == content[HI][looked]) & (found[CONTENT_LO] == content[LO][looked])
                outcome[looked[mine]] = np.where(equal[mine], Outcome.DUPLICATE, Outcome.CONFLICT)
                # Others that share the first half of the key stand behind it.
                looked = looked[~mine]
                at[looked] += 1
                looked = looked[at[looked] < held.shape[1]]
        return outcome
