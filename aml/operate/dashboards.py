"""Four dashboards for Grafana: feed, detection, operations, models. Titles and units are the metrics' own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from aml.content import folder
from aml.metrics import BY_NAME, COUNTER, HISTOGRAM, Metric
from aml.operate.alarms import ALERTS_PER_THOUSAND, PER_THOUSAND

SOURCE: Final = {"type": "prometheus", "uid": "prometheus"}
WIDE, HIGH, ACROSS = 8, 8, 24
_NAME: Final = re.compile(r"\baml_[a-z_]+")
_SUFFIX: Final = re.compile(r"_(bucket|count|sum)$")


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph. asks: what is asked of Prometheus; names: how a line is called; title and unit: where the metric's own
    do not fit."""

    asks: str
    names: str = ""
    title: str = ""
    unit: str = ""


def _of(name: str, by: str = "", title: str = "") -> Panel:
    """A metric as it is looked at: a counter's rate, a histogram's 50th and 99th percentile, a gauge."""
    metric = BY_NAME[name]
    inside = f" by ({by})" if by else ""
    names = f"{{{{{by}}}}}" if by else ""
    if metric.kind == COUNTER:
        return Panel(f"sum{inside} (rate({name}[$__rate_interval]))", names, title)
    if metric.kind == HISTOGRAM:
        return Panel(f"histogram_quantile(0.99, sum by (le{', ' + by if by else ''}) "
                     f"(rate({name}_bucket[$__rate_interval])))", f"p99 {names}".strip(), title)  # fmt: skip
    return Panel(f"max{inside} ({name})", names, title)


def boards() -> dict[str, list[Panel]]:
    """Panels by dashboard. Raises AmlError where the models' folder is missing."""
    return {
        "feed": [
            _of("aml_elements_total", "result"),
            _of("aml_feed_lag_seconds", "partition"),
            _of("aml_feed_lag_records", "partition"),
            _of("aml_dlq_total", "code"),
            Panel('sum(rate(aml_transactions_total{result="rejected"}[1h])) '
                  '/ sum(rate(aml_transactions_total{result="consumed"}[1h]))', "", "share rejected", "percentunit"),
            Panel("max by (field) (aml_missing_field_ratio)", "{{field}}", "", "percentunit"),
            _of("aml_watermark_age_seconds", "institution"),
            _of("aml_reconcile_gap", "source"),
            _of("aml_feed_silent", "source"),
            _of("aml_sequence_gaps", "source"),
            _of("aml_reused_ids"),
        ],
        "detection": [
            _of("aml_transactions_total", "result"),
            _of("aml_findings_total", "rule"),
            Panel(PER_THOUSAND, "{{rule}}", "findings per 1,000 payments, by rule", "short"),
            _of("aml_alerts_total", "band"),
            Panel(ALERTS_PER_THOUSAND, "{{rule}}", "alerts per 1,000 payments, by leading rule", "short"),
            _of("aml_alerts_open", "band"),
            _of("aml_backlog_oldest_seconds"),
            Panel("time() - max by (rule) (aml_rule_last_hit_timestamp_seconds)", "{{rule}}",
                  "time since a rule found something", "s"),
        ],
        "operations": [
            Panel("count by (job) (up == 1)", "{{job}}", "processes that answer", "short"),
            _of("aml_end_to_end_seconds"),
            _of("aml_stage_duration_seconds", "stage"),
            Panel("sum by (instance) (aml_shards_owned)", "{{instance}}", BY_NAME["aml_shards_owned"].says, "short"),
            Panel("sum(aml_shards_assigned) - sum(aml_shards_owned)", "", "shards given and not held yet", "short"),
            Panel("sum by (instance) (aml_partitions_assigned)", "{{instance}}",
                  BY_NAME["aml_partitions_assigned"].says, "short"),
            _of("aml_rebalances_total", "instance"),
            _of("aml_inbox_bytes", "instance"),
            _of("aml_transactions_held", "instance"),
            _of("aml_db_outage_seconds_total", "instance"),
            _of("aml_outbox_pending"),
            _of("aml_snapshot_seconds"),
            _of("aml_snapshot_bytes", "instance"),
            Panel("max by (instance) (process_resident_memory_bytes)", "{{instance}}", "memory", "bytes"),
            Panel("sum by (instance) (rate(process_cpu_seconds_total[$__rate_interval]))", "{{instance}}",
                  "cores in use", "short"),
        ],
        "models": [
            _of("aml_model_score_psi", "model"),
            _of("aml_feature_psi", "feature"),
            Panel(f"sum by (rule) (increase(aml_findings_total{_models()}[1d]))", "{{rule}}",
                  "findings of models in a day", "short"),
            Panel(f"sum(rate(aml_findings_total{_models()}[1d])) / sum(rate(aml_findings_total[1d]))", "",
                  "models' share of all findings", "percentunit"),
            Panel(f"time() - max by (rule) (aml_rule_last_hit_timestamp_seconds{_models()})", "{{rule}}",
                  "time since a model found something", "s"),
        ],
    }  # fmt: skip


def _models() -> str:
    """Chooses what models found: a model's finding bears the model's name where a rule's bears the rule's."""
    names = sorted(path.parent.name for path in folder("models").glob("*/model.toml"))
    return f'{{rule=~"{"|".join(names)}"}}'


def dashboard(name: str, panels: list[Panel]) -> dict[str, Any]:
    """One dashboard as Grafana reads it."""
    return {
        "uid": f"aml-{name}", "title": f"AML: {name}", "tags": ["aml"], "timezone": "utc", "refresh": "30s",
        "schemaVersion": 39, "editable": False, "time": {"from": "now-6h", "to": "now"},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }  # fmt: skip


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    across = ACROSS // WIDE
    metric = _metric(panel.asks)
    title = panel.title or (metric.says if metric else "")
    unit = panel.unit or (_unit(metric) if metric else "short")
    return {
        "id": number + 1, "type": "timeseries", "title": title, "datasource": SOURCE,
        "gridPos": {"x": number % across * WIDE, "y": number // across * HIGH, "w": WIDE, "h": HIGH},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0} if "gap" not in panel.asks else {"unit": unit}},
        "targets": [{"refId": "A", "expr": panel.asks, "legendFormat": panel.names, "datasource": SOURCE}],
    }  # fmt: skip


def _metric(asks: str) -> Metric | None:
    """The metric that a question is about."""
    found = (BY_NAME.get(_SUFFIX.sub("", name)) or BY_NAME.get(name) for name in _NAME.findall(asks))
    return next((metric for metric in found if metric is not None), None)


def _unit(metric: Metric) -> str:
    """Grafana's word for the metric's unit; a counter is shown as its rate."""
    stem = metric.name.removesuffix("_total")
    if stem.endswith("_seconds"):
        return "s" if metric.kind != COUNTER else "percentunit"
    if stem.endswith("_bytes"):
        return "bytes"
    return "cps" if metric.kind == COUNTER else "short"
