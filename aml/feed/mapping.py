"""The mapping file: how a bank's own columns, words, times and amounts become our fields."""

from __future__ import annotations

import codecs
import datetime as dt
import tomllib
import zoneinfo
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import polars as pl

from aml.domain.errors import AmlError
from aml.domain.transaction import WORDS, words
from aml.feed.fields import FIELDS, Kind

_TEXTS: Final = ("delimiter", "encoding", "decimal", "thousands", "zone", "ids", "start")
STEPS: Final = {"step_days": 86_400_000_000, "step_hours": 3_600_000_000, "step_minutes": 60_000_000}  # µs of one
_LISTS: Final = ("time_formats", "date_formats")
_METHODS: Final = ("originator_method", "beneficiary_method")
_CODED: Final = ("instrument", "channel", "initiated_by", "status", "relation", *_METHODS)
_SIDES: Final = ("column", "credit", "debit", "own", "other")


@dataclass(frozen=True, slots=True)
class Sides:
    """A statement's view of a movement: which column says credit or debit, and our fields' own and other end.

    `credit` and `debit` are the words of `column`; `own` and `other` map the part of an end (account, institution …) to
    the columns of the statement's account and of its counterparty.
    """

    column: str
    credit: tuple[str, ...]
    debit: tuple[str, ...]
    own: dict[str, str]
    other: dict[str, str]


@dataclass(frozen=True, slots=True)
class Mapping:
    """A mapping file's content; streams/mappings/example.toml explains its keys."""

    path: str = ""
    delimiter: str | None = None
    encoding: str = "utf-8"
    decimal: str = "."
    thousands: str = ""
    zone: str | None = None
    ids: str = "column"  # or "content": the feed has none, so a record is named by its content and occurrence
    start: str | None = None  # the day from which steps count
    time_formats: tuple[str, ...] = ()
    date_formats: tuple[str, ...] = ()
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)  # our field -> their columns, joined by a space
    constants: dict[str, str] = field(default_factory=dict)
    values: dict[str, dict[str, str]] = field(default_factory=dict)  # our field -> their word -> ours
    codes: dict[str, dict[str, str]] = field(default_factory=dict)  # transaction code -> our field -> word
    sides: Sides | None = None

    @property
    def describes(self) -> bool:
        """Whether it says what the columns are; one that does not leaves a public set to its importer."""
        said = (self.columns, self.constants, self.values, self.codes, self.sides, self.time_formats, self.date_formats)
        return any(said) or self.ids == "content"

    @property
    def names_decimal(self) -> bool:
        """Whether the mapping says how decimals are written."""
        return self.decimal != "." or bool(self.thousands)

    def wanted(self) -> list[str]:
        """Their columns that the mapping names."""
        names = [name for theirs in self.columns.values() for name in theirs]
        if self.sides is not None:
            names += [self.sides.column, *self.sides.own.values(), *self.sides.other.values()]
        return names


PLAIN: Final = Mapping()


