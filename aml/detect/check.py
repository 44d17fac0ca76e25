"""Are the rule files sound: hygiene, inline tests along the real way, a mutant of each parameter, the lock.

A mutant that no inline test of its rule notices means that the parameter could be set otherwise and nobody would see.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from aml import content
from aml.detect.exempt import exempt_from_all
from aml.detect.judge import SPECIAL, judge
from aml.detect.kinds import KINDS
from aml.detect.load import profile_names, read_typologies, rule_files
from aml.detect.lock import differences, read_lock, write_lock
from aml.detect.mutate import mutants
from aml.detect.reader import read_rule
from aml.detect.rulefile import RuleFile
from aml.domain.errors import AmlError
from aml.domain.finding import Finding
from aml.scoring.config import ScoringConfig, parse_scoring

_HOLE: Final = re.compile(r"\{(\w+)\}")
_TECHNIQUE: Final = re.compile(r"T\d{4}(\.\d{3})?")
_STAGES: Final = ("placement", "layering", "integration")
_ASKED: Final = {
    "references": "a source", "amltrix": "an AMLTRIX technique", "false_positives": "what is often innocent",
    "blind_spots": "what it cannot see", "triage": "what to ask",
}  # fmt: skip
_TEXTS: Final = ("title", "stage", "sources", "fincen_sar", "amltrix")


class Trial(Protocol):
    """Runs a rule's inline tests; `aml.pipeline.trial.Trials` is one."""

    def __call__(self, rule: RuleFile, scoring: ScoringConfig) -> Iterable[tuple[int, Sequence[Finding], int]]:
        """The place of each test, what the rule finds in it, and how many of its records are insufficient for it."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was looked at, and what is wrong: one line each, naming file and key."""

    rules: int
    tests: int
    mutants: int
    problems: tuple[str, ...]


def check_rules(trial: Trial, rules: Path | None = None, *, refresh_lock: bool = False) -> Report:
    """Check every rule file of the content folder (or of `rules`); with `refresh_lock`, write the lock first.

    Raises AmlError where scoring, typologies or lock cannot be read, or the lock must not be written.
    """
    root = content.folder("rules") if rules is None else rules
    scoring = parse_scoring((root / "scoring.toml").read_text(encoding="utf-8"), str(root / "scoring.toml"))
    typologies = read_typologies(root)
    problems = list(_register_problems(typologies, root / "typologies.toml"))
    held = list(_readable(root, problems))
    if refresh_lock and not problems:
        write_lock(root, held)
    problems += exempt_from_all(held, profile_names(root))
    problems += differences(held, read_lock(root))
    tried = 0
    for rule in held:
        problems += hygiene(rule, typologies, scoring)
        failures = list(failed_tests(rule, trial, scoring))
        problems += failures
        if not failures:  # a mutant would prove nothing
            number, survivors = surviving_mutants(rule, trial, scoring)
            tried += number
            problems += survivors
    return Report(len(held), sum(len(rule.tests) for rule in held), tried, tuple(problems))


def _readable(root: Path, problems: list[str]) -> Iterator[RuleFile]:
    """The rules whose files can be read; of the others the error is a problem."""
    seen: dict[str, str] = {}
    for path in rule_files(root):
        try:
            rule = read_rule(path.read_text(encoding="utf-8"), str(path))
        except AmlError as error:
            problems.append(str(error))
            continue
        if rule.id in seen:
            problems.append(f"{path}: id: {rule.id!r} stands in {seen[rule.id]} already")
        seen[rule.id] = str(path)
        yield rule


def _register_problems(typologies: Mapping[str, Any], path: Path) -> Iterator[str]:
    for name, held in typologies.items():
        for key in _TEXTS:
            if not held.get(key):
                yield f"{path}: {name}.{key}: missing"
        if held.get("stage") not in _STAGES:
            yield f"{path}: {name}.stage: must be one of {', '.join(_STAGES)}"


def hygiene(rule: RuleFile, typologies: Mapping[str, Any], scoring: ScoringConfig) -> Iterator[str]:
    """What a rule file lacks although it can be read."""
    place, path = rule.place, Path(rule.place)
    if rule.id != path.stem:
        yield f"{place}: id: is {rule.id!r}; it must be the file's name"
    if rule.family.value != path.parent.name:
        yield f"{place}: family: a rule of {rule.family.value!r} belongs into the folder of that name"
    if rule.typology not in typologies:
        yield f"{place}: typology: {rule.typology!r} is not in typologies.toml: add it there"
    for key, what in _ASKED.items():
        if not getattr(rule, key):
            yield f"{place}: {key}: missing: name {what}"
    for technique in rule.amltrix:
        if not _TECHNIQUE.fullmatch(technique):
            yield f"{place}: amltrix: {technique!r} is no technique: write T0016 or T0016.005"
    for parameter in rule.parameters.values():
        if not parameter.why:
            yield f"{place}: parameters.{parameter.name}.why: missing: say why this value"
    why = scoring.problem_of_opening(rule.severity) if rule.opens is not False else None
    if why is not None:
        yield f"{place}: severity: {why}"
    yield from _unknown_words(rule)
    yield from _lacking_tests(rule)


def _unknown_words(rule: RuleFile) -> Iterator[str]:
    """Holes of the sentence and expectations of tests that name nothing measured here."""
    facts = {fact for one in rule.detect for fact in KINDS[one.kind].facts_of(one.settings)}
    for hole in _HOLE.findall(rule.explain):
        if hole not in facts and hole not in rule.parameters and hole != "total":
            yield f"{rule.place}: explain: {{{hole}}} is neither measured here nor a parameter"
    for k, test in enumerate(rule.tests):
        for key in test["expect"]:
            if key not in facts and key not in SPECIAL:
                yield f"{rule.place}: tests[{k}].expect.{key}: neither measured here nor one of {', '.join(SPECIAL)}"
        if "alerts" not in test["expect"]:
            yield f"{rule.place}: tests[{k}].expect.alerts: missing"


def _lacking_tests(rule: RuleFile) -> Iterator[str]:
    finds = "findings" if rule.opens is False else "alerts"
    numbers = [test["expect"].get(finds, 0) for test in rule.tests]
    if not any(numbers):
        yield f"{rule.place}: tests: none with {finds} of 1 or more: add what the rule must find"
    if all(numbers):
        yield f"{rule.place}: tests: none with {finds} = 0: add what the rule must leave alone"
    names = [test["name"] for test in rule.tests]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{rule.place}: tests: two are called {name!r}"


def failed_tests(rule: RuleFile, trial: Trial, scoring: ScoringConfig) -> Iterator[str]:
    """The inline tests that do not come out as they say."""
    try:
        for place, findings, insufficient in trial(rule, scoring):
            test = rule.tests[place]
            for why in judge(test["expect"], findings, insufficient, scoring):
                yield f'{rule.place}: tests[{place}] "{test["name"]}": {why}'
    except AmlError as error:
        yield str(error)


def surviving_mutants(rule: RuleFile, trial: Trial, scoring: ScoringConfig) -> tuple[int, list[str]]:
    """How many mutants were tried, and those that no inline test notices."""
    tried, survivors = 0, []
    for mutant in mutants(rule):
        tried += 1
        why = next(failed_tests(mutant.rule, trial, scoring), None)
        if why is None:
            survivors.append(f"{rule.place}: parameters.{mutant.parameter}: no test notices {mutant}: add one between")
    return tried, survivors
