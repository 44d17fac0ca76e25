"""Judges completeness: the bank's elements against what became of them, its manifests, its numbering, its weekdays.

Pure: what the database knows and what the broker says in, a report out. A *fault* is something that does not add up; an
*alarm* something that a person should look at.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aml.store.completeness import Counted, Known, Tally, tally
from aml.store.dead_letters import BAD_MANIFEST
from aml.store.encoding import rfc3339
from aml.stream.claims import judge_manifests

TOO_LATE: Final = "too_late"
_OLD: Final = 300_000_000  # µs that an element may wait before somebody should look
# Past weeks that a weekday is held against, and how many at least.
_WEEKS: Final = 8
_FEWEST_WEEKS: Final = 3
_SIGMAS: Final = 3.0
Place = tuple[str, int]  # topic, partition
Feed = tuple[str, str]  # institution, source


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the broker holds of a partition of a source topic that was not consumed yet.

    begin, end: its offsets; elements: in [next, end), as many as were read; exact: whether all were; oldest: broker
    timestamp of the first (UTC µs); unjudged: of the first that some shard has yet to judge, if it is before that.
    """

    begin: int
    end: int
    elements: int
    exact: bool
    oldest: int | None
    unjudged: int | None = None


@dataclass(frozen=True, slots=True)
class Broker:
    """What the broker says: of the source topics, and elements of the records between shards that none committed."""

    waiting: Mapping[Place, Waiting]
    records: int
    records_exact: bool = True
    faults: tuple[str, ...] = ()


@dataclass(slots=True)
class Partition:
    """One partition of a source topic. pending, end: None where the broker does not say."""

    topic: str
    partition: int
    tally: Tally
    next: int
    end: int | None
    pending: int | None
    unaccounted: int  # consumed, judged by all shards, and neither scored nor duplicate nor rejected


@dataclass(slots=True)
class Report:
    """All that is told; `broker` says what kept the broker from being asked."""

    total: Tally = field(default_factory=Tally)
    pending: int | None = None
    exact: bool = True
    oldest: int | None = None  # broker timestamp of the oldest element that some shard has yet to judge, UTC µs
    waits: int | None = None  # of the oldest that has yet to be consumed
    partitions: list[Partition] = field(default_factory=list)
    days: list[dict[str, Any]] = field(default_factory=list)
    manifests: list[dict[str, Any]] = field(default_factory=list)
    gaps: list[dict[str, Any]] = field(default_factory=list)
    silent: list[dict[str, Any]] = field(default_factory=list)
    bad_manifests: int = 0
    reused: int = 0
    reused_shown: list[dict[str, Any]] = field(default_factory=list)
    unsent: int = 0
    faults: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)

    @property
    def reconciles(self) -> bool:
        """Whether everything adds up and nothing is under way."""
        return not self.faults


def judge(known: Known, broker: Broker | str, now: int, day: dt.date | None = None) -> Report:
    """The report of all days or of one, at `now` (UTC µs); `broker`: a text says why it could not be asked."""
    report = Report(unsent=known.unsent, bad_manifests=known.bad_manifests)
    counts = [c for c in known.counts if day is None or c.day == day.isoformat()]
    report.total = tally(counts)
    if isinstance(broker, str):
        report.faults.append(f"what is pending is not known: {broker}")
    else:
        report.faults += broker.faults
    _judge_partitions(report, known, counts, broker)
    _judge_days(report, known, counts, day is not None)
    if day is not None:
        _judge_waiting(report, day)
    else:
        _judge_pending(report, broker)
        report.manifests, faults, alarms = judge_manifests(known)
        report.faults += faults
        report.alarms += alarms
        _judge_bad_manifests(report)
        _judge_sequences(report, known)
    _judge_feeds(report, known.counts, dt.datetime.fromtimestamp(now / 1e6, dt.UTC).date())
    _judge_reused(report, known)
    _judge_lateness(report)
    _judge_oldest(report, now)
    return report


def _settled(known: Known) -> set[Place]:
    """The partitions of which every shard judged what was counted as consumed and no more: there the equation holds."""
    covered = [shard.state.get("covered", {}) for shard in known.shards]
    return {
        (row.topic, row.partition)
        for row in known.sources
        if {held.get(f"{row.topic}:{row.partition}", 0) for held in covered} == {row.next}
    }


