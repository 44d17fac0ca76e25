"""How many payments a second the intake reads, judges, resolves and packs, without a broker."""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

from aml.detect.profile import load_profile
from aml.feed.rates import NO_RATES
from aml.feed.validate import Terms
from aml.pipeline.resolved import resolve
from aml.stream.decode import Decoder, Message
from aml.stream.intake import Assigned, IntakeCore
from tests.bench.say import Clock, say

TOPIC = "aml.transactions.v1"
SHARDS, PARTITIONS, ROWS, BATCH = 12, 4, 200_000, 500
BEGAN = 1_772_000_000


def payment(n: int, chance: random.Random) -> bytes:
    """A payment of some 400 bytes and 16 fields, as banks send them."""
    second = BEGAN + n // 50
    return json.dumps(
        {
            "transaction_id": f"{n:016x}",
            "executed_at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)) + f".{n % 1000:03d}Z",
            "amount": f"{chance.lognormvariate(5, 1.5):.2f}", "currency": "USD", "instrument": "wire",
            "channel": "online", "status": "booked", "booking_date": time.strftime("%Y-%m-%d", time.gmtime(second)),
            "originator_account": f"ACC{chance.randrange(50_000):08d}", "originator_country": "US",
            "originator_customer": f"C{chance.randrange(40_000):07d}", "originator_name": "Some Customer Ltd",
            "beneficiary_account": f"ACC{chance.randrange(50_000):08d}", "beneficiary_country": "US",
            "purpose": f"invoice {n}", "source_sequence": n,
        }
    ).encode()  # fmt: skip


def main(folder: Path, given: argparse.Namespace) -> None:
    """Singles and batches, in flushes as a busy intake makes them."""
    del folder
    chance = random.Random(given.seed)
    rows = [payment(n, chance) for n in range(ROWS)]
    at = (BEGAN + 60) * 1_000_000 + ROWS // 50 * 1_000_000
    batches = [b"[" + b",".join(rows[n : n + BATCH]) + b"]" for n in range(0, ROWS, BATCH)]
    measure("singles, flushes of 2,000", [*log(rows, at)], 2_000)
    measure("singles, flushes of 20,000", [*log(rows, at)], 20_000)
    measure(f"batches of {BATCH}, flushes of 20,000", [*log(batches, at)], 20_000 // BATCH)


def log(values: list[bytes], at: int) -> list[Message]:
    """The values over the partitions in turn, as a poll hands them out."""
    return [Message(TOPIC, n % PARTITIONS, n // PARTITIONS, at, None, value) for n, value in enumerate(values)]


def measure(name: str, messages: list[Message], step: int) -> None:
    """Take and flush all messages, so many at a time; the best of three."""
    profile, clock, best, size = load_profile("us"), Clock(), float("inf"), 0
    for _ in range(3):
        decoder = Decoder(Terms(TOPIC, "main", 0, "USD", NO_RATES))
        core = IntakeCore("bench", SHARDS, decoder, lambda frame: resolve(frame, profile, None, SHARDS))
        core.assign({(TOPIC, partition): 0 for partition in range(PARTITIONS)})
        assigned = {(TOPIC, partition): Assigned(PARTITIONS, False) for partition in range(PARTITIONS)}
        read = size = 0
        clock.seconds = 0.0
        with clock.running():
            for first in range(0, len(messages), step):
                core.take(messages[first : first + step])
                while core.held:
                    done = core.flush(0, assigned)
                    read, size = read + done.rows, size + sum(map(len, done.blocks))
        if read != ROWS:
            raise AssertionError(f"{read:,} of {ROWS:,} payments were read")
        best = min(best, clock.seconds)
    say(name, f"{ROWS / best:,.0f} payments/s, {size / ROWS:.0f} bytes each in blocks of {SHARDS} shards")
