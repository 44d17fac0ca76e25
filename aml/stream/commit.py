"""One database transaction for a step of all shards of a worker: offsets, findings, alerts, evidence, counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aml.scoring.config import ScoringConfig
from aml.store.database import Database
from aml.store.failures import will_pass
from aml.store.stream import load_shards
from aml.stream.shard import Step


@dataclass(slots=True)
class Committed:
    """What became of steps. lost: shards that somebody else moved or took meanwhile; opened: alerts that were raised,
    by leading rule and band."""

    lost: set[int] = field(default_factory=set)
    opened: Counter[tuple[str, str]] = field(default_factory=Counter)


def commit(database: Database, steps: Sequence[Step], scoring: ScoringConfig) -> Committed:
    """Commit steps of different shards together.

    Of shards that are lost nothing is written, of the others everything. Locks are taken in one order everywhere:
    offsets, subjects, alerts. Raises StoreError where the database refuses; then nothing is written, or it is not
    known: read the offsets.
    """
    with database.begin() as uow:
        lost = uow.stream.advance([step.move for step in steps])
        good = {step.move.shard: step for step in steps if step.move.shard not in lost}
        applied = uow.findings.apply([change for step in good.values() for change in step.changes])
        uow.findings.add_evidence([record for step in good.values() for record in step.evidence])
        alerted = uow.alerts.recompute(applied.subjects, scoring)
        uow.dead_letters.add([letter for step in good.values() for letter in step.tally.letters])
        uow.stream.count_all({shard: step.tally.counts for shard, step in good.items()})
        uow.stream.total_all({shard: step.tally.totals for shard, step in good.items()})
        uow.stream.sequences_all({shard: step.tally.sequences for shard, step in good.items()})
        uow.stream.segments(segment for step in good.values() for segment in step.segments)
        uow.stream.sources(source for step in good.values() for source in step.tally.sources.values())
    return Committed(lost, alerted.opened)


def commit_surely(
    database: Database, steps: Sequence[Step], scoring: ScoringConfig, wait: Callable[[Exception], None]
) -> Committed:
    """Commit as `commit` does, through whatever passes by itself: `wait` is called between two tries, and may raise.

    Whether a commit that failed on its way was made, the offsets tell; what it opened is not counted then.
    """
    left, done = list(steps), Committed()
    asked = True  # nothing to ask about yet
    while left:
        try:
            if not asked:
                left, gone = unmade(database, left)
                done.lost |= gone
                asked = True
            if left:
                made = commit(database, left, scoring)
                done = Committed(done.lost | made.lost, made.opened)
            return done
        except Exception as error:
            if not will_pass(error):
                raise
            asked = False
            wait(error)
    return done


def unmade(database: Database, steps: Sequence[Step]) -> tuple[list[Step], set[int]]:
    """Steps that the database does not have yet, and shards that stand elsewhere than before or after theirs."""
    with database.read() as connection:
        rows = {row.shard: row for row in load_shards(connection)}
    left, lost = [], set()
    for step in steps:
        move, row = step.move, rows[step.move.shard]
        if row.epoch != move.epoch or (row.legs, row.records) not in (
            (move.legs_from, move.records_from),
            (move.legs_to, move.records_to),
        ):
            lost.add(move.shard)
        elif (row.legs, row.records) == (move.legs_from, move.records_from):
            left.append(step)
    return left, lost
