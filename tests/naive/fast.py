"""The fast path on the twin's own rows: the same feed, rules and parties, and its answers in the twin's words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import polars as pl

from aml import content
from aml.detect.compile import Compiled, compile_rules, number_of
from aml.detect.load import load_rules
from aml.detect.profile import load_profile
from aml.detect.rulefile import RuleFile
from aml.engine.facts import FACTS
from aml.pipeline.detection import Detection, Step
from aml.scoring.config import ScoringConfig, parse_scoring
from tests import canonical
from tests.naive.book import Profile
from tests.naive.evaluate import Rule
from tests.naive.features import NAMES
from tests.naive.identity import FIELDS, WORDS, record

EPOCH = date(1970, 1, 1).toordinal()
HitKey = tuple[str, tuple[str, str, str], str, str]  # rule, subject, transaction, kind of facts


@cache
def compiled(profile: str) -> Compiled:
    """The shipped rules under a shipped profile."""
    return compile_rules(load_rules(profile), load_profile(profile))


@cache
def scoring() -> ScoringConfig:
    """The shipped scoring."""
    return parse_scoring((content.folder("rules") / "scoring.toml").read_text(encoding="utf-8"))


def twin_profile(name: str) -> Profile:
    """A shipped profile as the twin has it."""
    p = load_profile(name)
    return Profile(p.name, p.zone, p.country, p.threshold, p.due_at, not p.unit_is_leg, p.out_reported, p.roll,
                   p.cut_off, p.holidays)


@cache
def twin_rules(profile: str) -> tuple[Rule, ...]:
    """The shipped rule files as the twin reads them."""
    held = compiled(profile)
    return tuple(twin_rule(rule, held) for rule in held.rules)


def twin_rule(rule: RuleFile, held: Compiled) -> Rule:
    """One rule file with its parameters as numbers."""
    profile = held.profile
    return Rule(
        rule.id, [{"kind": a.kind, **plain(a.settings), "when": plain(a.when)} for a in rule.detect],
        opens=plain(rule.opens), never=rule.never, profiles=rule.profiles,
        steps=(rule.steps_fact, tuple(plain(list(rule.steps_at)))) if rule.steps_fact else None,
        parameters={p.name: number_of(p, p.value, profile) for p in rule.parameters.values()},
        per_segment={
            p.name: {s: number_of(p, v, profile) for s, v in p.segments.items()}
            for p in rule.parameters.values() if p.segments
        },
    )


def plain(value: Any) -> Any:
    """Decimals as floats, whatever holds them."""
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return float(value) if isinstance(value, Decimal) else value


def frame_of(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Canonical frame of the twin's rows."""
    out = []
    for place, row in enumerate(rows):
        full = record(row)
        for name, words in WORDS.items():
            full[name] = None if full[name] is None else words.index(full[name])
        for name in ("booking_date", "value_date"):
            full[name] = None if full[name] is None else date.fromordinal(full[name])
        out.append({**full, "place": place + 1})
    return pl.DataFrame(out, schema=canonical.CANONICAL)


def rows_of(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """The twin's rows of a canonical frame: words for codes, what is absent left out."""
    rows = []
    for full in frame.select(set(FIELDS) & set(frame.columns)).iter_rows(named=True):
        row = {name: value for name, value in full.items() if value is not None}
        rows.append({name: WORDS[name][value] if name in WORDS else value for name, value in row.items()})
    return rows


@dataclass
class Fast:
    """Acceptance and engine, asked in the twin's words."""

    detection: Detection

    @classmethod
    def open(cls, profile: str, parties: Sequence[Mapping[str, Any]] = (), rules: Compiled | None = None,
             **options: Any) -> Fast:
        """A fresh one for a profile; with a party table where there are rows."""
        table = canonical.parties([dict(row) for row in parties]) if parties else None
        return cls(Detection(rules or compiled(profile), scoring(), parties=table, **options))

    def take(self, rows: Sequence[Mapping[str, Any]], batch: int | None = None) -> list[Step]:
        """Take rows in arrival order, in batches."""
        size = batch or max(1, len(rows))
        return [self.detection.step(frame_of(rows[k : k + size])) for k in range(0, len(rows), size)]

    def names(self, numbers: np.ndarray) -> list[str]:
        """Ids of transactions by number."""
        if not numbers.size:
            return []
        rows = self.detection.rows_of(numbers)
        return self.detection.records.take(rows).get_column("transaction_id").to_list()

    def holder(self, number: int) -> tuple[str, str, str]:
        """Party institution, kind and text of a holder."""
        row = self.detection.acceptor.holders.texts.frame.row(number)
        return row[1], row[2], row[3]

    def keys(self) -> list[tuple[int, int, int]]:
        """Keys of all findings that hold."""
        return sorted(self.detection.engine.keys_about(None))

    def hits(self) -> list[tuple[HitKey, dict[str, Any], tuple[Any, ...]]]:
        """Every hit: its key, its facts, and (steps, opens)."""
        engine, held = self.detection.engine, self.detection.compiled
        found = []
        for key in self.keys():
            for hit in engine.hits_of(key):
                kind = held.program.kinds[hit.detector]
                name = (held.rules[key[0]].id, self.holder(hit.subject), self.names(np.array([hit.tx]))[0], kind)
                facts = dict(zip(FACTS[kind], hit.facts.tolist(), strict=False))
                found.append((name, facts, (hit.steps, hit.opens)))
        return found

    def findings(self) -> dict[tuple[str, tuple[str, str, str], str], Any]:
        """The findings that hold, by rule, subject and week."""
        made = {}
        for change in self.detection.changes(self.keys()):
            f = change.change.finding
            if f is None:
                continue  # about somebody who is no subject
            made[f.rule, (f.subject.party_institution, str(f.subject.kind), f.subject.id), f.week.isoformat()] = f
        return made

    def ours(self) -> set[tuple[str, str, str]]:
        """Holders that may be subjects."""
        return {self.holder(number) for number in np.flatnonzero(self.detection.acceptor.holders.ours).tolist()}

    def features(self, steps: Sequence[Step]) -> dict[tuple[str, int], dict[str, float]]:
        """Features by transaction and side (1 debit), the latest word on each leg that still stands."""
        engine = self.detection.engine
        latest = {}
        for step in steps:
            rows = step.applied.rows
            for x, number, side in zip(rows.x, rows.tx.tolist(), rows.side.tolist(), strict=True):
                latest[number, side] = dict(zip(NAMES, x.tolist(), strict=True))
        out = {}
        for (number, side), features in latest.items():
            record_ = engine.transactions.of(np.array([number]))[0]
            if record_["debit_at" if side else "credit_at"] >= 0:
                out[self.names(np.array([number]))[0], side] = features
        return out
