"""Whole runs, everything on, alerts in SQLite: Parquet, NDJSON, and records as they come, out of order by an hour."""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import numpy as np
import polars as pl

from tests.bench.cold import aml
from tests.bench.say import say

ROUNDS = 3
HOUR = 3_600_000_000


def main(folder: Path, given: argparse.Namespace) -> None:
    """The median of three runs of each, in one sitting."""
    bank = folder / "run"
    size = ("--transactions", str(given.feed), "--seed", str(given.seed), "--days", "60")
    aml("simulate", "--out", str(bank), *size)
    aml("simulate", "--out", str(bank), *size, "--format", "ndjson")
    _shuffle(bank, given.seed)
    forms = {
        "Parquet": ("transactions.parquet",), "NDJSON": ("transactions.ndjson",),
        "as arrived, shuffled within an hour": ("shuffled.parquet", "--as-arrived"),
    }  # fmt: skip
    paces: dict[str, list[float]] = {name: [] for name in forms}
    for turn in range(ROUNDS):
        for name, args in forms.items():
            told = _run(bank, f"{turn}-{args[0]}.db", *args)
            paces[name].append(told["transactions_per_second"])
    for name, held in paces.items():
        every = ", ".join(f"{pace:,.0f}" for pace in held)
        say(f"aml run, {name}", f"{statistics.median(held):,.0f} transactions/s ({every})")
    share = statistics.median(paces["as arrived, shuffled within an hour"]) / statistics.median(paces["Parquet"])
    say("as arrived against sorted Parquet", f"{share:.0%}")
    say("alerts, findings, near misses", f"{told['alerts']:,}, {told['findings']:,}, {told['near_misses']:,}")


def _run(bank: Path, name: str, *args: str) -> dict[str, float]:
    told: dict[str, float] = json.loads(
        aml("run", *args, "--parties", "parties.csv", "--json", "--db", f"sqlite:///{name}", cwd=bank)
    )
    return told


def _shuffle(bank: Path, seed: int) -> None:
    """The same records, each moved by up to an hour in the order of arrival."""
    frame = pl.read_parquet(bank / "transactions.parquet")
    at = frame.get_column("executed_at").dt.epoch("us").to_numpy()
    moved = at + np.random.default_rng(seed).integers(0, HOUR, frame.height)
    frame[np.argsort(moved, kind="stable")].write_parquet(bank / "shuffled.parquet")
