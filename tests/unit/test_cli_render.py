"""What people read: money, shares, spans and tables, on a screen and in a file."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aml.cli import options, render, ruletext
from tests.store_factory import finding


@pytest.mark.parametrize(
    ("minor", "places", "text"),
    [
        (0, 2, "0.00"),
        (5, 2, "0.05"),
        (-5, 2, "-0.05"),
        (1_234_567, 2, "12,345.67"),
        (1_500, 0, "1,500"),
        (7, 3, "0.007"),
    ],
)
def test_money_shows_the_decimals_of_its_currency(minor, places, text):
    assert render.plain_money(minor, places) == text


@given(st.integers(-(10**14), 10**14), st.sampled_from([0, 2, 3, 8]))
def test_money_reads_back(minor, places):
    assert int(render.plain_money(minor, places).replace(",", "").replace(".", "")) == minor


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89, "89 s"), (600, "10 min"), (7_200, "2 h"), (252_000, "2.9 d"), (5.25 * 3_600, "5.2 h")],
)
def test_a_span_is_told_in_the_unit_that_suits(seconds, text):
    assert render.span(seconds * 1e6) == text


def test_a_table_in_a_file_is_plain_and_whole(capsys):
    render.table(["name", "number"], [("x" * 300, "1"), ("[red]no markup[/red]", "1,000")], right=["number"])
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "number"]
    assert first.split() == ["x" * 300, "1"]
    assert second.startswith("[red]no markup[/red]")
    assert second.endswith("1,000")


def test_json_is_one_line(capsys):
    render.emit({"text": "one\ntwo", "share": 0.5})
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [{"text": "one\ntwo", "share": 0.5}]


@pytest.mark.parametrize(("text", "hours"), [("7d", 168), ("36h", 36), ("2", 48), ("0d", 0)])
def test_spans_of_the_command_line(text, hours):
    assert options.read_span(text) == hours * 3_600_000_000


@pytest.mark.parametrize("read", [options.read_span, options.read_percent])
@pytest.mark.parametrize("text", ["", "x", "-1", "7 weeks", "101%%"])
def test_other_texts_are_refused(read, text):
    with pytest.raises(Exception, match="is not a"):
        read(text)


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("0", 0.0), ("0.5 %", 0.005), ("100%", 1.0)])
def test_percentages_of_the_command_line(text, share):
    assert options.read_percent(text) == pytest.approx(share)


def test_a_percentage_beyond_the_whole_is_refused():
    with pytest.raises(Exception, match="0% to 100%"):
        options.read_percent("101%")


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("sum", 950_000, "9,500.00 USD"),
        ("new_in_sum", 950_000.0, "9,500.00 USD"),
        ("out_share", 0.953, "95.3 %"),
        ("kept", 0.9, "90 %"),
        ("own_month_ratio", 5.25, "5.25 ×"),
        ("gap_days", 190.0, "190 days"),
        ("age", None, "unknown"),
        ("units", 3.0, "3"),
        ("m5", 1.0, "yes"),
        ("segment", "person", "person"),
    ],
)
def test_measured_values_carry_their_unit(name, value, text):
    assert ruletext.told(name, value, "USD") == text


def test_the_sentence_of_a_rule_is_filled_with_what_was_measured():
    rule = ruletext.read_rule_text('title = "T"\n[explain]\nwhy = "{units} deposits of {sum}, {nowhere} more."')
    found = finding(measured={"units": 3, "sum": 2_850_000}, parameters={})
    assert ruletext.sentence(rule, found) == "3 deposits of 28,500.00 USD, unknown more."


def test_a_rule_without_a_sentence_tells_its_description():
    rule = ruletext.read_rule_text('title = "T"\ndescription = "What it is."')
    assert ruletext.sentence(rule, finding()) == "What it is."


def test_markers_are_told_in_words_and_only_those_that_hold():
    assert list(ruletext.markers(finding(measured={"m1": 1.0, "m2": 0.0, "m5": None}))) == [
        "m1: cash at two or more branches or machines"
    ]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:se:cret@host/db", "postgresql://ann:***@host/db"),
        ("postgresql://ann@host:5432/db", "postgresql://ann@host:5432/db"),
        ("sqlite:////var/a:b@c.db", "sqlite:////var/a:b@c.db"),
    ],
)
def test_a_password_is_never_shown(url, shown):
    assert options.public(url) == shown


def test_a_next_command_names_the_database_only_where_it_must(monkeypatch):
    assert options.where(options.DEFAULT_DB) == ""
    assert options.where("sqlite:///x.db") == " --db sqlite:///x.db"
    monkeypatch.setenv("AML_DB", "sqlite:///x.db")
    assert options.where("sqlite:///x.db") == ""
