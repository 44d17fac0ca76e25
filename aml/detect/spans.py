"""The at most eight window lengths that all filters and features share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aml.engine.layout import DAY

MOST_SPANS: Final = 8
FIXED: Final = (DAY, 4 * DAY)  # the features' own, always the first two


def choose_spans(wanted: Sequence[int]) -> list[int]:
    """Lengths in µs: the fixed two, then rising; every wanted one is covered by one that is not shorter.

    Where more than eight differ, those are dropped whose next longer one stretches them least.
    """
    others = sorted({span for span in wanted if span > 0} - set(FIXED))
    while len(others) > MOST_SPANS - len(FIXED):
        stretch = [others[k + 1] / others[k] for k in range(len(others) - 1)]
        del others[stretch.index(min(stretch))]
    longest = others[-1] if others else FIXED[-1]
    # Unused places repeat the longest: the engine always keeps eight.
    return [*FIXED, *others, *[longest] * (MOST_SPANS - len(FIXED) - len(others))]


def shortest(spans: Sequence[int], wanted: int) -> int:
    """Place of the shortest span that is not shorter than the wanted one."""
    fitting = [(span, place) for place, span in enumerate(spans) if span >= wanted]
    return min(fitting)[1]
