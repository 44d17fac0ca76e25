"""What `aml publish` sends: a feed's records as messages, in their order, and the manifests of what was sent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec
import polars as pl

from aml.feed.raw import Chunk
from aml.stream.messages import ManifestMessage
from aml.stream.told import transaction_lines

KEYS: Final[Mapping[str, str | None]] = {
    "none": None, "account": "originator_account", "beneficiary": "beneficiary_account", "id": "transaction_id",
}  # fmt: skip


class Message(NamedTuple):
    """A message for the bank's topic. at: executed_at of its last record, UTC µs, 0 where nobody says."""

    key: bytes | None
    value: bytes
    records: int
    at: int


def messages(chunk: Chunk, batch: int, key: str) -> Iterator[Message]:
    """A chunk's records, `batch` a message as NDJSON (1: one JSON object), under a name of KEYS of the first record;
    then what could not be read, each alone as it stood, for the intake to count and keep."""
    frame = chunk.transactions
    lines = transaction_lines(frame) if frame.height else []
    at = frame.get_column("executed_at").fill_null(0).to_list() if frame.height else []
    column = KEYS[key]
    keys = None if column is None or not frame.height else frame.get_column(column).to_list()
    for first in range(0, len(lines), batch):
        some = lines[first : first + batch]
        named = None if keys is None or keys[first] is None else keys[first].encode()
        yield Message(named, "\n".join(some).encode(), len(some), at[first + len(some) - 1])
    for reject in chunk.rejects:
        yield Message(None, reject.original, 1, 0)


@dataclass
class Sums:
    """What was sent of one institution and source, or of one hour of it."""

    records: int = 0
    sums: dict[str, int] = field(default_factory=dict)
    first_hour: str | None = None
    last_hour: str | None = None
    first_id: str | None = None
    last_id: str | None = None
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)


class Manifests:
    """Adds up what was sent. hourly: one manifest an hour of executed_at, else one for all."""

    def __init__(self, name: str, hourly: bool = False) -> None:
        self._name, self._hourly = name, hourly
        self._held: dict[tuple[str, str, str], Sums] = {}

    def take(self, frame: pl.DataFrame) -> None:
        """Records that were sent: rows of a canonical frame."""
        if not frame.height:
            return
        hour = pl.from_epoch(pl.col("executed_at"), "us").dt.strftime("%Y-%m-%dT%H")
        told = frame.select(
            "institution", "source", "transaction_id", hour.alias("hour"), pl.col("currency").fill_null(""),
            pl.col("amount").fill_null(0),
        ).with_columns((pl.col("hour") if self._hourly else pl.lit("")).fill_null("").alias("part"))  # fmt: skip
        for (institution, source, part), some in told.group_by(
            "institution", "source", "part", maintain_order=True
        ):
            self._add(self._held.setdefault((str(institution), str(source), str(part)), Sums()), some)

    def _add(self, held: Sums, some: pl.DataFrame) -> None:
        held.records += some.height
        for currency, amount in some.group_by("currency").agg(pl.col("amount").sum()).iter_rows():
            held.sums[currency] = held.sums.get(currency, 0) + amount
        hours = some.get_column("hour").drop_nulls()
        if len(hours):
            held.first_hour = min(filter(None, (held.first_hour, str(hours.min()))))
            held.last_hour = max(filter(None, (held.last_hour, str(hours.max()))))
        ids = some.get_column("transaction_id")
        held.first_id, held.last_id = held.first_id or ids[0], ids[-1]
        held.digest.update("\n".join(ids.to_list()).encode())

    def told(self, sent_at: str) -> list[ManifestMessage]:
        """The manifests."""
        return [
            ManifestMessage(
                f"{self._name} {part}".rstrip(), institution, source, s.records, s.sums,
                s.first_hour, s.last_hour, s.first_id, s.last_id, s.digest.hexdigest(), sent_at,
            )
            for (institution, source, part), s in self._held.items()
        ]  # fmt: skip


def manifest_key(manifest: ManifestMessage) -> bytes:
    """The key of a manifest's message."""
    return msgspec.json.encode([manifest.institution, manifest.source, manifest.manifest])
