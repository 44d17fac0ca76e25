"""The AsyncAPI document says what contracts and schemas say; a thorough test asks AsyncAPI's own schema."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from aml.stream.asyncapi import document
from aml.stream.contract import SHARDS, load_contracts
from aml.stream.settings import StreamSettings

SPECS = "6.11.1"
ROOT = Path(__file__).parents[2]
CONTRACTS = load_contracts()


@pytest.fixture
def made() -> dict[str, Any]:
    settings = StreamSettings("a:9092,b:9092", prefix="uat.", bank="payments")
    told: dict[str, Any] = json.loads(json.dumps(document(CONTRACTS, settings)))
    return told


def test_every_topic_is_a_channel_with_its_contract(made):
    assert len(made["channels"]) == len(CONTRACTS)
    for contract in CONTRACTS:
        channel = made["channels"][contract.topic.replace(".", "-")]
        kafka = channel["bindings"]["kafka"]
        assert channel["address"] == kafka["topic"]
        assert channel["address"].startswith("payments" if "transactions" in contract.topic else "uat.")
        assert ("partitions" in kafka) == (contract.partitions != SHARDS)


def test_operations_are_those_of_our_own_programs(made):
    told = {(one["action"], one["channel"]["$ref"].rsplit("/", 1)[1]) for one in made["operations"].values()}
    assert ("receive", "aml-transactions-v1") in told
    assert ("send", "aml-alerts-v1") in told
    assert ("receive", "aml-alerts-v1") not in told


def test_every_reference_leads_somewhere(made):
    references = list(_references(made))
    assert len(references) > 10
    for reference in references:
        at: Any = made
        for name in reference.removeprefix("#/").split("/"):
            at = at[name]


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, one in value.items():
            if key == "$ref":
                yield one
            else:
                yield from _references(one)
    elif isinstance(value, list):
        for one in value:
            yield from _references(one)


def specs() -> Path:
    """The folder of AsyncAPI's own schemas, fetched by npm the first time."""
    folder = ROOT / ".cache" / "asyncapi" / SPECS
    if not folder.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("npm is not installed")
        fetched = folder.with_suffix(f".{os.getpid()}")
        fetched.mkdir(parents=True)
        subprocess.run([npm, "pack", "--silent", f"@asyncapi/specs@{SPECS}"], cwd=fetched, check=True, timeout=300)
        (packed,) = fetched.glob("*.tgz")
        with tarfile.open(packed) as archive:
            archive.extractall(fetched, filter="data")
        (fetched / "package" / "schemas").rename(folder)
        shutil.rmtree(fetched)
    return folder


@pytest.mark.thorough
def test_it_is_what_asyncapi_calls_one(made):
    schema = json.loads((specs() / "3.0.0-without-$id.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    assert [f"{list(one.absolute_path)}: {one.message[:200]}" for one in validator.iter_errors(made)] == []
    kafka = made["channels"]["aml-alerts-v1"]["bindings"]["kafka"]
    for name, wrong in (("partitions", 0), ("topicConfiguration", {"cleanup.policy": "delete"}), ("topic", 1)):
        kept, kafka[name] = kafka[name], wrong
        assert not validator.is_valid(made), name
        kafka[name] = kept
