"""The contracts that lie in streams/ are those of the code, and say what a feed may send."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from aml.content import folder
from aml.domain.party import PARTIES
from aml.domain.transaction import CANONICAL, ENDS, WORDS, words
from aml.feed.fields import END_FIELDS, FIELDS, REQUIRED
from aml.feed.schema import schemas, text_of
from aml.stream import messages


@pytest.mark.parametrize("name", sorted(schemas()))
def test_the_committed_schema_is_the_codes_own(name):
    committed = (folder("streams") / "schemas" / name).read_text(encoding="utf-8")
    assert committed == text_of(schemas()[name]), "run: python -m aml.feed.schema"


@pytest.mark.parametrize("name", sorted(messages.schemas()))
def test_alerts_and_manifests_are_described_as_the_code_has_them(name):
    committed = (folder("streams") / "schemas" / name).read_text(encoding="utf-8")
    assert committed == text_of(messages.schemas()[name]), "run: python -m aml.stream.messages"


def test_no_schema_lies_there_that_nobody_makes():
    assert {path.name for path in (folder("streams") / "schemas").iterdir()} == set(schemas()) | set(messages.schemas())


def test_one_command_writes_them(tmp_path):
    subprocess.run([sys.executable, "-m", "aml.feed.schema", str(tmp_path)], check=True)
    assert {path.name: json.loads(path.read_text()) for path in tmp_path.iterdir()} == schemas()


def test_every_field_that_a_feed_reads_is_in_the_schema_and_no_other():
    schema = schemas()["transaction.v1.json"]
    assert set(schema["properties"]) == {*FIELDS, *ENDS}
    assert set(schema["$defs"]["End"]["properties"]) == set(END_FIELDS)
    assert set(schemas()["party.v1.json"]["properties"]) == set(PARTIES)


def test_every_canonical_column_has_a_field_or_is_ours():
    ours = {"debit_value", "credit_value", "extra", "place"}
    assert set(CANONICAL) - ours == set(FIELDS) - {"transaction_code"}


def test_the_schema_says_what_is_required_and_which_words_there_are():
    schema = schemas()["transaction.v1.json"]
    assert schema["else"]["required"] == list(REQUIRED)
    assert schema["then"]["required"] == ["transaction_id"]
    for name, enum in WORDS.items():
        if name in schema["properties"] and not name.startswith(ENDS):
            listed = next(part for part in _parts(schema["properties"][name]) if "enum" in part)["enum"]
            assert set(listed) - {None} == set(words(enum))


def _parts(value):
    if isinstance(value, dict):
        yield value
        for one in value.values():
            yield from _parts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _parts(one)
