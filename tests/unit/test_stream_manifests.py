"""Manifests come into the database whatever else stands in their topic, and whatever goes away meanwhile."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from aml.domain.errors import StoreError
from aml.store.completeness import load_known
from aml.store.dead_letters import BAD_MANIFEST, list_dead_letters, load_dead_letter, stream_letters
from aml.stream.client import Connection
from aml.stream.manifests import ManifestReader

GOOD = {"manifest": "m1", "institution": "main", "source": "core", "records": 3, "sums": {"USD": 120}}


class Reader(ManifestReader):
    """Reads from a list instead of a broker; every start is from the beginning."""

    def __init__(self, database, values):
        super().__init__(Connection("nowhere:1"), "aml.manifests.v1", database)
        self.values, self.at = values, 0

    def _read(self):
        new, self.at = self.values[self.at :], len(self.values)
        first = self.at - len(new)
        return [
            SimpleNamespace(topic="aml.manifests.v1", partition=0, offset=n, value=value)
            for n, value in enumerate(new, first)
        ]


def told(**fields):
    return json.dumps(GOOD | fields).encode()


def known(database):
    with database.read() as connection:
        return load_known(connection)


def test_manifests_are_kept_and_those_of_the_same_name_replaced(database):
    reader = Reader(database, [told(), told(manifest="m2", first_hour="", last_hour=""), told(records=4)])
    assert reader.poll() == 3
    assert [(m.name, m.records, m.first_hour) for m in known(database).manifests] == [("m1", 4, None), ("m2", 3, "")]
    assert reader.poll() == 0


BAD = {
    "a name that no database would index": told(manifest="m" * 501),
    "no JSON": b"{",
    "no UTF-8": b'{"manifest": "\xff"}',
    "no object": b"[]",
    "nested too deep": b'{"x":' + b"[" * 100_000,
    "nothing in it": b"{}",
    "no number": told(records="three"),
    "a negative number": told(records=-1),
    "more than a database holds": told(records=2**63),
    "no hour": told(first_hour="yesterday", last_hour="today"),
    "one hour alone": told(first_hour="2026-03-02T09"),
    "hours turned round": told(first_hour="2026-03-02T09", last_hour="2026-03-02T08"),
    "an empty name": told(manifest=""),
}


@pytest.mark.parametrize("bad", [pytest.param(value, id=name) for name, value in BAD.items()])
def test_what_is_no_manifest_is_kept_and_told_and_harms_no_neighbour(database, bad, caplog):
    values = [told(), bad, None, told(manifest="m2")]
    for _ in range(2):  # read again from the beginning after a restart
        assert Reader(database, values).poll() == 2
    found = known(database)
    assert ([m.name for m in found.manifests], found.bad_manifests) == (["m1", "m2"], 1)
    with database.read() as connection:
        (letter,) = list_dead_letters(connection, BAD_MANIFEST, 5)
        whole = load_dead_letter(connection, letter.dead_letter_id)
        assert stream_letters(connection, None, (), True, 0, 5) == [], "a replay would send it to no purpose"
    assert whole.original == bad
    assert "aml.manifests.v1[0]:1: is no manifest" in caplog.text


def test_texts_that_no_database_holds_are_held_all_the_same(database):
    Reader(database, [told(manifest="m\0", sums={"X\0": 10**30}, first_id="T\0")]).poll()
    (one,) = known(database).manifests
    assert (one.name, one.first_id) == ("m\\0", "T\\0")


def test_what_was_read_while_the_database_was_away_is_written_later(database, monkeypatch):
    reader = Reader(database, [told()])
    with monkeypatch.context() as away:
        away.setattr(database, "begin", lambda: (_ for _ in ()).throw(StoreError("away")))
        with pytest.raises(StoreError):
            reader.poll()
    reader.values.append(told(manifest="m2"))
    assert reader.poll() == 2


def test_a_broker_that_is_away_is_asked_again(database, monkeypatch):
    from kafka import errors

    reader = Reader(database, [told()])
    with monkeypatch.context() as away:
        away.setattr(reader, "_read", lambda: (_ for _ in ()).throw(errors.KafkaConnectionError()))
        assert reader.poll() == 0
    assert reader.poll() == 1
