"""What the bank's manifests claim that it sent, against what was scored: how many, and sums by currency."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aml.store.completeness import Known, Tally
from aml.store.stream import Manifest, TotalKey


def judge_manifests(known: Known) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """Every manifest, those whose hours overlap together, as it stands against what was scored; faults; alarms."""
    by_feed: dict[tuple[str, str], list[Manifest]] = defaultdict(list)
    for manifest in known.manifests:
        by_feed[manifest.institution, manifest.source].append(manifest)
    tallies: dict[tuple[str, str], Tally] = defaultdict(Tally)
    for counted in known.counts:
        tallies[counted.institution, counted.source].add(counted.tally)
    shown: list[dict[str, Any]] = []
    faults: list[str] = []
    alarms: list[str] = []
    for feed, manifests in by_feed.items():
        scored = {key: value for key, value in known.totals.items() if (key.institution, key.source) == feed}
        told = [_manifest(group, scored) for group in _together(manifests)]
        shown += told
        faults += _faults(", ".join(feed), told, tallies[feed])
        alarms += _unnamed(", ".join(feed), told)
    return shown, faults, alarms


def _faults(name: str, told: list[dict[str, Any]], summed: Tally) -> Iterator[str]:
    """What was sent and not scored must have been rejected, or have been there before; what was scored must have been
    sent."""
    missing = sum(max(0, one["sent"] - one["scored"]) for one in told)
    other = summed.duplicates + sum(summed.rejected.values())
    if missing > other:
        lost = f"{missing:,} of the elements that the bank's manifests name were not scored"
        yield f"{name}: {lost}, and only {other:,} were rejected or duplicates"
    for one in told:
        names = ", ".join(one["names"])
        if one["scored"] > one["sent"] and one["first_hour"] is not None:
            more = f"{one['scored']:,} elements were scored, the bank says that it sent {one['sent']:,}"
            yield f"{name}, manifest {names}: {more}"
        elif one["scored"] == one["sent"] and one["differences"]:
            differences = ", ".join(f"{currency} {by:+,}" for currency, by in one["differences"].items())
            yield f"{name}, manifest {names}: sums differ (minor units): {differences}"


def _unnamed(name: str, told: list[dict[str, Any]]) -> Iterator[str]:
    """A source whose manifests name no hours may have sent more, and tell of it later."""
    for one in told:
        more = one["scored"] - one["sent"]
        if more > 0 and one["first_hour"] is None:
            yield f"{name}: {more:,} elements were scored that no manifest names"


def _together(manifests: Sequence[Manifest]) -> list[list[Manifest]]:
    """Manifests whose hours overlap can only be held against what was scored together."""
    spans = sorted(((*_span(m), m.name, m) for m in manifests), key=lambda span: span[:3])
    groups: list[list[Manifest]] = []
    reached = ""
    for first, last, _, manifest in spans:
        if not groups or first > reached:
            groups.append([])
        groups[-1].append(manifest)
        reached = max(reached, last)
    return groups


def _span(manifest: Manifest) -> tuple[str, str]:
    """First and last hour; records without a time are an hour of their own, before all others."""
    if manifest.first_hour is None or manifest.last_hour is None:
        return "", "9999"
    return manifest.first_hour, manifest.last_hour


def _manifest(group: Sequence[Manifest], scored: Mapping[TotalKey, tuple[int, int]]) -> dict[str, Any]:
    whole = any(m.first_hour is None or m.last_hour is None for m in group)
    first = min((m.first_hour or "" for m in group), default="")
    last = max((m.last_hour or "" for m in group), default="")
    within = {key: value for key, value in scored.items() if whole or first <= key.hour <= last}
    sent: dict[str, int] = defaultdict(int)
    got: dict[str, int] = defaultdict(int)
    for manifest in group:
        for currency, amount in manifest.sums.items():
            sent[currency] += amount
    for key, (_, amount) in within.items():
        got[key.currency] += amount
    differences = {c: got[c] - sent[c] for c in sorted({*sent, *got}) if got[c] != sent[c]}
    return {
        "institution": group[0].institution,
        "source": group[0].source,
        "names": sorted(m.name for m in group),
        "first_hour": None if whole else first,
        "last_hour": None if whole else last,
        "sent": sum(m.records for m in group),
        "scored": sum(records for records, _ in within.values()),
        "sums": dict(sorted(got.items())),
        "differences": differences,
    }
