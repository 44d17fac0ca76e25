"""`models/<id>/model.toml`: what a model is, which features it reads and how it is fitted, checked key by key."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from aml.domain.errors import AmlError
from aml.learn.features import NAMES

SEAL: Final = "\n[artefact]\n"  # what follows is written by training and covers what precedes


class ModelKind(StrEnum):
    """The closed set of models that the code knows."""

    PEER_TAILS = "peer-tails"
    ISOLATION_FOREST = "isolation-forest"


@dataclass(frozen=True, slots=True)
class Fit:
    """How a model learns. Tails: values kept and least rows per group, cap and step of a tail in nats. Forest: trees,
    rows per tree, seed. Both: most rows (legs) and the share of the earliest history left out as cold start."""

    rows: int
    cold_start: float
    values: int = 0
    group: int = 0
    cap: float = 0.0
    step: float = 0.0
    trees: int = 0
    rows_per_tree: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Spec:
    """A model file; text: all of it that stands above the seal."""

    id: str
    version: int
    title: str
    kind: ModelKind
    description: str
    blind_spots: tuple[str, ...]
    fit: Fit
    text: str


_LISTS: Final = ("blind_spots", "false_positives", "triage")
_KEYS: Final = {
    "id", "version", "title", "kind", "status", "description", "explain", *_LISTS, "features", "fit", "artefact",
}  # fmt: skip
Check = Callable[[Any], bool]


def _whole(least: int, most: int) -> Check:
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and least <= v <= most


def _number(least: float, most: float) -> Check:
    return lambda v: isinstance(v, int | float) and not isinstance(v, bool) and least <= v <= most


_ROWS: Final[dict[str, tuple[Check, str]]] = {
    "rows": (_whole(1_000, 10_000_000), "a whole number from 1,000 to 10,000,000"),
    "cold_start": (_number(0, 0.9), "a share from 0 to 0.9"),
}
_FIT: Final[dict[ModelKind, dict[str, tuple[Check, str]]]] = {
    ModelKind.PEER_TAILS: _ROWS | {
        "values": (_whole(100, 1_000_000), "a whole number from 100 to 1,000,000"),
        "group": (_whole(1, 1_000_000), "a whole number from 1 to 1,000,000"),
        "cap": (_number(1, 20), "a number from 1 to 20"),
        "step": (_number(0, 1), "a number from 0 to 1"),
    },
    ModelKind.ISOLATION_FOREST: _ROWS | {
        "trees": (_whole(1, 1_000), "a whole number from 1 to 1,000"),
        "rows_per_tree": (_whole(2, 1_024), "a whole number from 2 to 1,024"),
        "seed": (_whole(0, 2**31 - 1), "a whole number of 0 or more"),
    },
}


def read_spec(path: Path) -> Spec:
    """Read and check a model file. Raises AmlError that names file, key and mend."""
    try:
        raw = path.read_bytes().decode()
        table = tomllib.loads(raw)
    except OSError as error:
        raise AmlError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise AmlError(f"{path}: damaged: not UTF-8 at byte {error.start}; restore it or run aml train") from error
    except tomllib.TOMLDecodeError as error:
        raise AmlError(f"{path}: not valid TOML: {error}") from error
    return _spec(path, table, raw.split(SEAL)[0])


def read_specs(directory: Path) -> dict[str, Spec]:
    """Every model file of a directory, by model id. Raises AmlError where there is none, or one is wrong."""
    found = {path.parent.name: read_spec(path) for path in sorted(directory.glob("*/model.toml"))}
    if not found:
        raise AmlError(f"{directory}: holds no model (a folder with a model.toml)")
    return found


def _spec(path: Path, table: dict[str, Any], text: str) -> Spec:
    for key in table:
        if key not in _KEYS:
            raise AmlError(f"{path}: {key}: unknown key; allowed: {', '.join(sorted(_KEYS))}")
    for key in ("id", "title", "kind", "description"):
        if not isinstance(table.get(key), str):
            raise AmlError(f"{path}: {key}: must be a text")
    if table["id"] != path.parent.name:
        raise AmlError(f"{path}: id: must be the folder's name, {path.parent.name!r}, not {table['id']!r}")
    if not _whole(1, 10**6)(table.get("version")):
        raise AmlError(f"{path}: version: must be a whole number of 1 or more")
    if table["kind"] not in set(ModelKind):
        raise AmlError(f"{path}: kind: must be one of {', '.join(ModelKind)}, not {table['kind']!r}")
    if not isinstance(table.get("explain", ""), str):
        raise AmlError(f"{path}: explain: must be a text, what an alert says of the model")
    for key in _LISTS:
        held = table.get(key, [])
        if not isinstance(held, list) or not all(isinstance(text, str) for text in held):
            raise AmlError(f"{path}: {key}: must be a list of texts")
    _check_features(path, table.get("features"))
    kind = ModelKind(table["kind"])
    fit = _fit(path, kind, table.get("fit"))
    spots = tuple(table.get("blind_spots", ()))
    return Spec(table["id"], table["version"], table["title"], kind, table["description"], spots, fit, text)


def _check_features(path: Path, names: Any) -> None:
    if names == list(NAMES):
        return
    if not isinstance(names, list):
        raise AmlError(f"{path}: features: must list the engine's features: {', '.join(NAMES)}")
    for place, (have, want) in enumerate(zip(names, NAMES, strict=False), start=1):
        if have != want:
            raise AmlError(f"{path}: features: number {place} is {have!r}, the engine's is {want!r}; train anew")
    raise AmlError(f"{path}: features: {len(names)} listed, the engine has {len(NAMES)}; train anew")


def _fit(path: Path, kind: ModelKind, table: Any) -> Fit:
    if not isinstance(table, dict):
        raise AmlError(f"{path}: fit: section missing")
    known = _FIT[kind]
    for key in table:
        if key not in known:
            raise AmlError(f"{path}: fit.{key}: unknown key; allowed: {', '.join(sorted(known))}")
    for key, (holds, what) in known.items():
        if key not in table or not holds(table[key]):
            raise AmlError(f"{path}: fit.{key}: must be {what}")
    return Fit(**table)
