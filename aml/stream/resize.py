"""Another number of shards, in place: the old ones are read to their end, made anew from the archive, put into the
database in one transaction, and their topics made again.

Nothing is changed before that transaction; what ends the process behind it leaves only the topics to be made, and the
lease in the database keeps workers away until they are.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from aml.domain.errors import AmlError
from aml.domain.finding import FindingChange
from aml.pipeline.inforce import Judgement
from aml.store.database import Database
from aml.store.files import sha256_of, writing_state
from aml.store.findings import Applied, current_ids
from aml.store.generations import hold, let_go, named_segments, resizing, scored, succeed
from aml.store.stream import load_shards
from aml.store.stream_rows import ShardRow
from aml.stream import snapshot
from aml.stream.failpoints import reached
from aml.stream.rebuild import AGAIN, Archived, Legacy, Rebuilt, archived, legacy_of, read_on
from aml.stream.shard import Shard, ShardTerms
from aml.stream.takeover import Log
from aml.stream.takeovers import shard_folder

_OWNER: Final = "resize"
_RESTORE: Final = "restore the state folder from a backup; nothing was changed"


class Topics(Protocol):
    """The topics as far as this goes."""

    def members(self) -> list[str]:
        """Who works in the groups of intakes and workers. Raises AmlError where the brokers do not say."""

    def renew(self, shards: int) -> None:
        """Make the internal topics anew, empty, with so many partitions."""


@dataclass(frozen=True, slots=True)
class Resized:
    """What was done. applied: what became of the findings, None where that was done before."""

    shards: int
    before: int
    records: int
    seconds: float
    applied: Applied | None


@dataclass(frozen=True, slots=True)
class Resizer:
    """What a resize goes by. state: the folder of the shards' state; lateness: µs."""

    database: Database
    judgement: Judgement
    lateness: int
    state: Path
    log: Log
    topics: Topics
    say: Callable[[str], None]

    def resize(self, shards: int) -> Resized:
        """Go on with so many shards. Raises AmlError where something is not as it must be; then nothing is changed."""
        began = time.monotonic()
        before, done = self._begin(shards)
        records, applied = (0, None) if done else self._made(shards, before)
        reached("resize.committed")
        self.topics.renew(shards)
        reached("resize.topics_made")
        with self.database.begin() as uow:
            let_go(uow.connection)
            generation = load_shards(uow.connection)[0].generation
        self._sweep(generation)
        return Resized(shards, before, records, time.monotonic() - began, applied)

    def _begin(self, shards: int) -> tuple[int, bool]:
        """Keep workers away; how many shards there are, and whether all is made already but the topics."""
        working = self.topics.members()
        if working:
            raise AmlError(f"{', '.join(working)} still work: stop all intakes and workers, and resize again")
        with self.database.begin() as uow:
            going, before = resizing(uow.connection, uow.now), len(load_shards(uow.connection))
            if not before:
                raise AmlError("the database has no stream yet: `aml topics apply --shards N` sets their number")
            if going is None or going.made is None:
                hold(uow.connection)
                return before, False
            if going.made != shards:
                left = f"aml shards resize {going.made}"
                raise AmlError(f"{going.made} shards are made but for their topics: `{left}` first")
            return before, True

    def _made(self, shards: int, before: int) -> tuple[int, Applied]:
        """So many shards made and committed: of how many records, and what became of findings."""
        try:
            return self._make(shards, before)
        except BaseException:
            with self.database.begin() as uow:
                going = resizing(uow.connection, uow.now)
                if going is not None and going.made is None:
                    let_go(uow.connection)
            raise

    # ------------------------------------------------------------------ the old shards

    def _make(self, shards: int, before: int) -> tuple[int, Applied]:
        with self.database.begin() as uow:
            old = [uow.stream.take_over(number, _OWNER) for number in range(before)]
        for row in old:
            ends = self.log.ends(row.shard)
            if ends != (row.legs, row.records):
                at = (row.legs, row.records)
                raise AmlError(f"shard {row.shard} stands at {at}, its topics end at {ends}: {AGAIN}")
        files: dict[str, tuple[int, str]] = {}  # by name its shard and hash
        legacy = legacy_of(self._read(old, files))
        with self.database.read() as connection:
            files |= named_segments(connection)
        generation = old[0].generation + 1
        segments, lacking = self._segments(files)
        made = self._rebuilt(segments, [shard_folder(self.state, generation, number) for number in range(shards)])
        return made.outcomes["scored"], self._commit(old, made, legacy, lacking)

    def _read(self, old: Sequence[ShardRow], files: dict[str, tuple[int, str]]) -> Iterator[Shard]:
        """Each old shard, come as far as it was; its files are noted."""
        for row in old:
            folder = shard_folder(self.state, row.generation, row.shard)
            shard = Shard(ShardTerms(row.shard, len(old), self.judgement, self.lateness, folder))
            with writing_state(folder):
                held = read_on(shard, row, self.database.database_id, self.log, self.say)
            files.update({f"{folder.name}/{file.name}": (row.shard, file.sha256) for file in held})
            yield shard

    # ------------------------------------------------------------------ the new ones

    def _segments(self, files: dict[str, tuple[int, str]]) -> tuple[list[Archived], list[Path]]:
        """Of these segments those that are whole, and those that are not: shards that lost their state once may have
        read everything again into others."""
        whole, lacking = [], []
        for name, (shard, sha256) in sorted(files.items()):
            path = self.state / name
            if path.is_file() and sha256_of(path) == sha256:
                whole.append(Archived(path, shard))
            else:
                self.say(f"{path}: is missing or damaged")
                lacking.append(path)
        return whole, lacking

    def _rebuilt(self, segments: Sequence[Archived], folders: Sequence[Path]) -> Rebuilt:
        terms = [
            ShardTerms(number, len(folders), self.judgement, self.lateness, folder)
            for number, folder in enumerate(folders)
        ]
        for folder in folders:  # of an attempt before this one
            shutil.rmtree(folder)
            folder.mkdir()
        made = Rebuilt(terms, self.database.clock())
        with writing_state(self.state):
            for frame in archived(segments):
                made.take(frame)
                self.say(f"{made.outcomes['scored']:,} records judged again")
        return made

    def _commit(self, old: Sequence[ShardRow], made: Rebuilt, legacy: Legacy, lacking: Sequence[Path]) -> Applied:
        """Everything in one transaction, if the archive held all that was ever scored."""
        with writing_state(self.state):
            segments = made.end(legacy, old, self.database.database_id)
        reached("resize.before_commit")
        with self.database.begin() as uow:
            check(made.outcomes, *scored(uow.connection), lacking)
            in_force = snapshot.in_force(self.judgement)
            succeed(uow.connection, old, len(made.shards), in_force, segments, uow.now)
            gone = [FindingChange.withdraw(one) for one in current_ids(uow.connection) if one not in made.changes]
            applied = uow.findings.apply([*made.changes.values(), *gone])
            uow.findings.add_evidence(made.evidence.values())
            uow.alerts.recompute(applied.subjects, self.judgement.scoring)
        return applied

    def _sweep(self, generation: int) -> None:
        """Remove what former generations, and attempts, left."""
        for folder in self.state.glob("shard-*-*"):
            if folder.name.split("-")[1] != str(generation):
                shutil.rmtree(folder)


def check(outcomes: Mapping[str, int], wanted: int, twice: int, lacking: Sequence[Path]) -> None:
    """Raise AmlError where an archive did not hold all that was ever scored.

    outcomes: of how many of its records what became; wanted: how many were scored; twice: ids known to have stood
    twice; lacking: segments that were not there.
    """
    found = outcomes["scored"]
    # An id that stood twice, on two shards, may meet itself on one, now or in a generation before: then it stands once.
    met = 0 if lacking else twice + outcomes["duplicate"] + outcomes["rejected:conflict"]
    if found <= wanted <= found + met:
        return
    late = outcomes["rejected:too_late"]
    why = f"{late:,} of them came too late for this --lateness: give the workers'" if late else _RESTORE
    without = f", without {lacking[0]}" if lacking else ""
    raise AmlError(f"the archive holds {found + late:,} records{without}, {wanted:,} were scored: {why}")
