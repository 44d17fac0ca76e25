"""How long the kernels take to compile, once, on a machine that never ran them."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.say import say

_RUN = ("run", "transactions.parquet", "--parties", "parties.csv", "--json", "--db")


def main(folder: Path, given: argparse.Namespace) -> None:
    """A small run with an empty cache, and the same again."""
    bank = folder / "cold"
    aml("simulate", "--out", str(bank), "--transactions", "2000", "--days", "30", "--seed", str(given.seed))
    cache = {"NUMBA_CACHE_DIR": str(folder / "numba")}
    seconds = []
    for turn in ("first", "again"):
        began = time.perf_counter()
        aml(*_RUN, f"sqlite:///{turn}.db", cwd=bank, **cache)
        seconds.append(time.perf_counter() - began)
    say("a small run, nothing compiled", f"{seconds[0]:.1f} s")
    say("the same, compiled", f"{seconds[1]:.1f} s")
    say("cold compile, once", f"{seconds[0] - seconds[1]:.1f} s")


def aml(*args: str, cwd: Path | None = None, **environment: str) -> str:
    """Run `aml`, its output returned; its progress goes nowhere."""
    done = subprocess.run(
        [sys.executable, "-m", "aml", *args], cwd=cwd, env={**os.environ, **environment}, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout
