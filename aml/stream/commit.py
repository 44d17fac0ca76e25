"""One database transaction for a step of all shards of a worker: offsets, findings, alerts, evidence, counts."""

from __future__ import annotations

from collections.abc import Sequence

from aml.scoring.config import ScoringConfig
from aml.store.database import Database
from aml.stream.shard import Step


def commit(database: Database, steps: Sequence[Step], scoring: ScoringConfig) -> set[int]:
    """Commit steps of different shards together; returns the shards that somebody else moved or took meanwhile.

    Of those nothing is written, of the others everything. Locks are taken in one order everywhere: offsets, subjects,
    alerts. Raises StoreError where the database refuses; then nothing is written, or it is not known: read the offsets.
    """
    with database.begin() as uow:
        lost = uow.stream.advance([step.move for step in steps])
        good = [step for step in steps if step.move.shard not in lost]
        applied = uow.findings.apply([change for step in good for change in step.changes])
        uow.findings.add_evidence([record for step in good for record in step.evidence])
        uow.alerts.recompute(applied.subjects, scoring)
        uow.dead_letters.add([letter for step in good for letter in step.tally.letters])
        for step in good:
            shard, tally = step.move.shard, step.tally
            uow.stream.count(shard, tally.counts)
            uow.stream.total(shard, tally.totals)
            uow.stream.sequences(shard, tally.sequences)
            uow.stream.sources(tally.sources.values())
    return lost
