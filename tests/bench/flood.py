"""Ten times as much as the service takes, for a while: what grows must be the lag, not the memory.

First a feed is worked off, which says what the service takes; then the same payments come again and again as those of
other institutions, ten times as fast or as fast as one producer can, and are worked off for as long. Lag is payments
sent and not committed. Broker, database and producer share the machine with intake and workers.
"""

from __future__ import annotations

import argparse
import re
import threading
import time
from pathlib import Path

from sqlalchemy import text

from aml.store.database import Database, open_database
from tests.bench.kafka import memory, service, until, worked_off
from tests.bench.say import say
from tests.broker import Broker
from tests.service import BANK, Process, Service

TIMES = 10
BATCH = 500
EVERY = 2.0  # seconds between two looks


class Flood:
    """Sends messages of 500 payments over and over until it is told to end. rate: payments a second at most."""

    def __init__(self, bootstrap: str, lines: list[bytes], rate: float) -> None:
        self._bootstrap, self._rate = bootstrap, rate
        self._messages = [b"\n" + b"\n".join(lines[n : n + BATCH]) for n in range(0, len(lines) - BATCH + 1, BATCH)]
        self._stop = threading.Event()
        self.sent = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        from kafka import KafkaProducer

        producer = KafkaProducer(
            bootstrap_servers=self._bootstrap, acks="all", compression_type="lz4", linger_ms=5, batch_size=1 << 20
        )
        began, waiting = time.monotonic(), []
        n = 0
        while not self._stop.is_set():
            turn, place = divmod(n, len(self._messages))
            # Another institution each time: its own clock and holders, so nothing is late or a duplicate.
            value = self._messages[place].replace(b"\n{", b'\n{"institution":"flood-%d",' % turn)
            waiting.append(producer.send(BANK, value[1:]))
            n += 1
            if len(waiting) >= 64:
                for future in waiting:
                    future.get(60)
                self.sent, waiting = n * BATCH, []
            time.sleep(max(0.0, began + n * BATCH / self._rate - time.monotonic()))
        producer.flush()
        producer.close()
        self.sent = n * BATCH

    def end(self) -> int:
        """How many payments were sent."""
        self._stop.set()
        self._thread.join(120)
        return self.sent


def flood(root: Path, bank: Path, given: argparse.Namespace) -> None:
    """Flood the service and print what becomes of it."""
    with Broker(root / "kafka") as broker:
        made, server = service(root, broker, given)
        with made:
            feed = bank / "transactions.ndjson"
            sent = made.publish(str(feed), "--parties", str(bank / "parties.csv"))["records"]
            processes = [made.start("worker") for _ in range(given.workers)]
            for process in processes:
                until(lambda process=process: "has shards" in process.said, 120)
            processes.append(made.start("intake"))
            takes, _ = worked_off(made, processes, sent)
            say("the service takes", f"{takes:,.0f} payments/s; {_memories(processes, memory)}")
            database = open_database(made.db, create=False)
            try:
                _flood(broker, made, database, processes, feed.read_bytes().splitlines(), takes, sent, given.flood)
            finally:
                database.close()
        server.cleanup()


def _flood(
    broker: Broker, made: Service, database: Database, processes: list[Process], lines: list[bytes], takes: float,
    before: int, seconds: int,
) -> None:  # fmt: skip
    flooding, began = Flood(broker.bootstrap, lines, TIMES * takes), time.monotonic()
    while time.monotonic() < began + seconds:
        time.sleep(EVERY)
        _look(made, database, processes, began, before + flooding.sent)
    sent = flooding.end()
    lasted = time.monotonic() - began
    lag = before + sent - committed(database)
    rate = sent / lasted
    say(f"flooded for {lasted:.0f} s", f"{rate:,.0f} payments/s, {rate / takes:.1f} times as much; lag {lag:,}")
    say("memory at most", _memories(processes, memory))
    done, again = committed(database), time.monotonic()
    while time.monotonic() < again + seconds and committed(database) < before + sent:
        time.sleep(EVERY)
        _look(made, database, processes, began, before + sent)
    caught = (committed(database) - done) / (time.monotonic() - again)
    left = before + sent - committed(database)
    say("catching up", f"{caught:,.0f} payments/s, lag {left:,} after {time.monotonic() - again:.0f} s")
    say("memory at most", _memories(processes, memory))


def _look(made: Service, database: Database, processes: list[Process], began: float, sent: int) -> None:
    done = committed(database)
    inbox = sum(_gauge(made.scrape(p), "aml_inbox_bytes") for p in processes if p.name == "worker")
    told = f"sent {sent:>12,}  lag {sent - done:>12,}  inbox {int(inbox) >> 20:>4} MiB  {_memories(processes, now)}"
    say(f"  after {time.monotonic() - began:4.0f} s", told)


def committed(database: Database) -> int:
    """Payments that the database has."""
    query = "SELECT coalesce(sum(value), 0) FROM stream_counts WHERE outcome IN ('scored', 'duplicate')"
    with database.read() as connection:
        return int(connection.execute(text(query)).scalar() or 0)


def now(process: Process) -> int:
    """MiB that a process has in memory now."""
    status = Path(f"/proc/{process.popen.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmRSS:\s+(\d+)", status)
    return int(found[1]) >> 10 if found else 0


def _memories(processes: list[Process], of: object) -> str:
    assert callable(of)
    return ", ".join(f"{process.name} {of(process):,} MiB" for process in processes)


def _gauge(page: str, name: str) -> float:
    found = re.search(rf"^{name} ([\d.e+]+)$", page, re.M)
    return float(found[1]) if found else 0.0
