"""The folder beside a database where snapshots, archive and old identities lie: bound to it, checked, swept."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from aml.domain.errors import StoreError
from aml.store.database import Database
from aml.store.engine import sqlite_file
from aml.store.files import sha256_of, sweep, sync_folder, write_whole, writing_state
from aml.store.runs import StateFile

OWNER: Final = "owner.json"
PATTERNS: Final = ("snapshot-*", "segment-*", "older-*", "*.part")


@contextmanager
def folder_of(
    database: Database, state: Path | None, environment: Mapping[str, str] | None = None
) -> Iterator[Path]:
    """Where a database's state lies: beside an SQLite file; of a server's, under `state` (AML_STATE) by its id.

    That of a database in memory ends with it.
    """
    file = sqlite_file(database.url)
    if file is not None:
        yield file.with_name(file.name + ".state")
    elif database.engine.dialect.name == "sqlite":
        with tempfile.TemporaryDirectory(prefix="aml-state-") as folder:
            yield Path(folder)
    else:
        yield (state or _home(os.environ if environment is None else environment)) / database.database_id


def _home(environment: Mapping[str, str]) -> Path:
    """The user's own place for state, where AML_STATE names none: the same wherever a run is started."""
    base = environment.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "aml"


def open_folder(path: Path, database_id: str, standing: Iterable[StateFile]) -> list[str]:
    """Make the folder the database's own, check every file that its last checkpoint names, remove all others of ours.

    Returns the names of the files removed: what a run left that ended before its next checkpoint. Raises StoreError
    for a folder of another database, and for a file that is missing or changed.
    """
    files = list(standing)
    with writing_state(path):
        if files and not path.is_dir():
            raise StoreError(f"state folder {path}: is missing: restore it together with its database {_new()}")
        path.mkdir(parents=True, exist_ok=True)
        _own(path, database_id, bool(files))
        for file in files:
            _check(path / file.name, file)
        return sweep(path, PATTERNS, [file.name for file in files])


def _new() -> str:
    return "(or begin anew with another --db)"


def _own(path: Path, database_id: str, expected: bool) -> None:
    owner = path / OWNER
    if not owner.exists():
        if expected or any(held.suffix != ".part" for held in path.iterdir()):
            raise StoreError(f"state folder {path}: is not this database's: move it away, or restore the right one")
        text = json.dumps({"what": "state of an aml database", "database_id": database_id}).encode()
        write_whole(owner, lambda out: out.write(text))
        return
    try:
        held = str(json.loads(owner.read_bytes())["database_id"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{owner}: is damaged: restore the folder together with its database {_new()}") from error
    if held != database_id:
        told = f"belongs to database {held}, not to {database_id}"
        raise StoreError(f"state folder {path}: {told}: remove it if that database is gone, or give another --db")


def _check(path: Path, file: StateFile) -> None:
    """Whether the file is the one that the checkpoint named."""
    mend = f"restore the folder together with its database {_new()}"
    if not path.is_file():
        raise StoreError(f"{path}: is missing: {mend}")
    if path.stat().st_size != file.bytes or sha256_of(path) != file.sha256:
        raise StoreError(f"{path}: is damaged: its SHA-256 differs from the one in the database: {mend}")


def remove(path: Path, names: Iterable[str]) -> None:
    """Remove files that no checkpoint names any more, after the commit that says so."""
    gone = list(names)
    with writing_state(path):
        for name in gone:
            (path / name).unlink(missing_ok=True)
        if gone:
            sync_folder(path)
