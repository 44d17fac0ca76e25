"""A run that is stopped, wherever: the database is consistent, and the next run ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from aml.pipeline import checkpoint
from aml.pipeline import feeds as feeds_module
from aml.store import statefolder
from tests.flow_factory import archived, asked, current, exported, invented, lines, ndjson, run, url

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A small bank as a file, and the database of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("world")
    bank = invented(3_000, days=40, seed=5, attempts=25)
    bank.transactions.write_parquet(folder / "feed.parquet")
    ndjson(folder / "feed.ndjson", lines(bank.transactions))
    summary = run(url(folder), folder / "feed.parquet")
    return SimpleNamespace(folder=folder, db=url(folder), feed=folder / "feed.parquet", summary=summary)


@pytest.fixture
def small(monkeypatch):
    """Many batches."""
    monkeypatch.setattr(feeds_module, "BATCH", 500)


def consistent(db):
    """The files of the state folder are exactly those that the database names, and it stands on whole records."""
    folder = Path(db.removeprefix("sqlite:///") + ".state")
    named = {name for (name,) in asked(db, "SELECT name FROM state_files WHERE retired_by IS NULL")}
    assert {path.name for path in folder.iterdir()} == named | {statefolder.OWNER}
    kept = set(archived(db)["transaction_id"])
    assert {name for (name,) in asked(db, "SELECT transaction_id FROM finding_transactions")} <= kept


def ends_like(world, db, feed=None):
    """Run again, and find what the run found that nothing stopped."""
    told = run(db, feed or world.feed)
    assert told.read == told.scored + told.duplicates == world.summary.read
    assert current(db) == current(world.db)
    assert exported(db) == exported(world.db)
    consistent(db)
    return told


class Stopped(Exception):
    """The machine goes away."""


@pytest.mark.parametrize("at", [1, 3, 6])
def test_stopped_between_batches(world, tmp_path, small, at):
    calls = iter(range(100))

    def stop(read, share):
        if next(calls) == at:
            raise Stopped

    settings = {"checkpoint_rows": 1_000}
    with pytest.raises(Stopped):
        stopped(url(tmp_path), world.feed, stop, **settings)
    told = ends_like(world, url(tmp_path))
    assert (told.duplicates > 0) is (at > 2)


def stopped(db, feed, progress, **settings):
    from tests import flow_factory

    flow_factory.run_feeds(flow_factory.RunSettings(feeds=(str(feed),), db=db, **settings), progress)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(
    "place", ["files written", "in the transaction", "committed", "retired files half removed"]
)  # fmt: skip
def test_stopped_in_a_checkpoint(world, tmp_path, monkeypatch, small, place, number):
    db, left = url(tmp_path), [number]

    def last():
        left[0] -= 1
        return left[0] == 0

    def wrapped(real, before):
        def call(*args, **given):
            stop = last()
            if stop and before:
                raise Stopped
            result = real(*args, **given)
            if stop:
                raise Stopped
            return result

        return call

    with monkeypatch.context() as patch:
        if place == "files written":
            patch.setattr(checkpoint, "evidence_of", wrapped(checkpoint.evidence_of, True))
        elif place == "in the transaction":
            patch.setattr(checkpoint.Keeper, "_finish", wrapped(checkpoint.Keeper._finish, False))
        elif place == "committed":
            patch.setattr(checkpoint, "remove", wrapped(checkpoint.remove, True))
        else:
            patch.setattr(checkpoint, "remove", wrapped(lambda folder, names: None, False))
        with pytest.raises(Stopped):
            run(db, world.feed, checkpoint_rows=1_000)
    checkpoints = asked(db, "SELECT count(*) FROM checkpoints")[0][0]
    assert checkpoints == number - (place in ("files written", "in the transaction"))
    ends_like(world, db)


def test_stopped_before_its_first_checkpoint_a_run_leaves_nothing(world, tmp_path, small):
    def stop(read, share):
        raise Stopped

    with pytest.raises(Stopped):
        stopped(url(tmp_path), world.feed, stop)
    assert asked(url(tmp_path), "SELECT count(*) FROM findings") == [(0,)]
    assert asked(url(tmp_path), "SELECT state FROM runs") == [("running",)]
    assert ends_like(world, url(tmp_path)).duplicates == 0
    assert asked(url(tmp_path), "SELECT state FROM runs") == [("interrupted",), ("finished",)]


PROGRAM = """
import os, signal, sys
from aml.pipeline import feeds
feeds.BATCH = 250
from aml.pipeline.embedded import RunSettings, run_feeds

