"""What the environment sets: AML_* variables as one frozen value, read when asked and never at import.

A file may set them too, and secrets may lie in files of their own: both become variables when a command starts
(`with_files`), so that everything reads one place.
"""

from __future__ import annotations

import datetime as dt
import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aml.domain.errors import USAGE, AmlError

DEFAULT_PROFILE: Final = "us"
DEFAULT_INSTITUTION: Final = "main"
DEFAULT_DB: Final = "sqlite:///aml.db"


CONFIG: Final = "AML_CONFIG"
KAFKA: Final = "AML_KAFKA__"
# Every variable but those of Kafka, and what it sets; `aml doctor` prints them.
NAMES: Final[Mapping[str, str]] = {
    "AML_DB": "database, an SQLAlchemy URL",
    "AML_STATE": "folder for what processes keep",
    "AML_PROFILE": "jurisdiction",
    "AML_INSTITUTION": "institution of records without one",
    "AML_CONTENT": "folder of the bank's own rules and profiles",
    "AML_HISTORY_FROM": "day from which the feed is complete",
    "AML_RATES": "file of exchange rates",
    "AML_TOPIC": "topic of the bank's payments",
    "AML_SHARDS": "shards that `aml topics apply` makes",
    "AML_LATENESS": "how late a record may come",
    "AML_SNAPSHOTS": "seconds between two snapshots of a shard",
    "AML_METRICS_ADDRESS": "where metrics and health are served",
    "AML_METRICS_PORT": "first port tried for them",
    "AML_LOG": "text or json",
}
SECRET: Final = ("AML_DB", f"{KAFKA}SASL_PASSWORD", f"{KAFKA}SSL_KEY_PASSWORD")


@dataclass(frozen=True, slots=True)
class Settings:
    """The AML_* variables; an empty one is unset.

    profile: AML_PROFILE, jurisdiction. institution: AML_INSTITUTION, None where a feed may give its own default.
    db: AML_DB, an SQLAlchemy URL. state: AML_STATE, the folder for the state of server databases. content: AML_CONTENT,
    the bank's overlay. history_from: AML_HISTORY_FROM, the day from which the feed is complete.
    """

    profile: str = DEFAULT_PROFILE
    institution: str | None = None
    db: str = DEFAULT_DB
    state: Path | None = None
    content: Path | None = None
    history_from: dt.date | None = None


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process, or of the given environment. Raises AmlError where one cannot be read."""
    found = os.environ if environment is None else environment
    state, content = found.get("AML_STATE"), found.get("AML_CONTENT")
    return Settings(
        profile=found.get("AML_PROFILE") or DEFAULT_PROFILE,
        institution=found.get("AML_INSTITUTION") or None,
        db=found.get("AML_DB") or DEFAULT_DB,
        state=Path(state) if state else None,
        content=Path(content) if content else None,
        history_from=_day("AML_HISTORY_FROM", found.get("AML_HISTORY_FROM")),
    )


def _day(name: str, text: str | None) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text) if text else None
    except ValueError as error:
        raise AmlError(f"{name}={text}: is not a date: write 2024-01-31", USAGE) from error


def with_files(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that files set, beside those of the environment, which win: of the file that AML_CONFIG names, and of
    secrets that `NAME_FILE` points to.

    The file is TOML: `db = "..."` is AML_DB, and `[kafka]` has librdkafka's names (`security.protocol = "SASL_SSL"`).
    Raises AmlError for a file that cannot be read and for a name that is not known.
    """
    found: dict[str, str] = {}
    config = environment.get(CONFIG)
    if config:
        found |= _config(Path(config))
    for name in SECRET:
        path = environment.get(f"{name}_FILE") or found.pop(f"{name}_FILE", None)
        if path and not environment.get(name):
            found[name] = _read(Path(path), f"{name}_FILE").strip()
    return {name: text for name, text in found.items() if not environment.get(name)}


def _config(path: Path) -> dict[str, str]:
    try:
        body = tomllib.loads(_read(path, CONFIG))
    except tomllib.TOMLDecodeError as error:
        raise AmlError(f"{path}: {error}", USAGE) from error
    kafka = body.pop("kafka", {})
    found = {}
    for key, value in body.items():
        name = f"AML_{key.upper()}"
        if name.removesuffix("_FILE") not in NAMES:
            raise AmlError(f"{path}: {key} is not known{nearest(name, NAMES)}", USAGE)
        found[name] = str(value)
    found |= {f"{KAFKA}{variable(name)}": str(value) for name, value in _flat(kafka)}
    return found


def variable(option: str) -> str:
    """An option of librdkafka as part of a variable's name."""
    return option.upper().replace(".", "_").replace("-", "_")


def nearest(name: str, known: Mapping[str, Any]) -> str:
    """A hint at what was meant."""
    close = difflib.get_close_matches(name, known, 1)
    return f": did you mean {close[0]}?" if close else f": one of {', '.join(known)}"


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """TOML reads a dotted name as tables in tables."""
    rows: list[tuple[str, Any]] = []
    for key, value in table.items():
        rows += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return rows


def _read(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AmlError(f"{name}={path}: cannot be read ({error})", USAGE) from error
