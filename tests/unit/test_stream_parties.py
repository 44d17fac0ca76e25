"""Party rows from their topic: what cannot be read is counted and passed over."""

from __future__ import annotations

import json
import logging

import polars as pl
import pytest

from aml.stream.decode import Message
from aml.stream.partyfeed import PartyFeed


class Once:
    def __init__(self, *values: bytes | None) -> None:
        self.messages = [Message("aml.parties.v1", 0, n, n, b"%d" % n, value) for n, value in enumerate(values)]

    def read(self) -> list[Message]:
        some, self.messages = self.messages, []
        return some


def known(*values: bytes | None) -> tuple[PartyFeed, list[str]]:
    feed, tables = PartyFeed(Once(*values), "main", "USD"), []
    feed.refresh()
    frame = pl.DataFrame({"_received": [1000]})
    feed.resolve(frame, lambda some, table: (tables.append(table), some)[1])
    return feed, [] if tables[0] is None else sorted(tables[0].frame["account"])


@pytest.mark.parametrize("bad", [b"x", b"[]", b"7", b'{"customer":"SECRET"}', b'{"account":7}', b"[" * 9000,
                                 b'{"account":"SECRET","valid_from":"x"}'])  # fmt: skip
def test_a_row_that_cannot_be_read_harms_no_other_and_stays_out_of_the_log(bad, caplog):
    with caplog.at_level(logging.WARNING):
        feed, accounts = known(b'{"account":"A"}', bad, b'{"account":"B"}')
    assert (accounts, feed.refused) == (["A", "B"], 1)
    assert "aml.parties.v1[0]:1" in caplog.text
    assert "SECRET" not in caplog.text


def test_a_message_without_value_takes_rows_away():
    messages = Once(b'{"account":"A"}', b'{"account":"B"}', None)
    messages.messages[2] = messages.messages[2]._replace(key=b"0")
    feed = PartyFeed(messages, "main", "USD")
    feed.refresh()
    tables = []
    feed.resolve(pl.DataFrame({"_received": [9]}), lambda some, table: (tables.append(table), some)[1])
    assert tables[0].frame["account"].to_list() == ["B"]


def test_several_rows_in_a_message():
    rows = [{"account": "A"}, {"account": "B", "customer": "P"}]
    assert known(json.dumps(rows).encode())[1] == ["A", "B"]


def test_no_rows_are_no_table():
    assert known()[1] == []
