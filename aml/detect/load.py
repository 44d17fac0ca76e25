"""The rules in force: files of the content folder, checked against one another."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aml import content
from aml.detect.exempt import exempt_from_all
from aml.detect.profile import Profile, load_profile
from aml.detect.reader import read_rule
from aml.detect.rulefile import RuleFile
from aml.domain.errors import USAGE, AmlError

NO_RULES = ("scoring.toml", "typologies.toml")


def rule_files(rules: Path | None = None) -> Iterator[Path]:
    """The rule files of the content folder, by id: all TOML but profiles and the two registers."""
    root = content.folder("rules") if rules is None else rules
    found = (p for p in root.rglob("*.toml") if p.name not in NO_RULES and p.parent.name != "profiles")
    yield from sorted(found, key=lambda path: path.stem)


def read_rules(rules: Path | None = None) -> list[RuleFile]:
    """Every rule there is, by id.

    Raises AmlError that names the file: unreadable, a name that is not its id, or an id twice.
    """
    held: dict[str, RuleFile] = {}
    for path in rule_files(rules):
        rule = read_rule(path.read_text(encoding="utf-8"), str(path))
        if rule.id != path.stem:
            raise AmlError(f"{path}: id: is {rule.id!r}; it must be the file's name")
        if rule.id in held:
            raise AmlError(f"{path}: id: {rule.id!r} stands in {held[rule.id].place} already")
        held[rule.id] = rule
    if not held:
        raise AmlError("no rule files: rules/ is empty, install aml-monitor again or mend AML_CONTENT")
    _check_registers(content.folder("rules") if rules is None else rules, held)
    return list(held.values())


def _check_registers(root: Path, rules: Mapping[str, RuleFile]) -> None:
    """Every rule's typology is registered, nobody is exempt from all rules, and a lock stands beside them.

    `aml rules check` compares with it.
    """
    typologies = read_typologies(root)
    for rule in rules.values():
        if rule.typology not in typologies:
            raise AmlError(f"{rule.place}: typology: {rule.typology!r} is not in typologies.toml: add it there")
    for told in exempt_from_all(rules.values(), profile_names(root)):
        raise AmlError(told)
    if not (root / "rules.lock").is_file():
        raise AmlError(f"{root / 'rules.lock'}: missing: write it with `aml rules check --write-lock`")


def profile_names(rules: Path) -> list[str]:
    """The profiles that there are."""
    return sorted(path.stem for path in (rules / "profiles").glob("*.toml"))


def read_typologies(rules: Path | None = None) -> dict[str, Any]:
    """The register of typologies: by name its stage, sources and report codes. Raises AmlError that names the file."""
    path = (content.folder("rules") if rules is None else rules) / "typologies.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AmlError(f"{path}: missing: install aml-monitor again or mend AML_CONTENT") from error
    except tomllib.TOMLDecodeError as error:
        raise AmlError(f"{path}: not valid TOML: {error}") from error


def load_rules(profile: str) -> list[RuleFile]:
    """The rules in force under the profile, by id; deprecated ones are kept but not in force."""
    name = load_profile(profile).name
    return [r for r in read_rules() if r.status != "deprecated" and (r.profiles is None or name in r.profiles)]


def load_rule(rule_id: str, profile: str) -> RuleFile:
    """One rule. Raises AmlError that names the rules there are."""
    load_profile(profile)
    rules = {rule.id: rule for rule in read_rules()}
    if rule_id not in rules:
        raise AmlError(f"rule {rule_id!r} does not exist: give one of {', '.join(rules)}", USAGE)
    return rules[rule_id]


__all__ = ["Profile", "load_rule", "load_rules", "read_rules", "rule_files"]
