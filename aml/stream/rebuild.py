"""Shards made anew from the archive, in another number: all that was ever accepted, judged once more as it was then.

Each record is judged by the watermark that stood when it came, so that the same acts count; all else of a shard's
memory is a function of what was accepted. The shards exchange their letters in this process, and end when nobody has
anything to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from aml.domain.errors import AmlError
from aml.domain.finding import FindingChange
from aml.engine.identity import NO_TIME
from aml.pipeline.resolved import SHARD
from aml.store.findings import EvidenceRecord
from aml.store.runs import StateFile
from aml.store.stream_rows import Segment, ShardRow
from aml.stream.block import Block, spread, unpack_block
from aml.stream.frozen import freeze, restore_reading
from aml.stream.mail import Letter, unpack_letter
from aml.stream.progress import SourceProgress
from aml.stream.recarried import recarried
from aml.stream.records import SEEN
from aml.stream.shard import Shard, ShardTerms, Step
from aml.stream.takeover import LEGS, Log, restored
from aml.stream.wire import BlockHead, SourceRange

AT_ONCE: Final = 1 << 17  # records of one step of all shards
SEALED: Final = 1 << 20  # records in memory that are written
AGAIN: Final = "start intake and workers until `aml reconcile` ends with 0, stop them, and resize again"
_ORDER: Final = (SEEN, "received_at", "partition", "offset", "element")


@dataclass(frozen=True, slots=True)
class Legacy:
    """What a shard of the old generation knew that is not of its own holders: how far the stream has come.

    covered: next offset by source partition; tenants, progress: of `SourceProgress`, by the old shard's numbers.
    """

    covered: Mapping[tuple[str, int], int]
    tenants: Mapping[str, int]
    progress: Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Archived:
    """Where the records of one old shard's segment lie."""

    path: Path
    shard: int


class _AsItWas(SourceProgress):
    """Watermarks as blocks tell them, instead of what is read from records."""

    def reach(
        self, source: int, tenants: np.ndarray, t: np.ndarray, keys: np.ndarray, reached_at: int, ended_at: int
    ) -> None:  # fmt: skip
        """From now on these tenants' watermarks are t."""
        self._widen(0, int(tenants.max(initial=-1)) + 1)
        np.maximum.at(self.marks, tenants, t)


@dataclass(slots=True)
class Rebuilt:
    """Shards of a new generation on their way.

    changes: the last word on every finding; evidence: what they name; outcomes: of how many records what became.
    """

    terms: Sequence[ShardTerms]
    now: int
    shards: list[Shard] = field(init=False)
    changes: dict[str, FindingChange] = field(default_factory=dict)
    evidence: dict[tuple[str, str, int, str], EvidenceRecord] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    _post: list[list[Letter]] = field(init=False)

    def __post_init__(self) -> None:
        self.shards = [Shard(terms) for terms in self.terms]
        for shard in self.shards:
            shard.core.acceptor.progress = _AsItWas()
        self._post = [[] for _ in self.terms]

    # ------------------------------------------------------------------ what was accepted

    def take(self, frame: pl.DataFrame) -> None:
        """Judge records once more, none of them seen later than those of a later call. Raises OSError."""
        of, calendar = len(self.shards), self.terms[0].judgement.compiled.profile
        blocks: list[list[Block]] = [[] for _ in self.shards]
        for topic, part in _by_topic(frame.sort(_ORDER)):
            told = [SourceRange(topic, 0, 0, 0, 0, 0, 0, _marks(part), [])]
            for shard, some in enumerate(spread(*recarried(part, calendar, of), of)):
                blocks[shard].append(Block(BlockHead(shard, of, "resize", self.now, told, []), *some))
        self._turn(blocks)
        while any(self._post):  # until nobody has anything to say
            self._turn([()] * of)
        if sum(shard.records.held for shard in self.shards) >= SEALED:
            self._seal()

    def _turn(self, blocks: Sequence[Sequence[Block]]) -> None:
        post, self._post = self._post, [[] for _ in self.shards]
        for shard, mine, letters in zip(self.shards, blocks, post, strict=True):
            if mine or letters:
                told = [(shard.at[1], letters)] if letters else []
                self._note(shard.step(list(enumerate(mine, shard.at[0])), told, self.now))

    def _note(self, step: Step) -> None:
        for to, letter in step.letters:
            self._post[to].append(unpack_letter(letter))
        self.changes.update((change.finding_id, change) for change in step.changes)
        for one in step.evidence:
            self.evidence[one.institution, one.transaction_id, one.revision, one.record] = one
        for key, number in step.tally.counts.items():
            self.outcomes[key.outcome] += number

    def _seal(self) -> None:
        """Let records and identities that nothing can concern any more lie on the disk. Raises OSError."""
        for shard in self.shards:
            shard.core.acceptor.checkpoint()
            sealed = shard.records.seal(0, 0)
            if sealed is not None:
                shard.records.adopt(sealed.write(shard.terms.folder))

    # ------------------------------------------------------------------ what becomes of it

    def end(self, legacy: Legacy, old: Sequence[ShardRow], database_id: str) -> list[Segment]:
        """Go on where the old shards ended, and write a snapshot of each shard at the begin of its topics; returns the
        new archive. What owners of old shards may still send is not heard. Raises OSError."""
        segments, epoch = [], max(row.epoch for row in old)
        for shard in self.shards:
            _succeed(shard, legacy)
            shard.epochs = dict.fromkeys(range(max(len(old), len(self.shards))), epoch)
            shard.at, shard.kept = (0, 0), []
            kept = freeze(shard).write(database_id)
            segments += [segment_of(shard, file) for file in (*shard.records.files, *kept.added)]
        return segments


