"""Rule files: what is wrong in one is named with file, key and mend."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from aml.detect.compile import compile_rules
from aml.detect.profile import load_profile
from aml.detect.reader import read_rule
from aml.detect.spans import FIXED, choose_spans, shortest
from aml.detect.where import Wheres, picks
from aml.domain.errors import AmlError
from aml.engine.columns import Flag
from aml.engine.layout import CASH_IN, DAY

RULE = '''
id = "three-deposits"
version = 1
title = "Three deposits"
status = "test"
severity = "high"
family = "structuring"
typology = "structuring"
subject = "customer"
description = "Three."
explain = "{units} deposits"
steps = { fact = "units", at = [5, 8] }
[parameters]
count  = { value = 3, range = [2, 8], why = "two are chance", segment = { business = 5 } }
floor  = { value = 0.7, range = [0.5, 0.95], of = "threshold" }
sum    = { value = 2_000, range = [1_000, 9_000], unit = "money" }
window = { value = "10d", range = ["3d", "30d"] }
[[detect]]
kind = "aggregate"
over = "units"
flow = "in"
window = "$window"
floor = "$floor"
when = { units = { gte = "$count" }, sum = { gte = "$sum" } }
[[tests]]
name = "none"
events = []
expect = { alerts = 0 }
'''


def test_a_whole_rule_is_read():
    rule = read_rule(RULE, "three-deposits.toml")
    assert (rule.id, rule.severity.value, rule.parameters["floor"].value) == ("three-deposits", "high", Decimal("0.7"))
    described = list(rule.described_parameters())
    assert described[:2] == [("count", "3", "2 – 8", "two are chance"), ("  business", "5", "", "")]
    assert ("floor", "0.7 × T", "0.5 × T – 0.95 × T", "") in described


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("severity =", "severty =", "severty: unknown key; allowed: "),
        ("range = [2, 8]", "range = [4, 8]", r"parameters.count.value: 3 is impossible: it must lie in \[4, 8\]"),
        ("business = 5", "business = 9", r"parameters.count.business: 9 is impossible: it must lie in \[2, 8\]"),
        ("business = 5", "firm = 5", "parameters.count.segment.firm: unknown key"),
        ('range = ["3d", "30d"]', "range = [3, 30]", "parameters.window.value: 10d is impossible"),
        ("range = [2, 8], why", "why", "parameters.count.range: must be"),
        ('kind = "aggregate"', 'kind = "graph"', "detect.0..kind: 'graph' is no kind; there are aggregate, baseline"),
        ('over = "units"', 'over = "months"', "detect.0.: over must be one of units, unit, legs, conducted"),
        ('window = "$window"', 'window = "$windov"', r"detect.0..window: \$windov is no parameter; there are count"),
        ('window = "$window"\n', "", "detect.0.: window: missing"),
        ('flow = "in"', 'flow = "sideways"', "detect.0.: flow must be one of in, out, both"),
        ('window = "$window"', 'window = "72h"', "detect.0.: window: counts in unit days"),
        ("units = { gte", "unit = { gte", "detect.0..when.unit: is measured by no kind used here; known: "),
        ('gte = "$count"', 'atleast = "$count"', "detect.0..when.units.atleast: unknown key"),
        ('floor = "$floor"\n', "", "parameters.floor: is read by nothing in this rule"),
        ("version = 1", 'version = "1"', "version: must be a whole number of 1 or more"),
        ('id = "three-deposits"', 'id = "Three"', "id: must be small letters, digits and single hyphens"),
        ("at = [5, 8]", "at = []", "steps: names a fact measured here and one to 4 rising bounds"),
        ("title = ", "title ", "not valid TOML: "),
        ("events = []", "event = []", "tests.0..event: unknown key"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_file_key_and_mend(old, new, message):
    assert old in RULE
    with pytest.raises(AmlError, match=rf"^x.toml(:\d+)?: {message}") as caught:
        read_rule(RULE.replace(old, new, 1), "x.toml")
    assert "\n" not in str(caught.value)


def test_parameters_reach_the_engine_in_minor_units_by_segment():
    compiled = compile_rules([read_rule(RULE, "x.toml")], load_profile("us"))
    detector, filter_ = compiled.program.detectors[0], compiled.program.filters[0]
    assert (detector["floor"], detector["window_days"], detector["least"]) == (700_000, 10, 3)
    assert (filter_["bounds"], filter_["measure"][0], filter_["least"][:2].tolist()) == (2, CASH_IN, [3, 2_100_000])
    steps = compiled.program.steps
    by_segment = [steps["value"][detector["when"][k, 0]] for k in range(8)]
    assert by_segment[:2] == [3.0, 5.0]


def test_a_tuned_rule_is_another_rule():
    rule = read_rule(RULE, "x.toml")
    assert rule.tuned("count", 4).parameters["count"].value == 4
    assert rule.tuned("count", 6, "business").parameters["count"].segments == {"business": 6}
    assert rule.parameters["count"].value == 3


def test_every_wanted_span_is_covered_by_one_that_is_not_shorter():
    wanted = [DAY, 2 * DAY, 4 * DAY, 5 * DAY, 7 * DAY, 8 * DAY, 12 * DAY, 16 * DAY, 30 * DAY, 31 * DAY]
    spans = choose_spans(wanted)
    assert len(spans) == 8
    assert tuple(spans[:2]) == FIXED
    assert spans[-1] == max(spans) == 31 * DAY
    for span in wanted:
        assert spans[shortest(spans, span)] >= span
    assert spans[shortest(spans, 2 * DAY)] == 2 * DAY  # far from the next longer one, so it is kept


def columns(**more):
    n = 4
    held = {
        "t": np.zeros(n, np.int64), "flags": np.zeros(n, np.uint32), "instrument": np.array([0, 1, 6, 1], np.uint8),
        "channel": np.array([0, 2, 2, 255], np.uint8), "debit_value": np.array([10, 20, 30, 40]),
        "credit_value": np.array([11, 21, 31, 41]), "debit_holder": np.array([-1, 1, 2, 3], np.int32),
        "credit_holder": np.array([0, 1, 2, -1], np.int32),
    }  # fmt: skip
    return held | more


@pytest.mark.parametrize(
    ("clause", "debit", "picked"),
    [
        ({"direction": "credit"}, False, [1, 1, 1, 1]),
        ({"direction": "credit"}, True, [0, 0, 0, 0]),
        ({"direction": "debit", "instrument": ["wire", "crypto"]}, True, [0, 1, 1, 1]),
        ({"direction": "debit", "channel": ["branch"]}, True, [1, 0, 0, 0]),
        ({"direction": "debit", "amount": {"gte": 20, "lt": 40}}, True, [0, 1, 1, 0]),
        ({"direction": "credit", "amount": {"gte": 21}}, False, [0, 1, 1, 1]),
        ({"direction": "credit", "counterparty": True}, False, [0, 1, 1, 1]),
        ({"direction": "debit", "counterparty": False}, True, [0, 0, 0, 1]),
    ],
)
def test_a_where_clause_picks_legs_by_columns(clause, debit, picked):
    assert picks(clause, columns(), debit).tolist() == [bool(p) for p in picked]


def test_flags_and_bits_of_where_clauses():
    flags = np.array([Flag.CASH_IN, Flag.CASH_OUT | Flag.EXIT, Flag.CROSS_BORDER, 0], np.uint32)
    held = columns(flags=flags)
    assert picks({"direction": "credit", "cash": True}, held, False).tolist() == [True, False, False, False]
    assert picks({"direction": "debit", "exit": True}, held, True).tolist() == [False, True, False, False]
    assert picks({"direction": "debit", "cross_border": False}, held, True).tolist() == [True, True, False, True]
    wheres = Wheres()
    first = wheres.bit_of({"direction": "debit", "exit": True})
    second = wheres.bit_of({"direction": "debit", "cross_border": True})
    assert wheres.bit_of({"direction": "debit", "exit": True}) == first != second
    assert wheres.bits(held, True).tolist() == [0, first, second, 0]


@pytest.mark.parametrize(
    ("clause", "message"),
    [
        ({"instrument": ["wire"]}, "where.direction: missing"),
        ({"direction": "up"}, "where.direction: must be credit or debit"),
        ({"direction": "debit", "instrument": ["gold"]}, "where.instrument: 'gold' is unknown; allowed: cash, wire"),
        ({"direction": "debit", "colour": "red"}, "where.colour: unknown key; allowed: "),
    ],
)
def test_a_wrong_where_clause_is_named(clause, message):
    with pytest.raises(ValueError, match=message):
        Wheres().bit_of(clause)


def test_there_are_eight_bits_for_where_clauses():
    wheres = Wheres()
    for amount in range(8):
        wheres.bit_of({"direction": "debit", "amount": {"gte": amount}})
    with pytest.raises(ValueError, match="more than 8 different where clauses"):
        wheres.bit_of({"direction": "debit", "amount": {"gte": 9}})
