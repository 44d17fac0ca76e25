"""Runs the tests inside rule files the way a bank's payments go: JSON, feed, acceptance, engine, findings.

An event is a Transaction v1 record under flat names with a few short words: `t` (since Monday 2 March 2026, 09:00 in
the profile's zone: "26h", "-60d", "2d3h", "10m"), `from` and `to` (customers, each with an account of his name and
"-1"), `cash_in` and `cash_out` (over the counter, to and from such an account), `times` and `every` (so many of it, "#"
in its texts is the number of each). Every test is an institution of its own: nothing spans institutions, so one run of
the engine does for many tests.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import tempfile
import zoneinfo
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any, Final

import polars as pl

from aml.detect.compile import compile_rules
from aml.detect.needs import lacking
from aml.detect.profile import Profile, load_profile
from aml.detect.rulefile import RuleFile
from aml.domain.errors import AmlError
from aml.domain.finding import Finding
from aml.domain.party import PARTIES
from aml.feed.fields import FIELDS
from aml.feed.parties import read_parties
from aml.feed.rates import NO_RATES, load_rates
from aml.feed.read import read_feed
from aml.pipeline.detection import Detection, Step
from aml.pipeline.ordering import by_time
from aml.scoring.config import ScoringConfig

Test = Mapping[str, Any]
MONDAY: Final = "2026-03-02T09:00:00"  # in the profile's zone
_TIME: Final = re.compile(r"(-?)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?")
_SHORT: Final = {"t", "from", "to", "cash_in", "cash_out", "times", "every"}
_MOST_TIMES: Final = 1_000
_OTHER_WAY: Final = {"cash_in": ("from", "to", "cash_out"), "cash_out": ("from", "to", "cash_in"),
                     "from": ("cash_in", "cash_out"), "to": ("cash_in", "cash_out")}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Batch:
    """Tests that can share a run: places in the file, one institution each, and what they are run on."""

    places: tuple[int, ...]
    profile: Profile
    history_from: dt.date | None
    frame: pl.DataFrame
    parties: pl.DataFrame | None


class Trials:
    """Runs the tests of rules; what was read for a rule's tests is kept for its mutants."""

    def __init__(self) -> None:
        self._read: dict[str, list[_Batch]] = {}

    def __call__(self, rule: RuleFile, scoring: ScoringConfig) -> Iterator[tuple[int, list[Finding], int]]:
        """The place of each test of the rule, what the rule finds in it, and how many of its records are insufficient.

        Raises AmlError that names the file, the test and the event where one cannot be read.
        """
        if rule.sha256 not in self._read:
            self._read[rule.sha256] = list(_batches(rule))
        for batch in self._read[rule.sha256]:
            found: dict[str, list[Finding]] = {_tenant(place): [] for place in batch.places}
            findings, insufficient = _tried(rule, batch, scoring)
            for finding in findings:
                found[finding.subject.institution].append(finding)
            for place in batch.places:
                yield place, found[_tenant(place)], insufficient[_tenant(place)]


def _tried(rule: RuleFile, batch: _Batch, scoring: ScoringConfig) -> tuple[list[Finding], Counter[str]]:
    """What the rule finds, and how many records are insufficient for it, by institution."""
    compiled = compile_rules([rule], batch.profile, history_from=batch.history_from)
    if not compiled.rules or not batch.frame.height:
        return [], Counter()
    detection = Detection(compiled, scoring, parties=batch.parties)
    step = detection.step(batch.frame)
    if step.arrivals.rejected.height:
        told = step.arrivals.rejected.select("transaction_id", "code").rows()
        raise AmlError(f"{rule.place}: tests: not accepted: {', '.join(f'{name} {code}' for name, code in told)}")
    changes = detection.changes(step.applied.findings)
    findings = [change.change.finding for change in changes if change.change.finding is not None]
    return findings, _insufficient(detection, step)


