"""Conditions: from a table of a rule file to the engine's steps, and to lower bounds on the facts they name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from aml.engine.condition import ALL, ANY, AT_LEAST, DEPTH, EQ, GT, GTE, LT, LTE, NONE_OF, SEGMENT_IN, TRUE

Step = tuple[int, int, int, float]
"""Operation, fact, number of operands (or mask of segments), value."""
Read = Callable[[Any], float]
Condition = Mapping[str, Any]

_COMPARES: Final = {"gt": GT, "gte": GTE, "lt": LT, "lte": LTE, "eq": EQ}
_GROUPS: Final = {"any": ANY, "all": ALL, "none": NONE_OF}
NEVER: Final = math.inf
ANYTHING: Final = -math.inf


def steps_for(condition: bool | Condition, facts: Sequence[str], read: Read, segments: Sequence[str]) -> list[Step]:
    """Postfix steps of a condition on a vector of `facts`; `read` turns a bound into a number.

    A fact that another alternative measures is unknown here: comparisons with it fail. Raises ValueError where the
    condition nests deeper than the engine's stack.
    """
    if isinstance(condition, bool):
        return [(TRUE, 0, 0, 0.0) if condition else (ANY, 0, 0, 0.0)]
    steps: list[Step] = []
    for key, wanted in condition.items():
        steps += _key(key, wanted, facts, read, segments)
    steps.append((ALL, 0, len(condition), 0.0))
    if _depth(steps) > DEPTH:
        raise ValueError(f"nests more than {DEPTH} deep")
    return steps


def _key(key: str, wanted: Any, facts: Sequence[str], read: Read, segments: Sequence[str]) -> list[Step]:
    if key in _GROUPS:
        return [*_listed(wanted, facts, read, segments), (_GROUPS[key], 0, len(wanted), 0.0)]
    if key == "at_least":
        listed = wanted["of"]
        return [*_listed(listed, facts, read, segments), (AT_LEAST, 0, len(listed), read(wanted["n"]))]
    if key == "segment":
        return [(SEGMENT_IN, 0, mask_of(wanted, segments), 0.0)]
    if key not in facts:
        return [(ANY, 0, 0, 0.0)]
    place = facts.index(key)
    if not isinstance(wanted, Mapping):
        return [(EQ, place, 0, read(wanted))]
    compared = [(_COMPARES[op], place, 0, read(bound)) for op, bound in wanted.items()]
    return [*compared, (ALL, 0, len(compared), 0.0)]


def _listed(listed: Sequence[Condition], facts: Sequence[str], read: Read, segments: Sequence[str]) -> list[Step]:
    return [step for condition in listed for step in steps_for(condition, facts, read, segments)]


def mask_of(clause: Mapping[str, Sequence[str]], segments: Sequence[str]) -> int:
    """Bits of the segments that a clause { in = [..] } or { not_in = [..] } lets pass."""
    op, names = next(iter(clause.items()))
    return sum(1 << k for k, name in enumerate(segments) if (name in names) == (op == "in"))


def _depth(steps: Sequence[Step]) -> int:
    """Largest height of the stack."""
    height = most = 0
    for op, _, n, _ in steps:
        height += 1 if op <= EQ or op in (SEGMENT_IN, TRUE) else 1 - n
        most = max(most, height)
    return most


def least(condition: bool | Condition, factors: Mapping[str, float], read: Read, segment: str) -> float:
    """The greatest number that factor × fact surely reaches, for at least one of the facts, where the condition holds
    for a holder of this segment.

    ANYTHING where nothing bounds them, NEVER where the condition cannot hold.
    """
    if isinstance(condition, bool):
        return ANYTHING if condition else NEVER
    return max((_least_of(key, wanted, factors, read, segment) for key, wanted in condition.items()), default=ANYTHING)


def _least_of(key: str, wanted: Any, factors: Mapping[str, float], read: Read, segment: str) -> float:
    if key in ("any", "all", "at_least"):
        listed = wanted["of"] if key == "at_least" else wanted
        bounds = sorted(least(condition, factors, read, segment) for condition in listed)
        need = {"any": 1, "all": len(bounds)}.get(key) or math.ceil(read(wanted["n"]))
        # Whichever `need` of them hold, the largest of their bounds is reached: at worst that of the `need` smallest.
        return bounds[need - 1] if need <= len(bounds) else NEVER
    if key == "segment":
        return ANYTHING if mask_of(wanted, [segment]) else NEVER
    if key not in factors:
        return ANYTHING
    bound = _lower(wanted, read)
    return bound * factors[key] if bound > 0 else ANYTHING


def _lower(wanted: Any, read: Read) -> float:
    """The lower bound in { gte = … }, { gt = … }, { eq = … } or a plain value; ANYTHING where it has none."""
    if not isinstance(wanted, Mapping):
        return read(wanted)
    return max((read(bound) for op, bound in wanted.items() if op in ("gt", "gte", "eq")), default=ANYTHING)
