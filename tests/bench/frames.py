"""A simulated bank's files as canonical frames, read the way a run reads them."""

from __future__ import annotations

import time
from pathlib import Path

import polars as pl

from aml.feed.parties import read_parties
from aml.pipeline.feeds import FILE, Feeds, FeedTerms


def canonical(bank: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(transactions in order, parties) of the folder that the simulator wrote."""
    terms = FeedTerms((str(bank / "transactions.parquet"),), "main", "USD", time.time_ns() // 1000)
    parts = [part.frame for part in Feeds(terms).parts() if part.frame.height]
    return pl.concat(parts).drop(FILE), read_parties(bank / "parties.csv", "main")
