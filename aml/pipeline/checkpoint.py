"""Checkpoints: a host's state from memory to disk and database, all of it or nothing, and back.

What a run finds reaches the database only in the transaction that also names the snapshot which found it. So a finding
never stands on records that no snapshot knows: if a run dies, the next begins from the last checkpoint as if what came
after had never been read, and reading the feed again finds the same anew. Files come first, fsynced under names that
nobody uses yet; then one commit names them; then those that it no longer names are removed. A run that dies before the
commit leaves files that nobody names, one that dies after it leaves retired ones: the next run sweeps both.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

from aml.domain.errors import USAGE, AmlError
from aml.domain.finding import FindingChange
from aml.engine.snapshot import FORMAT
from aml.pipeline.evidence import evidence_of
from aml.pipeline.host import Host, Terms
from aml.pipeline.inforce import Judgement
from aml.pipeline.watermark import RANK
from aml.store import archive, queries, snapshots
from aml.store.archive import Archive
from aml.store.database import Database
from aml.store.dead_letters import DeadLetter
from aml.store.files import sha256_of, writing_state
from aml.store.findings import current_ids
from aml.store.runs import Checkpoint, Progress, RunState, StateFile, latest_checkpoint
from aml.store.statefolder import open_folder, remove
from aml.store.unit_of_work import UnitOfWork

OLDER: Final = "older"
SOURCE: Final = "embedded"  # a file database is one source
ALL: Final = "all"  # counters of the whole database


@dataclass(frozen=True, slots=True)
class Work:
    """What of a run a checkpoint carries beside the host: letters not yet kept, counts, and how the run ends."""

    run_id: int
    letters: list[DeadLetter]
    counts: Mapping[str, Any]
    ends: RunState | None = None


class Keeper:
    """Loads and writes the checkpoints of one database; nobody else does while its run lock is held."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder
        self._standing: dict[str, StateFile] = {}
        self._written = 0
        self._marks = ""
        self.last: Checkpoint | None = None

    def open(self) -> None:
        """Read which checkpoint stands, and check its files. Raises StoreError."""
        with self._database.read() as connection:
            self.last = latest_checkpoint(connection)
        self._standing = {file.name: file for file in self.last.files} if self.last is not None else {}
        open_folder(self._folder, self._database.database_id, self._standing.values())

    def check(self, judgement: Judgement, lateness: int) -> None:
        """Whether a run may go on from the checkpoint. Raises AmlError where profile or lateness do not fit."""
        if self.last is None:
            return
        body, profile = self.last.body, judgement.compiled.profile
        if body["profile"] != profile.name:
            told = f"was filled under the profile {body['profile']}: give --profile {body['profile']}, or another --db"
            raise AmlError(f"--profile {profile.name}: database {self._database.name} {told}", USAGE)
        if body["lateness"] < lateness:
            # Identities that could not matter any more have left memory by then.
            told = f"--lateness: database {self._database.name} was filled with a shorter one"
            raise AmlError(f"{told} ({body['lateness'] // 3_600_000_000}h): give that, or another --db", USAGE)

    def host(self, terms: Terms) -> tuple[Host, str | None]:
        """A host as the checkpoint left it; where there is none, an empty one.

        Where rules, history_from, models or scoring are others than the checkpoint's, everything is judged anew by
        them, from the archive; then the second value says so, and the next `write` must be told.
        """
        kept = Archive(self._folder, [f for f in self._standing.values() if f.kind == archive.KIND])
        host = Host(terms, kept)
        if self.last is None:
            return host, None
        body, state = self.last.body, self._state()
        self._marks = body["progress_sha256"]
        changed = _changed(body, terms.judgement)
        take_over = host.rejudge if changed else host.restore
        take_over(state, body["older"], body["records"])
        return host, _told(changed, sum(body["records"].values())) if changed else None

    def _state(self) -> dict[str, Any]:
        """The arrays of the snapshot that stands."""
        name = next(file.name for file in self._standing.values() if file.kind == snapshots.KIND)
        return snapshots.read_snapshot(self._folder / name, self._database.database_id)

    def sweep(self) -> None:
        """Remove what was written since the last checkpoint."""
        open_folder(self._folder, self._database.database_id, self._standing.values())

    def write(self, host: Host, work: Work, *, anew: bool = False) -> queries.Counts:
        """Make a checkpoint of a host; returns what the database holds after it.

        anew: judge every alert again, as changed rules or scoring ask for. Where nothing was accepted and nobody's
        progress changed, the last checkpoint stands on.
        """
        host.settle()
        added = host.archive.take_added()
        if self.last is not None and not (added or host.news or anew) and _marks(host) == self._marks:
            with self._database.begin() as uow:
                return self._finish(uow, work)
        host.at_rest()
        host.forget()
        # Nothing moves any more, so the state is written while findings are made of it. The database is locked only
        # when all files are there: people who close alerts meanwhile do not wait for the disk.
        with ThreadPoolExecutor(1) as writer:
            writing = writer.submit(self._snapshot, host, work.run_id)
            changes = host.changes()
            evidence = evidence_of(changes, host.archive)
            files, retired = self._files([*added, writing.result()], host.older)
        with self._database.begin() as uow:
            self._found(uow, host, [change.change for change in changes], anew=anew)
            uow.findings.add_evidence(evidence)
            uow.runs.checkpoint(work.run_id, added=files, retired=retired, progressed=_progress(host), body=_body(host))
            self._count(uow, host)
            counts = self._finish(uow, work)
        self._stand(files, retired)
        self._marks = _marks(host)
        return counts

    def _found(self, uow: UnitOfWork, host: Host, told: list[FindingChange], *, anew: bool) -> None:
        """Store what was found, and make the alerts what it says."""
        scoring = host.terms.judgement.scoring
        if anew:
            told = told + _withdrawn(uow.connection, told)
        applied = uow.findings.apply(told)
        if anew:
            uow.alerts.recompute_all(scoring)
        else:
            uow.alerts.recompute(applied.subjects, scoring)

    def _finish(self, uow: UnitOfWork, work: Work) -> queries.Counts:
        uow.dead_letters.add(work.letters)
        held = queries.count(uow.connection)
        counts = {**work.counts, **dataclasses.asdict(held)}
        if work.ends is None:
            uow.runs.count(work.run_id, counts)
        else:
            uow.runs.end(work.run_id, work.ends, counts)
        return held

    def _snapshot(self, host: Host, run_id: int) -> StateFile:
        """Write the state, what leaves memory for good included."""
        self._written += 1
        path = self._folder / f"snapshot-{run_id:08d}-{self._written:04d}.aml"
        with writing_state(self._folder):
            host.detection.acceptor.checkpoint()
            return snapshots.write_snapshot(path, self._database.database_id, host.state())

    def _files(self, written: list[StateFile], older: list[str]) -> tuple[list[StateFile], list[str]]:
        """The files that stand from now on and were not named yet, and those that stand no longer."""
        fresh = [_older_file(self._folder / name) for name in older if name not in self._standing]
        gone = [
            file.name
            for file in self._standing.values()
            if file.kind == snapshots.KIND or (file.kind == OLDER and file.name not in older)
        ]
        return [*written, *fresh], gone

    def _stand(self, files: Iterable[StateFile], retired: Iterable[str]) -> None:
        """The commit has named the files: remember it, and remove the others."""
        gone = set(retired)
        self._standing = {name: file for name, file in self._standing.items() if name not in gone}
        self._standing |= {file.name: file for file in files}
        with self._database.read() as connection:
            self.last = latest_checkpoint(connection)
        remove(self._folder, gone - self._standing.keys())

    def _count(self, uow: UnitOfWork, host: Host) -> None:
        acceptor = host.detection.acceptor
        uow.runs.set_counters(ALL, acceptor.registry.tallies)
        for institution, counters in host.census.counters(acceptor.holders).items():
            uow.runs.set_counters(institution, counters)


