"""Which source partitions an intake lets wait: those that lead its slowest one by much event time, in a catch-up.

What is read far ahead of the rest would only be rewound at the shards. Live, nothing waits: a partition that was read
to its end holds nobody back, nor does one that has given nothing for a while.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

Place = tuple[str, int]
LEAD: Final = 600_000_000  # µs of event time
STUCK: Final = 5.0  # seconds


class Balance:
    """Event times by source partition. clock: seconds, never backwards."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at: dict[Place, int] = {}
        self._moved: dict[Place, float] = {}

    def forget(self) -> None:
        """The assignment is another one."""
        self._at.clear()
        self._moved.clear()

    def moved(self, event_time: Mapping[Place, int]) -> None:
        """Partitions gave records of these times (UTC µs)."""
        self._at.update(event_time)
        self._moved.update(dict.fromkeys(event_time, self._clock()))

    def waiting(self, unfinished: Iterable[Place]) -> list[Place]:
        """Those that must wait; unfinished: the partitions that are not read to their ends."""
        since = self._clock() - STUCK
        slowest = min((self._at[p] for p in unfinished if p in self._at and self._moved[p] >= since), default=None)
        return [] if slowest is None else sorted(p for p, at in self._at.items() if at > slowest + LEAD)