def segment_of(shard: Shard, file: StateFile) -> Segment:
    """A segment that a shard wrote before it had topics, as the database names it."""
    name = f"{shard.terms.folder.name}/{file.name}"
    return Segment(name, shard.terms.shard, file.sha256, file.bytes, file.rows, 0, 0)


def read_on(
    shard: Shard, row: ShardRow, database_id: str, log: Log, say: Callable[[str], None]
) -> list[StateFile]:
    """Bring an old shard that was just made as far as its row, by whatever it was judged; returns its segments.

    Only its records, their identities and how far they reach are known then; of records that lay in no segment one is
    written. Raises OSError.
    """
    if not restored(shard, row, database_id, restore_reading, say):
        shard.at = log.begins(row.shard)
    messages = log.read(LEGS, row.shard, shard.at[0], row.legs)
    shard.read((offset, unpack_block(value)) for offset, value in messages)
    sealed = shard.records.seal(row.epoch, row.legs)
    return shard.records.files + ([] if sealed is None else [sealed.write(shard.terms.folder)])


def legacy_of(shards: Iterable[Shard]) -> Legacy:
    """What the old shards know together. Raises AmlError where they do not stand at the same."""
    legacy: Legacy | None = None
    for shard in shards:
        if legacy is None:
            progress = shard.core.acceptor.progress
            assert isinstance(progress, SourceProgress)
            legacy = Legacy(dict(shard.covered), dict(shard.tenants), progress.state())
        elif shard.covered != legacy.covered:
            raise AmlError(
                f"shards 0 and {shard.terms.shard} have not read the same of the bank's topic: {AGAIN}"
            )
    assert legacy is not None, "there is no shard"
    return legacy


def _succeed(shard: Shard, legacy: Legacy) -> None:
    acceptor = shard.core.acceptor
    names = sorted(legacy.tenants, key=lambda name: legacy.tenants[name])
    numbers = acceptor.numbers("tenant", names, np.arange(len(names), dtype=np.uint32)).astype(np.int64)
    shard.tenants |= dict(zip(names, numbers.tolist(), strict=True))
    by_old = np.full(max(legacy.tenants.values(), default=-1) + 1, -1, np.int64)
    by_old[[legacy.tenants[name] for name in names]] = numbers
    acceptor.progress = SourceProgress.moved(legacy.progress, by_old)
    shard.covered = dict(legacy.covered)


def archived(segments: Sequence[Archived], at_once: int = AT_ONCE) -> Iterator[pl.DataFrame]:
    """All records of an archive, each from its home shard, by the watermark they were seen at; so many at once, or more
    where they were seen at the same."""
    scans = [pl.scan_parquet(one.path).filter(pl.col(SHARD) == one.shard) for one in segments]
    seen = [np.sort(scan.select(SEEN).collect().get_column(SEEN).to_numpy()) for scan in scans]
    whole = np.sort(np.concatenate([*seen, np.zeros(0, np.int64)]))
    low: int | None = None
    for high in np.unique(np.append(whole[at_once - 1 :: at_once], whole[-1:])).tolist():
        wanted = pl.col(SEEN) <= high if low is None else (pl.col(SEEN) > low) & (pl.col(SEEN) <= high)
        yield pl.concat(
            [
                scan.filter(wanted).collect()
                for scan, mine in zip(scans, seen, strict=True)
                if mine.size and mine[0] <= high and (low is None or mine[-1] > low)
            ],
            how="diagonal",
        )
        low = high


def _by_topic(frame: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """Records one after another that came from the same topic."""
    runs = frame.with_columns(pl.col("topic").rle_id().alias("_run"))
    for part in runs.partition_by("_run", maintain_order=True, include_key=False):
        yield str(part.get_column("topic")[0]), part


def _marks(frame: pl.DataFrame) -> dict[str, list[tuple[int, int]]]:
    """By institution the highest watermark at which one of its records was seen, as a range tells of times."""
    last = frame.filter(pl.col(SEEN) != NO_TIME).group_by("institution").agg(pl.col(SEEN).max())
    return {name: [(mark, 0)] for name, mark in last.iter_rows()}
