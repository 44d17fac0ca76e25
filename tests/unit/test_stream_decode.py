"""Messages of a bank's topic: every form that may come, and what becomes of what cannot be read."""

from __future__ import annotations

import base64
import json

import pytest

from aml.feed.rates import NO_RATES
from aml.feed.validate import Terms
from aml.stream.decode import LARGEST_BATCH, Decoded, Decoder, Message
from tests.factories import NOW, txn
from tests.unit.test_feed_poison import POISON

TOPIC = "aml.transactions.v1"
TERMS = Terms(TOPIC, "main", 0, "USD", NO_RATES)


def message(value, offset=0, headers=(), at=NOW) -> Message:
    return Message(TOPIC, 0, offset, at, b"key", value, headers)


def decode(*messages) -> Decoded:
    return Decoder(TERMS).decode([m if isinstance(m, Message) else message(m, n) for n, m in enumerate(messages)])


def ids(found: Decoded) -> list[str]:
    return found.rows["transaction_id"].to_list()


def one(**fields) -> bytes:
    return json.dumps(txn(**fields)).encode()


T1, T2 = one(transaction_id="T1"), one(transaction_id="T2")
PRETTY = json.dumps(txn(transaction_id="T1"), indent=2).encode()
EVENT = {"specversion": "1.0", "type": "payment", "id": "1", "source": "/core"}


def event(**fields) -> bytes:
    return json.dumps(EVENT | fields).encode()


FORMS = [
    ("one object", T1, (), ["T1"]),
    ("blanks around it", b"  " + T1 + b"\r\n", (), ["T1"]),
    ("a byte order mark", b"\xef\xbb\xbf" + T1, (), ["T1"]),
    ("printed over several lines", PRETTY, (), ["T1"]),
    ("lines", T1 + b"\n" + T2, (), ["T1", "T2"]),
    ("lines with blank ones", b"\n" + T1 + b"\r\n\r\n" + T2 + b"\n", (), ["T1", "T2"]),
    ("an array", b"[" + T1 + b"," + T2 + b"]", (), ["T1", "T2"]),
    ("an array printed over several lines", b"[\n " + PRETTY + b",\n" + T2 + b"\n]", (), ["T1", "T2"]),
    ("a framed object", b"\0\0\0\0\7" + T1, (), ["T1"]),
    ("a framed array", b"\0\0\0\0\7[" + T1 + b"]", (), ["T1"]),
    ("an event in headers", T1, [("ce_specversion", b"1.0"), ("ce_source", b"/core")], ["T1"]),
    ("an event", event(data=txn()), (), ["T1"]),
    ("an event that says so", event(data=txn()), [("content-type", b"application/cloudevents+json")], ["T1"]),
    ("an event printed over several lines", json.dumps(EVENT | {"data": txn()}, indent=1).encode(), (), ["T1"]),
    ("an event around an array", event(data=[txn(), txn(transaction_id="T2")]), (), ["T1", "T2"]),
    ("an event in base64", event(data_base64=base64.b64encode(PRETTY).decode()), (), ["T1"]),
    ("lines in base64", event(data_base64=base64.b64encode(T1 + b"\n" + T2).decode()), (), ["T1", "T2"]),
    ("an array of events", b"[" + event(data=txn()) + b"," + T2 + b"]", (), ["T1", "T2"]),
    ("lines of events", event(data=txn()) + b"\n" + T2, (), ["T1", "T2"]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "headers", "expected"), [pytest.param(*f[1:], id=f[0]) for f in FORMS])
def test_every_form_is_read(value, headers, expected):
    found = decode(T2, message(value, 1, headers), T1)
    assert found.rejects == []
    assert ids(found) == ["T2", *expected, "T1"]
    places = found.rows.select("_partition", "_offset", "_index", "_received").rows()
    assert places == [(0, 0, 0, NOW), *((0, 1, n, NOW) for n in range(len(expected))), (0, 2, 0, NOW)]


@pytest.mark.parametrize(("bad", "code"), [pytest.param(bad, code, id=name) for name, bad, code in POISON])
def test_poison_in_a_line_harms_no_neighbour(bad, code):
    found = decode(T1, T1 + b"\n" + bad + b"\n" + T2, T2)
    assert ids(found) == ["T1", "T1", "T2", "T2"]
    (reject,) = found.rejects
    assert (reject.code, reject.offset, reject.index) == (code, 1, 1)
    assert reject.original == bad


OBJECTS = [p for p in POISON if p[1].startswith(b"{") and p[2] not in ("not_json", "not_an_object")]


@pytest.mark.parametrize(("bad", "code"), [pytest.param(bad, code, id=name) for name, bad, code in OBJECTS])
def test_poison_in_an_array_harms_no_neighbour(bad, code):
    found = decode(b"[" + T1 + b"," + bad + b"," + T2 + b"]")
    assert ids(found) == ["T1", "T2"]
    assert [(r.code, r.index, r.original) for r in found.rejects] == [(code, 1, bad)]


