"""A short soak: ten kills at random moments, a broker's restart, a database that is away for a while."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak import Terms, different, soak

pytestmark = pytest.mark.thorough


def test_ten_kills_and_two_outages_change_nothing(tmp_path: Path):
    done = soak(tmp_path, Terms(transactions=15_000, kills=10, outage=15.0, seed=3))
    assert done.kills >= 8
    assert done.scored > 10_000
    assert done.differences == []


def test_what_differs_is_told():
    ours = ({"a": 1, "b": 2}, {"x": 1}, {"t1"})
    theirs = ({"b": 3, "c": 4}, {"x": 1}, set())
    assert different(ours, theirs) == [
        "finding a is lost", "finding c is too many", "finding b differs", "record t1 is not kept"
    ]  # fmt: skip