def _insufficient(detection: Detection, step: Step) -> Counter[str]:
    """How many records lack what the rule needs, by institution."""
    arrivals, segment = step.arrivals, detection.acceptor.party_rows.segment
    movements = arrivals.accepted.filter(pl.Series(arrivals.transaction >= 0))
    found = lacking(detection.compiled, movements, arrivals.columns, step.tags, segment)
    lacked = (movements.filter(pl.Series(lacks)).get_column("institution").to_list() for lacks in found.values())
    return Counter(chain.from_iterable(lacked))


def _tenant(place: int) -> str:
    return f"test-{place}"


def _batches(rule: RuleFile) -> Iterator[_Batch]:
    """The tests by what a run has one of: profile, history_from, rates, and whether there is a party table at all."""
    together: dict[tuple[str, str, str, bool], list[int]] = {}
    for place, test in enumerate(rule.tests):
        rates = json.dumps(test.get("rates", []), default=str)
        key = (test.get("profile", "us"), str(test.get("history_from", "")), rates, bool(test.get("parties")))
        together.setdefault(key, []).append(place)
    for (name, history, _, with_parties), places in together.items():
        profile = load_profile(name)
        since = dt.date.fromisoformat(history) if history else None
        with tempfile.TemporaryDirectory(prefix="aml-trial-") as folder:
            frame = _frame(rule, places, profile, Path(folder))
            parties = _parties(rule, places, profile, Path(folder)) if with_parties else None
        yield _Batch(tuple(places), profile, since, frame, parties)


def _frame(rule: RuleFile, places: Sequence[int], profile: Profile, folder: Path) -> pl.DataFrame:
    """The canonical records of these tests, through the feed's own reader."""
    records = [record for place in places for record in events_of(rule, place, profile)]
    path = _lines(folder / f"{rule.id}.ndjson", records)
    last = max((_instant(record["executed_at"]) for record in records), default=_start(profile))
    chunks = list(
        read_feed(
            path, institution="main", ingest_time_us=int(last.timestamp()) * 1_000_000,
            reporting_currency=profile.currency, rates=_rates(rule.tests[places[0]], folder),
        )
    )  # fmt: skip
    for chunk in chunks:
        for reject in chunk.rejects:
            told = json.loads(reject.original)["transaction_id"]
            raise AmlError(f"{rule.place}: {_where(rule, places, told)}: {reject.code}: {reject.detail}")
        if chunk.warnings:
            raise AmlError(f"{rule.place}: tests: fields that cannot be read: {', '.join(sorted(chunk.warnings))}")
    return by_time(pl.concat([chunk.transactions for chunk in chunks])) if chunks else pl.DataFrame()


def _where(rule: RuleFile, places: Sequence[int], transaction_id: str) -> str:
    place = next(k for k in places if transaction_id.startswith(f"{k}."))
    return f'tests[{place}] "{rule.tests[place]["name"]}"'


def _start(profile: Profile) -> dt.datetime:
    """The tests' time 0, in UTC so that hours added are hours passed."""
    return dt.datetime.fromisoformat(MONDAY).replace(tzinfo=zoneinfo.ZoneInfo(profile.zone)).astimezone(dt.UTC)