def _judge_partitions(report: Report, known: Known, counts: Sequence[Counted], broker: Broker | str) -> None:
    """Per partition: consumed = scored + duplicates + rejected, and nothing lost before it was consumed."""
    settled = _settled(known)
    reached = {(row.topic, row.partition): row for row in known.sources}
    ever, by_place = _by_place(known.counts), _by_place(counts)
    waiting = {} if isinstance(broker, str) else broker.waiting
    for place in sorted({*by_place, *reached, *waiting}):
        summed, row, held = by_place[place], reached.get(place), waiting.get(place)
        next_ = 0 if row is None else row.next
        difference = ever[place].consumed - ever[place].accounted
        unaccounted = difference if place in settled else 0
        pending = None if held is None else held.elements + difference - unaccounted
        report.partitions.append(
            Partition(*place, summed, next_, None if held is None else held.end, pending, unaccounted)
        )
        if held is not None:
            _judge_offsets(report, place, next_, row is not None, held)


def _by_place(counts: Iterable[Counted]) -> dict[Place, Tally]:
    summed: dict[Place, Tally] = defaultdict(Tally)
    for counted in counts:
        summed[counted.topic, counted.partition].add(counted.tally)
    return summed


def _judge_offsets(report: Report, place: Place, next_: int, begun: bool, held: Waiting) -> None:
    name = f"{place[0]}[{place[1]}]"
    if begun and held.begin > next_:
        lost = f"offsets {next_} to {held.begin - 1} were removed by its retention before they were consumed"
        report.faults.append(f"{name}: {lost}: ask the bank to send them again")
    if begun and held.end < next_:
        told = f"ends at offset {held.end}, and was consumed up to {next_}: it was made anew or lost what it held"
        report.faults.append(f"{name}: {told}: see the runbook on restoring")
    report.waits = min(_known(report.waits, held.oldest), default=None)
    report.oldest = min(_known(report.oldest, held.oldest, held.unjudged), default=None)


def _known(*times: int | None) -> list[int]:
    """Those that are known."""
    return [time for time in times if time is not None]


def _judge_pending(report: Report, broker: Broker | str) -> None:
    if isinstance(broker, str):
        return
    report.pending = broker.records + sum(p.pending or 0 for p in report.partitions)
    report.exact = broker.records_exact and all(held.exact for held in broker.waiting.values())
    if report.pending:
        number = f"{report.pending:,}" if report.exact else f"{report.pending:,} or more"
        report.faults.append(f"elements under way: {number}: ask again when the workers are through")


def _judge_waiting(report: Report, day: dt.date) -> None:
    """A day is proven once nothing of it waits any more."""
    if report.waits is not None and rfc3339(report.waits)[:10] <= day.isoformat():
        told = f"the oldest that waits to be consumed came at {rfc3339(report.waits)}"
        report.faults.append(f"{day} is not over here: {told}: ask again later")


def _judge_days(report: Report, known: Known, counts: Sequence[Counted], strict: bool) -> None:
    """Per partition, institution, source and day: the same equation; told by institution, source and day.

    strict: where elements are still under way, too.
    """
    settled = _settled(known)
    by_day: dict[tuple[str, str, str], tuple[Tally, list[int]]] = {}
    for counted in counts:
        summed, unaccounted = by_day.setdefault((counted.day, counted.institution, counted.source), (Tally(), []))
        summed.add(counted.tally)
        difference = counted.tally.consumed - counted.tally.accounted
        if difference and (strict or (counted.topic, counted.partition) in settled):
            unaccounted.append(difference)
            where = f"{counted.topic}[{counted.partition}], {counted.institution}, {counted.source}, {counted.day}"
            what = "consumed and not accounted for" if difference > 0 else "accounted for twice"
            report.faults.append(f"{where}: elements {what}: {abs(difference):,}")
    for (day, institution, source), (summed, unaccounted) in sorted(by_day.items()):
        told = {"day": day, "institution": institution, "source": source, **tally_object(summed)}
        report.days.append({**told, "consumed": summed.consumed, "unaccounted": sum(map(abs, unaccounted))})


def tally_object(summed: Tally) -> dict[str, Any]:
    """A tally as `aml run` tells it."""
    return {
        "scored": summed.scored,
        "duplicates": summed.duplicates,
        "rejected": dict(sorted(summed.rejected.items())),
        "late": summed.late,
    }


