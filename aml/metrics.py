"""Every metric: its name, kind, labels and meaning in one table, from which metrics, alarms and dashboards are made.

Names have base units and end as Prometheus asks for. No label ever names a customer, an account or a transaction, and
the values of a label are bounded: `other` from the limit on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
MOST: Final = 200  # values of a label
_FAST: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LATENCY: Final = (0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0)
_LONG: Final = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. where: the process that has it."""

    name: str
    kind: str
    where: str
    says: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


INTAKE, WORKER, BOTH = "intake", "worker", "both"
METRICS: Final = (
    Metric("aml_elements_total", COUNTER, INTAKE, "elements read from the bank's topic", ("result",)),
    Metric("aml_dlq_total", COUNTER, INTAKE, "elements rejected, by reason code", ("code",)),
    Metric("aml_feed_lag_records", GAUGE, INTAKE, "messages of the bank's topic not read yet", ("topic", "partition")),
    Metric("aml_feed_lag_seconds", GAUGE, INTAKE, "age of the last message read, while there are more",
           ("topic", "partition")),
    Metric("aml_missing_field_ratio", GAUGE, INTAKE, "share of a day's records that lack a field", ("field",)),
    Metric("aml_partitions_assigned", GAUGE, INTAKE, "partitions of the bank's topic that this intake reads"),
    Metric("aml_transactions_total", COUNTER, WORKER, "elements by what became of them", ("result",)),
    Metric("aml_end_to_end_seconds", HISTOGRAM, WORKER,
           "from the broker's timestamp to the commit, of one in eight payments", (), _LATENCY),
    Metric("aml_findings_total", COUNTER, WORKER, "findings told or changed, by rule", ("rule",)),
    Metric("aml_alerts_total", COUNTER, WORKER, "alerts raised, each under the rule that adds most to its score",
           ("rule", "band")),
    Metric("aml_rule_last_hit_timestamp_seconds", GAUGE, WORKER, "when a rule last told a finding", ("rule",)),
    Metric("aml_model_score_psi", GAUGE, WORKER,
           "stability index of a model's scores of a day against its training: 0.10 watch, 0.25 act", ("model",)),
    Metric("aml_feature_psi", GAUGE, WORKER,
           "stability index of what the models read in a day against their training", ("feature",)),
    Metric("aml_transactions_held", GAUGE, WORKER, "transactions in the memory of this worker's shards"),
    Metric("aml_watermark_age_seconds", GAUGE, WORKER, "how far an institution's event time lies behind now",
           ("institution",)),
    Metric("aml_shards_owned", GAUGE, WORKER, "shards that this worker holds"),
    Metric("aml_shards_assigned", GAUGE, WORKER, "shards that Kafka gave this worker"),
    Metric("aml_rebalances_total", COUNTER, WORKER, "changes of the shards that this worker has"),
    Metric("aml_inbox_bytes", GAUGE, WORKER, "bytes read and not evaluated"),
    Metric("aml_snapshot_seconds", HISTOGRAM, WORKER, "time that a snapshot of a shard took", (), _LONG),
    Metric("aml_snapshot_bytes", GAUGE, WORKER, "size of the last snapshot of a shard"),
    Metric("aml_db_outage_seconds_total", COUNTER, WORKER, "time without an answer of the database"),
    Metric("aml_outbox_pending", GAUGE, WORKER, "alert changes not told downstream yet, of all shards"),
    Metric("aml_alerts_open", GAUGE, WORKER, "alerts that nobody has decided", ("band",)),
    Metric("aml_backlog_oldest_seconds", GAUGE, WORKER, "age of the oldest alert that nobody has decided"),
    Metric("aml_reconcile_gap", GAUGE, WORKER, "elements consumed less what became of them: must be 0", ("source",)),
    Metric("aml_feed_silent", GAUGE, WORKER, "1 where a source's volume is far from its usual weekday's", ("source",)),
    Metric("aml_sequence_gaps", GAUGE, WORKER, "source_sequence numbers that are missing", ("source",)),
    Metric("aml_reused_ids", GAUGE, WORKER, "ids that came again under another first account, as reconcile found"),
    Metric("aml_stage_duration_seconds", HISTOGRAM, BOTH, "time by stage of a flush or step", ("stage",), _FAST),
)  # fmt: skip
BY_NAME: Final[Mapping[str, Metric]] = {metric.name: metric for metric in METRICS}
_MADE: Final[Mapping[str, Any]] = {COUNTER: Counter, GAUGE: Gauge, HISTOGRAM: Histogram}


class Metrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self, where: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._made = {
            metric.name: self._make(metric) for metric in METRICS if metric.where in (where, BOTH)
        }
        self._values: dict[str, set[tuple[str, ...]]] = {}

    def _make(self, metric: Metric) -> Any:
        more = {"buckets": metric.buckets} if metric.buckets else {}
        return _MADE[metric.kind](metric.name, metric.says, metric.labels, registry=self.registry, **more)

    def of(self, name: str, *labels: str) -> Any:
        """A metric with its labels' values: prometheus-client's own object."""
        made = self._made[name]
        if not labels:
            return made
        seen = self._values.setdefault(name, set())
        if labels not in seen:
            if len(seen) >= MOST:
                labels = ("other",) * len(labels)
            seen.add(labels)
        return made.labels(*labels)

    def only(self, name: str, values: Mapping[str, float]) -> None:
        """Set a gauge of one label to these values and no others."""
        self._made[name].clear()
        self._values.pop(name, None)
        for label, value in values.items():
            self.of(name, label).set(value)
