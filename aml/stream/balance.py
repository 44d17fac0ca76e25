"""How an intake keeps disorder small between source partitions: what is read ahead is rewound at the shards later.

Messages are taken in the order in which they came to the broker, and in a catch-up those partitions wait that lead the
slowest one by much event time. Live, nothing waits: a partition that was read to its end holds nobody back, nor does
one that has given nothing for a while.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from aml.stream.forms import Message

Place = tuple[str, int]
LEAD: Final = 600_000_000  # µs of event time
STUCK: Final = 5.0  # seconds


def as_they_came(messages: Sequence[Message]) -> Sequence[Message]:
    """Messages by the broker's time, those of one partition in their own order whatever times they bear.

    Clients hand out partition after partition, each hours ahead of the next where much waits.
    """
    reached: dict[Place, int] = {}
    times = []
    for message in messages:
        place = message.topic, message.partition
        at = reached[place] = max(message.at, reached.get(place, message.at))
        times.append(at)
    return [messages[place] for place in sorted(range(len(times)), key=times.__getitem__)]


class Balance:
    """Event times by source partition. clock: seconds, never backwards."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at: dict[Place, int] = {}
        self._stride: dict[Place, int] = {}  # by how much each went on last
        self._moved: dict[Place, float] = {}

    def forget(self) -> None:
        """The assignment is another one."""
        self._at.clear()
        self._stride.clear()
        self._moved.clear()

    def moved(self, event_time: Mapping[Place, int]) -> None:
        """Partitions gave records of these times (UTC µs)."""
        self._stride.update({place: at - self._at.get(place, at) for place, at in event_time.items()})
        self._at.update(event_time)
        self._moved.update(dict.fromkeys(event_time, self._clock()))

    def waiting(self, unfinished: Iterable[Place]) -> list[Place]:
        """Those that must wait; unfinished: the partitions that are not read to their ends.

        To lead by no more than what it gives at once is no reason: partitions that are read together go on together.
        """
        since = self._clock() - STUCK
        slowest = min((self._at[p] for p in unfinished if p in self._at and self._moved[p] >= since), default=None)
        if slowest is None:
            return []
        return sorted(p for p, at in self._at.items() if at > slowest + max(LEAD, self._stride[p]))
