"""Rules and a profile into a program for the engine: detectors, filters derived from conditions, shared spans."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np

from aml.detect import condition as conditions
from aml.detect.condition import ANYTHING, NEVER, Step
from aml.detect.kinds import KINDS
from aml.detect.kinds.base import Bound, Month, Shape, Terms
from aml.detect.needs import Need, counted_by
from aml.detect.profile import Profile
from aml.detect.rulefile import CASH_INTENSIVE, SEGMENTS, Alternative, Parameter, RuleFile, hours
from aml.detect.spans import choose_spans, shortest
from aml.detect.where import Wheres
from aml.domain.errors import AmlError
from aml.engine.confirm import CHAIN, CYCLE, SCATTER
from aml.engine.facts import FACTS
from aml.engine.layout import DAY, DETECTOR, FILTER, HOUR, MAX_HOPS, NONE, STEP, Knobs
from aml.engine.layout import SEGMENTS as ENGINE_SEGMENTS
from aml.engine.program import Program

MOST_DETECTORS: Final = 64  # a leg's candidates are one bit each in a word
MOST_TRAILS: Final = 8
MOST_MIDDLES: Final = 20
NO_PATHS: Final = (1 << 62) - 1
SETTLING: Final = 180 * DAY
_NEVER_WAKES: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Compiled:
    """A program and what it came from: rules by rule number, the profile, where clauses, and what rules need."""

    program: Program
    rules: tuple[RuleFile, ...]
    profile: Profile
    wheres: Wheres
    needs: tuple[Need, ...]


@dataclass(frozen=True, slots=True)
class _Detector:
    """One detector in the making."""

    rule: int
    shape: Shape
    when: Mapping[str, Any]
    source: RuleFile


def compile_rules(rules: Sequence[RuleFile], profile: Profile, *, history_from: dt.date | None = None,
                  most_trails: int = MOST_TRAILS) -> Compiled:
    """The program of these rules under the profile, rules that name other profiles left out.

    history_from: the day from which the feed is complete. Raises AmlError that names file and key.
    """
    inforce = tuple(rule for rule in rules if rule.profiles is None or profile.name in rule.profiles)
    wheres = Wheres()
    terms = Terms(profile.threshold, profile.unit_is_leg, profile.out_reported, wheres.bit_of)
    made = [one for number, rule in enumerate(inforce) for one in _detectors(number, rule, profile, terms)]
    if len(made) > MOST_DETECTORS:
        raise AmlError(f"{len(made)} detectors in all rules together; the engine holds {MOST_DETECTORS}")
    steps: list[Step] = []
    detectors = np.zeros(len(made), DETECTOR)
    for k, one in enumerate(made):
        _fill(detectors[k], one, profile, steps)
    spans = choose_spans([one.shape.span for one in made if one.shape.trigger])
    filters = np.zeros(len(made), FILTER)
    for k, one in enumerate(made):
        _filter(filters[k], one, profile, spans)
    program = Program(
        rules=tuple(rule.id for rule in inforce), kinds=tuple(one.shape.facts for one in made), detectors=detectors,
        filters=filters, steps=_steps(steps),
        knobs=_knobs(made, detectors, profile, spans, _day(history_from), most_trails),
    )  # fmt: skip
    return Compiled(program, inforce, profile, wheres, tuple(_needs(inforce, made, detectors)))


def _needs(rules: Sequence[RuleFile], made: Sequence[_Detector], detectors: np.ndarray) -> Iterator[Need]:
    """What rules cannot do without, and the legs that their detectors count."""
    for number, rule in enumerate(rules):
        if rule.needs:
            counted = (
                counted_by(one.shape, int(row["segments"]))
                for one, row in zip(made, detectors, strict=True)
                if one.rule == number
            )
            yield Need(rule.id, rule.needs, tuple(counted))


def _detectors(number: int, rule: RuleFile, profile: Profile, terms: Terms) -> list[_Detector]:
    made = []
    for k, one in enumerate(rule.detect):
        settings = {key: _setting(held, rule, profile) for key, held in one.settings.items()}
        try:
            shapes = KINDS[one.kind].shapes(settings, terms)
        except ValueError as error:
            raise AmlError(f"{rule.place}: detect[{k}]: {error}") from error
        made += [_Detector(number, shape, _when(rule, one, shape), rule) for shape in shapes]
    return made


def _when(rule: RuleFile, one: Alternative, shape: Shape) -> Mapping[str, Any]:
    """The condition; one for holders that live on cash and one for others where parameters differ for them."""
    held = any(CASH_INTENSIVE in p.segments for p in rule.parameters.values())
    if not held or CASH_INTENSIVE not in FACTS[shape.facts]:
        return one.when
    return {"any": [
        {CASH_INTENSIVE: True, "all": [_renamed(one.when, rule)]}, {CASH_INTENSIVE: False, "all": [one.when]},
    ]}  # fmt: skip


def _renamed(value: Any, rule: RuleFile) -> Any:
    """The condition with "$name" turned into "$name!" where the parameter has a value for cash-intensive holders."""
    if isinstance(value, Mapping):
        return {key: _renamed(held, rule) for key, held in value.items()}
    if isinstance(value, list):
        return [_renamed(held, rule) for held in value]
    if isinstance(value, str) and value.startswith("$") and CASH_INTENSIVE in rule.parameters[value[1:]].segments:
        return value + "!"
    return value


def number_of(parameter: Parameter, value: Any, profile: Profile) -> float | int | str:
    """A parameter's value as the engine takes it: minor units for money, a multiple of T made an amount."""
    if isinstance(value, str):
        return value
    if parameter.unit == "money":
        return int(Decimal(value).scaleb(profile.digits))
    if parameter.of == "threshold":
        return int(Decimal(value) * profile.threshold)
    return float(value) if isinstance(value, Decimal) else value