def _judge_sequences(report: Report, known: Known) -> None:
    """What never came of a numbered source; an unreadable record has no number, so as many may be missing."""
    rejected: dict[Feed, int] = defaultdict(int)
    for counted in known.counts:
        rejected[counted.institution, counted.source] += sum(counted.tally.rejected.values())
    for numbered in known.sequences:
        if not numbered.missing:
            continue
        feed = (numbered.institution, numbered.source)
        told = {"institution": feed[0], "source": feed[1], "first": numbered.first, "last": numbered.last}
        report.gaps.append({**told, "missing": numbered.missing, "ranges": [list(gap) for gap in numbered.gaps]})
        first, last = numbered.gaps[0]
        where = f"{first}" if first == last else f"{first} to {last}"
        line = f"{', '.join(feed)}: {numbered.missing:,} numbers of source_sequence never came, first {where}"
        if numbered.missing > rejected[feed]:
            report.faults.append(line)
        else:
            report.alarms.append(f"{line}; {rejected[feed]:,} of its records were rejected")


def _judge_feeds(report: Report, counts: Iterable[Counted], today: dt.date) -> None:
    """Yesterday's volume of each feed against the same weekday's of the weeks before."""
    volumes: dict[Feed, dict[dt.date, int]] = defaultdict(lambda: defaultdict(int))
    for counted in counts:
        volumes[counted.institution, counted.source][dt.date.fromisoformat(counted.day)] += counted.tally.consumed
    day = today - dt.timedelta(days=1)
    for feed, by_day in sorted(volumes.items()):
        past = _same_weekdays(by_day, day)
        if len(past) < _FEWEST_WEEKS:
            continue
        mean = sum(past) / len(past)
        spread = math.sqrt(sum((value - mean) ** 2 for value in past) / (len(past) - 1))
        # Even a steady feed varies as chance does.
        sigma = max(spread, math.sqrt(mean), 1.0)
        volume = by_day.get(day, 0)
        if abs(volume - mean) > _SIGMAS * sigma:
            told = {"institution": feed[0], "source": feed[1], "day": day.isoformat(), "volume": volume}
            report.silent.append({**told, "expected": round(mean, 1), "sigma": round(sigma, 1)})
            what = "is silent" if volume == 0 else "is far from its usual volume"
            line = f"{', '.join(feed)}: {what}: {volume:,} elements on {day}, some {mean:,.0f} on such a weekday"
            report.alarms.append(line)


def _same_weekdays(by_day: Mapping[dt.date, int], day: dt.date) -> list[int]:
    """Volumes of the same weekday in the weeks before, as far back as the feed goes; days without anything are 0."""
    first = min(by_day)
    days = (day - dt.timedelta(weeks=week) for week in range(1, _WEEKS + 1))
    return [by_day.get(past, 0) for past in days if past >= first]


def _judge_reused(report: Report, known: Known) -> None:
    report.reused = known.reused
    report.reused_shown = [
        {
            "institution": row.institution,
            "transaction_id": row.transaction_id,
            "topic": row.topic,
            "partition": row.partition,
            "offset": row.offset,
            "element": row.element,
            "received_at": rfc3339(row.received_at),
        }
        for row in known.reused_shown
    ]
    if known.reused:
        report.alarms.append(f"{known.reused:,} ids came again under another first account: each stands for itself")


def _judge_lateness(report: Report) -> None:
    too_late = report.total.rejected.get(TOO_LATE, 0)
    if too_late:
        report.alarms.append(f"{too_late:,} elements came too late to count: see `aml dlq list --code {TOO_LATE}`")


def _judge_oldest(report: Report, now: int) -> None:
    if report.oldest is not None and now > report.oldest + _OLD:
        minutes = (now - report.oldest) // 60_000_000
        report.alarms.append(f"the oldest element that waits came {minutes:,} minutes ago, at {rfc3339(report.oldest)}")


def _judge_bad_manifests(report: Report) -> None:
    if report.bad_manifests:
        told = f"messages of the bank that should be manifests: {report.bad_manifests:,} cannot be read"
        report.alarms.append(f"{told}: see `aml dlq list --code {BAD_MANIFEST}`, and ask the bank for others")
