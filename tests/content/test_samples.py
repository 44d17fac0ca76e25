"""The samples of streams/samples are golden: the real decoders take the valid ones and refuse the others, by name."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest

from aml.content import folder
from aml.domain.transaction import RejectCode
from aml.feed import schema as feed_schema
from aml.feed.rates import NO_RATES
from aml.feed.validate import Terms
from aml.stream import messages
from aml.stream.decode import Decoder
from aml.stream.forms import Message
from aml.stream.messages import AlertMessage, ManifestMessage
from aml.stream.partyfeed import PartyFeed
from tests.factories import NOW

SAMPLES = folder("streams") / "samples"
TERMS = Terms("aml.transactions.v1", "main", 0, "USD", NO_RATES)
# Found by shards, which know what came before.
LATER = {RejectCode.CONFLICT, RejectCode.TOO_LATE}


def schemas():
    return feed_schema.schemas() | messages.schemas()


def of(contract: str, kind: str) -> list[pytest.param]:
    return [pytest.param(path, id=path.name) for path in sorted((SAMPLES / contract / kind).iterdir())]


def decoded(path: Path):
    return Decoder(TERMS).decode([Message("aml.transactions.v1", 0, 0, NOW, b"k", path.read_bytes())])


def refused(path: Path) -> str:
    """The code that a file is named after; more words may follow a dash."""
    return path.stem.split("-")[0]


@pytest.mark.parametrize("path", of("transaction.v1", "valid"))
def test_a_valid_payment_is_read(path):
    found = decoded(path)
    assert found.rejects == [] and found.rows.height == path.read_text().count('"transaction_id"')


@pytest.mark.parametrize("path", of("transaction.v1", "invalid"))
def test_an_invalid_payment_is_refused_by_its_code(path):
    found = decoded(path)
    assert [reject.code for reject in found.rejects] == [refused(path)] and found.rows.height == 0


def test_every_code_that_a_message_can_have_has_its_sample():
    shown = {refused(path) for path in (SAMPLES / "transaction.v1" / "invalid").iterdir()}
    assert shown == {str(code) for code in RejectCode if code not in LATER}


class Rows:
    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self):
        return [Message("aml.parties.v1", 0, 0, NOW, b"k", self._path.read_bytes())]


@pytest.mark.parametrize("path", of("party.v1", "valid") + of("party.v1", "invalid"))
def test_party_rows(path):
    feed = PartyFeed(Rows(path), "main", "USD")
    assert feed.refresh()
    assert feed.refused == (path.parent.name == "invalid")


@pytest.mark.parametrize("path", of("manifest.v1", "valid"))
def test_a_valid_manifest_is_read(path):
    told = json.loads(path.read_bytes())
    found = msgspec.json.decode(path.read_bytes(), type=ManifestMessage)
    assert (found.manifest, found.records, found.sums) == (told["manifest"], told["records"], told["sums"])


@pytest.mark.parametrize("path", of("manifest.v1", "invalid"))
def test_an_invalid_manifest_is_refused(path):
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(path.read_bytes(), type=ManifestMessage)


@pytest.mark.parametrize("path", of("alert.v1", "valid"))
def test_a_valid_alert_is_read_whole(path):
    found = msgspec.json.decode(path.read_bytes(), type=AlertMessage)
    assert msgspec.to_builtins(found) == json.loads(path.read_bytes())


@pytest.mark.parametrize("path", of("alert.v1", "invalid"))
def test_an_invalid_alert_is_none(path):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(path.read_bytes(), type=AlertMessage)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(path.read_bytes()), schemas()["alert.v1.json"])


@pytest.mark.parametrize("path", [one for name in schemas() for one in of(name.removesuffix(".json"), "valid")])
def test_a_valid_sample_fits_its_schema(path):
    schema = schemas()[f"{path.parts[-3]}.json"]
    for line in path.read_text().splitlines() if path.suffix == ".ndjson" else [path.read_text()]:
        told = json.loads(line)
        for one in told if isinstance(told, list) else [told]:
            jsonschema.validate(one.get("data", one), schema)


def test_what_the_outbox_tells_is_the_contract():
    """Field by field; tests of the outbox hold the values."""
    from types import SimpleNamespace

    from aml.store.outbox import _body

    row = SimpleNamespace(
        alert_id="a", revision=2, institution="main", kind="account", id="A1", status="new", score=0.5, band="low",
        raised_at=NOW, crossed_at=None, disposition="reported",
    )  # fmt: skip
    body = _body(row, ["r"], NOW)
    assert msgspec.to_builtins(msgspec.convert(body, AlertMessage)) == body
    assert "disposition" not in body


def test_every_schema_has_samples_of_both_kinds():
    assert {path.name for path in SAMPLES.iterdir()} == {name.removesuffix(".json") for name in schemas()}
    assert {path.name for one in SAMPLES.iterdir() for path in one.iterdir()} == {"valid", "invalid"}