def _setting(value: Any, rule: RuleFile, profile: Profile) -> Any:
    """A setting with its parameters filled in."""
    if isinstance(value, Mapping):
        return {key: _setting(held, rule, profile) for key, held in value.items()}
    if isinstance(value, list):
        return [_setting(held, rule, profile) for held in value]
    if isinstance(value, str) and value.startswith("$"):
        parameter = rule.parameters[value[1:]]
        if parameter.segments:
            raise AmlError(f"{rule.place}: parameters.{parameter.name}: a setting has no values by segment")
        return number_of(parameter, parameter.value, profile)
    return float(value) if isinstance(value, Decimal) else value


def reader(rule: RuleFile, profile: Profile, segment: str) -> Callable[[Any], float]:
    """How a condition's bounds read for holders of a segment."""

    def read(value: Any) -> float:
        if not isinstance(value, str):
            return float(value)
        name = value[1:].removesuffix("!")
        parameter = rule.parameters[name]
        held = parameter.segments.get(CASH_INTENSIVE if value.endswith("!") else segment, parameter.value)
        number = number_of(parameter, held, profile)
        if isinstance(number, str):
            return hours(number) / 24 if number.endswith("d") else float(hours(number))
        return float(number)

    return read


def _fill(row: np.void, one: _Detector, profile: Profile, steps: list[Step]) -> None:
    """Fill a DETECTOR record; its conditions' steps are added to `steps`."""
    row["rule"], row["kind"] = one.rule, one.shape.code
    row["ceiling"] = NO_PATHS
    for name, value in one.shape.fields.items():
        row[name] = value
    least = min((_least(one, (fact,), profile) for fact in one.shape.least), default=0.0)
    row["least"] = 0 if not math.isfinite(least) else max(0, math.floor(least))
    row["segments"] = sum(1 << k for k in range(ENGINE_SEGMENTS) if _segment(k) not in one.source.never)
    facts = FACTS[one.shape.facts]
    for k in range(ENGINE_SEGMENTS):
        read = reader(one.source, profile, _segment(k))
        for name, held in (("when", one.when), ("opens", one.source.opens)):
            try:
                added = conditions.steps_for(held, facts, read, _segments(k))
            except ValueError as error:
                raise AmlError(f"{one.source.place}: {name}: {error}") from error
            row[name][k] = len(steps), len(added)
            steps += added
    row["steps_fact"] = -1
    if one.source.steps_fact in facts:
        read = reader(one.source, profile, "person")
        row["steps_fact"] = facts.index(one.source.steps_fact)
        row["steps_n"] = len(one.source.steps_at)
        row["steps_at"][: row["steps_n"]] = [read(bound) for bound in one.source.steps_at]


def _segment(place: int) -> str:
    """Name of the engine's segment; an unknown kind reads as a person until it behaves like a business."""
    return SEGMENTS[place] if place < len(SEGMENTS) else "person"


def _segments(place: int) -> list[str]:
    return [_segment(k) for k in range(ENGINE_SEGMENTS)]


def _least(one: _Detector, facts: Sequence[str] | Mapping[str, float], profile: Profile) -> float:
    """The least that the condition asks of any of the facts (times their factors), where it can hold at all."""
    factors = facts if isinstance(facts, Mapping) else dict.fromkeys(facts, 1.0)
    names = [name for name in SEGMENTS if name not in one.source.never]
    found = [conditions.least(one.when, factors, reader(one.source, profile, name), name) for name in names]
    return min((bound for bound in found if bound != NEVER), default=0.0)


