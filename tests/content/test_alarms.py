"""Alarms fire when they should and only then, by Prometheus's own tool; what they ask for is in the catalogue."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from aml.metrics import BY_NAME, HISTOGRAM
from aml.operate.__main__ import DEPLOY, files
from aml.operate.alarms import ALARMS, RECORDED
from aml.operate.dashboards import boards

PROMETHEUS_OWN = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}
ASKED = re.compile(r"\b(?:aml_|process_|up\b)\w*")
Series = Mapping[str, str]


@dataclass(frozen=True)
class Case:
    """Series that must fire and that must not, a value an `interval`, as they stand after `at` minutes."""

    fires: tuple[Series, ...]
    quiet: tuple[Series, ...]
    at: int = 120
    interval: str = "1m"


def flushes(values: str, assigned: int) -> Series:
    return {
        'aml_stage_duration_seconds_count{stage="flush",instance="a"}': values,
        'aml_stage_duration_seconds_count{stage="flush",instance="b"}': "0+60x120",
        'aml_partitions_assigned{instance="a"}': f"{assigned}x120",
    }


def commits(values: str, owned: int) -> Series:
    return {
        'aml_stage_duration_seconds_count{stage="commit",instance="a"}': values,
        'aml_stage_duration_seconds_count{stage="commit",instance="b"}': "0+60x120",
        'aml_shards_owned{instance="a"}': f"{owned}x120",
    }


def result(**values: str) -> Series:
    return {f'aml_transactions_total{{result="{name}",instance="a"}}': told for name, told in values.items()}


def latency(under: float) -> Series:
    """Steps a minute: `under` of 1,000 took up to five seconds, all of them up to fifteen."""
    return {f'aml_end_to_end_seconds_bucket{{le="{le}"}}': f"0+{n}x120"
            for le, n in {"2.5": 0, "5.0": under, "15.0": 1000, "+Inf": 1000}.items()}  # fmt: skip


READ, SNAPSHOTS = 'aml_elements_total{result="read"}', 'aml_snapshot_seconds_count{instance="a"}'
MEMORY = 'process_resident_memory_bytes{{job="{}",instance="a"}}'.format
HIT, GAP = 'aml_rule_last_hit_timestamp_seconds{rule="r"}', 'aml_reconcile_gap{source="t[0]"}'
OUTBOX, BACKLOG, SILENT = "aml_outbox_pending", "aml_backlog_oldest_seconds", 'aml_feed_silent{source="core"}'
AGE, STUCK = 'aml_watermark_age_seconds{institution="main"}', result(consumed="5x120")
CASES = {
    "AmlReconcileGap": Case(({GAP: "0x60 -1x60"}, {GAP: "1x120"}), ({GAP: "0x118 1x1"}, {GAP: "0x120"})),
    "AmlNoIntake": Case(
        ({}, {'up{job="aml-intake"}': "0x120"}),
        ({'up{job="aml-intake",instance="a"}': "0x120", 'up{job="aml-intake",instance="b"}': "1x120"},),
    ),
    "AmlNoWorker": Case(({'up{job="aml-worker"}': "0x120", 'up{job="aml-intake"}': "1x120"},),
                        ({'up{job="aml-worker"}': "1x120"},)),
    "AmlProcessDown": Case(({'up{job="aml-worker",instance="a"}': "1x60 0x60"},),
                           ({'up{job="aml-worker",instance="a"}': "1x116 0x3"}, {'up{job="other"}': "0x120"})),
    "AmlIntakeStands": Case((flushes("5x120", 2),), (flushes("0+60x120", 2), flushes("5x120", 0))),
    "AmlWorkerStands": Case((commits("5x120", 6),), (commits("0+60x120", 6), commits("5x120", 0))),
    "AmlFeedLag": Case(({'aml_feed_lag_seconds{topic="t",partition="0"}': "301x120"},),
                       ({'aml_feed_lag_seconds{topic="t",partition="0"}': "300x120"},)),
    # A week and two hours, in steps of ten minutes.
    "AmlFeedStopped": Case(({READ: "0+100x1008 100800x12"},), ({READ: "0+100x1020"}, {READ: "7x1020"}), 10_200, "10m"),
    "AmlFeedVolume": Case(({SILENT: "1x120"},), ({SILENT: "0x120"},)),
    "AmlRejects": Case((result(consumed="0+100000x120", rejected="0+102x120"),),
                       (result(consumed="0+100000x120", rejected="0+98x120"),
                        result(consumed="5x120", rejected="0x120"))),
    # Two days in steps of ten minutes: on the second some came.
    "AmlReusedIds": Case(({"aml_reused_ids": "3x200 5x88"},), ({"aml_reused_ids": "3x288"},), 2_880, "10m"),
    "AmlModelDrift": Case(({'aml_model_score_psi{model="tails"}': "0.26x120"},),
                          ({'aml_model_score_psi{model="tails"}': "0.24x120"},
                           {'aml_model_score_psi{model="tails"}': "0.1x70 0.3x49"})),
    "AmlSequenceGaps": Case(({'aml_sequence_gaps{source="core"}': "1x120"},),
                            ({'aml_sequence_gaps{source="core"}': "0x70 1x49"},)),
    "AmlShardsWaiting": Case(
        ({"aml_shards_assigned": "12x120", "aml_shards_owned": "11x120"},),
        ({"aml_shards_assigned": "12x120", "aml_shards_owned": "12x120"},
         {"aml_shards_assigned": "12x120", "aml_shards_owned": "12x116 0x3"}),
    ),
    "AmlShardsMoving": Case(({'aml_rebalances_total{instance="a"}': "0+2.1x120"},),
                            ({'aml_rebalances_total{instance="a"}': "0+1.9x120"},)),
    "AmlDatabaseAway": Case(({'aml_db_outage_seconds_total{instance="a"}': "0x110 12.4+12.4x9"},),
                            ({'aml_db_outage_seconds_total{instance="a"}': "0+11.6x120"},)),
    "AmlOutboxStuck": Case(({OUTBOX: "3x120"},), ({OUTBOX: "3x107 0 3x11"},)),
    "AmlWatermarkStands": Case(({AGE: "7300x120", **result(consumed="0+10x120")},),
                               ({AGE: "7100x120", **result(consumed="0+10x120")}, {AGE: "7300x120", **STUCK})),
    "AmlSlow": Case((latency(989.8),), (latency(990.2),)),
    "AmlNoSnapshots": Case(
        ({SNAPSHOTS: "4x120", **result(consumed="0+10x120")},),
        ({SNAPSHOTS: "0+1x120", **result(consumed="0+10x120")}, {SNAPSHOTS: "4x120", **STUCK}),
    ),
    "AmlMemory": Case(({MEMORY("aml-worker"): "3500000000x120"},),
                      ({MEMORY("aml-worker"): "3300000000x120"}, {MEMORY("other"): "3500000000x120"})),
    "AmlBacklogOld": Case(({BACKLOG: "432001x120"},), ({BACKLOG: "431999x120"},)),
    # Thirty-one days; in the second the worker began anew after ten hours and has known no hit since.
    "AmlRuleSilent": Case(({HIT: "0x744"}, {HIT: "0x10 _x733"}), ({HIT: "0x47 172800x696"},), 44_640, "1h"),
}  # fmt: skip


def asked(text: str) -> set[str]:
    return set(ASKED.findall(text))


def known() -> set[str]:
    """Every name that a process may tell: a histogram tells three."""
    parts = {f"{m.name}{end}" for m in BY_NAME.values() if m.kind == HISTOGRAM for end in ("_bucket", "_count", "_sum")}
    return {m.name for m in BY_NAME.values() if m.kind != HISTOGRAM} | parts | PROMETHEUS_OWN


def test_what_is_committed_is_what_the_catalogue_makes():
    told = files()
    here = {str(path.relative_to(DEPLOY)) for path in (DEPLOY / "grafana" / "dashboards").glob("*")}
    assert here | {"prometheus/alarms.yml"} == told.keys()
    assert [name for name, text in told.items() if (DEPLOY / name).read_text(encoding="utf-8") != text] == []


@pytest.mark.parametrize("alarm", ALARMS, ids=lambda one: one.name)
def test_an_alarm_asks_only_for_metrics_that_exist(alarm):
    assert asked(alarm.asks)
    assert asked(alarm.asks) <= known()


def test_a_panel_asks_only_for_metrics_that_exist_and_every_metric_has_one():
    panels = [panel for board in boards().values() for panel in board]
    recorded = {one.name for one in RECORDED}
    shown = set().union(*(asked(panel.asks) for panel in panels if panel.asks not in recorded))
    assert shown <= known()
    assert {m.name for m in BY_NAME.values()} <= {re.sub("_(bucket|count|sum)$", "", name) for name in shown} | shown


def test_labels_that_alarms_and_panels_name_are_the_metrics_own():
    for asks in [a.asks for a in (*ALARMS, *RECORDED)] + [p.asks for board in boards().values() for p in board]:
        for name, inside in re.findall(r"(aml_\w+)\{([^}]*)\}", asks):
            metric = BY_NAME.get(name) or BY_NAME[re.sub("_(bucket|count|sum)$", "", name)]
            assert set(re.findall(r"(\w+)=~?\"", inside)) <= set(metric.labels), asks


def test_every_alarm_has_a_case_and_a_paragraph_in_the_runbook():
    names = [alarm.name for alarm in ALARMS]
    assert sorted(CASES) == sorted(names)
    headed = re.findall(r"^\*\*(Aml\w+)\*\*", (DEPLOY / "RUNBOOK.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(headed) == sorted(names)


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("promtool")
    assert tool is not None, "promtool is missing: apt-get install --no-install-recommends prometheus"
    return subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.thorough
def test_prometheus_reads_its_configuration_and_the_alarms():
    done = promtool("check", "config", DEPLOY / "prometheus" / "prometheus.yml")
    assert done.returncode == 0, done.stderr
    assert f"{len(ALARMS) + len(RECORDED)} rules found" in done.stdout


@pytest.mark.thorough
@pytest.mark.parametrize("name", CASES)
def test_an_alarm_fires_when_it_should_and_only_then(name: str, tmp_path: Path):
    case = CASES[name]
    asks = f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)'
    tests = [
        {
            "interval": case.interval, "name": f"{name} {'fires' if fires else 'is quiet'}",
            "input_series": [{"series": key, "values": values} for key, values in series.items()],
            "promql_expr_test": [{"expr": asks, "eval_time": f"{case.at}m",
                                  "exp_samples": [{"labels": "{}", "value": int(fires)}]}],
        }
        for fires, group in ((True, case.fires), (False, case.quiet)) for series in group
    ]  # fmt: skip
    alarms = str(DEPLOY / "prometheus" / "alarms.yml")
    told = {"rule_files": [alarms], "evaluation_interval": case.interval, "tests": tests}
    path = tmp_path / "test.yml"  # JSON is YAML
    path.write_text(json.dumps(told), encoding="utf-8")
    done = promtool("test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr
