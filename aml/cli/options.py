"""Options and arguments that several commands share, with their defaults and how their texts are read."""

from __future__ import annotations

import datetime as dt
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

DEFAULT_DB: Final = "sqlite:///aml.db"
DEFAULT_PROFILE: Final = "us"
DEFAULT_LATENESS: Final = "7d"
_SPAN: Final = re.compile(r"(\d+)\s*([dh]?)")
_PASSWORD: Final = re.compile(r"(://[^:/@]*):[^@]*@")
_HOUR: Final = 3_600_000_000
_SHARE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*%?")


def read_span(text: str) -> int:
    """Microseconds of "7d", "36h" or a bare number of days."""
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is not a span: write 7d or 36h", param_hint="--lateness")
    return int(found[1]) * _HOUR * (1 if found[2] == "h" else 24)


def read_percent(text: str) -> float:
    """The share 0..1 of "5%" or "0.5"."""
    found = _SHARE.fullmatch(text.strip())
    if found is None or float(found[1]) > 100:
        raise typer.BadParameter(f"{text!r} is not a percentage: write 0% to 100%", param_hint="--rejects-over")
    return float(found[1]) / 100


def read_day(text: str, option: str) -> dt.date:
    """The date that an option gives."""
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a date: write 2026-01-05", param_hint=option) from error


def read_history_from(text: str | None) -> dt.date | None:
    """The day from which the feed is complete, None where nobody says."""
    if not text:
        return None
    day = read_day(text, "--history-from")
    if day > dt.datetime.now(dt.UTC).date():
        raise typer.BadParameter(f"{text} lies in the future: give the first complete day", param_hint="--history-from")
    return day


def database_url(text: str) -> str:
    """A database URL; a bare file name means SQLite."""
    return text if ":" in text else f"sqlite:///{text}"


def public(url: str) -> str:
    """A database URL without its password."""
    return _PASSWORD.sub(r"\1:***@", url)


def program() -> str:
    """How this program was called, so that the commands we print can be typed."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "aml" and not called.is_absolute() else "aml"


def where(url: str) -> str:
    """What a command line needs to find this database again."""
    known = os.environ.get("AML_DB") or DEFAULT_DB
    return "" if url == known else f" --db {public(url)}"


Db = Annotated[
    str,
    typer.Option("--db", envvar="AML_DB", metavar="URL", help="Database: sqlite:///FILE or postgresql://HOST/NAME."),
]
Json = Annotated[bool, typer.Option("--json", help="End standard output with one JSON object on one line.")]
Feeds = Annotated[
    list[str],
    typer.Argument(metavar="FEED…", help="NDJSON, CSV or Parquet, also gzipped; - is standard input."),
]
Parties = Annotated[
    Path | None, typer.Option("--parties", metavar="FILE", help="Party table: who owns which account, dated.")
]
Rates = Annotated[Path | None, typer.Option("--rates", metavar="FILE", help="Dated exchange rates.")]
Mapping = Annotated[Path | None, typer.Option("--mapping", metavar="FILE", help="Column mapping of a CSV or Parquet.")]
Profile = Annotated[
    str, typer.Option("--profile", envvar="AML_PROFILE", metavar="NAME", help="Jurisdiction: us, ca or au.")
]
Institution = Annotated[
    str | None,
    typer.Option(
        "--institution",
        envvar="AML_INSTITUTION",
        metavar="ID",
        help="Whose records these are, where they do not say.",
        show_default="main; for AMLworld and AMLSim the set's name",
    ),
]
HistoryFrom = Annotated[
    str | None,
    typer.Option(
        "--history-from",
        envvar="AML_HISTORY_FROM",
        metavar="DATE",
        help="The feed is complete from this day: who is first seen 90 days later or more is new.",
        show_default="unknown: only `opened` of the party table tells an age",
    ),
]
Models = Annotated[
    Path | None, typer.Option("--models", metavar="DIR", help="Models made by `aml train`.", show_default="as shipped")
]
Lateness = Annotated[
    str,
    typer.Option(
        "--lateness", metavar="SPAN", envvar="AML_LATENESS", help="How late a record may come and still count."
    ),
]
AlertId = Annotated[str, typer.Argument(metavar="ID", help="The alert's id, or as much of its beginning as is unique.")]
