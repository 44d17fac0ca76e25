"""A shard's memory, frozen between two steps and written beside the next ones; and taken up again.

Records that were accepted since the last time become a segment of the archive, which the next commit names; the rest
becomes a snapshot that names the segments and old identities it stands on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aml.domain.errors import AmlError
from aml.pipeline.host import under
from aml.store.runs import StateFile
from aml.store.stream_rows import Segment
from aml.stream import snapshot
from aml.stream.progress import SourceProgress
from aml.stream.records import Sealed, ShardRecords
from aml.stream.settling import Floors
from aml.stream.shard import Shard

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Frozen:
    """A memory as it stood at offsets of both inputs; nothing in it changes any more."""

    shard: int
    epoch: int
    at: tuple[int, int]
    folder: Path
    arrays: Arrays
    facts: dict[str, Any]
    files: tuple[StateFile, ...]
    sealed: Sealed | None

    def write(self, database_id: str) -> Kept:
        """Write segment and snapshot, in whatever thread. Raises OSError."""
        added = [] if self.sealed is None else [self.sealed.write(self.folder)]
        files = [*self.files, *added]
        facts = snapshot.told(self.facts | {"records": [dataclasses.astuple(file) for file in files]})
        path = snapshot.write(self.folder, database_id, self.epoch, self.at, self.arrays | {"facts": facts})
        return Kept(path, tuple(added), tuple(_segment(self, file) for file in added))


@dataclass(frozen=True, slots=True)
class Kept:
    """What was written: the snapshot, and the segment it added, as its file and as the database names it."""

    path: Path
    added: tuple[StateFile, ...]
    segments: tuple[Segment, ...]


def _segment(frozen: Frozen, file: StateFile) -> Segment:
    assert frozen.sealed is not None
    name = f"{frozen.folder.name}/{file.name}"
    return Segment(name, frozen.shard, file.sha256, file.bytes, file.rows, frozen.sealed.legs_from, frozen.at[0])


def freeze(shard: Shard) -> Frozen:
    """A copy of all that the shard remembers, between two steps; what it stands on was committed."""
    acceptor = shard.core.acceptor
    acceptor.checkpoint()
    arrays = {f"core.{name}": array for name, array in shard.core.state().items()}
    if shard.book is not None and shard.strange is not None:
        arrays |= {f"book.{name}": array for name, array in shard.book.state().items()}
        arrays |= {f"strange.{name}": array for name, array in shard.strange.state().items()}
    arrays["told"] = np.array(sorted(shard.told), np.int64)
    facts = {
        "at": shard.at, "covered": [[*key, at] for key, at in shard.covered.items()],
        "epochs": list(shard.epochs.items()), "tenants": dict(shard.tenants),
        "older": [] if acceptor.older is None else list(acceptor.older.names),
        "floors": list(shard.floors.heard.items()), "forgot_at": shard.forgot_at,
        "in_force": snapshot.in_force(shard.terms.judgement),
    }  # fmt: skip
    sealed = shard.records.seal(shard.epoch, shard.at[0])
    return Frozen(
        shard.terms.shard, shard.epoch, shard.at, shard.terms.folder,
        {name: np.array(array) for name, array in arrays.items()}, facts, tuple(shard.records.files), sealed,
    )  # fmt: skip


def adopt(shard: Shard, kept: Kept) -> None:
    """Take note, between two steps, of what was written: records are read from the disk now, and the next commit names
    the segment."""
    for file in kept.added:
        shard.records.adopt(file)
    shard.kept += kept.segments


def restore(shard: Shard, state: Mapping[str, npt.NDArray[Any]]) -> None:
    """Take up a snapshot in a new shard. Raises AmlError where it was made under other rules, models or engine."""
    facts = snapshot.read(state["facts"])
    if facts["in_force"] != snapshot.in_force(shard.terms.judgement):
        raise AmlError("was made under other rules, models, scoring or another engine")
    shard.core.restore(under(state, "core"), facts["older"])
    _restore_position(shard, facts)
    if shard.book is not None and shard.strange is not None:
        shard.book.restore(under(state, "book"))
        shard.book.instruments = shard.core.instruments
        shard.strange.restore(under(state, "strange"), shard.core.acceptor.holders.ours)
    shard.told = set(state["told"].tolist())
    shard.floors = Floors(shard.terms.shard, shard.terms.shards, dict(facts["floors"]))
    shard.forgot_at = facts["forgot_at"]
    shard.epochs = dict(facts["epochs"])


def restore_reading(shard: Shard, state: Mapping[str, npt.NDArray[Any]]) -> None:
    """Take up of a snapshot what was accepted and how far it had read, and its archive; by whatever it was judged."""
    facts = snapshot.read(state["facts"])
    shard.core.restore_acceptance(under(state, "core"), facts["older"])
    shard.core.acceptor.progress = SourceProgress.from_state(under(state, "core.accept.progress"))
    _restore_position(shard, facts)


def _restore_position(shard: Shard, facts: Mapping[str, Any]) -> None:
    """How far it had read, and its archive."""
    shard.at = (facts["at"][0], facts["at"][1])
    shard.records = ShardRecords(shard.terms.folder, [StateFile(*file) for file in facts["records"]], shard.at[0])
    shard.covered = {(topic, partition): at for topic, partition, at in facts["covered"]}
    shard.tenants = facts["tenants"]
