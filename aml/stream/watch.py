"""What intake and worker tell the outside: metrics, health, and a line on the screen now and then."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from aml.metrics import INTAKE, WORKER, Metrics
from aml.stream.client import Place
from aml.stream.drift import Drift
from aml.stream.figures import Figures, tell
from aml.stream.health import Pulse
from aml.stream.intake import CONNECT, DeadMessage, Flushed
from aml.stream.missing import Missing
from aml.stream.shard import Shard
from aml.stream.traces import trace_id
from aml.stream.working import Done

_SECOND: Final = 1_000_000
_LAG_EVERY: Final = 2.0
_log: Final = logging.getLogger("aml.intake")


class IntakeWatch:
    """Told of every flush. lag: by source partition the messages that are there and not read."""

    def __init__(self) -> None:
        self.metrics, self.pulse = Metrics(INTAKE), Pulse(("broker", "partitions"))
        self.lag: Callable[[], Mapping[Place, int]] = dict
        self.rows = self.rejected = 0
        self._reached: dict[Place, int] = {}
        self._missing = Missing()
        self._next = 0.0

    def __call__(self, done: Flushed, seconds: float) -> None:
        """A flush is acknowledged and committed."""
        self.pulse.beat()
        self.pulse.set("broker", True, "takes what is written")
        self.rows += done.rows
        self.metrics.of("aml_elements_total", "read").inc(done.rows)
        for code, n in done.rejected.items():
            self.rejected += n
            self.metrics.of("aml_elements_total", "rejected").inc(n)
            self.metrics.of("aml_dlq_total", code).inc(n)
        self.metrics.of("aml_stage_duration_seconds", "flush").observe(seconds)
        if done.dead:
            _tell_dead(done.dead)
        self._missing.add(done.rows, done.missing)
        self._reached |= {place: at for place, at in done.reached.items() if at}
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LAG_EVERY
            self._tell_lag()

    def waits(self, seconds: float) -> None:
        """The brokers do not take what is written, for so long already."""
        self.pulse.beat()
        self.pulse.set("broker", False, f"does not answer for {seconds:.0f} s")

    def _tell_lag(self) -> None:
        lag, now = self.lag(), time.time()
        self.metrics.of("aml_partitions_assigned").set(len(lag))
        self.pulse.set("partitions", bool(lag), f"reads {len(lag)}")
        self.metrics.only("aml_missing_field_ratio", self._missing.ratios())
        for (topic, partition), records in lag.items():
            at = self._reached.get((topic, partition), 0) / _SECOND
            labels = (topic, str(partition))
            self.metrics.of("aml_feed_lag_records", *labels).set(records)
            self.metrics.of("aml_feed_lag_seconds", *labels).set(max(0.0, now - at) if records and at else 0.0)


def _tell_dead(dead: Sequence[DeadMessage]) -> None:
    """One line of a flush's dead letters, with where the first of them stood and its trace."""
    first = dict(dead[0].headers)
    place = {name: first[f"{CONNECT}{name}"].decode() for name in ("topic", "partition", "offset")}
    _log.warning(
        "%d messages were not read whole, the first at %s[%s] offset %s (%s): see `aml dlq list`",
        len(dead), *place.values(), first["aml.error.code"].decode()[:200],
        extra={"topic": place["topic"], "partition": int(place["partition"]), "offset": int(place["offset"]),
               "trace_id": trace_id(dead[0].headers)},
    )  # fmt: skip


class WorkerWatch:
    """Told of every step. See `working.Watcher`."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.metrics, self.pulse = Metrics(WORKER), Pulse(("shards", "database"))
        self.steps = self.changes = 0
        self.inbox: Callable[[], int] = lambda: 0
        self.drift: Drift | None = None
        self._say = say
        self._outage = 0.0
        self._shards: Mapping[int, Shard] = {}
        self._next = 0.0

    def turned(self) -> None:
        """The loop turned; whether or not there was anything to do."""
        self.pulse.beat()
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LAG_EVERY
            self._tell_watermarks()

    def stepped(self, done: Done) -> None:
        """A step is committed."""
        self.steps += 1
        self.pulse.set("database", True, "commits")
        for stage, seconds in done.seconds.items():
            self.metrics.of("aml_stage_duration_seconds", stage).observe(seconds)
        outcomes: Counter[str] = Counter()
        for step in done.steps:
            for key, n in step.tally.counts.items():
                outcomes[key.outcome.partition(":")[0]] += n
            for change in step.changes:
                if change.finding is None:
                    continue
                rule = change.finding.rule
                self.metrics.of("aml_findings_total", rule).inc()
                self.metrics.of("aml_rule_last_hit_timestamp_seconds", rule).set(done.at)
            self.changes += len(step.changes)
            for at in (step.received / _SECOND).tolist():
                self.metrics.of("aml_end_to_end_seconds").observe(max(0.0, done.at - at))
        for outcome, n in outcomes.items():
            self.metrics.of("aml_transactions_total", outcome).inc(n)
        for (rule, band), n in done.opened.items():
            self.metrics.of("aml_alerts_total", rule, band).inc(n)
        if self.drift is not None:
            for step in done.steps:
                self.drift.take(step.sample)

    def owns(self, shards: Mapping[int, Shard], wanted: frozenset[int]) -> None:
        """The shards that are held, of those that Kafka gave the worker."""
        self._shards = shards
        self.metrics.of("aml_shards_owned").set(len(shards))
        self.metrics.of("aml_shards_assigned").set(len(wanted))
        self.metrics.of("aml_rebalances_total").inc()
        self.pulse.set("shards", shards.keys() == wanted, f"has {len(shards)} of {len(wanted)}")
        if shards.keys() == wanted:
            self._say(f"has shards {', '.join(map(str, sorted(shards))) or 'none'}")

    def snapshot(self, size: int, seconds: float) -> None:
        """A snapshot of so many bytes was written."""
        self.metrics.of("aml_snapshot_bytes").set(size)
        self.metrics.of("aml_snapshot_seconds").observe(seconds)

    def outage(self, kind: str, seconds: float) -> None:
        """The worker waits for so long already for "database" or "broker"; 0: it is over."""
        self.pulse.beat()
        self.pulse.set(kind, not seconds, f"does not answer for {seconds:.0f} s" if seconds else "is back")
        if kind == "database":
            self.metrics.of("aml_db_outage_seconds_total").inc(max(0.0, seconds - self._outage))
            self._outage = seconds

    def _tell_watermarks(self) -> None:
        now = time.time()
        marks: dict[str, int] = {}
        for shard in self._shards.values():
            for name, at in shard.watermarks().items():
                marks[name] = min(at, marks.get(name, at))
        self.metrics.only("aml_watermark_age_seconds", {name: now - at / _SECOND for name, at in marks.items()})
        self.metrics.of("aml_inbox_bytes").set(self.inbox())
        held = sum(shard.core.engine.transactions.n for shard in self._shards.values())
        self.metrics.of("aml_transactions_held").set(held)

    def figures(self, figures: Figures | None) -> None:
        """What the database says of the whole service, None where another worker tells it; and how the models' data
        drift here."""
        tell(self.metrics, figures)
        if self.drift is not None:
            self.drift.tell(self.metrics)
