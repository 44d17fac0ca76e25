"""What a stream's tables hold, as values: shards and their moves, counts, totals, sources, manifests, leases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class ShardRow:
    """Where one shard stands: `legs` and `records` are the next offsets to read, `state` what moved with them."""

    shard: int
    epoch: int
    legs: int
    records: int
    archived_to: int | None
    owner: str
    taken_at: int
    updated_at: int
    state: dict[str, Any]
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Move:
    """One shard's step: it stands only if shard, epoch and both offsets are still as the owner read them.

    archived_to: None leaves it as it is.
    """

    shard: int
    epoch: int
    legs_from: int
    legs_to: int
    records_from: int
    records_to: int
    state: Mapping[str, Any]
    archived_to: int | None = None


class CountKey(NamedTuple):
    """What a count is of. day: UTC, of the broker's timestamp; outcome: see `stream_counts`."""

    topic: str
    partition: int
    institution: str
    source: str
    day: str
    outcome: str


class TotalKey(NamedTuple):
    """What a total is of. hour: 2026-03-02T14 (UTC) of executed_at, empty where it is not known."""

    institution: str
    source: str
    hour: str
    currency: str


@dataclass(frozen=True, slots=True)
class SourceRow:
    """How far a partition of a source topic is covered; reached_at: its latest broker timestamp, UTC µs."""

    topic: str
    partition: int
    first: int
    next: int
    partitions: int
    reached_at: int
    ended: bool
    shard: int


@dataclass(frozen=True, slots=True)
class ReusedId:
    """An id that came a second time, under another first account."""

    institution: str
    transaction_id: str
    topic: str
    partition: int
    offset: int
    element: int
    received_at: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the bank says it sent: sums in minor units by currency, hours of executed_at; None: the whole source."""

    institution: str
    source: str
    name: str
    records: int
    sums: Mapping[str, int]
    first_id: str | None = None
    last_id: str | None = None
    first_hour: str | None = None
    last_hour: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment of the archive: records of a shard's blocks at legs offsets [legs_from, legs_to), in the state folder.

    After a recovery two segments may hold the same record: its coordinates in the source topic tell.
    """

    name: str
    shard: int
    sha256: str
    bytes: int
    rows: int
    legs_from: int
    legs_to: int


@dataclass(frozen=True, slots=True)
class Lease:
    """Who holds a lease, until when (UTC µs)."""

    owner: str
    until: int
