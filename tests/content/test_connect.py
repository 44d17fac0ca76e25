"""The example of a Connect sink says of an alert what the contract says, and upserts by its key."""

from __future__ import annotations

import json

from aml.content import folder
from aml.stream.contract import load_contracts
from aml.stream.messages import schemas
from aml.stream.settings import ALERTS

SINK = json.loads((folder("streams") / "connect" / "alerts-jdbc-sink.json").read_text())["config"]
CONTRACT = next(one for one in load_contracts() if one.topic == ALERTS)
KINDS = {"string": "string", "integer": "int64", "number": "double", "array": "array"}


def kind(told: dict, parts: dict) -> str:
    if "$ref" in told:
        told = parts[told["$ref"].rsplit("/", 1)[1]]
    if "anyOf" in told:
        told = next(one for one in told["anyOf"] if one.get("type") != "null")
    return KINDS["string" if "enum" in told else told["type"]]


def test_its_fields_are_the_schemas_own():
    schema = schemas()["alert.v1.json"]
    told = json.loads(SINK["value.converter.schema.content"])
    assert {one["field"]: one["type"] for one in told["fields"]} == {
        name: kind(one, schema.get("$defs", {})) for name, one in schema["properties"].items()
    }
    assert {one["field"] for one in told["fields"] if not one["optional"]} == set(schema["required"]) - {"crossed_at"}


def test_it_upserts_by_the_topics_key_and_leaves_lists_out():
    assert (SINK["topics"], SINK["pk.fields"]) == (CONTRACT.topic, "alert_id")
    assert (SINK["insert.mode"], SINK["pk.mode"]) == ("upsert", "record_key")
    told = json.loads(SINK["value.converter.schema.content"])
    lists = [one["field"] for one in told["fields"] if one["type"] == "array"]
    assert SINK["transforms.columns.exclude"].split(",") == lists


def test_no_password_stands_in_it():
    assert SINK["connection.password"].startswith("${file:")