def _filter(row: np.void, one: _Detector, profile: Profile, spans: Sequence[int]) -> None:
    """Fill a FILTER record: necessary conditions, from the rule's own."""
    shape = one.shape
    row["trigger"] = shape.trigger
    row["segments"] = sum(1 << k for k in range(ENGINE_SEGMENTS) if _possible(one, profile, _segment(k)))
    if not shape.trigger or not shape.bounds:
        return
    row["span"] = shortest(spans, shape.span)
    n = 0
    for bound in shape.bounds:
        least = max(bound.constant, _bound(one, bound, profile))
        if least >= 1:
            row["measure"][n], row["is_sum"][n], row["least"][n] = bound.measure, bound.is_sum, math.floor(least)
            n += 1
    row["bounds"] = n
    if shape.month is not None:
        _month(row, one, shape.month, profile)
    if shape.ratio is not None and shape.exact and spans[row["span"]] == shape.span:
        ratio = _least(one, (shape.ratio.fact,), profile)
        if math.isfinite(ratio) and ratio > 0:
            row["ratio"], row["over"], row["under"] = ratio, shape.ratio.over, shape.ratio.under


def _month(row: np.void, one: _Detector, month: Month, profile: Profile) -> None:
    """Fill what the condition asks of the own month, by segment."""
    row["month_days"], row["month_measure"], row["month_at"] = month.days, month.measure, month.at
    for k in range(ENGINE_SEGMENTS):
        read = reader(one.source, profile, _segment(k))
        asked = conditions.least(one.when, {"own_month_ratio": 1.0}, read, _segment(k))
        row["month_ratio"][k] = asked if math.isfinite(asked) else 0.0


def _bound(one: _Detector, bound: Bound, profile: Profile) -> float:
    return _least(one, bound.facts, profile) if bound.facts else ANYTHING


def _possible(one: _Detector, profile: Profile, segment: str) -> bool:
    if segment in one.source.never:
        return False
    return conditions.least(one.when, {}, reader(one.source, profile, segment), segment) != NEVER


def _steps(steps: Sequence[Step]) -> np.ndarray:
    rows = np.zeros(len(steps), STEP)
    for k, (op, fact, n, value) in enumerate(steps):
        rows[k]["op"], rows[k]["fact"], rows[k]["n"], rows[k]["value"] = op, fact, n, value
    return rows


def _day(date: dt.date | None) -> int:
    """Days since 1970-01-01, NONE where nobody says."""
    return NONE if date is None else (date - dt.date(1970, 1, 1)).days


def _knobs(made: Sequence[_Detector], detectors: np.ndarray, profile: Profile, spans: Sequence[int], history_from: int,
           most_trails: int) -> Knobs:
    """What the kernels need of all rules together: the laxest of each."""

    def of(*codes: int) -> list[int]:
        return [k for k, one in enumerate(made) if one.shape.code in codes]

    def bound(places: Sequence[int], fact: str, otherwise: float) -> int:
        least = [max(0.0, b) if math.isfinite(b := _least(made[k], (fact,), profile)) else 0.0 for k in places]
        return math.floor(min(least, default=otherwise))

    chains, cycles, scatters, paths = of(CHAIN), of(CYCLE), of(SCATTER), of(CHAIN, CYCLE)
    kept = float(detectors["kept_least"][paths].min(initial=1.0))
    start = min(bound(chains, "start", NO_PATHS), bound(cycles, "start", NO_PATHS))
    gaps = [bound([k], "gap_days", _NEVER_WAKES) for k, one in enumerate(made) if one.shape.facts == "baseline"]
    return Knobs(
        spans=np.array(spans, np.int64), scale=float(10**profile.digits), gap_days=min(gaps, default=_NEVER_WAKES),
        day_precision=False, threshold=profile.threshold, due_at=profile.due_at, unit_is_leg=profile.unit_is_leg,
        history_from=history_from, hop_window=int(detectors["hop_window"][paths].max(initial=HOUR)),
        hop_floor=math.ceil(start * kept ** (MAX_HOPS - 1)) if paths else NO_PATHS,
        kept_least=kept, kept_most=float(detectors["kept_most"][paths].max(initial=1.0)), longest=30 * DAY,
        most_trails=most_trails, chain_hops=bound(chains, "hops", MAX_HOPS + 1),
        chain_start=bound(chains, "start", NO_PATHS), chain_new=bound(chains, "new_pairs", 0),
        cycle_hops=bound(cycles, "hops", MAX_HOPS + 1), cycle_start=bound(cycles, "start", NO_PATHS),
        payer_floor=bound(scatters, "end_sum", NO_PATHS) // MOST_MIDDLES if scatters else NO_PATHS,
        payer_window=max(
            int(detectors["out_within"][scatters].max(initial=96 * HOUR)), int(detectors["hop_window"].max(initial=0))
        ),
        longest_holder=0,
    )  # fmt: skip
