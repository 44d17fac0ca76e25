"""The alarms that ship: what is asked of Prometheus, how long it must hold, and what it tells whoever is woken.

An alarm asks only for metrics of `aml.metrics` and for those that Prometheus makes of every process. Each has a
paragraph of the same name in deploy/RUNBOOK.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

INTAKES: Final = "aml-intake"  # Prometheus's jobs
WORKERS: Final = "aml-worker"
DAY: Final = 86_400
# What the bank may change: edit the constant, `python -m aml.operate`, load the file again.
LAG_SECONDS: Final = 300
REJECTED_SHARE: Final = 0.001
BACKLOG_DAYS: Final = 5
SILENT_RULE_DAYS: Final = 30
DRIFT: Final = 0.25  # stability index of a model's scores
MEMORY_BYTES: Final = 3_400_000_000  # of the 4 GiB that deploy/compose.yaml gives a process
PAGE, TICKET = "page", "ticket"
RUNBOOK: Final = "deploy/RUNBOOK.md"


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm. lasts: how long it must hold, in Prometheus's words. severity: page wakes somebody, ticket waits for
    the morning. says: one line with Prometheus's own placeholders."""

    name: str
    asks: str
    lasts: str
    severity: str
    says: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """A figure that Prometheus computes and keeps under a name."""

    name: str
    asks: str


PER_THOUSAND: Final = "aml:findings_per_thousand:rate1d"
ALERTS_PER_THOUSAND: Final = "aml:alerts_per_thousand:rate1d"
_SCORED: Final = 'on () group_left () (sum(rate(aml_transactions_total{result="scored"}[1d])) > 0)'
RECORDED: Final = (
    Recorded(PER_THOUSAND, f"1000 * sum by (rule) (rate(aml_findings_total[1d])) / {_SCORED}"),
    Recorded(ALERTS_PER_THOUSAND, f"1000 * sum by (rule) (rate(aml_alerts_total[1d])) / {_SCORED}"),
)  # fmt: skip

