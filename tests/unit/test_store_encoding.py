"""Canonical JSON gives the same bytes for the same value, as RFC 8785 says; times read as RFC 3339."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aml.store.encoding import canonical_json, rfc3339, to_json

NUMBERS = [
    (0.0, "0"), (-0.0, "0"), (1.0, "1"), (-1.5, "-1.5"), (0.002, "0.002"), (1e-6, "0.000001"), (1e-7, "1e-7"),
    (1.5e-7, "1.5e-7"), (1e20, "100000000000000000000"), (1e21, "1e+21"), (1.25e30, "1.25e+30"),
    (333333333.33333329, "333333333.3333333"), (5e-324, "5e-324"), (1.7976931348623157e308, "1.7976931348623157e+308"),
    (9007199254740992.0, "9007199254740992"), (0.1234, "0.1234"), (12345.678, "12345.678"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "written"), NUMBERS)
def test_numbers_are_written_as_ecmascript_does(value, written):
    assert canonical_json(value) == written.encode()


def test_keys_are_sorted_by_utf_16_and_texts_escaped_as_little_as_may_be():
    value = {"\ufb33": 1, "\U0001f600": 2, "a": 'é"\n\x01', "1": [None, True, 3]}
    assert canonical_json(value) == ('{"1":[null,true,3],"a":"é\\"\\n\\u0001","\U0001f600":2,"\ufb33":1}'.encode())


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(), st.lists))
def test_canonical_json_reads_back(value):
    assert json.loads(canonical_json(value)) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_reads_back_bit_for_bit(value):
    read = float(json.loads(canonical_json(value)))
    assert struct.pack("d", read) == struct.pack("d", value + 0.0) or value == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, {1, 2}])
def test_what_json_cannot_hold_exactly_is_refused(value):
    with pytest.raises(ValueError, match=r"JSON|exact"):
        canonical_json(value)


def test_stored_json_is_sorted_and_knows_no_infinity():
    assert to_json({"b": float("inf"), "a": 1}) == '{"a":1,"b":null}'


def test_times_are_rfc_3339_in_utc():
    assert rfc3339(1_700_000_000_000_000) == "2023-11-14T22:13:20Z"
    assert rfc3339(1_700_000_000_000_001) == "2023-11-14T22:13:20.000001Z"
    assert rfc3339(-1) == "1969-12-31T23:59:59.999999Z"
