"""`aml doctor`: each look by itself, and what the command shows and hides; one test asks a real broker."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections import namedtuple
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aml.cli import app
from aml.store.database import look_at_database, open_database
from aml.store.generations import hold
from aml.stream import doctor, topics
from aml.stream.doctor import FAIL, OK, WARN, Finding, clock, folder, packages, shards

ROOT = Path(__file__).parents[2]
GIB = 1 << 30


def run(*words: str, code: int):
    result = CliRunner().invoke(app, ["doctor", *words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_shards_that_are_being_made_anew_are_told_with_what_ends_it(database):
    url = database.url.render_as_string(hide_password=False)
    assert list(shards(url)) == []
    with database.begin() as uow:
        uow.stream.begin(3)
    assert list(shards(url)) == [Finding("shards", OK, "3")]
    with database.begin() as uow:
        hold(uow.connection)
    (found,) = shards(url)
    assert (found.verdict, found.mend) == (FAIL, "let `aml shards resize N` end, or run it again")


def test_packages_are_those_of_the_extra():
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["stream"]
    names = {one.split(">")[0].split("=")[0] for one in extra}
    assert names == {*doctor._NEEDED, *doctor._FASTER}


@pytest.mark.parametrize(
    ("lacking", "faust", "verdicts"),
    [
        ((), "0.15.3", [OK, OK]),
        (("kafka-python",), "0.15.3", [FAIL, OK]),
        ((), "0.16.0", [OK, FAIL]),
        (("lz4", "crc32c"), "0.15.3", [OK, OK, WARN]),
    ],
)
def test_packages(lacking, faust, verdicts):
    found = list(packages(lambda name: None if name in lacking else faust))
    assert [one.verdict for one in found] == verdicts
    assert all(bool(one.mend) == (one.verdict != OK) for one in found)


@pytest.mark.parametrize(
    ("theirs", "verdict"),
    [
        (1000.0, OK),
        (1000.9, OK),
        (1020.0, OK),
        (1040.0, WARN),
        (950.0, WARN),
        (1700.0, FAIL),
        (100.0, FAIL),
        (None, WARN),
    ],
)
def test_clocks(theirs, verdict):
    ours = iter((1000.0, 1002.0))
    assert clock(lambda: theirs, lambda: next(ours)).verdict == verdict


def test_a_slow_answer_is_no_wrong_clock():
    ours = iter((1000.0, 1090.0))
    assert clock(lambda: 1045.0, lambda: next(ours)).what == "0.0 s apart from the broker's"


@pytest.mark.parametrize(("free", "verdict"), [(20 * GIB, OK), (5 * GIB, WARN), (GIB // 2, FAIL)])
def test_room_for_state(free, verdict, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("U", "free")(free))
    assert folder(tmp_path / "not" / "made").verdict == verdict
    assert not (tmp_path / "not").exists()


def test_a_folder_that_cannot_be_written():
    found = folder(Path("/proc/aml"))  # not even root may
    assert (found.verdict, found.mend) == (FAIL, "make it writable, or let AML_STATE name another folder")


def test_looking_at_a_database_makes_none(tmp_path):
    url = f"sqlite:///{tmp_path / 'aml.db'}"
    assert look_at_database(url)[1] is None
    assert list(tmp_path.iterdir()) == []
    open_database(url).close()
    _, found, newest = look_at_database(url)
    assert found == newest


@pytest.fixture
def away(monkeypatch, tmp_path):
    monkeypatch.setattr(topics, "_TIMEOUT_MS", 300)
    monkeypatch.setenv("AML_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("AML_STATE", str(tmp_path))


def test_settings_come_with_their_origins_and_without_their_secrets(away, monkeypatch, tmp_path):
    (tmp_path / "password").write_text("s3cret")
    (tmp_path / "db").write_text(f"sqlite:///{tmp_path}/aml.db")
    monkeypatch.setenv("AML_DB_FILE", str(tmp_path / "db"))
    monkeypatch.setenv("AML_DB", "")
    for name, value in (("SECURITY_PROTOCOL", "sasl_plaintext"), ("SASL_MECHANISM", "PLAIN"), ("SASL_USERNAME", "me")):
        monkeypatch.setenv(f"AML_KAFKA__{name}", value)
    monkeypatch.setenv("AML_KAFKA__SASL_PASSWORD_FILE", str(tmp_path / "password"))
    shown = run(code=1)
    assert "s3cret" not in shown.output
    lines = {line.split()[0]: line for line in shown.stdout.splitlines() if line.startswith("AML_")}
    assert lines["AML_DB"].endswith("file") and lines["AML_STATE"].endswith("environment")
    assert "********" in lines["AML_KAFKA__SASL_PASSWORD"] and "default" in lines["AML_KAFKA__PREFIX"]
    assert "FAIL broker      Kafka at 127.0.0.1:1 does not answer" in shown.stdout
    assert shown.stderr.splitlines()[-1] == "error: 1 check failed"


def test_a_password_of_the_database_is_hidden_too(away, monkeypatch):
    monkeypatch.setenv("AML_DB", "mysql://me:s3cret@db/aml")
    told = json.loads(run("--json", code=1).stdout)
    assert "s3cret" not in json.dumps(told)
    assert {"name": "AML_DB", "value": "mysql://me:***@db/aml", "from": "environment"} in told["settings"]
    failed = [one for one in told["checks"] if one["verdict"] == FAIL]
    assert [one["about"] for one in failed] == ["broker", "database"] and told["fails"] == 2


def test_a_broker_far_away_is_better_reached_encrypted():
    from aml.stream.settings import load_stream_settings

    far = {"AML_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1,kafka.bank:9092"}
    found = doctor._encryption(load_stream_settings(far))
    assert found.verdict == WARN and "kafka.bank:9092 " in found.what and "127" not in found.what
    assert doctor._encryption(load_stream_settings(far | {"AML_KAFKA__SECURITY_PROTOCOL": "ssl"})).verdict == OK


@pytest.mark.thorough
def test_a_cluster_that_is_right(broker, monkeypatch, tmp_path):
    monkeypatch.setenv("AML_KAFKA__BOOTSTRAP_SERVERS", broker.bootstrap)
    monkeypatch.setenv("AML_KAFKA__PREFIX", "doctor.")
    monkeypatch.setenv("AML_STATE", str(tmp_path))
    monkeypatch.setenv("AML_DB", f"sqlite:///{tmp_path / 'aml.db'}")
    failed = json.loads(run("--json", code=1).stdout)
    assert {one["about"] for one in failed["checks"] if one["verdict"] == FAIL} == {"topics"}
    assert CliRunner().invoke(app, ["topics", "apply"]).exit_code == 0
    told = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    assert [one for one in told["checks"] if one["verdict"] == FAIL] == []
    run(code=0)
    verdicts = {one["about"]: one["verdict"] for one in told["checks"]}
    assert (verdicts["broker"], verdicts["clock"], verdicts["database"]) == (OK, OK, WARN)
