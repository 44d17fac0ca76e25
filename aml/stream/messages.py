"""What we write for others, and they for us, beside transactions and parties: alerts and manifests, as types.

`python -m aml.stream.messages` writes their JSON Schemas to streams/schemas/; a test fails where they differ.
"""

from __future__ import annotations

import datetime as dt
import sys
from typing import Annotated, Any, Final

import msgspec

from aml.content import folder
from aml.domain.alert import AlertStatus
from aml.feed.schema import schema_of, text_of

Time = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")]
Hour = Annotated[str, msgspec.Meta(pattern=r"^(\d{4}-\d\d-\d\dT\d\d)?$")]
Name = Annotated[str, msgspec.Meta(min_length=1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class AlertMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An alert as it stands: flat, to be upserted by alert_id where version is higher. Never what was decided."""

    alert_id: Name
    version: Count
    institution: Name
    subject_kind: str
    subject_id: str
    status: AlertStatus
    score: Share
    band: str
    rules: list[str]
    raised_at: Time
    crossed_at: Time | None
    updated_at: Time


class ManifestMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the bank says it sent: one part of a source. A manifest of the same name replaces the one before."""

    manifest: Name
    institution: Name
    source: str
    """As the records say; empty where they say none."""
    records: Count
    sums: dict[str, int]
    """By currency the sum of the amounts as sent, in minor units."""
    first_hour: Hour | None = None
    """Earliest hour of executed_at, UTC: 2026-03-02T14; empty: of records without a time; absent: the whole source."""
    last_hour: Hour | None = None
    first_id: str | None = None
    last_id: str | None = None
    sha256: str | None = None
    """Of what was sent, for the bank's own use."""
    sent_at: Time | None = None

    def __post_init__(self) -> None:
        """Hours must be hours, the last not before the first."""
        for hour in filter(None, (self.first_hour, self.last_hour)):
            dt.datetime.strptime(hour, "%Y-%m-%dT%H").replace(tzinfo=dt.UTC)
        if self.first_hour and self.last_hour and self.first_hour > self.last_hour:
            raise ValueError("last_hour lies before first_hour")


_TITLES: Final = {
    "alert.v1.json": (AlertMessage, "aml.alerts.v1"), "manifest.v1.json": (ManifestMessage, "aml.manifests.v1"),
}  # fmt: skip


def schemas() -> dict[str, dict[str, Any]]:
    """File name -> JSON Schema."""
    return {name: schema_of(kind, title) for name, (kind, title) in _TITLES.items()}


def main() -> None:
    """Write the schemas."""
    for name, schema in schemas().items():
        path = folder("streams") / "schemas" / name
        path.write_text(text_of(schema), encoding="utf-8")
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