def _is_date(text: str) -> bool:
    try:
        return dt.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def load_mapping(path: Path) -> Mapping:
    """Read a mapping file. Raises AmlError naming file and key."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise AmlError(f"{path}: cannot be read: {error.strerror}: check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AmlError(f"{path}: not valid TOML: {error}") from error
    return _Reader(str(path), table).mapping()


class _Reader:
    def __init__(self, path: str, table: dict[str, Any]) -> None:
        self._path, self._table = path, table

    def _error(self, key: str, what: str) -> AmlError:
        return AmlError(f"{self._path}: {key}: {what}")

    def mapping(self) -> Mapping:
        known = {*_TEXTS, *_LISTS, "columns", "constants", "values", "codes", "sides"}
        for key in self._table:
            if key not in known:
                raise self._error(key, f"unknown key; allowed: {', '.join(sorted(known))}")
        texts: dict[str, str] = {key: self._text(key, self._table[key]) for key in _TEXTS if key in self._table}
        self._check(texts)
        lists = {key: self._texts(key, self._table[key]) for key in _LISTS if key in self._table}
        columns = {ours: self._texts(f"columns.{ours}", theirs) for ours, theirs in self._fields("columns").items()}
        constants = {ours: self._text(f"constants.{ours}", text) for ours, text in self._fields("constants").items()}
        steps = [pattern for pattern in lists.get("time_formats", ()) if pattern in STEPS]
        if steps and "start" not in texts:
            raise self._error("start", f"is missing: {steps[0]} count from a day")
        values = {ours: self._words(f"values.{ours}", table) for ours, table in self._fields("values").items()}
        for ours in set(columns) & set(constants):
            raise self._error(f"constants.{ours}", "is a column too: give one of the two")
        return Mapping(
            path=self._path,
            columns=columns,
            constants=constants,
            values=values,
            codes=self._codes(),
            sides=self._sides(),
            **texts,  # type: ignore[arg-type]  # the keys are those of _TEXTS and _LISTS
            **lists,  # type: ignore[arg-type]
        )

    def _check(self, texts: dict[str, str]) -> None:
        for key in ("delimiter", "decimal", "thousands"):
            if len(texts.get(key, ".")) != 1:
                raise self._error(key, "must be one character")
        if texts.get("decimal", ".") not in ".,":
            raise self._error("decimal", 'must be "." or ","')
        if texts.get("thousands") == texts.get("decimal", "."):
            raise self._error("thousands", "cannot be the decimal mark too")
        if texts.get("ids", "column") not in ("column", "content"):
            raise self._error("ids", 'must be "column" or, for a feed without ids, "content"')
        if "start" in texts and not _is_date(texts["start"]):
            raise self._error("start", f"{texts['start']!r} is no date: write 2026-03-02")
        if "zone" in texts and texts["zone"] not in zoneinfo.available_timezones():
            raise self._error("zone", f"{texts['zone']!r} is no time zone: write one like Europe/Prague")
        try:
            name = codecs.lookup(texts.get("encoding", "utf-8")).name
        except LookupError as error:
            raise self._error("encoding", f"{texts['encoding']!r} is unknown: write one like cp1252") from error
        if name.startswith(("utf-16", "utf-32")):
            raise self._error("encoding", "is not read: convert the file to UTF-8")

    def _text(self, key: str, value: Any) -> str:
        if not isinstance(value, str) or not value:
            raise self._error(key, "must be a text")
        return value

    def _texts(self, key: str, value: Any) -> tuple[str, ...]:
        return tuple(self._text(key, one) for one in (value if isinstance(value, list) else [value]))

    def _table_of(self, key: str) -> dict[str, Any]:
        value = self._table.get(key, {})
        if not isinstance(value, dict):
            raise self._error(key, "must be a table")
        return value

    def _fields(self, key: str) -> dict[str, Any]:
        table = self._table_of(key)
        for name in table:
            if name not in FIELDS:
                raise self._error(f"{key}.{name}", "is no field of a transaction: see streams/mappings/example.toml")
        return table

    def _words(self, key: str, value: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            raise self._error(key, "must be a table: their word = ours")
        field_name = key.split(".")[1]
        allowed = words(WORDS[field_name]) if FIELDS[field_name] is Kind.WORD else None
        found = {theirs: self._text(f"{key}.{theirs}", ours) for theirs, ours in value.items()}
        for theirs, ours in found.items():
            if allowed is not None and ours not in allowed:
                raise self._error(f"{key}.{theirs}", f"{ours!r} is none of {', '.join(allowed)}")
        return found

    def _codes(self) -> dict[str, dict[str, str]]:
        found = {}
        for code, meaning in self._table_of("codes").items():
            if not isinstance(meaning, dict):
                raise self._error(f"codes.{code}", 'must be a table like { instrument = "cash" }')
            for name, word in meaning.items():
                if name not in _CODED:
                    raise self._error(f"codes.{code}.{name}", f"unknown; allowed: {', '.join(_CODED)}")
                if word not in words(WORDS[name]):
                    raise self._error(f"codes.{code}.{name}", f"{word!r} is none of {', '.join(words(WORDS[name]))}")
            found[code] = dict(meaning)
        return found

    def _sides(self) -> Sides | None:
        table = self._table_of("sides")
        if not table:
            return None
        for key in table:
            if key not in _SIDES:
                raise self._error(f"sides.{key}", f"unknown key; allowed: {', '.join(_SIDES)}")
        for key in ("column", "credit", "debit", "own"):
            if key not in table:
                raise self._error(f"sides.{key}", "is missing")
        ends = {}
        for key in ("own", "other"):
            ends[key] = table.get(key, {})
            for part in ends[key]:
                if f"originator_{part}" not in FIELDS:
                    raise self._error(f"sides.{key}.{part}", "is no part of an end: account, institution, customer …")
        credit, debit = self._texts("sides.credit", table["credit"]), self._texts("sides.debit", table["debit"])
        return Sides(self._text("sides.column", table["column"]), credit, debit, ends["own"], ends["other"])


def mapped(frame: pl.DataFrame, mapping: Mapping) -> pl.DataFrame:
    """A frame of their columns with ours instead; columns that the mapping does not name stay as they are."""
    built: dict[str, pl.Series] = {}
    for ours, theirs in mapping.columns.items():
        built[ours] = _joined(frame, theirs).alias(ours)
    if mapping.sides is not None:
        built |= _split(frame, mapping.sides)
    for ours, text in mapping.constants.items():
        built[ours] = pl.Series(ours, [text]).new_from_index(0, frame.height).alias(ours)
    # A column that became one of ours is read; left in place it would be told as unknown.
    left = frame.drop([name for name in {*mapping.wanted(), *built} if name in frame.columns])
    result = left.with_columns(list(built.values())) if built else left
    for ours, table in mapping.values.items():
        if ours in result.columns:
            result = result.with_columns(pl.col(ours).cast(pl.String).replace(table))
    return _plain_amounts(result, mapping) if mapping.names_decimal else result


def _joined(frame: pl.DataFrame, names: tuple[str, ...]) -> pl.Series:
    if len(names) == 1:
        return frame.get_column(names[0])
    texts = [pl.col(name).cast(pl.String) for name in names]
    return frame.select(pl.concat_str(texts, separator=" ", ignore_nulls=True)).to_series()


def _split(frame: pl.DataFrame, sides: Sides) -> dict[str, pl.Series]:
    """Our ends from a statement's own and other side; a word that is neither gives no party at either end."""
    word = pl.col(sides.column)
    credit, debit = word.is_in(sides.credit), word.is_in(sides.debit)
    built = {}
    for part in {**sides.own, **sides.other}:
        own = pl.col(sides.own[part]) if part in sides.own else pl.lit(None, pl.String)
        other = pl.col(sides.other[part]) if part in sides.other else pl.lit(None, pl.String)
        for end, out in (("originator", debit), ("beneficiary", credit)):
            there = credit if end == "originator" else debit
            picked = pl.when(out).then(own).when(there).then(other).alias(f"{end}_{part}")
            built[f"{end}_{part}"] = frame.select(picked).to_series()
    return built


def _plain_amounts(frame: pl.DataFrame, mapping: Mapping) -> pl.DataFrame:
    """Amount texts with a decimal point and no thousands mark; a mark that stands wrong is left, and refused later."""
    changed = []
    for name, kind in frame.schema.items():
        if FIELDS.get(name) is Kind.MONEY and kind == pl.String:
            text = pl.col(name)
            if mapping.thousands:
                mark = "\\" + mapping.thousands
                grouped = text.str.contains(rf"^\s*[+-]?\d{{1,3}}({mark}\d{{3}})+(\{mapping.decimal}\d*)?\s*$")
                bare = text.str.replace_all(mapping.thousands, "", literal=True)
                text = pl.when(grouped).then(bare).otherwise(text)
            if mapping.decimal == ",":
                # A point is now no decimal mark: 1.5 must not pass as one and a half.
                text = pl.when(text.str.contains(".", literal=True)).then(text + " ").otherwise(text)
                text = (
                    pl.when(text.str.ends_with(" ") & text.str.contains(".", literal=True))
                    .then(text.str.replace(".", "'", literal=True))
                    .otherwise(text.str.replace(",", ".", literal=True))
                )
            changed.append(text.alias(name))
    return frame.with_columns(changed)
