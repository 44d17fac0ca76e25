"""The engine and its slow twin asked about the same rows, their findings in one form to compare."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from aml.detect.compile import Compiled, compile_rules
from aml.detect.profile import load_profile
from aml.domain.finding import Finding
from aml.engine.engine import FindingKey
from aml.engine.keys import order_key
from aml.pipeline.detection import Detection
from aml.pipeline.findings import network_id
from aml.scoring.config import ScoringConfig, parse_scoring
from tests import canonical, naive
from tests.naive.dozen import dozen
from tests.naive.identity import WORDS, Record
from tests.naive.make import PROFILES
from tests.naive_rules import as_rule_file

ROOT = Path(__file__).parents[1]
Told = dict[tuple[Any, ...], dict[str, Any]]


@cache
def scoring() -> ScoringConfig:
    """The scoring in force."""
    return parse_scoring((ROOT / "rules" / "scoring.toml").read_text(encoding="utf-8"))


@cache
def compiled(profile: str) -> Compiled:
    """The twin's own twelve rules, compiled, under a profile without holidays (the twin knows none)."""
    files = [as_rule_file(rule) for rule in dozen(PROFILES[profile])]
    return compile_rules(files, replace(load_profile(profile), holidays=frozenset()))


def frame_of(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows as the twin takes them, as a canonical frame."""
    full = [naive.record(row) for row in rows]
    return canonical.frame([_coded(r) for r in full])


def _coded(record: Record) -> dict[str, Any]:
    row = {name: value for name, value in record.items() if name in canonical.CANONICAL and value is not None}
    for name, words in WORDS.items():
        if name in row:
            row[name] = words.index(row[name])
    for name in ("booking_date", "value_date"):
        if name in row:
            row[name] = canonical.dt.date.fromordinal(row[name])
    return row


def key_of(record: Record) -> tuple[int, int]:
    """The engine's own key of a record."""
    names = ("institution", "transaction_id", "conductor", *(
        f"{end}_{what}" for end in ("originator", "beneficiary") for what in ("institution", "account", "customer")))
    return _key(tuple((name, record[name]) for name in names))


@cache
def _key(fields: tuple[tuple[str, Any], ...]) -> tuple[int, int]:
    hi, lo = order_key(canonical.frame([{k: v for k, v in fields if v is not None}]))
    return int(hi[0]), int(lo[0])


def parties_of(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame | None:
    """A parties frame of the twin's party rows, none where there are none."""
    return canonical.parties([dict(row) for row in rows]) if rows else None


def detection(profile: str, parties: Sequence[Mapping[str, Any]] = (), **more: Any) -> Detection:
    """A detection over the twin's rules; all holders are subjects, as they are to the twin."""
    made = Detection(compiled(profile), scoring(), parties=parties_of(parties), **more)
    made.acceptor.holders = _AllOurs(made.acceptor.holders)  # type: ignore[assignment]
    return made


class _AllOurs:
    """A holder book by which everybody may be a subject."""

    def __init__(self, book: Any) -> None:
        self._book = book

    def __len__(self) -> int:
        return len(self._book)

    def __getattr__(self, name: str) -> Any:
        held = getattr(self._book, name)
        return held | True if name == "ours" else held


def findings_of(made: Detection, keys: Iterable[FindingKey]) -> list[Finding]:
    """The current findings of the keys."""
    return [c.change.finding for c in made.changes(keys) if c.change.finding is not None]


def told_by_engine(found: Iterable[Finding]) -> Told:
    """Findings by (rule, tenant, subject, week)."""
    return {
        (f.rule, f.subject.institution, (f.subject.party_institution, f.subject.kind.value, f.subject.id),
         f.week.isoformat()): {
            "steps": f.points, "opens": f.opens, "crossed_at": f.crossed_at, "ids": f.transaction_ids, "hits": f.hits,
            "networks": f.networks, "measured": dict(f.measured),
        }
        for f in found
    }  # fmt: skip


def told_by_twin(rows: Iterable[Mapping[str, Any]], profile: str, parties: Sequence[Mapping[str, Any]] = (),
                 key: Callable[[Record], tuple[int, int]] = key_of) -> Told:
    """The same from the slow twin."""
    rules = dozen(PROFILES[profile])
    hits = naive.hits(rows, rules, parties=parties, profile=PROFILES[profile], key=key)
    points = scoring().severity_points
    told = {}
    for (rule, institution, subject, week), f in naive.findings(hits, rules).items():
        told[rule, institution, subject, week] = {
            "steps": f.points * next(v for s, v in points.items() if s.value == "high"), "opens": f.opens,
            "crossed_at": f.crossed_at, "ids": f.transaction_ids, "hits": f.hits,
            "networks": tuple(sorted(network_id(institution, one) for one in f.networks)),
            "measured": dict(f.measured),
        }  # fmt: skip
    return told


def differences(one: Told, other: Told) -> list[str]:
    """What differs, in lines; facts that only one of the two measures are left out."""
    lines = [f"only engine: {key}" for key in sorted(one.keys() - other.keys())]
    lines += [f"only twin: {key}" for key in sorted(other.keys() - one.keys())]
    for key in sorted(one.keys() & other.keys()):
        a, b = one[key], other[key]
        lines += [f"{key} {name}: {a[name]} != {b[name]}" for name in a if name != "measured" and a[name] != b[name]]
        for name in sorted(a["measured"].keys() & b["measured"].keys()):
            if not same(a["measured"][name], b["measured"][name]):
                lines.append(f"{key} {name}: {a['measured'][name]} != {b['measured'][name]}")
    return lines


def same(a: Any, b: Any) -> bool:
    """Equal values; unknown, not finite and absent are one."""
    unknown = [v is None or (isinstance(v, float) and not math.isfinite(v)) for v in (a, b)]
    if any(unknown):
        return all(unknown)
    return math.isclose(float(a), float(b), rel_tol=1e-12, abs_tol=1e-12)
