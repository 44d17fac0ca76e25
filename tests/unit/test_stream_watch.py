"""What a worker and an intake tell Prometheus of what they did."""

from __future__ import annotations

import json
import logging
from collections import Counter

import pytest

from aml.feed.rates import NO_RATES
from aml.feed.validate import Terms
from aml.stream.decode import Decoder, Message
from aml.stream.intake import Assigned, Flushed, IntakeCore
from aml.stream.logs import JsonLines
from aml.stream.traces import trace_id
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


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode())], TRACE),
        ([("TraceParent", f"cc-{TRACE}-00f067aa0ba902b7-01-more".encode())], TRACE),
        ([("traceparent", b"\xff\xfe"), ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-00".encode())], TRACE),
        ([("traceparent", f"ff-{TRACE}-00f067aa0ba902b7-01".encode())], None),
        ([("traceparent", f"00-{'0' * 32}-00f067aa0ba902b7-01".encode())], None),
        ([("traceparent", f"00-{TRACE}-{'0' * 16}-01".encode())], None),
        ([("traceparent", f"00-{TRACE.upper()}-00f067aa0ba902b7-01".encode())], None),
        ([("traceparent", None), ("other", b"x")], None),
        ([], None),
    ],
)
def test_a_trace_is_told_by_its_header_alone(headers, found):
    assert trace_id(headers) == found


def test_a_message_that_cannot_be_read_keeps_its_trace_in_dead_letter_and_log(caplog):
    header = ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode())
    decoder = Decoder(Terms("t", "main", 0, "USD", NO_RATES))
    core = IntakeCore("i", 2, decoder, lambda frame: frame)
    core.assign({("t", 1): 7})
    core.take([Message("t", 1, 7, 1, b"k", b"{no", [header]), Message("t", 1, 8, 1, None, b"[")])
    done = core.flush(1, {("t", 1): Assigned(2, False)})
    assert header in done.dead[0].headers
    with caplog.at_level(logging.WARNING, "aml.intake"):
        IntakeWatch()(done, 0.1)
    (record,) = caplog.records
    told = json.loads(JsonLines("intake").format(record))
    assert (told["trace_id"], told["topic"], told["partition"], told["offset"]) == (TRACE, "t", 1, 7)
    assert told["message"].startswith("2 messages were not read whole, the first at t[1] offset 7 (not_json)")
