"""A seeded simulator of a bank: ordinary life with its false positives, and laundering planted among it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from aml.feed.simulate.book import join
from aml.feed.simulate.files import FORMATS, write_frame
from aml.feed.simulate.frame import identifiers, parties, transactions
from aml.feed.simulate.ordinary import live
from aml.feed.simulate.plant import DEGENERATE, TYPOLOGIES, Planted, plant
from aml.feed.simulate.settings import SimulateSettings
from aml.feed.simulate.world import build

__all__ = ["FORMATS", "TYPOLOGIES", "Bank", "SimulateSettings", "simulate", "write"]

_PLANTED_FROM: Final = 1 << 29  # row numbers of planted rows, so that ordinary ids are the same in the clean twin
_TRUTH: Final = pl.Schema(
    [
        ("transaction_id", pl.String()),
        ("typology", pl.String()),
        ("attempt", pl.String()),
        ("shape_rows", pl.Int64()),
        ("degenerate", pl.Boolean()),
        ("executed_at", pl.Datetime("us", "UTC")),
    ]
)


@dataclass(frozen=True, slots=True)
class Bank:
    """A simulated bank.

    transactions: Transaction v1, input form, by executed_at then transaction_id · parties: Parties v1 · truth: one row
    per planted transaction (transaction_id, typology, attempt, shape_rows: rows of the attempt's shape, degenerate:
    whether they are only one or two, executed_at: of the transaction), in the order of the transactions.
    """

    transactions: pl.DataFrame
    parties: pl.DataFrame
    truth: pl.DataFrame


def simulate(settings: SimulateSettings) -> Bank:
    """Invent a bank. The same settings give the same bank; without launderers only the planted rows are missing."""
    world = build(settings)
    rows = live(world)
    number = np.arange(rows["at"].size, dtype=np.int64)
    truth = pl.DataFrame(schema=_TRUTH)
    if settings.launderers:
        planted = plant(world)
        added = np.arange(planted.typology.size, dtype=np.int64) + _PLANTED_FROM
        truth = _truth(settings.seed, planted, added)
        rows, number = join(rows, planted.rows), np.concatenate([number, added])
    return Bank(transactions(world, rows, number), parties(world), truth)


def _truth(seed: int, planted: Planted, number: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> pl.DataFrame:
    ids = identifiers(seed, number)
    frame = pl.DataFrame(
        {
            "transaction_id": ids,
            "typology": pl.Series(list(TYPOLOGIES)).gather(planted.typology),
            "attempt": "A" + pl.Series(planted.attempt + 1).cast(pl.String).str.zfill(5),
            "shape_rows": planted.shape_rows,
            "degenerate": planted.shape_rows <= DEGENERATE,
            "executed_at": planted.rows["at"],
        }
    )
    return frame.sort("executed_at", "transaction_id").cast(_TRUTH)


def write(bank: Bank, folder: Path, form: str = "parquet") -> dict[str, Path]:
    """Write transactions.<form>, parties.csv and truth.csv into the folder; returns their paths by name.

    `form` is one of FORMATS. A file is there whole or not at all. Raises AmlError where it cannot be written.
    """
    frames = {
        "transactions": (bank.transactions, f"transactions.{form}"),
        "parties": (bank.parties, "parties.csv"),
        "truth": (bank.truth, "truth.csv"),
    }
    paths = {}
    for name, (frame, file) in frames.items():
        paths[name] = folder / file
        write_frame(frame, paths[name])
    return paths
