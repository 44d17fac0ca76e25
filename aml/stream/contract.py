"""The contracts of the topics, streams/topics/*.toml: what `aml topics` makes and checks, one file a topic."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from aml.content import folder
from aml.domain.errors import AmlError
from aml.settings import nearest

SHARDS: Final = "shards"
FOR_EVER: Final = -1


@dataclass(frozen=True, slots=True)
class Contract:
    """One topic. partitions: how many `apply` makes, "shards" for the number of shards, fixed; exact, least: configs
    that must be so, and that must be as much at least (-1 is without end)."""

    topic: str
    says: str
    key: str
    value: str
    schema: str
    version: int
    partitions: int | str
    volume: str
    written_by: tuple[str, ...]
    read_by: tuple[str, ...]
    exact: Mapping[str, str]
    least: Mapping[str, int]

    @property
    def configs(self) -> dict[str, str]:
        """What a new topic is made with."""
        return {**self.exact, **{name: str(value) for name, value in self.least.items()}}

    def lacking(self, held: Mapping[str, str]) -> dict[str, str]:
        """Configs that a topic does not keep, and what they should be."""
        wrong = {name: wanted for name, wanted in self.exact.items() if held.get(name) != wanted}
        short = {
            name: str(wanted)
            for name, wanted in self.least.items()
            if int(held.get(name, "0")) != FOR_EVER and int(held.get(name, "0")) < wanted
        }
        return wrong | short


def load_contracts() -> list[Contract]:
    """Every contract, by name of its topic. Raises AmlError for a file that does not say what it must."""
    paths = sorted((folder("streams") / "topics").glob("*.toml"))
    return [_read(path.name.removesuffix(".toml"), path.read_text("utf-8")) for path in paths]


def _read(topic: str, text: str) -> Contract:
    body: dict[str, Any] = tomllib.loads(text)
    known = dict.fromkeys(field.name for field in fields(Contract) if field.name != "topic")
    for key in body:
        if key not in known:
            raise AmlError(f"streams/topics/{topic}.toml: {key} is not known{nearest(key, known)}")
    for key in known:
        if key not in body:
            raise AmlError(f"streams/topics/{topic}.toml: {key} is missing")
    for key in ("written_by", "read_by"):
        body[key] = tuple(body[key])
    return Contract(topic, **body)
