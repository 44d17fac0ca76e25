"""Conditions: the engine's steps say what the plain reading says, and lower bounds are never too high."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from aml.detect.condition import ANYTHING, NEVER, least, steps_for
from aml.detect.rulefile import SEGMENTS
from aml.engine.condition import holds
from aml.engine.layout import STEP
from tests.naive import evaluate


@njit
def _holds(steps, first, last, facts, segment, stack):
    """A way in from Python, which parts of kernels lack."""
    return holds(steps, first, last, facts, segment, stack)


FACTS = ("a", "b", "c")
numbers = st.sampled_from([0, 1, 2, 3, 5, 0.5])
values = st.one_of(numbers, st.just(math.nan))
compared = st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte", "eq"]), numbers, min_size=1, max_size=2)
named = st.lists(st.sampled_from(SEGMENTS), max_size=3)
clauses = st.dictionaries(st.sampled_from(["in", "not_in"]), named, min_size=1, max_size=1)


def conditions(depth: int = 3):
    """Conditions as rule files nest them; "other" is a fact that another alternative measures."""
    simple = st.dictionaries(st.sampled_from([*FACTS, "other"]), st.one_of(numbers, compared), min_size=1, max_size=2)
    if depth == 0:
        return simple
    inner = st.lists(conditions(depth - 1), min_size=1, max_size=3)
    grouped = st.one_of(
        st.fixed_dictionaries({"any": inner}), st.fixed_dictionaries({"all": inner}),
        st.fixed_dictionaries({"none": inner}), st.fixed_dictionaries({"segment": clauses}),
        st.fixed_dictionaries({"at_least": st.fixed_dictionaries({"n": st.integers(1, 3), "of": inner})}),
    )  # fmt: skip
    return st.one_of(simple, grouped, st.tuples(simple, grouped).map(lambda two: {**two[0], **two[1]}))


def plainly(condition, facts, segment):
    return evaluate.holds(condition, {**facts, "segment": segment}, lambda bound: bound)


@given(conditions(), st.fixed_dictionaries(dict.fromkeys(FACTS, values)), st.sampled_from(SEGMENTS))
def test_steps_say_what_the_condition_says(condition, facts, segment):
    steps = steps_for(condition, FACTS, float, SEGMENTS)
    rows = np.zeros(len(steps), STEP)
    for k, step in enumerate(steps):
        rows[k] = (*step[:3], 0, step[3])
    f = np.array([facts[name] for name in FACTS])
    told = _holds(rows, 0, len(rows), f, SEGMENTS.index(segment), np.zeros(32, np.bool_))
    assert bool(told) == plainly(condition, facts, segment)


@given(
    conditions(), st.fixed_dictionaries(dict.fromkeys(FACTS, values)), st.sampled_from(SEGMENTS),
    st.dictionaries(st.sampled_from(FACTS), st.sampled_from([1.0, 2.0, 10.0]), min_size=1),
)  # fmt: skip
def test_where_the_condition_holds_its_bound_is_reached(condition, facts, segment, factors):
    bound = least(condition, factors, float, segment)
    if not plainly(condition, facts, segment):
        return
    assert bound != NEVER
    reached = [factor * facts[name] for name, factor in factors.items() if not math.isnan(facts[name])]
    assert bound == ANYTHING or max(reached, default=ANYTHING) >= bound


def test_a_bound_is_found_where_there_is_one():
    condition = {"any": [{"a": {"gte": 3}, "b": {"gt": 1}}, {"a": {"gte": 5}}]}
    assert least(condition, {"a": 1}, float, "person") == 3
    assert least(condition, {"b": 1}, float, "person") == ANYTHING
    only = {"segment": {"in": ["business"]}, "a": {"gte": 7}}
    assert least({"any": [condition, only]}, {"a": 1}, float, "person") == 3
    assert least(only, {"a": 1}, float, "person") == NEVER
    assert least({"at_least": {"n": 2, "of": [{"a": 1}, {"a": 4}, {"a": 9}]}}, {"a": 1}, float, "person") == 4
