"""Reading a rule file: every key checked, every error naming the file, the key and what it must be."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Final

from aml.detect.exempt import MOST_DAYS, Exemption
from aml.detect.kinds import KINDS
from aml.detect.lines import line_of
from aml.detect.rulefile import CASH_INTENSIVE, SEGMENTS, Alternative, Number, Parameter, RuleFile, size
from aml.domain.errors import AmlError
from aml.domain.finding import Family, Severity
from aml.domain.transaction import CANONICAL

STATUSES: Final = ("experimental", "test", "stable", "deprecated")
OPERATORS: Final = ("gt", "gte", "lt", "lte", "eq")
GROUPS: Final = ("any", "all", "none")
_WINDOW: Final = re.compile(r"[1-9]\d{0,3}[hd]")
_ID: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_TEXTS: Final = ("title", "typology", "subject", "description", "explain")
_LISTS: Final = ("references", "amltrix", "false_positives", "blind_spots", "triage")
_OTHER: Final = (
    "id", "version", "status", "severity", "family", "profiles", "never", "opens", "needs", "steps", "given",
    "parameters", "detect", "tests", "exempt",
)  # fmt: skip
_PARAMETER_KEYS: Final = {"value", "range", "unit", "of", "fixed", "why", "segment"}
_TEST_KEYS: Final = {"name", "profile", "parties", "rates", "history_from", "events", "expect"}
_EXEMPT_TEXTS: Final = {
    "subject": "give the customer or account as records name it", "owner": "say who answers for it",
    "approver": "say who approved it", "reason": "say why",
}  # fmt: skip
_EXEMPT_KEYS: Final = {*_EXEMPT_TEXTS, "from", "until", "cap"}
_MOST_STEPS: Final = 4
_NOT_A_FIELD: Final = ("debit_value", "credit_value", "extra", "place")  # ours, not the record's


def read_rule(text: str, place: str) -> RuleFile:
    """Read the text of a rule file found at `place`.

    Raises AmlError that names the file, the key and what it must be.
    """
    try:
        table = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise AmlError(f"{place}: not valid TOML: {error}") from error
    return _Reader(place, table, text).rule()


class _Reader:
    """Takes the file apart key by key, so that each error can name its key."""

    def __init__(self, place: str, table: dict[str, Any], text: str) -> None:
        self.place, self.table, self.text = place, table, text

    def rule(self) -> RuleFile:
        self._only(self.table, {*_TEXTS, *_LISTS, *_OTHER}, "")
        parameters = {name: self._parameter(name, body) for name, body in self._table("parameters").items()}
        self.parameters = parameters
        self.read: set[str] = set()
        detect = tuple(self._alternative(k, body) for k, body in enumerate(self._tables("detect")))
        if not detect:
            raise self._error("detect", "missing: give at least one [[detect]]")
        facts = {fact for one in detect for fact in KINDS[one.kind].facts_of(one.settings)}
        opens = self.table.get("opens", True)
        if not isinstance(opens, bool):
            self._condition(opens, facts, "opens")
        steps_fact, steps_at = self._steps(facts)
        self._all_read()
        texts = {name: self._text(name) for name in _TEXTS}
        lists = {name: self._list(name) for name in _LISTS}
        return RuleFile(
            id=self._id(), version=self._whole("version"), title=texts["title"],
            status=self._one_of("status", STATUSES),
            severity=Severity(self._one_of("severity", tuple(s.value for s in Severity))),
            family=Family(self._one_of("family", tuple(f.value for f in Family))), typology=texts["typology"],
            subject=texts["subject"], description=texts["description"], explain=texts["explain"],
            references=lists["references"], amltrix=lists["amltrix"], false_positives=lists["false_positives"],
            blind_spots=lists["blind_spots"], triage=lists["triage"], needs=self._needs(),
            profiles=self._list("profiles") if "profiles" in self.table else None, never=self._segments("never"),
            opens=opens, steps_fact=steps_fact, steps_at=steps_at, given=self._table("given"), parameters=parameters,
            detect=detect, exempt=tuple(self._exemption(k, body) for k, body in enumerate(self._tables("exempt"))),
            tests=tuple(self._test(k, body) for k, body in enumerate(self._tables("tests"))),
            text=self.text, place=self.place,
        )  # fmt: skip

    # one field each

    def _id(self) -> str:
        value = self._text("id")
        if not _ID.fullmatch(value):
            raise self._error("id", "must be small letters, digits and single hyphens")
        return value

    def _parameter(self, name: str, body: Any) -> Parameter:
        where = f"parameters.{name}"
        if not isinstance(body, dict):
            raise self._error(where, "must be a table, as in { value = 3, range = [2, 8] }")
        self._only(body, _PARAMETER_KEYS, where)
        value = self._number(body.get("value"), f"{where}.value")
        fixed = body.get("fixed", False) is True
        low, high = (None, None) if fixed else self._range(body.get("range"), where)
        unit, of = body.get("unit", ""), body.get("of", "")
        if unit not in ("", "money"):
            raise self._error(f"{where}.unit", 'must be "money" or absent')
        if of not in ("", "threshold"):
            raise self._error(f"{where}.of", 'must be "threshold" or absent')
        segments = {key: self._number(held, f"{where}.segment.{key}") for key, held in body.get("segment", {}).items()}
        self._only(segments, {*SEGMENTS, CASH_INTENSIVE}, f"{where}.segment")
        made = Parameter(name, value, low, high, unit, of, fixed, str(body.get("why", "")), segments)
        for key, held in {"value": value, **segments}.items():
            if isinstance(held, str) != made.is_window or not made.within(held):
                raise self._error(f"{where}.{key}", f"{held} is impossible: it must lie in [{low}, {high}]")
        return made

    def _range(self, body: Any, where: str) -> tuple[Number, Number]:
        if not isinstance(body, list) or len(body) != 2:
            raise self._error(f"{where}.range", "must be [least, most] (or say fixed = true)")
        low, high = (self._number(end, f"{where}.range") for end in body)
        if isinstance(low, str) != isinstance(high, str) or size(low) > size(high):
            raise self._error(f"{where}.range", "must rise, and both ends be numbers or both be windows")
        return low, high

    def _number(self, value: Any, where: str) -> Number:
        if isinstance(value, str) and _WINDOW.fullmatch(value):
            return value
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            return value
        raise self._error(where, 'must be a number, or a window as in "72h" or "10d"')

    def _alternative(self, place: int, body: dict[str, Any]) -> Alternative:
        where = f"detect[{place}]"
        kind = body.get("kind")
        if kind not in KINDS:
            raise self._error(f"{where}.kind", f"{kind!r} is no kind; there are {', '.join(sorted(KINDS))}")
        when = body.get("when")
        if not isinstance(when, dict) or not when:
            raise self._error(f"{where}.when", "missing: give a condition")
        settings = {key: held for key, held in body.items() if key not in ("kind", "when")}
        problem = KINDS[kind].problem(settings)
        if problem:
            raise self._error(where, problem)
        for key, held in settings.items():
            self._setting(held, f"{where}.{key}")
        self._condition(when, set(KINDS[kind].facts_of(settings)), f"{where}.when")
        return Alternative(kind, settings, when)

    def _setting(self, value: Any, where: str) -> None:
        for held in _leaves(value):
            if isinstance(held, str) and held.startswith("$"):
                self._known(held, where)

    def _known(self, name: str, where: str) -> None:
        if name[1:] not in self.parameters:
            known = ", ".join(sorted(self.parameters)) or "none"
            raise self._error(where, f"{name} is no parameter; there are {known}")
        self.read.add(name[1:])

    def _condition(self, condition: Any, facts: set[str], where: str) -> None:
        if not isinstance(condition, dict) or not condition:
            raise self._error(where, "must be a table with at least one key")
        for key, wanted in condition.items():
            inner = f"{where}.{key}"
            if key in GROUPS:
                self._conditions(wanted, facts, inner)
            elif key == "at_least":
                if not isinstance(wanted, dict) or set(wanted) != {"n", "of"}:
                    raise self._error(inner, "must be { n = …, of = [ … ] }")
                self._bound(wanted["n"], f"{inner}.n")
                self._conditions(wanted["of"], facts, f"{inner}.of")
            elif key == "segment":
                self._segment_clause(wanted, inner)
            elif key not in facts:
                raise self._error(inner, f"is measured by no kind used here; known: {', '.join(sorted(facts))}")
            elif isinstance(wanted, dict):
                self._only(wanted, set(OPERATORS), inner)
                for op, bound in wanted.items():
                    self._bound(bound, f"{inner}.{op}")
            else:
                self._bound(wanted, inner)

    def _conditions(self, listed: Any, facts: set[str], where: str) -> None:
        if not isinstance(listed, list) or not listed:
            raise self._error(where, "must be a list of conditions")
        for k, condition in enumerate(listed):
            self._condition(condition, facts, f"{where}[{k}]")

    def _segment_clause(self, wanted: Any, where: str) -> None:
        if not isinstance(wanted, dict) or len(wanted) != 1 or next(iter(wanted)) not in ("in", "not_in"):
            raise self._error(where, "must be { in = [ … ] } or { not_in = [ … ] }")
        for name in next(iter(wanted.values())):
            if name not in SEGMENTS:
                raise self._error(where, f"{name!r} is no segment; there are {', '.join(SEGMENTS)}")

    def _bound(self, bound: Any, where: str) -> None:
        if isinstance(bound, str):
            if not bound.startswith("$"):
                raise self._error(where, 'must be a number, true, false or "$parameter"')
            self._known(bound, where)
        elif not isinstance(bound, bool | int | Decimal):
            raise self._error(where, 'must be a number, true, false or "$parameter"')

    def _steps(self, facts: set[str]) -> tuple[str | None, tuple[Any, ...]]:
        body = self.table.get("steps")
        if body is None:
            return None, ()
        if not isinstance(body, dict) or set(body) != {"fact", "at"} or not isinstance(body["at"], list):
            raise self._error("steps", "must be { fact = …, at = [ … ] }")
        if body["fact"] not in facts or not 1 <= len(body["at"]) <= _MOST_STEPS:
            raise self._error("steps", f"names a fact measured here and one to {_MOST_STEPS} rising bounds")
        for bound in body["at"]:
            self._bound(bound, "steps.at")
        return body["fact"], tuple(body["at"])

    def _all_read(self) -> None:
        for name in self.parameters:
            if name not in self.read:
                raise self._error(f"parameters.{name}", "is read by nothing in this rule: use it or take it out")

    def _test(self, place: int, body: dict[str, Any]) -> Mapping[str, Any]:
        where = f"tests[{place}]"
        self._only(body, _TEST_KEYS, where)
        for key, form in (("name", str), ("events", list), ("expect", dict)):
            if not isinstance(body.get(key), form):
                raise self._error(f"{where}.{key}", "missing, or of another form")
        return body

    def _exemption(self, place: int, body: dict[str, Any]) -> Exemption:
        where = f"exempt[{place}]"
        self._only(body, _EXEMPT_KEYS, where)
        texts = {key: self._said(body, key, f"{where}.{key}", mend) for key, mend in _EXEMPT_TEXTS.items()}
        if texts["approver"] == texts["owner"]:
            raise self._error(f"{where}.approver", "is the owner: somebody else must approve it")
        since, until = (self._date(body, key, f"{where}.{key}") for key in ("from", "until"))
        if until <= since:
            raise self._error(f"{where}.until", "must be after from")
        if (until - since).days >= MOST_DAYS:
            raise self._error(f"{where}.until", "is more than a year after from: look at it again by then")
        cap = body.get("cap")
        if cap is not None and (isinstance(cap, bool) or not isinstance(cap, int | Decimal) or cap <= 0):
            raise self._error(f"{where}.cap", "must be a number over 0, in major units of the reporting currency")
        return Exemption(since=since, until=until, cap=cap, **texts)

    def _said(self, body: Mapping[str, Any], key: str, where: str, mend: str) -> str:
        value = body.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self._error(where, f"missing: {mend}")
        return value.strip()

    def _date(self, body: Mapping[str, Any], key: str, where: str) -> dt.date:
        value = body.get(key)
        if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
            raise self._error(where, "must be a date, as in 2026-01-31")
        return value

    # forms

    def _table(self, key: str) -> dict[str, Any]:
        value = self.table.get(key, {})
        if not isinstance(value, dict):
            raise self._error(key, "must be a table")
        return value

    def _tables(self, key: str) -> list[dict[str, Any]]:
        value = self.table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(held, dict) for held in value):
            raise self._error(key, f"must be tables: [[{key}]]")
        return value

    def _text(self, key: str) -> str:
        value = self.table.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self._error(key, "must be a text")
        return value.strip()

    def _list(self, key: str) -> tuple[str, ...]:
        value = self.table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(held, str) for held in value):
            raise self._error(key, "must be a list of texts")
        return tuple(value)

    def _needs(self) -> tuple[tuple[str, ...], ...]:
        """Groups of fields, as in "branch | conductor"."""
        groups = []
        for text in self._list("needs"):
            group = tuple(name.strip() for name in text.split("|"))
            for name in group:
                if not name:
                    raise self._error("needs", f'{text!r} is no group of fields: write "branch | conductor"')
                if name not in CANONICAL or name in _NOT_A_FIELD:
                    near = ", ".join(get_close_matches(name, CANONICAL, 3)) or "see streams/schemas/transaction.v1.json"
                    raise self._error("needs", f"{name!r} is no field of a transaction: {near}?")
            groups.append(group)
        return tuple(groups)

    def _segments(self, key: str) -> tuple[str, ...]:
        held = self._list(key)
        for name in held:
            if name not in SEGMENTS:
                raise self._error(key, f"{name!r} is no segment; there are {', '.join(SEGMENTS)}")
        return held

    def _whole(self, key: str) -> int:
        value = self.table.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self._error(key, "must be a whole number of 1 or more")
        return value

    def _one_of(self, key: str, allowed: tuple[str, ...]) -> str:
        value = self.table.get(key)
        if value not in allowed:
            raise self._error(key, f"must be one of {', '.join(allowed)}")
        return str(value)

    def _only(self, table: Mapping[str, Any], allowed: set[str], where: str) -> None:
        for key in table:
            if key not in allowed:
                place = f"{where}.{key}" if where else key
                raise self._error(place, f"unknown key; allowed: {', '.join(sorted(allowed))}")

    def _error(self, key: str, what: str) -> AmlError:
        line = line_of(self.text, key)
        return AmlError(f"{self.place}{'' if line is None else f':{line}'}: {key}: {what}")


def _leaves(value: Any) -> Iterator[Any]:
    """The values at the ends of nested tables and lists."""
    if isinstance(value, Mapping):
        for held in value.values():
            yield from _leaves(held)
    elif isinstance(value, list):
        for held in value:
            yield from _leaves(held)
    else:
        yield value