def _instant(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def _lines(path: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def _rates(test: Test, folder: Path) -> Any:
    rows = test.get("rates", [])
    if not rows:
        return NO_RATES
    path = folder / "rates.csv"
    lines = ["date,currency,rate", *(f"{row['date']},{row['currency']},{row['rate']}" for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return load_rates(path)


def _parties(rule: RuleFile, places: Sequence[int], profile: Profile, folder: Path) -> pl.DataFrame:
    rows = []
    for place in places:
        where = f"{rule.place}: tests[{place}].parties"
        for row in _repeated(rule.tests[place].get("parties", []), where):
            _only(row, {*PARTIES, "times", "every"}, where)
            customer = {"account": f"{row['customer']}-1"} if "customer" in row else {}
            rows.append({"institution": _tenant(place)} | customer | {name: _json(held) for name, held in row.items()})
    return read_parties(_lines(folder / "parties.ndjson", rows), "main", profile.currency)


def events_of(rule: RuleFile, place: int, profile: Profile) -> list[dict[str, Any]]:
    """The records of the test at this place, as a bank would send them."""
    where = f"{rule.place}: tests[{place}].events"
    records: list[dict[str, Any]] = []
    for event in rule.tests[place]["events"]:
        for single in _repeated([_with_given(event, rule.given)], where):
            _only(single, {*FIELDS, *_SHORT}, where)
            record = {"transaction_id": f"{place}.{len(records) + 1:03}", "institution": _tenant(place)}
            records.append(record | _record(single, profile, where))
    return records


def _with_given(event: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The event over what the file gives for all; its own way of paying takes the place of another one."""
    spared = {other for key in event for other in _OTHER_WAY.get(key, ())}
    return {key: held for key, held in given.items() if key not in spared} | dict(event)


def _repeated(rows: Iterable[Mapping[str, Any]], where: str) -> Iterator[dict[str, Any]]:
    """Each row as often as it says, "#" in its texts the number, `t` moved on by `every`."""
    for row in rows:
        held = dict(row)
        times, every = held.pop("times", 1), _span(held.pop("every", "0h"), f"{where}.every")
        if not isinstance(times, int) or not 1 <= times <= _MOST_TIMES:
            raise AmlError(f"{where}.times: must be a whole number from 1 to {_MOST_TIMES}")
        for number in range(1, times + 1):
            single = {k: v.replace("#", str(number)) if isinstance(v, str) else v for k, v in held.items()}
            if "t" in single:
                single["t"] = _span(single["t"], f"{where}.t") + (number - 1) * every
            yield single


def _span(text: Any, where: str) -> dt.timedelta:
    """ "26h", "-60d", "2d3h", "10m" as a span."""
    match = _TIME.fullmatch(text) if isinstance(text, str) and text else None
    if match is None or not any(match.groups()[1:]):
        raise AmlError(f'{where}: {text!r} is no time: write "26h", "-60d", "2d3h" or "10m"')
    days, hours, minutes = (int(part or 0) for part in match.groups()[1:])
    span = dt.timedelta(days=days, hours=hours, minutes=minutes)
    return -span if match[1] else span


def _record(event: Mapping[str, Any], profile: Profile, where: str) -> dict[str, Any]:
    """One event in the feed's own spelling."""
    if "t" in event:
        moment = {"executed_at": (_start(profile) + event["t"]).isoformat()}
    elif "executed_at" in event:
        moment = {}
    else:
        raise AmlError(f"{where}.t: missing")
    named = {name: _json(held) for name, held in event.items() if name not in _SHORT}
    return {"currency": profile.currency, "instrument": "wire"} | moment | _ends(event) | named


def _ends(event: Mapping[str, Any]) -> dict[str, Any]:
    """Who pays whom, in the feed's names."""
    found: dict[str, Any] = {}
    for end, short in (("originator", ("from", "cash_out")), ("beneficiary", ("to", "cash_in"))):
        for key in short:
            if key in event:
                found |= {f"{end}_customer": event[key], f"{end}_account": f"{event[key]}-1"}
    for key, other in (("cash_in", "originator_method"), ("cash_out", "beneficiary_method")):
        if key in event:
            found |= {"instrument": "cash", other: "cash"}
    return found


def _json(value: Any) -> Any:
    """A TOML value as JSON holds it; a decimal as its text."""
    return str(value) if isinstance(value, Decimal | dt.date | dt.datetime) else value


def _only(row: Mapping[str, Any], allowed: set[str], where: str) -> None:
    for key in row:
        if key not in allowed:
            raise AmlError(f"{where}.{key}: unknown field; short words: {', '.join(sorted(_SHORT))}")