left = int(sys.argv[3])

def progress(read, share):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), int(sys.argv[4]))

run_feeds(RunSettings(feeds=(sys.argv[1],), db=sys.argv[2], checkpoint_rows=900), progress)
"""


def killed(feed, db, batches, number):
    program = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(feed), db, str(batches), str(int(number))],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    return program.returncode


@pytest.mark.parametrize("batches", [2, 9])
def test_killed(world, tmp_path, batches):
    db = url(tmp_path)
    assert killed(world.feed, db, batches, signal.SIGKILL) == -signal.SIGKILL
    told = ends_like(world, db)
    assert (told.duplicates > 0) is (batches > 4)


def test_interrupted_a_run_ends_with_a_checkpoint(world, tmp_path):
    db = url(tmp_path)
    killed(world.feed, db, 6, signal.SIGINT)
    assert asked(db, "SELECT state FROM runs") == [("interrupted",)]
    consistent(db)
    told = ends_like(world, db)
    assert told.duplicates == 7 * 250  # the batch under way was accepted already


def test_interrupted_twice_a_run_ends_at_once(world, tmp_path):
    program = PROGRAM.replace("os.kill(os.getpid(), int(sys.argv[4]))", "[os.kill(os.getpid(), 2) for _ in '12']")
    ran = subprocess.run(
        [sys.executable, "-c", program, str(world.feed), url(tmp_path), "2", "0"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert "KeyboardInterrupt" in ran.stderr
    ends_like(world, url(tmp_path))


def test_ctrl_c_on_the_command_line(world, tmp_path):
    """Standard input that never ends: the run waits for it, and ends well when asked to."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AML_")}
    command = [sys.executable, "-m", "aml", "run", "-", "--db", url(tmp_path), "--json"]
    going = subprocess.Popen(
        command, cwd=ROOT, env=ours, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert going.stdin is not None
    text = (world.folder / "feed.ndjson").read_text()
    # More than a first batch, so that the run has begun; then nothing comes any more.
    going.stdin.write(text * (2 + (feeds_module.BATCH << 1) // text.count("\n")))
    going.stdin.flush()
    for _ in range(600):
        if Path(tmp_path / "aml.db").exists() and asked_safely(url(tmp_path)):
            break
        time.sleep(0.1)
    going.send_signal(signal.SIGINT)
    out, err = going.communicate(timeout=120)
    assert going.returncode == 130, err
    assert out == ""
    assert err.splitlines()[-1] == "interrupted: what was committed stands; run the same command again to continue"
    assert asked(url(tmp_path), "SELECT state FROM runs") == [("interrupted",)]
    ends_like(world, url(tmp_path), world.folder / "feed.ndjson")


def asked_safely(db):
    import sqlite3

    try:
        return asked(db, "SELECT state FROM runs") == [("running",)]
    except sqlite3.OperationalError:
        return False


def test_a_second_run_waits_for_nobody(world, tmp_path, small):
    """While one goes on, another is refused with a line that names it, and harms nothing."""
    from aml.domain.errors import STORE, AmlError

    said = []

    def second(read, share):
        if not said:
            with pytest.raises(AmlError) as raised:
                run(url(tmp_path), world.feed)
            said.append((str(raised.value), raised.value.exit_code))

    stopped(url(tmp_path), world.feed, second)
    assert f"a run is going on (pid {os.getpid()} on " in said[0][0]
    assert said[0][1] == STORE
    assert current(url(tmp_path)) == current(world.db)


def test_counts_of_the_run_are_kept(world):
    ((counts, feeds, state),) = asked(world.db, "SELECT counts, feeds, state FROM runs")
    told = json.loads(counts)
    assert (told["read"], told["alerts"], state) == (world.summary.read, world.summary.alerts, "finished")
    assert json.loads(feeds) == [str(world.feed)]