def _older_file(path: Path) -> StateFile:
    return StateFile(path.name, OLDER, sha256_of(path), path.stat().st_size, 0)


def _marks(host: Host) -> str:
    """Hash of the progress of the sources, to see whether it changed."""
    state = host.detection.acceptor.progress.state()
    return hashlib.sha256(b"".join(array.tobytes() for _, array in sorted(state.items()))).hexdigest()


def _changed(body: Mapping[str, Any], judgement: Judgement) -> list[str]:
    """What is in force now that was not when the checkpoint was made."""
    return [name for name, sha256 in _in_force(judgement).items() if body.get(f"{name}_sha256") != sha256]


def _in_force(judgement: Judgement) -> dict[str, str]:
    return {
        "engine": str(FORMAT),
        "rules": judgement.rules_sha256,
        "history_from": judgement.history_sha256,
        "models": judgement.models_sha256,
        "scoring": judgement.scoring.sha256,
    }


def _told(changed: list[str], records: int) -> str:
    what = " and ".join([", ".join(changed[:-1]), changed[-1]] if len(changed) > 1 else changed)
    return f"{what} changed since the last run: its {records:,} records were judged again"


def _body(host: Host) -> dict[str, Any]:
    judgement = host.terms.judgement
    return {
        "profile": judgement.compiled.profile.name,
        "lateness": host.terms.lateness,
        **{f"{name}_sha256": sha256 for name, sha256 in _in_force(judgement).items()},
        "progress_sha256": _marks(host),
        "older": host.older,
        "records": dict(host.records),
        "insufficient": host.insufficient.counts,
        "lacking": judgement.lacking,
    }


def _progress(host: Host) -> list[Progress]:
    """How far each institution has come."""
    held = host.detection.acceptor.progress.state()
    rows = []
    for name, number in host.tenants().items():
        if number < held["marks"].size:
            used = int(held["counts"][0, number])
            highest = sorted(held["heaps"][0, number, :used].tolist(), reverse=True)
            reached = highest[RANK - 1] if used == RANK else None
            rows.append(Progress(name, SOURCE, reached, tuple(highest), host.records[name]))
    return rows


def _withdrawn(connection: Connection, told: list[FindingChange]) -> list[FindingChange]:
    """Findings of earlier rules that nothing told anew: they hold no more."""
    held = {change.finding_id for change in told}
    return [FindingChange.withdraw(name) for name in current_ids(connection) if name not in held]
