"""What a kind hands back for one leg, and the words for widths of windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.naive.book import HOUR, Holder, Leg
from tests.naive.identity import Record

Facts = dict[str, Any]
Holds = Callable[[Facts], bool]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Facts and evidence for one subject (None: the leg's holder); a path also has its first transaction and rank."""

    facts: Facts
    evidence: list[Leg]
    subject: Holder | None = None
    origin: Record | None = None
    rank: tuple[Any, ...] = ()  # of several for one subject, the largest that holds is the hit


def hour_window(width: str) -> int:
    """Microseconds of "72h" or "14d"."""
    return int(width[:-1]) * HOUR * (24 if width.endswith("d") else 1)
