"""The contracts as JSON Schema, made from the code's own types: `python -m aml.feed.schema` writes streams/schemas/."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from aml.content import folder
from aml.domain.party import Party
from aml.domain.transaction import ENDS, End, Transaction
from aml.feed.fields import REQUIRED

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """File name -> JSON Schema of every contract."""
    return {"transaction.v1.json": _transaction(), "party.v1.json": schema_of(Party, "aml.parties.v1")}


def text_of(schema: dict[str, Any]) -> str:
    """A schema as its file holds it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def schema_of(kind: type[Any], title: str) -> dict[str, Any]:
    """The schema of a struct: its own keys at the top, others under $defs."""
    (reference,), parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    whole = _tidy(parts)
    top = whole.pop(reference["$ref"].rsplit("/", 1)[1])
    return {"$schema": _DIALECT, **top, "title": title, **({"$defs": whole} if whole else {})}


def _tidy(value: Any) -> Any:
    """Docstrings as one paragraph; a default of null says nothing."""
    if isinstance(value, list):
        return [_tidy(one) for one in value]
    if not isinstance(value, dict):
        return value
    kept = {key: _tidy(one) for key, one in value.items() if not (key == "default" and one is None)}
    if isinstance(kept.get("description"), str):
        kept["description"] = " ".join(kept["description"].split())
    return kept


def _transaction() -> dict[str, Any]:
    """Transaction v1: what shares a prefix nested or flat, and less required of a void."""
    schema = schema_of(Transaction, "aml.transactions.v1")
    ends = schema_of(End, "end")["properties"]
    flat = {f"{end}_{part}": inner for end in ENDS for part, inner in ends.items()}
    schema["properties"] = {**schema["properties"], **flat}
    schema["if"] = {"properties": {"void": {"const": True}}, "required": ["void"]}
    schema["then"] = {"required": [REQUIRED[0]]}
    schema["else"] = {"required": list(REQUIRED)}
    return schema


def main() -> None:
    """Write the schemas where the contracts lie, or into the folder given."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else folder("streams") / "schemas"
    for name, schema in schemas().items():
        (target / name).write_text(text_of(schema), encoding="utf-8")


if __name__ == "__main__":
    main()
