"""What a rule cannot do without: how the file says it, and which records lack it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from aml.detect.compile import compile_rules
from aml.detect.needs import lacking
from aml.detect.profile import load_profile
from aml.detect.reader import read_rule
from aml.detect.tags import tags
from aml.domain.errors import AmlError
from aml.engine.columns import TRANSACTION, Flag

RULE = """
id = "cash-by-somebody"
version = 1
title = "Cash"
status = "test"
severity = "high"
family = "structuring"
typology = "structuring"
subject = "customer"
description = "Cash."
explain = "{legs} deposits"
never = ["bank"]
needs = ["branch | conductor"]
[parameters]
floor  = { value = 1_000, unit = "money", range = [200, 5_000] }
count  = { value = 3, range = [2, 8] }
[[detect]]
kind = "aggregate"
over = "legs"
flow = "in"
window = "3d"
floor = "$floor"
when = { legs = { gte = "$count" } }
[[tests]]
name = "none"
events = []
expect = { alerts = 0 }
"""


def lacked(rows, old="", new="", segments=None):
    """Which of the records (fields that differ from a cash deposit of 2,000) lack what the rule needs."""
    rule = read_rule(RULE.replace(old, new) if old else RULE, "x.toml")
    compiled = compile_rules([rule], load_profile("us"))
    n = len(rows)
    columns = {name: np.full(n, -1 if np.issubdtype(kind, np.signedinteger) else 0, kind)
               for name, kind in TRANSACTION.items()}  # fmt: skip
    columns["credit_holder"][:] = 7
    columns["flags"][:] = Flag.BOOKED | Flag.MOVES | Flag.CASH_IN
    columns["debit_value"][:] = columns["credit_value"][:] = 200_000
    for k, row in enumerate(rows):
        for name, value in row.items():
            if name in columns:
                columns[name][k] = value
    texts = {name: pl.Series(name, [row.get(f"{name}_text") for row in rows], pl.String)
             for name in ("branch", "conductor")}  # fmt: skip
    segment = np.array([] if segments is None else segments, np.int8)
    found = lacking(compiled, pl.DataFrame(texts), columns, tags(columns, compiled), segment)
    return found["cash-by-somebody"].tolist() if found else None


def test_one_field_of_a_group_suffices():
    rows = [{}, {"branch_text": "A"}, {"conductor_text": "S"}, {"branch_text": "A", "conductor_text": "S"}]
    assert lacked(rows) == [True, False, False, False]
    both = ('"branch | conductor"', '"branch", "conductor"')
    assert lacked(rows, *both) == [True, True, True, False]


def test_only_what_the_rule_would_count():
    wire = {"flags": Flag.BOOKED | Flag.MOVES, "debit_holder": 8}
    fee = {"flags": Flag.BOOKED | Flag.MOVES | Flag.CASH_IN | Flag.BANK}
    under = {"credit_value": 99_999}
    assert lacked([{}, wire, fee, under]) == [True, False, False, False]


def test_parties_that_the_rule_never_names():
    person, bank = {"credit_party": 0}, {"credit_party": 1}
    assert lacked([person, bank, {}], segments=[0, 3]) == [True, False, True]


def test_the_person_who_brings_the_cash_is_counted_by_his_visit():
    conducted = ('flow = "in"\nwindow', 'window')
    rule = RULE.replace('over = "legs"', 'over = "conducted"').replace("legs = {", "recipients = {")
    rule = rule.replace("{legs}", "{recipients}").replace('"branch | conductor"', '"branch"').replace(*conducted)
    visit = {"conductor_holder": 9, "conductor_text": "S"}
    assert lacked([visit, {**visit, "branch_text": "A"}, {}], RULE, rule) == [True, False, False]


def test_a_rule_without_needs_asks_nothing():
    assert lacked([{}], 'needs = ["branch | conductor"]\n', "") is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"branch | conductor"', '"branch | conducter"', r"^x.toml:13: needs: 'conducter' is no field of a "),
        ('"branch | conductor"', '"branch |"', r"^x.toml:13: needs: 'branch \|' is no group of fields"),
        ("never =", "outcome = 'report_due'\nnever =", "^x.toml:12: outcome: unknown key; allowed: "),
        ("range = [2, 8]", "range = [4, 8]", "^x.toml:16: parameters.count.value: 3 is impossible"),
        ('flow = "in"', 'flow = "up"', "^x.toml:17: detect.0.: flow must be one of"),
        ("expect = {", "expects = {", "^x.toml:27: tests.0..expects: unknown key"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(old, new, message):
    with pytest.raises(AmlError, match=message):
        read_rule(RULE.replace(old, new, 1), "x.toml")


def test_what_ships_says_what_it_needs():
    path = Path(__file__).parents[2] / "rules" / "structuring" / "structuring-smurfing.toml"
    assert read_rule(path.read_text(), str(path)).needs == (("branch", "conductor"),)
