"""What a run is asked, what it counts, and what it tells at its end."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aml.domain.errors import USAGE, AmlError
from aml.pipeline.accept import Counts
from aml.pipeline.watermark import DAY_US, LATENESS
from aml.settings import DEFAULT_DB, DEFAULT_PROFILE

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What `aml run` was asked; the last two say how often a checkpoint is made. lateness: µs.

    history_from: the day from which the feed is complete, None where nobody says.
    """

    feeds: tuple[str, ...]
    parties: Path | None = None
    rates: Path | None = None
    mapping: Path | None = None
    db: str = DEFAULT_DB
    profile: str = DEFAULT_PROFILE
    institution: str | None = None
    lateness: int = LATENESS
    history_from: dt.date | None = None
    as_arrived: bool = False
    models: Path | None = None
    scores_out: Path | None = None
    checkpoint_seconds: float = 60.0
    checkpoint_rows: int = 5_000_000

    def __post_init__(self) -> None:
        if self.lateness <= 0:
            raise AmlError("--lateness: must be more than nothing: write 7d or 36h", USAGE)
        if self.scores_out is not None and not self.scores_out.parent.is_dir():
            raise AmlError(f"{self.scores_out}: its folder does not exist: create it, or give another --scores-out")

    def as_json(self) -> dict[str, Any]:
        """What the database remembers of the settings."""
        paths = {name: getattr(self, name) for name in ("parties", "rates", "mapping", "models", "scores_out")}
        return {
            **{name: None if path is None else str(path) for name, path in paths.items()},
            "profile": self.profile,
            "institution": self.institution,
            "lateness": self.lateness,
            "history_from": None if self.history_from is None else self.history_from.isoformat(),
            "as_arrived": self.as_arrived,
        }


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How a run ended: read = scored + duplicates + Σ rejected; superseded to late are subsets of scored.

    findings, alerts, near_misses and exempted (near misses by an exemption) are those current in the database;
    insufficient: its records that a rule would count and cannot judge, by rule; lacking: what these name, in words;
    messages are for people, one line each.
    """

    read: int
    scored: int
    duplicates: int
    rejected: dict[str, int]
    superseded: int
    voided: int
    not_booked: int
    own_account: int
    late: int
    findings: int
    alerts: int
    near_misses: int
    exempted: int
    insufficient: dict[str, int]
    lacking: dict[str, str]
    seconds: float
    transactions_per_second: float
    messages: tuple[str, ...]


@dataclass(slots=True)
class Tally:
    """What a run has counted so far."""

    read: int = 0
    counts: Counts = field(default_factory=Counts)
    rejected: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    too_late: Counter[str] = field(default_factory=Counter)  # by institution

    def as_json(self, superseded: int, voided: int) -> dict[str, Any]:
        """The counts as the database keeps them."""
        return {
            "read": self.read,
            "scored": self.counts.scored,
            "duplicates": self.counts.duplicates,
            "rejected": dict(sorted(self.rejected.items())),
            "superseded": superseded,
            "voided": voided,
            "not_booked": self.counts.not_booked,
            "own_account": self.counts.own_account,
            "late": self.counts.late,
            "warnings": dict(sorted(self.warnings.items())),
        }

    def check(self) -> None:
        """Every record read is accounted for. Raises RuntimeError: the fault would be our own."""
        accounted = self.counts.scored + self.counts.duplicates + self.rejected.total()
        if self.read != accounted:
            raise RuntimeError(f"{self.read} records were read and {accounted} are accounted for")


def late_messages(too_late: Mapping[str, int], watermarks: Mapping[str, int], lateness: int) -> list[str]:
    """One line for each institution with records that came too late: how many, before which day, and the mend."""
    told = []
    for institution, number in sorted(too_late.items()):
        whose = f"institution {institution}: " if len(too_late) > 1 else ""
        # All of them lie before watermark less lateness, so also before the first midnight from there on.
        day = -(-(watermarks[institution] - lateness) // DAY_US) * DAY_US
        before = (_EPOCH + dt.timedelta(microseconds=day)).date().isoformat()
        records = "1 record" if number == 1 else f"{number:,} records"
        told.append(f"{whose}{records} before {before}: run the files together, or into an own institution, or rebuild")
    return told


def warning_messages(tally: Tally) -> list[str]:
    """What was passed over without refusing a record."""
    told = []
    if tally.warnings:
        fields = ", ".join(f"{name} {number:,}" for name, number in sorted(tally.warnings.items()))
        told.append(f"fields that could not be read and were left out, their payments are monitored: {fields}")
    if tally.rejected["no_rate"]:
        number = tally.rejected["no_rate"]
        records = "1 record is in a currency" if number == 1 else f"{number:,} records are in currencies"
        told.append(f"{records} without a rate of the 7 days before: give dated rates with --rates FILE")
    if tally.counts.mixed_accounts:
        number = tally.counts.mixed_accounts
        accounts = "1 account was" if number == 1 else f"{number:,} accounts were"
        told.append(f"{accounts} seen with and without a customer: name the customer always, or give --parties")
    return told
