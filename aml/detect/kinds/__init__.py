"""The closed set of kinds: what each can be told, what it measures, and what it needs of the engine."""

from __future__ import annotations

from typing import Final

from aml.detect.kinds.aggregate import AGGREGATE
from aml.detect.kinds.base import Kind, Settings
from aml.detect.kinds.fan import FAN
from aml.detect.kinds.path import PATH
from aml.detect.kinds.single import BASELINE, MATCH, SEQUENCE

KINDS: Final[dict[str, Kind]] = {
    "aggregate": AGGREGATE, "sequence": SEQUENCE, "baseline": BASELINE, "path": PATH, "fan": FAN, "match": MATCH,
}  # fmt: skip

__all__ = ["KINDS", "Kind", "Settings"]
