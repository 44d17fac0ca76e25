"""How long the simulator takes."""

from __future__ import annotations

import argparse
from pathlib import Path

from aml.feed.simulate import SimulateSettings, simulate, write
from tests.bench.say import Clock, say


def main(folder: Path, given: argparse.Namespace) -> None:
    """Simulate and write, in memory first, then to Parquet."""
    clock = Clock()
    with clock.running():
        bank = simulate(SimulateSettings(transactions=given.transactions, seed=given.seed, days=60))
    say("simulate", f"{bank.transactions.height:,} transactions in {clock.seconds:.1f} s")
    with clock.running():
        write(bank, folder / "simulated")
    say("simulate and write Parquet", f"{clock.seconds:.1f} s")
