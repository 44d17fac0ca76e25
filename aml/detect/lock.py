"""The lock: which version of each rule does what, so that no change of behaviour goes without a new version."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from aml.detect.rulefile import Parameter, RuleFile
from aml.domain.errors import AmlError

NAME: Final = "rules.lock"
REFRESH: Final = "aml rules check --write-lock"
_HEAD: Final = f"""\
# Which version of each rule does what: a hash of all in its file that can change a result (kinds, conditions,
# parameters, severity, subject …; not the texts and tests). Read by aml/detect/lock.py; written by
# `{REFRESH}`, which refuses where behaviour changed and the version did not.
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One rule of the lock."""

    version: int
    sha256: str


def behaviour(rule: RuleFile) -> str:
    """Hash of everything in a rule file that can change a result."""
    told: dict[str, Any] = {
        "severity": rule.severity.value, "family": rule.family.value, "typology": rule.typology,
        "subject": rule.subject, "deprecated": rule.status == "deprecated", "profiles": rule.profiles,
        "never": rule.never, "needs": rule.needs, "opens": rule.opens,
        "steps": [rule.steps_fact, rule.steps_at],
        "detect": [[one.kind, one.settings, one.when] for one in rule.detect],
        "parameters": {name: _parameter(held) for name, held in rule.parameters.items()},
    }  # fmt: skip
    if rule.exempt:
        told["exempt"] = [[row.subject, str(row.since), str(row.until), row.cap] for row in rule.exempt]
    return hashlib.sha256(json.dumps(_plain(told), sort_keys=True).encode()).hexdigest()


def _parameter(held: Parameter) -> list[Any]:
    return [held.value, held.unit, held.of, held.segments]


def _plain(value: Any) -> Any:
    """What JSON can hold, numbers as the shortest text of their value: 0.50 is 0.5 and 5000.00 is 5000."""
    if isinstance(value, Mapping):
        return {name: _plain(held) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(held) for held in value]
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return format(Decimal(value).normalize(), "f")
    return value


def read_lock(rules: Path) -> dict[str, Entry]:
    """The lock beside the rules; empty where there is none. Raises AmlError that names file and entry."""
    path = rules / NAME
    if not path.is_file():
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise AmlError(f"{path}: not valid TOML: {error}: write it anew with `{REFRESH}`") from error
    return {name: _entry(held, f"{path}: {name}") for name, held in table.items()}


def _entry(held: Any, place: str) -> Entry:
    if isinstance(held, dict) and isinstance(held.get("version"), int) and isinstance(held.get("sha256"), str):
        return Entry(held["version"], held["sha256"])
    raise AmlError(f"{place}: must be {{ version = 1, sha256 = … }}: write it anew with `{REFRESH}`")


def differences(rules: Iterable[RuleFile], locked: Mapping[str, Entry]) -> Iterator[str]:
    """What of the rules is not as the lock says, with the mend."""
    seen = set()
    for rule in rules:
        seen.add(rule.id)
        yield from refusals(rule, locked)
        held = locked.get(rule.id)
        if held is None:
            yield f"{rule.place}: version: not in {NAME}: run `{REFRESH}`"
        elif rule.version > held.version:
            yield f"{rule.place}: version: {NAME} holds {held.version}, the file says {rule.version}: run `{REFRESH}`"
    for name in sorted(locked.keys() - seen):
        yield f"{NAME}: {name}: its file is gone: keep it, with status = \"deprecated\", as long as alerts cite it"


def refusals(rule: RuleFile, locked: Mapping[str, Entry]) -> Iterator[str]:
    """Why the lock must not be written over this rule."""
    held = locked.get(rule.id)
    if held is None:
        return
    if rule.version < held.version:
        yield f"{rule.place}: version: falls from {held.version} to {rule.version}: versions only rise"
    elif rule.version == held.version and behaviour(rule) != held.sha256:
        yield f"{rule.place}: version: what the rule does changed, it did not: set version = {rule.version + 1}"


def write_lock(folder: Path, rules: Iterable[RuleFile]) -> None:
    """Write the lock as the rules are now; entries of rules whose file is gone stay.

    Raises AmlError where a rule changed without a new version.
    """
    rules, locked = list(rules), read_lock(folder)
    for why in (why for rule in rules for why in refusals(rule, locked)):
        raise AmlError(why)
    entries = locked | {rule.id: Entry(rule.version, behaviour(rule)) for rule in rules}
    lines = [f'{name} = {{ version = {e.version}, sha256 = "{e.sha256}" }}' for name, e in sorted(entries.items())]
    (folder / NAME).write_text(_HEAD + "\n" + "\n".join(lines) + "\n", encoding="utf-8")
