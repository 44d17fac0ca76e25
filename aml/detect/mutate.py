"""Mutants of a rule: each tunable parameter a little looser and a little tighter, within its range."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from aml.detect.rulefile import Number, Parameter, RuleFile, size

PART: Final = Decimal("0.05")  # of the value: what a bank that tunes would call a small change


@dataclass(frozen=True, slots=True)
class Mutant:
    """The rule with one parameter (or its value for one segment) changed."""

    parameter: str
    segment: str | None
    value: Number
    was: Number
    rule: RuleFile

    def __str__(self) -> str:
        where = f" for {self.segment}" if self.segment else ""
        return f"{self.parameter} = {self.value}{where} instead of {self.was}"


def mutants(rule: RuleFile) -> Iterator[Mutant]:
    """Both neighbours of every value that a bank may tune; none beyond the end of its range."""
    for parameter in rule.parameters.values():
        if parameter.fixed:
            continue
        for segment, was in ((None, parameter.value), *parameter.segments.items()):
            for value in neighbours(parameter, was):
                yield Mutant(parameter.name, segment, value, was, rule.tuned(parameter.name, value, segment))


def neighbours(parameter: Parameter, value: Number) -> list[Number]:
    """A twentieth less and more, at least one of what is counted in whole, stopped at the ends of the range."""
    assert parameter.low is not None and parameter.high is not None
    found = []
    for sign, end in ((-1, parameter.low), (1, parameter.high)):
        near = _moved(value, sign)
        if not parameter.within(near):
            near = end
        if size(near) != size(value):
            found.append(near)
    return found


def _moved(value: Number, sign: int) -> Number:
    if isinstance(value, str):
        held = int(value[:-1])
        return f"{held + sign * _whole(held)}{value[-1]}"
    if isinstance(value, int):
        return value + sign * _whole(value)
    return value + sign * PART * value


def _whole(value: int) -> int:
    return max(1, round(PART * value))
