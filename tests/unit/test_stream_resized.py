"""A resize goes on only where the archive holds all that was ever scored."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from aml.domain.errors import AmlError
from aml.stream.resize import check

GONE = [Path("shard-0-001/segment-000000000000-000000000007-e2.parquet")]


def told(wanted: int, *, twice: int = 0, lacking: list[Path] | None = None, **outcomes: int) -> str:
    try:
        check(Counter({"scored": 10, **outcomes}), wanted, twice, lacking or [])
    except AmlError as error:
        return str(error)
    return ""


def test_what_was_scored_must_be_there():
    assert told(10) == ""
    assert told(10, lacking=GONE) == "", "shards that lost their state read it again"
    assert "holds 10 records, 11 were scored: restore the state folder" in told(11)
    assert "holds 10 records, 9 were scored" in told(9)


def test_an_id_that_stood_twice_may_stand_once():
    assert told(12, duplicate=2) == told(12, **{"rejected:conflict": 2}) == told(12, twice=2) == ""
    assert "13 were scored" in told(13, duplicate=2)
    assert f"without {GONE[0]}, 12 were scored" in told(12, duplicate=2, lacking=GONE)


@pytest.mark.parametrize("late", [1, 5])
def test_another_lateness_than_the_workers_is_named(late):
    assert f"{late} of them came too late for this --lateness" in told(10 + late, **{"rejected:too_late": late})
