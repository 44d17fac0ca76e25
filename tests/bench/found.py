"""Detection on a bank that nothing was tuned on: trained on its own first part, then run; and its clean twin."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import polars as pl

from tests.bench.cold import aml
from tests.bench.say import say


def main(folder: Path, given: argparse.Namespace) -> None:
    """Attempts found by rules, by models and by either; recall of the models; volume on the twin."""
    bank, twin = folder / "found", folder / "twin"
    size = ("--transactions", str(given.feed), "--seed", str(given.seed + 1), "--days", "90")
    aml("simulate", "--out", str(bank), *size)
    aml("simulate", "--out", str(twin), *size, "--no-launderers")
    frame = pl.read_parquet(bank / "transactions.parquet")
    frame.head(frame.height // 2).write_parquet(bank / "first.parquet")
    aml("train", "first.parquet", "--parties", "parties.csv", "--out", "models", cwd=bank)
    for where in (bank, twin):
        aml("run", "transactions.parquet", "--parties", "parties.csv", "--models", str(bank / "models"), "--json",
            "--db", "sqlite:///found.db", "--scores-out", "scores.parquet", cwd=where)
    told = _evaluate(bank)
    for tally in (*told["typologies"], told["whole"], told["small"]):
        n = max(1, tally["attempts"])
        either = tally["covered"] or 0
        say(
            f"  {tally['typology']}",
            f"{tally['attempts']} attempts: rules {tally['found'] / n:.0%}, models {(tally['in_top'] or 0) / n:.0%}, "
            f"either {either / n:.0%}",
        )
    say("models alone", json.dumps(told["ranking"]))
    for cost in (_evaluate(twin)["cost"], *_evaluate(twin)["kinds"]):
        rate = cost["per_1000_customers_month"]
        say(f"clean twin, alerts {cost['kind'] or 'in all'}", f"{cost['alerts']:,}" + ("" if rate is None else
            f", {rate:.1f} per 1,000 customers and month, {cost['hours_per_1000_customers_month']:.1f} hours"))


def _evaluate(bank: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(
        aml("evaluate", "sqlite:///found.db", "truth.csv", "--scores", "scores.parquet", "--json", cwd=bank)
    )
    return told
