"""What a worker and an intake tell Prometheus of what they did."""

from __future__ import annotations

from collections import Counter

from aml.stream.intake import Flushed
from aml.stream.watch import IntakeWatch, WorkerWatch
from aml.stream.working import Done


def test_alerts_are_counted_by_rule_and_band():
    watch = WorkerWatch(print)
    watch.stepped(Done([], opened={("structuring", "high"): 2, ("fan-in", "low"): 1}))
    watch.stepped(Done([], opened={("structuring", "high"): 1}))
    value = watch.metrics.registry.get_sample_value
    assert value("aml_alerts_total", {"rule": "structuring", "band": "high"}) == 3
    assert value("aml_alerts_total", {"rule": "fan-in", "band": "low"}) == 1


def test_an_intake_tells_which_fields_are_missing():
    watch = IntakeWatch()
    watch(Flushed([], [], {}, 10, Counter(), {}, {}, {"purpose": 5}), 0.1)
    value = watch.metrics.registry.get_sample_value
    assert value("aml_missing_field_ratio", {"field": "purpose"}) == 0.5
    assert value("aml_missing_field_ratio", {"field": "amount"}) == 0.0
