"""What of a feed was sent, source by source: the manifests that it ends with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl

from aml.feed.fields import encode
from aml.pipeline.feeds import FILE
from aml.stream.messages import ManifestMessage

_BILLION: Final = 10**9


class Part(NamedTuple):
    """What a manifest is of. hour: of executed_at, empty where nobody says; of whole files only whether one says."""

    file: str
    institution: str
    source: str
    hour: str


@dataclass(slots=True)
class _Sum:
    records: int = 0
    first_id: str = ""
    last_id: str = ""
    first_hour: str = "~"
    last_hour: str = ""
    sums: dict[str, int] = field(default_factory=dict)
    digest: Any = field(default_factory=hashlib.sha256)


class Sent:
    """Counts what was sent. hourly: a manifest by hour of executed_at, else one a file, institution and source."""

    def __init__(self, hourly: bool) -> None:
        self._hourly = hourly
        self._parts: dict[Part, _Sum] = {}

    def add(self, frame: pl.DataFrame, lines: pl.Series) -> None:
        """Add records, in their order, with their lines. frame: canonical, and the column `file`."""
        hour = pl.from_epoch(pl.col("executed_at"), "us").dt.strftime("%Y-%m-%dT%H").fill_null("")
        known_time = pl.when(pl.col("executed_at").is_null()).then(pl.lit("")).otherwise(pl.lit("timed"))
        apart = hour if self._hourly else known_time
        known = frame.select(
            FILE, "institution", "source", apart.alias("apart"), hour.alias("hour"), "transaction_id", lines,
            "currency", "amount",
        )  # fmt: skip
        keys = [FILE, "institution", "source", "apart"]
        grouped = known.group_by(keys, maintain_order=True).agg(
            pl.len(), pl.col("transaction_id").first().alias("first"), pl.col("transaction_id").last().alias("last"),
            pl.col("hour").min().alias("early"), pl.col("hour").max().alias("late"), pl.col("line").str.join("\n"),
        )  # fmt: skip
        for *part, n, first, last, early, late, text in grouped.iter_rows():
            one = self._parts.setdefault(Part(*part), _Sum(first_id=first))
            one.records += n
            one.last_id = last
            one.first_hour, one.last_hour = min(one.first_hour, early), max(one.last_hour, late)
            one.digest.update(text.encode() + b"\n")
        self._money(known.drop_nulls(["currency", "amount"]), keys)

    def _money(self, known: pl.DataFrame, keys: list[str]) -> None:
        # In two halves: no sum of a batch overflows.
        high, low = pl.col("amount") // _BILLION, pl.col("amount") % _BILLION
        grouped = known.group_by(*keys, "currency").agg(high.sum(), low.sum().alias("low"))
        for *part, currency, billions, units in grouped.iter_rows():
            sums = self._parts[Part(*part)].sums
            sums[currency] = sums.get(currency, 0) + billions * _BILLION + units

    def manifests(self, at: str) -> Iterator[ManifestMessage]:
        """The manifests of all that was added; at: now, as text."""
        for part, one in self._parts.items():
            digest = one.digest.hexdigest()
            # By content: the same file again replaces its manifest, another one of its name does not.
            name = f"{Path(part.file).name}-{digest[:12]}"
            if self._hourly or not part.hour:
                name += f"-{part.hour or 'untimed'}"
            yield ManifestMessage(
                manifest=name, institution=part.institution, source=part.source, records=one.records,
                sums=dict(sorted(one.sums.items())), first_hour=one.first_hour, last_hour=one.last_hour,
                first_id=one.first_id, last_id=one.last_id, sha256=digest, sent_at=at,
            )  # fmt: skip


def manifest_key(manifest: ManifestMessage) -> bytes:
    """The key of a manifest's message: one that comes again under its name takes the place of the one before."""
    return encode([manifest.institution, manifest.source, manifest.manifest])
