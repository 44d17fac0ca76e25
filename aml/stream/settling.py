"""What is settled: before which time nothing can change any more, for a shard that hears of other shards' payments.

A shard whose watermark has passed a time takes nothing before it itself, but may still be told by one that is behind;
what that one tells may have come to it from a third. So shards tell one another their floors in rounds: round 0 is the
own watermark, round k + 1 the least of round k of all shards, as far as they were heard. After as many rounds as the
longest path has hops nothing before the floor can come from anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aml.engine.identity import NO_TIME
from aml.engine.layout import MAX_HOPS

ROUNDS: Final = MAX_HOPS + 2
HOUR: Final = 3_600_000_000
STEP: Final = 6 * HOUR  # µs of event time by which floors move before they are told
Told = dict[str, list[int]]  # by institution the floor of each round, UTC µs


class Floors:
    """The floors of shard `me` of `of`, and what it heard of the others'."""

    def __init__(self, me: int, of: int, heard: Mapping[int, Told] | None = None) -> None:
        self._others = [shard for shard in range(of) if shard != me]
        self.heard: dict[int, Told] = dict(heard or {})
        self._told: Told = {}

    def hear(self, sender: int, floors: Told) -> None:
        """Take what another shard told last."""
        self.heard[sender] = floors

    def own(self, watermarks: Mapping[str, int]) -> Told:
        """This shard's floors, all that it was told being worked off."""
        return {name: self._rounds(name, mark) for name, mark in watermarks.items()}

    def _rounds(self, institution: str, mark: int) -> list[int]:
        others = [self.heard.get(shard, {}).get(institution) for shard in self._others]
        floors = [mark]
        for k in range(ROUNDS - 1):
            floors.append(min([floors[k], *(NO_TIME if other is None else other[k] for other in others)]))
        return floors

    def news(self, own: Told) -> bool:
        """Whether the others should be told; they are, from now on."""
        nothing = [NO_TIME] * ROUNDS
        moved = any(
            mine >= then + STEP
            for name, floors in own.items()
            for mine, then in zip(floors, self._told.get(name, nothing), strict=True)
            if mine != NO_TIME
        )
        if moved:
            self._told = own
        return moved


def settled(own: Told) -> dict[str, int]:
    """By institution the time before which nothing comes any more, from wherever."""
    return {name: floors[-1] for name, floors in own.items() if floors[-1] != NO_TIME}
