"""`make bench`: speed and detection, measured and printed with the machine; a part at a time by its name."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from aml.pipeline.kernels import compile_kernels
from tests.bench import cold, engine, found, intake, machine, models, publish, runs, shards, simulator, trails

PARTS: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "simulate": simulator.main, "engine": engine.main, "models": models.main, "cold": cold.main, "run": runs.main,
    "detect": found.main, "trails": trails.main, "intake": intake.main, "publish": publish.main, "shards": shards.main,
}  # fmt: skip


def main() -> None:
    """Run the parts that were asked for, all of them by default."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--transactions", type=int, default=5_000_000, help="for the engine and the simulator")
    parser.add_argument("--feed", type=int, default=1_000_000, help="transactions for whole runs")
    parser.add_argument("--seed", type=int, default=20_261, help="of the simulated banks: nothing was tuned on it")
    given = parser.parse_args()
    wrong = sorted(set(given.parts) - set(PARTS))
    if wrong:
        parser.error(f"no part {', '.join(wrong)}: give any of {', '.join(PARTS)}")
    machine.main()
    compile_kernels(print)
    with tempfile.TemporaryDirectory(prefix="aml-bench-") as folder:
        for name in given.parts or PARTS:
            sys.stdout.write(f"\n== {name}\n")
            sys.stdout.flush()
            PARTS[name](Path(folder), given)


if __name__ == "__main__":
    main()
