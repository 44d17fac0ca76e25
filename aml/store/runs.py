"""Runs, what was in force in them, how far their sources came, and the checkpoints they stand on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, CursorResult, insert, select, update

from aml.store.encoding import from_json, to_json
from aml.store.statements import dialect_insert, insert_new
from aml.store.tables import checkpoints, counters, progress, runs, state_files, texts


class RunState(StrEnum):
    """How a run stands. One that died stays `running` until the next begins."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class InForce:
    """One text in force: a rule, the scoring, a profile or a model's description."""

    kind: str
    name: str
    version: int
    text: str

    @property
    def sha256(self) -> str:
        """Hash of the text's UTF-8 bytes."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class StateFile:
    """One file of the state folder: `kind` is snapshot or segment, `rows` what it holds."""

    name: str
    kind: str
    sha256: str
    bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a source has come: `highest` are the latest executed_at (UTC microseconds) that decide it."""

    institution: str
    source: str
    progress_at: int | None
    highest: tuple[int, ...]
    records: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The last checkpoint: the files that stand, and the host's own `body` (JSON values)."""

    checkpoint_id: int
    run_id: int
    at: int
    files: tuple[StateFile, ...]
    body: Mapping[str, Any]


class RunStore:
    """Writes runs, progress and checkpoints within one transaction."""

    def __init__(self, connection: Connection, now: int) -> None:
        self._connection = connection
        self._now = now

    def start(
        self, engine_version: str, settings: Mapping[str, Any], feeds: Sequence[str], in_force: Iterable[InForce]
    ) -> int:
        """Begin a run, keeping every text in force; a run found going died and is marked interrupted."""
        held = list(in_force)
        self._connection.execute(
            update(runs).where(runs.c.state == RunState.RUNNING.value).values(state=RunState.INTERRUPTED.value)
        )
        insert_new(self._connection, texts, [_text_row(text) for text in held])
        listed = [{"kind": t.kind, "name": t.name, "version": t.version, "sha256": t.sha256} for t in held]
        result = self._connection.execute(
            insert(runs).values(
                state=RunState.RUNNING.value,
                started_at=self._now,
                engine_version=engine_version,
                settings=to_json(settings),
                feeds=to_json(feeds),
                in_force=to_json(sorted(listed, key=lambda text: (text["kind"], text["name"]))),
                counts="{}",
            )
        )
        return _new_id(result)

    def count(self, run_id: int, counts: Mapping[str, Any]) -> None:
        """Set the run's counts so far."""
        self._connection.execute(update(runs).where(runs.c.run_id == run_id).values(counts=to_json(counts)))

    def end(self, run_id: int, state: RunState, counts: Mapping[str, Any]) -> None:
        """End the run with its final counts."""
        self._connection.execute(
            update(runs)
            .where(runs.c.run_id == run_id)
            .values(state=state.value, ended_at=self._now, counts=to_json(counts))
        )

    def checkpoint(
        self,
        run_id: int,
        *,
        added: Iterable[StateFile] = (),
        retired: Iterable[str] = (),
        progressed: Iterable[Progress] = (),
        body: Mapping[str, Any] | None = None,
    ) -> int:
        """Name the state files that stand from now on; they are on the disk already. Returns the checkpoint's id."""
        result = self._connection.execute(
            insert(checkpoints).values(run_id=run_id, at=self._now, body=to_json(body or {}))
        )
        checkpoint_id = _new_id(result)
        gone = sorted(retired)
        if gone:
            self._connection.execute(
                update(state_files).where(state_files.c.name.in_(gone)).values(retired_by=checkpoint_id)
            )
        files = [_file_row(file, checkpoint_id) for file in added]
        self._put(state_files, files, set(state_files.columns.keys()) - {"name"})
        self._put(progress, [_progress_row(p) for p in progressed], {"progress_at", "highest", "records"})
        return checkpoint_id

    def set_counters(self, institution: str, values: Mapping[str, int]) -> None:
        """Set running totals, such as warnings by code."""
        rows = [{"institution": institution, "name": name, "value": values[name]} for name in sorted(values)]
        self._put(counters, rows, {"value"})

    def _put(self, table: Any, rows: Sequence[dict[str, Any]], changed: set[str]) -> None:
        """Insert rows, or change these columns of those that are there."""
        if not rows:
            return
        statement = dialect_insert(self._connection, table)
        self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=list(table.primary_key.columns),
                set_={name: statement.excluded[name] for name in sorted(changed)},
            ),
            rows,
        )


def _new_id(result: CursorResult[Any]) -> int:
    assert result.inserted_primary_key is not None
    new_id: int = result.inserted_primary_key[0]
    return new_id


def latest_checkpoint(connection: Connection) -> Checkpoint | None:
    """The checkpoint a run starts from, None in a new database."""
    row = connection.execute(select(checkpoints).order_by(checkpoints.c.checkpoint_id.desc()).limit(1)).first()
    if row is None:
        return None
    standing = select(state_files).where(state_files.c.retired_by.is_(None))
    files = tuple(
        StateFile(file.name, file.kind, file.sha256, file.bytes, file.rows)
        for file in connection.execute(standing.order_by(state_files.c.added_by, state_files.c.name))
    )
    return Checkpoint(row.checkpoint_id, row.run_id, row.at, files, from_json(row.body))


def load_progress(connection: Connection) -> list[Progress]:
    """How far every source has come."""
    query = select(progress).order_by(progress.c.institution, progress.c.source)
    return [
        Progress(row.institution, row.source, row.progress_at, tuple(from_json(row.highest)), row.records)
        for row in connection.execute(query)
    ]


def last_run(connection: Connection) -> dict[str, Any] | None:
    """The newest run as JSON values, times in UTC microseconds; None before the first."""
    row = connection.execute(select(runs).order_by(runs.c.run_id.desc()).limit(1)).mappings().first()
    if row is None:
        return None
    read = {key: from_json(row[key]) for key in ("settings", "feeds", "in_force", "counts")}
    return {**row, **read}


def load_text(connection: Connection, sha256: str) -> InForce | None:
    """The text with this hash, as it was in force."""
    row = connection.execute(select(texts).where(texts.c.sha256 == sha256)).first()
    return None if row is None else InForce(row.kind, row.name, row.version, row.text)


def load_counters(connection: Connection) -> dict[tuple[str, str], int]:
    """All running totals by (institution, name)."""
    query = select(counters).order_by(counters.c.institution, counters.c.name)
    return {(row.institution, row.name): row.value for row in connection.execute(query)}


def _text_row(text: InForce) -> dict[str, Any]:
    return {"sha256": text.sha256, "kind": text.kind, "name": text.name, "version": text.version, "text": text.text}


def _file_row(file: StateFile, checkpoint_id: int) -> dict[str, Any]:
    return {
        "name": file.name,
        "kind": file.kind,
        "sha256": file.sha256,
        "bytes": file.bytes,
        "rows": file.rows,
        "added_by": checkpoint_id,
        "retired_by": None,
    }


def _progress_row(reached: Progress) -> dict[str, Any]:
    return {
        "institution": reached.institution,
        "source": reached.source,
        "progress_at": reached.progress_at,
        "highest": to_json(reached.highest),
        "records": reached.records,
    }