_REJECTED: Final = 'sum(increase(aml_transactions_total{result="rejected"}[15m]))'
_CONSUMED: Final = 'sum(increase(aml_transactions_total{result="consumed"}[15m]))'
_READ: Final = 'sum(increase(aml_elements_total{result="read"}[1h]{offset}))'
_STAGE: Final = 'sum by (instance) (rate(aml_stage_duration_seconds_count{stage="{stage}"}[5m]))'
ALARMS: Final = (
    Alarm("AmlReconcileGap", "max by (source) (abs(aml_reconcile_gap)) > 0", "2m", PAGE,
          "{{ $labels.source }}: {{ $value }} elements are not accounted for"),
    Alarm("AmlNoIntake", f'absent(up{{job="{INTAKES}"}} == 1)', "2m", PAGE, "nobody reads the bank's topic"),
    Alarm("AmlNoWorker", f'absent(up{{job="{WORKERS}"}} == 1)', "2m", PAGE, "no worker runs: nothing is judged"),
    Alarm("AmlProcessDown", f'up{{job=~"{INTAKES}|{WORKERS}"}} == 0', "5m", TICKET,
          "{{ $labels.instance }} of {{ $labels.job }} does not answer"),
    # Heads of blocks leave once a second even where nothing comes, and are committed: whoever does neither is stuck.
    Alarm("AmlIntakeStands", f"{_STAGE.replace('{stage}', 'flush')} == 0 "
          "and sum by (instance) (aml_partitions_assigned) > 0", "2m", PAGE,
          "{{ $labels.instance }} has handed nothing on for minutes: is the broker there?"),
    Alarm("AmlWorkerStands", f"{_STAGE.replace('{stage}', 'commit')} == 0 "
          "and sum by (instance) (aml_shards_owned) > 0", "2m", PAGE,
          "{{ $labels.instance }} has committed nothing for minutes"),
    Alarm("AmlFeedLag", f"max by (topic, partition) (aml_feed_lag_seconds) > {LAG_SECONDS}", "1m", PAGE,
          "{{ $labels.topic }}[{{ $labels.partition }}] is {{ $value | humanizeDuration }} behind"),
    Alarm("AmlFeedStopped", f"{_READ.replace('{offset}', '')} == 0 and {_READ.replace('{offset}', ' offset 1w')} > 0",
          "10m", PAGE, "nothing came in an hour; a week ago something did"),
    Alarm("AmlFeedVolume", "max by (source) (aml_feed_silent) > 0", "30m", PAGE,
          "{{ $labels.source }}: yesterday's volume is more than 3 sigma off the same weekday's"),
    Alarm("AmlRejects", f"{_REJECTED} / {_CONSUMED} > {REJECTED_SHARE}", "5m", TICKET,
          "{{ $value | humanizePercentage }} of what came was rejected"),
    Alarm("AmlSequenceGaps", "max by (source) (aml_sequence_gaps) > 0", "1h", TICKET,
          "{{ $labels.source }}: {{ $value }} numbers of source_sequence never came"),
    Alarm("AmlReusedIds", "max(aml_reused_ids) - max(aml_reused_ids offset 1d) > 0", "5m", TICKET,
          "ids of payments came again under another first account: {{ $value }} in a day"),
    Alarm("AmlShardsWaiting", "sum(aml_shards_assigned) > sum(aml_shards_owned)", "5m", PAGE,
          "shards that a worker was given and does not hold"),
    Alarm("AmlShardsMoving", "max by (instance) (increase(aml_rebalances_total[30m])) > 60", "5m", TICKET,
          "{{ $labels.instance }}: shards come and go"),
    Alarm("AmlDatabaseAway", "max by (instance) (increase(aml_db_outage_seconds_total[5m])) > 60", "1m", PAGE,
          "{{ $labels.instance }} waits for the database"),
    Alarm("AmlOutboxStuck", "max(aml_outbox_pending) > 0", "15m", TICKET,
          "{{ $value }} changes of alerts have not gone downstream"),
    Alarm("AmlWatermarkStands", "max by (institution) (aml_watermark_age_seconds) > 7200 "
          'and on () sum(rate(aml_transactions_total{result="consumed"}[15m])) > 0', "30m", TICKET,
          "{{ $labels.institution }}: event time is {{ $value | humanizeDuration }} old though payments come"),
    Alarm("AmlSlow", "histogram_quantile(0.99, sum by (le) (rate(aml_end_to_end_seconds_bucket[5m]))) > 5", "15m",
          TICKET, "one step in a hundred commits {{ $value | humanizeDuration }} after the payment came"),
    Alarm("AmlNoSnapshots", "sum by (instance) (increase(aml_snapshot_seconds_count[30m])) == 0 and sum by (instance) "
          '(increase(aml_transactions_total{result="consumed"}[30m])) > 0', "30m", TICKET,
          "{{ $labels.instance }} works and writes no snapshots"),
    Alarm("AmlMemory", f'max by (instance) (process_resident_memory_bytes{{job=~"{INTAKES}|{WORKERS}"}}) '
          f"> {MEMORY_BYTES}", "10m", TICKET, "{{ $labels.instance }} holds {{ $value | humanize1024 }}B"),
    Alarm("AmlBacklogOld", f"max(aml_backlog_oldest_seconds) > {BACKLOG_DAYS * DAY}", "1h", TICKET,
          "the oldest alert without a decision waits for {{ $value | humanizeDuration }}"),
    Alarm("AmlModelDrift", f"max by (model) (aml_model_score_psi) > {DRIFT}", "1h", TICKET,
          "{{ $labels.model }} scores unlike its training: stability index {{ $value }}"),
    # A process that starts anew knows no hit of before: what was known is asked of Prometheus.
    Alarm("AmlRuleSilent", "time() - max by (rule) (max_over_time(aml_rule_last_hit_timestamp_seconds[60d:1h])) "
          f"> {SILENT_RULE_DAYS * DAY}", "1h", TICKET,
          "{{ $labels.rule }} found nothing for {{ $value | humanizeDuration }}"),
)  # fmt: skip


# What looks far back, or changes once a day, is asked once in a while.
SLOW: Final = {"AmlFeedVolume": "5m", "AmlBacklogOld": "5m", "AmlRuleSilent": "1h"}


def rules() -> list[dict[str, object]]:
    """Groups of rules as Prometheus reads them."""
    told: list[dict[str, object]] = [{"record": one.name, "expr": one.asks} for one in RECORDED]
    told += [_rule(alarm) for alarm in ALARMS if alarm.name not in SLOW]
    groups: list[dict[str, object]] = [{"name": "aml", "rules": told}]
    for interval in sorted(set(SLOW.values())):
        slow = [_rule(alarm) for alarm in ALARMS if SLOW.get(alarm.name) == interval]
        groups.append({"name": f"aml-{interval}", "interval": interval, "rules": slow})
    return groups


def _rule(alarm: Alarm) -> dict[str, object]:
    told = {"summary": alarm.says, "runbook": f"{RUNBOOK}#{alarm.name.lower()}"}
    return {
        "alert": alarm.name, "expr": alarm.asks, "for": alarm.lasts, "labels": {"severity": alarm.severity},
        "annotations": told,
    }  # fmt: skip
