"""What the environment sets: AML_* variables as one frozen value, read when asked and never at import."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aml.domain.errors import USAGE, AmlError

DEFAULT_PROFILE: Final = "us"
DEFAULT_INSTITUTION: Final = "main"
DEFAULT_DB: Final = "sqlite:///aml.db"


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
