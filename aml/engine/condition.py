"""Evaluating a rule's conditions on a vector of facts: a short postfix program, no rule in it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from aml.engine.tables import inner

GT, GTE, LT, LTE, EQ, ALL, ANY, NONE_OF, AT_LEAST, SEGMENT_IN, TRUE = range(11)
DEPTH: Final = 32


@inner
def holds(steps: np.ndarray, first: int, n: int, f: np.ndarray, segment: int, stack: np.ndarray) -> bool:
    """Whether the condition steps[first:first+n] holds; a comparison with an unknown fact (NaN) does not."""
    top = 0
    for k in range(first, first + n):
        step = steps[k]
        op = step.op
        if op <= EQ:
            have, want = f[step.fact], step.value
            stack[top] = (
                (op == GT and have > want)
                or (op == GTE and have >= want)
                or (op == LT and have < want)
                or (op == LTE and have <= want)
                or (op == EQ and have == want)
            )
            top += 1
        elif op == SEGMENT_IN:
            stack[top] = (step.n >> segment) & 1 == 1
            top += 1
        elif op == TRUE:
            stack[top] = True
            top += 1
        else:
            true = 0
            for j in range(top - step.n, top):
                true += 1 if stack[j] else 0
            top -= step.n
            stack[top] = (
                (op == ALL and true == step.n)
                or (op == ANY and true > 0)
                or (op == NONE_OF and true == 0)
                or (op == AT_LEAST and true >= step.value)
            )
            top += 1
    return stack[top - 1]


@inner
def steps_of(det: Any, f: np.ndarray) -> int:
    """Strength of a hit: 1, and one more for each mark its fact reaches."""
    steps = 1
    if det.steps_fact >= 0:
        for k in range(det.steps_n):
            if f[det.steps_fact] >= det.steps_at[k]:
                steps += 1
    return steps
