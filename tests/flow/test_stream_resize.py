"""Another number of shards, in place: nothing that was found changes, and what comes later is found as before."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from aml.stream.failpoints import RESIZE
from tests.broker import Broker
from tests.service import LEGS, Process, Service, found, lines, parties, same, simulated

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated bank, and what `aml run` finds in it: run.db."""
    return simulated(tmp_path_factory.mktemp("bank"))


def stop(processes: list[Process]) -> None:
    assert [process.stop() for process in processes] == [0] * len(processes)


def resize(service: Service, shards: int) -> dict[str, Any]:
    done = service.run("shards", "resize", str(shards), "--json")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize(("kind", "numbers"), [("sqlite", (7, 1)), ("postgresql", (4, 2))])
def test_a_stream_goes_on_with_another_number_of_shards(
    tmp_path: Path, bank: Path, request: pytest.FixtureRequest, kind, numbers
):
    db = f"sqlite:///{tmp_path}/aml.db" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    sent, done = lines(bank), 0
    with Broker(tmp_path / "kafka") as broker, Service(broker, tmp_path, db, 4, 3) as service:
        service.send_parties(parties(bank))
        for shards, upto in zip((4, *numbers), (6_000, 13_000, len(sent)), strict=True):
            if shards != 4 or done:
                before = found(db)[:2]
                told = resize(service, shards)
                assert (told["shards"], told["records"]) == (shards, done)
                assert told["findings"] == {"new": 0, "amended": 0, "withdrawn": 0}
                assert found(db)[:2] == before
            processes = [service.start("worker"), service.start("intake")]
            service.send(sent[done:upto], 100)
            report = service.reconciled(upto, 240)
            assert (report["scored"], report["pending"]) == (upto, 0)
            done = upto
            stop(processes[::-1])
        same(bank, db)


def test_other_rules_judge_the_whole_archive_at_one_place(tmp_path: Path, bank: Path):
    db, sent = f"sqlite:///{tmp_path}/aml.db", lines(bank)
    with Broker(tmp_path / "kafka") as broker, Service(broker, tmp_path, db, 2, 1) as service:
        service.send_parties(parties(bank))
        processes = [service.start("worker", "--profile", "ca"), service.start("intake")]
        service.send(sent, 500)
        service.reconciled(len(sent), 240)
        stop(processes[::-1])
        by_others = found(db)[0]
        refused = service.run("worker")
        assert refused.returncode != 0
        assert "`aml shards resize 2`" in refused.stderr
        told = resize(service, 2)
        assert told["findings"]["new"] + told["findings"]["amended"] > 0
        same(bank, db)
        assert found(db)[0] != by_others
        processes = [service.start("worker"), service.start("intake")]
        service.send(sent[-500:], 100)
        assert service.reconciled(len(sent) + 500, 240)["duplicates"] == 500
        stop(processes[::-1])
        same(bank, db)


def test_a_resize_is_refused_or_finished_and_loses_nothing(tmp_path: Path, bank: Path, postgres_url: str):
    sent, half = lines(bank), 9_000
    with Broker(tmp_path / "kafka") as broker, Service(broker, tmp_path, postgres_url, 3, 2) as service:
        assert "is empty" in service.run("shards", "resize", "2").stderr
        service.send_parties(parties(bank))
        worker, intake = service.start("worker"), service.start("intake")
        service.send(sent[:half], 100)
        service.reconciled(half, 240)
        assert "still work" in service.run("shards", "resize", "2").stderr
        stop([worker])
        service.send(sent[half:], 100)
        until_written(broker, len(broker.read(LEGS)) + 3)
        stop([intake])
        assert "its topics end at" in service.run("shards", "resize", "2").stderr
        worker, intake = service.start("worker"), service.start("intake")
        service.reconciled(len(sent), 240)
        stop([intake, worker])
        for point in RESIZE:
            killed(service, point, 2)
            refused = service.run("worker")
            assert refused.returncode != 0
            assert "being made anew" in refused.stderr
        assert "2 shards are made but for their topics" in service.run("shards", "resize", "5").stderr
        assert resize(service, 2)["shards"] == 2
        worker, intake = service.start("worker"), service.start("intake")
        service.send(sent[-500:], 100)
        assert service.reconciled(len(sent) + 500, 240)["duplicates"] == 500
        stop([intake, worker])
        same(bank, postgres_url)


def until_written(broker: Broker, messages: int) -> None:
    for _ in range(200):
        if len(broker.read(LEGS)) >= messages:
            return
    raise AssertionError("the intake writes nothing")


def killed(service: Service, point: str, shards: int) -> None:
    dying = service.start("shards", "resize", str(shards), AML_FAIL_POINT=point)
    try:
        assert dying.popen.wait(120) == -9, dying.said
    except subprocess.TimeoutExpired as error:
        raise AssertionError(dying.said) from error