@pytest.mark.parametrize(("bad", "code"), [pytest.param(bad, code, id=name) for name, bad, code in POISON])
def test_poison_as_a_message_is_one_reject(bad, code):
    found = decode(T1, bad, T2)
    assert ids(found) == ["T1", "T2"]
    (reject,) = found.rejects
    assert (reject.offset, reject.index, reject.original) == (1, 0, bad if bad != b"[{}]" else b"{}")


WHOLE = [
    ("nothing", None, "not_json", b""),
    ("empty", b"", "not_json", b""),
    ("blank", b" \n ", "not_json", b" \n "),
    ("a blank of another kind", b"\x0b", "not_json", b"\x0b"),
    ("a broken array", b"[" + T1 + b",{]", "not_json", b"[" + T1 + b",{]"),
    ("an array and more", b"[" + T1 + b"] x", "not_json", b"[" + T1 + b"] x"),
    ("an empty array", b"[]", "not_an_object", b"[]"),
    ("a frame around nothing", b"\0\0\0\0\7", "not_json", b"\0\0\0\0\7"),
    ("a depth bomb", b"[" * 200_000 + b"]" * 200_000, "not_json", None),
    ("a bomb of elements", b"[" + b"0," * LARGEST_BATCH + b"0]", "not_an_object", None),
    ("a bomb of lines", b"0\n" * (LARGEST_BATCH + 1), "not_an_object", None),
    ("an event without data", event(), "field_missing", event()),
    ("an event with bad base64", event(data_base64="=="), "not_json", event(data_base64="==")),
]


@pytest.mark.parametrize(("value", "code", "original"), [pytest.param(*w[1:], id=w[0]) for w in WHOLE])
def test_what_cannot_be_read_at_all_is_one_reject_with_its_bytes(value, code, original):
    found = decode(T1, value, T2)
    assert ids(found) == ["T1", "T2"]
    (reject,) = found.rejects
    assert (reject.code, reject.offset, reject.index) == (code, 1, 0), reject.detail
    assert reject.original == (value if original is None else original)
    assert 0 < len(reject.detail) < 300


def test_elements_that_are_no_objects_are_rejected_one_by_one():
    found = decode(b'[1,"x",null,[],' + T1 + b"]")
    assert [(r.code, r.index, r.original) for r in found.rejects] == [
        ("not_an_object", 0, b"1"), ("not_an_object", 1, b'"x"'), ("not_an_object", 2, b"null"),
        ("not_an_object", 3, b"[]"),
    ]  # fmt: skip
    assert found.rows["_index"].to_list() == [4]


def test_the_source_is_the_record_s_own_else_the_event_s_else_the_topic():
    header = [("ce_source", b"/cards")]
    found = decode(
        message(T1, 0), message(T1, 1, header), message(one(source="own"), 2, header),
        message(event(data=txn()), 3), message(b"{}", 4, header), message(one(source=TOPIC), 5, header),
    )  # fmt: skip
    assert found.rows["source"].to_list() == [TOPIC, "/cards", "own", "/core", TOPIC]
    assert [r.source for r in found.rejects] == ["/cards"]


def test_the_clock_is_each_message_s_own():
    late, early = NOW, NOW - 400 * 86_400_000_000
    value = one(executed_at="2026-08-01T00:00:00Z")
    found = decode(message(value, 0, at=late), message(value, 1, at=early), message(value, 2, at=late))
    assert found.rows["_offset"].to_list() == [0, 2]
    assert [(r.code, r.offset, r.day) for r in found.rejects] == [("time_in_future", 1, "2025-07-28")]


def test_a_header_may_be_anything():
    found = decode(message(T1, 0, [("ce_source", None), ("ce_source", b"\xff"), ("", b""), ("content-type", None)]))
    assert ids(found) == ["T1"]


def test_no_messages_are_no_rows():
    found = decode()
    assert (found.rows.height, found.rejects) == (0, [])
    assert {"_partition", "_offset", "_index", "_received"} <= set(found.rows.columns)


@pytest.mark.parametrize(
    ("told", "feed"),
    [
        ({}, ("main", TOPIC)),
        ({"source": "swift", "institution": "other"}, ("other", "swift")),
        ({"source": " swift "}, ("main", "swift")),
        ({"source": 7, "institution": "  "}, ("main", TOPIC)),
    ],
)
def test_a_reject_counts_for_the_feed_that_it_names(told, feed):
    """As a record that is read does: what a feed's manifest names and nobody scored is found among its own rejects."""
    good, bad = one(**told), one(amount="much", **told)
    found = decode(good, good + b"\n" + bad, b"[" + bad + b"]")
    assert [(r.institution, r.source) for r in found.rejects] == [feed] * 2
    assert set(found.rows.select("institution", "source").rows()) == {feed}


def test_a_reject_that_names_no_source_counts_for_its_events():
    found = decode(message(one(amount="much"), headers=[("ce_source", b"/cards")]), b"{nonsense")
    assert [(r.institution, r.source) for r in found.rejects] == [("main", "/cards"), ("main", TOPIC)]
