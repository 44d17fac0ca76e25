"""How many payments a second `aml publish` sends: read, packed and told in manifests, without a broker and to one."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

from aml.stream.packing import Key
from aml.stream.publish import PublishSettings, Topics, publish
from tests.bench.cold import aml
from tests.bench.say import Clock, say
from tests.broker import Broker

TOPICS = Topics("aml.transactions.v1", "aml.parties.v1", "aml.manifests.v1", "bench", 4)
FORMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("batches of 500", ()), ("batches of 500 by account", ("--key", "account")), ("singles by account", ("--singles",)),
)  # fmt: skip


def main(folder: Path, given: argparse.Namespace) -> None:
    """Packing alone, then whole commands against a real Kafka, if there is Java to run it."""
    bank, n = folder / "publish", min(given.feed, 500_000)
    for form in ("parquet", "ndjson"):
        aml("simulate", "--out", str(bank), "--transactions", str(n), "--seed", str(given.seed), "--format", form)
        packed(bank / f"transactions.{form}", folder, form)
    if shutil.which("java") is None or shutil.which("mvn") is None:
        say("to a broker", "not measured: there is no Java and Maven")
        return
    with Broker(folder / "kafka") as broker:
        for name, partitions in ((TOPICS.bank, TOPICS.partitions), (TOPICS.manifests, 1)):
            broker.topic(partitions, name)
        for name, asked in FORMS:
            where = ("--brokers", broker.bootstrap, "--again", "--json", *asked)
            told = json.loads(aml("publish", str(bank / "transactions.parquet"), *where, cwd=folder))
            say(f"{name}, to a broker", f"{told['transactions_per_second']:,} payments/s, start and manifests included")


def packed(feed: Path, folder: Path, form: str) -> None:
    """A feed to a producer that throws away."""
    nowhere = SimpleNamespace(send=lambda *_, **__: None, flush=lambda _: True, close=lambda: None)
    for batch, key in ((500, Key.NONE), (500, Key.ACCOUNT), (0, Key.ACCOUNT)):
        clock, settings = Clock(), PublishSettings((str(feed),), folder / "state", batch=batch, key=key, again=True)
        with clock.running():
            done = publish(settings, TOPICS, nowhere, len, lambda: False)
        what = f"batches of {batch}" if batch else "singles"
        rate, size = done.records / clock.seconds, done.bytes / done.records
        say(f"{form}, {what}, key {key}", f"{rate:,.0f} payments/s read and packed, {size:.0f} bytes each")
