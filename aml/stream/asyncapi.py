"""The AsyncAPI 3 document of the topics, from their contracts and schemas."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final

from aml.content import folder
from aml.stream.contract import SHARDS, Contract
from aml.stream.settings import StreamSettings

_VERSION: Final = "3.0.0"
_BINDINGS: Final = "0.5.0"
_OURS: Final = "aml"


def document(contracts: Sequence[Contract], settings: StreamSettings) -> dict[str, Any]:
    """The document, as JSON values. Operations are seen from us: what we write we send, what we read we receive."""
    host = settings.brokers.split(",")[0]
    return {
        "asyncapi": _VERSION,
        "info": {
            "title": "AML monitor", "version": version("aml-monitor"), "license": {"name": "Apache-2.0"},
            "description": "Payments in, explained alerts out.",
        },
        "defaultContentType": "application/json",
        "servers": {"kafka": {"host": host, "protocol": "kafka", "description": "the bank's brokers"}},
        "channels": {_key(c): _channel(c, settings) for c in contracts},
        "operations": {name: told for c in contracts for name, told in _operations(c).items()},
        "components": {"schemas": {_part(c): _schema(c) for c in contracts if c.schema}},
    }  # fmt: skip


def _key(contract: Contract) -> str:
    """A channel's name in the document, which takes no points."""
    return contract.topic.replace(".", "-")


def _part(contract: Contract) -> str:
    return contract.schema.removesuffix(".json").replace(".", "-")


def _channel(contract: Contract, settings: StreamSettings) -> dict[str, Any]:
    kafka: dict[str, Any] = {"topic": settings.topic(contract.topic), "bindingVersion": _BINDINGS}
    if contract.partitions != SHARDS:
        kafka["partitions"] = contract.partitions
    told = {
        "cleanup.policy": [contract.exact.get("cleanup.policy", "delete")],
        **({"retention.ms": contract.least["retention.ms"]} if "retention.ms" in contract.least else {}),
        **({"max.message.bytes": contract.least["max.message.bytes"]} if "max.message.bytes" in contract.least else {}),
    }
    message: dict[str, Any] = {
        "name": contract.topic, "title": contract.says, "summary": contract.value,
        "bindings": {"kafka": {"key": {"type": "string", "description": contract.key}, "bindingVersion": _BINDINGS}},
    }  # fmt: skip
    if contract.schema:
        message["payload"] = {"$ref": f"#/components/schemas/{_part(contract)}"}
    else:
        message["contentType"] = "application/octet-stream"
    return {
        "address": settings.topic(contract.topic), "description": f"{contract.says}. {contract.volume}.",
        "messages": {"message": message}, "bindings": {"kafka": {**kafka, "topicConfiguration": told}},
    }  # fmt: skip


def _operations(contract: Contract) -> dict[str, Any]:
    found = {}
    for action, who in (("send", contract.written_by), ("receive", contract.read_by)):
        ours = [one for one in who if one.startswith(_OURS)]
        if ours:
            found[f"{action}-{_key(contract)}"] = {
                "action": action, "channel": {"$ref": f"#/channels/{_key(contract)}"}, "summary": ", ".join(ours),
            }  # fmt: skip
    return found


def _schema(contract: Contract) -> dict[str, Any]:
    text = (folder("streams") / "schemas" / contract.schema).read_text("utf-8")
    return {"schemaFormat": "application/schema+json;version=draft-07", "schema": _placed(json.loads(text), contract)}


def _placed(schema: Any, contract: Contract) -> Any:
    """References within a schema, as they stand in the whole document; without its own dialect."""
    if isinstance(schema, list):
        return [_placed(one, contract) for one in schema]
    if not isinstance(schema, dict):
        return schema
    told = {key: _placed(value, contract) for key, value in schema.items() if key != "$schema"}
    reference = told.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/$defs/"):
        told["$ref"] = f"#/components/schemas/{_part(contract)}/schema{reference[1:]}"
    return told
