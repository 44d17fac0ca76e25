"""Snapshots and the state folder: bound to one database, whole by SHA-256, of a version that is known."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from aml.domain.errors import STORE, AmlError
from aml.engine.layout import LEG
from aml.store import snapshots
from aml.store.database import open_database
from aml.store.files import sha256_of
from aml.store.runs import StateFile
from aml.store.snapshots import read_snapshot, write_snapshot
from aml.store.statefolder import OWNER, folder_of, open_folder, remove

ID = "11111111-1111-1111-1111-111111111111"
ARRAYS = {
    "a.numbers": np.arange(5, dtype=np.int64),
    "b.nothing": np.empty((0, 3), np.float32),
    "c.flags": np.array([True, False]),
    "d.scores": np.array([[0.5, np.nan]]),
    "e.legs": np.ones(3, LEG),
    "f.strided": np.arange(10, dtype=np.int32)[::2],
}


def refused(folder, files=(), database_id=ID):
    with pytest.raises(AmlError) as raised:
        open_folder(folder, database_id, files)
    assert raised.value.exit_code == STORE
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture
def folder(tmp_path):
    """A folder with a snapshot that a checkpoint names."""
    path = tmp_path / "aml.db.state"
    open_folder(path, ID, [])
    return path


def test_arrays_come_back_as_they_were(tmp_path):
    file = write_snapshot(tmp_path / "snapshot-1.aml", ID, ARRAYS)
    assert (file.kind, file.sha256) == ("snapshot", sha256_of(tmp_path / "snapshot-1.aml"))
    read = read_snapshot(tmp_path / "snapshot-1.aml", ID)
    assert read.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert read[name].dtype == array.dtype
        assert read[name].tobytes() == np.ascontiguousarray(array).tobytes()


def test_records_come_back_as_compiled_kernels_know_them(tmp_path):
    write_snapshot(tmp_path / "s", ID, ARRAYS)
    assert numba.typeof(read_snapshot(tmp_path / "s", ID)["e.legs"]) == numba.typeof(ARRAYS["e.legs"])


def test_the_same_state_gives_the_same_bytes(tmp_path):
    other = dict(reversed(ARRAYS.items()))
    assert write_snapshot(tmp_path / "s", ID, ARRAYS) == write_snapshot(tmp_path / "s", ID, other)


def test_another_database_and_a_newer_format_are_refused(tmp_path, monkeypatch):
    write_snapshot(tmp_path / "s", ID, ARRAYS)
    with pytest.raises(AmlError, match=f"belongs to database {ID}, not to other"):
        read_snapshot(tmp_path / "s", "other")
    monkeypatch.setattr(snapshots, "FORMAT", snapshots.FORMAT - 1)
    with pytest.raises(AmlError, match=r"written by a newer version of aml .*: upgrade aml"):
        read_snapshot(tmp_path / "s", ID)


def test_a_folder_belongs_to_one_database(folder):
    open_folder(folder, ID, [])
    assert "belongs to database" in refused(folder, database_id="other")
    assert "remove it if that database is gone" in refused(folder, database_id="other")


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / "x"
    path.mkdir()
    (path / "letter.txt").write_text("dear")
    assert "is not this database's: move it away" in refused(path)
    (path / "letter.txt").rename(path / "begun.part")
    assert open_folder(path, ID, []) == ["begun.part"]


def test_what_a_checkpoint_names_must_be_there_whole(folder):
    file = write_snapshot(folder / "snapshot-1.aml", ID, ARRAYS)
    assert open_folder(folder, ID, [file]) == []
    whole = (folder / file.name).read_bytes()
    for place in (0, len(whole) // 2, len(whole) - 1):
        (folder / file.name).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert "is damaged: its SHA-256 differs" in refused(folder, [file])
    (folder / file.name).write_bytes(whole[:-1])
    assert "is damaged" in refused(folder, [file])
    (folder / file.name).unlink()
    assert f"{folder / file.name}: is missing: restore the folder together with its database" in refused(folder, [file])


def test_a_folder_that_is_gone_is_missed(tmp_path):
    file = StateFile("snapshot-1.aml", "snapshot", "0" * 64, 1, 1)
    assert "is missing: restore it together with its database" in refused(tmp_path / "gone", [file])
    assert not (tmp_path / "gone").exists()


def test_what_nobody_names_is_swept(folder):
    file = write_snapshot(folder / "snapshot-1.aml", ID, ARRAYS)
    for name in ("snapshot-2.aml", "segment-000000000000-000000000001.parquet", "older-1.npy", "snapshot-3.aml.part"):
        (folder / name).write_bytes(b"x")
    (folder / "notes.txt").write_text("mine")
    swept = open_folder(folder, ID, [file])
    assert len(swept) == 4
    assert {path.name for path in folder.iterdir()} == {OWNER, file.name, "notes.txt"}
    remove(folder, [file.name, "never-there"])
    assert {path.name for path in folder.iterdir()} == {OWNER, "notes.txt"}


def test_a_damaged_owner_is_said(folder):
    (folder / OWNER).write_text("{")
    assert "owner.json: is damaged" in refused(folder)
    (folder / OWNER).write_text('{"what": 1}')
    assert "owner.json: is damaged" in refused(folder)


def where(database, state, environment=None):
    with folder_of(database, state, environment) as folder:
        return folder


def test_where_the_state_lies(tmp_path, database):
    if database.engine.dialect.name == "sqlite":
        assert where(database, tmp_path) == tmp_path / "aml.db.state"
        return
    assert where(database, tmp_path) == tmp_path / database.database_id
    assert where(database, None, {"XDG_STATE_HOME": str(tmp_path)}) == tmp_path / "aml" / database.database_id
    assert where(database, None, {}).parts[-4:-1] == (".local", "state", "aml")


def test_the_state_of_a_database_in_memory_ends_with_it():
    database = open_database("sqlite://")
    with folder_of(database, None) as folder:
        assert folder.is_dir()
    assert not folder.exists()
    database.close()
