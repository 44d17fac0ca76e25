"""What Kafka handed out and no step has taken: by shard and input, without a hole and nothing twice.

Kafka's client may hand out messages twice, or go on from a wrong place after a rebalance. The inbox knows the offset
that an input of a shard goes on from: what lies before is dropped; where something else comes, it asks for a seek.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from aml.stream.takeover import LEGS, RECORDS

FULL: Final = 64 << 20  # bytes that may wait
SEEK_AGAIN: Final = 1.0  # seconds until a seek that brought nothing is asked for again
Input = tuple[str, int]  # LEGS or RECORDS, and the shard
Messages = list[tuple[int, bytes]]


@dataclass(slots=True)
class _Queue:
    """One input of a shard. next: the offset that comes next; taken: the offset of the first message that waits."""

    next: int
    waiting: deque[tuple[int, bytes]] = field(default_factory=deque)
    asked: float | None = 0.0  # when a seek was asked for, None where messages come as they should


class Inbox:
    """Filled by the thread of the Kafka client, emptied by the one that steps."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Condition()
        self._queues: dict[Input, _Queue] = {}
        self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether whoever fills it should wait."""
        return self._bytes >= FULL

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self._bytes

    def open(self, shard: int, legs: int) -> None:
        """From now on collect a shard's payments from this offset on; its letters not yet."""
        with self._lock:
            self._drop(shard)
            self._queues[LEGS, shard] = _Queue(legs)

    def hear(self, shard: int, records: int) -> None:
        """From now on collect its letters too, from this offset on; nothing changes where that is done already."""
        with self._lock:
            self._queues.setdefault((RECORDS, shard), _Queue(records))

    def close(self, shard: int) -> None:
        """Forget a shard."""
        with self._lock:
            self._drop(shard)

    def _drop(self, shard: int) -> None:
        for kind in (LEGS, RECORDS):
            queue = self._queues.pop((kind, shard), None)
            if queue is not None:
                self._bytes -= sum(len(value) for _, value in queue.waiting)

    def put(self, source: Input, offset: int, value: bytes) -> None:
        """A message that Kafka handed out."""
        with self._lock:
            queue = self._queues.get(source)
            if queue is None or offset < queue.next:
                return
            if offset > queue.next:
                if queue.asked is None:
                    queue.asked = 0.0
                return
            queue.next, queue.asked = offset + 1, None
            queue.waiting.append((offset, value))
            self._bytes += len(value)
            self._lock.notify()

    def wanted(self) -> dict[Input, int]:
        """Inputs that must be sought, each once a second at most, with the offset to go on from."""
        now = self._clock()
        with self._lock:
            due = {
                source: queue.next
                for source, queue in self._queues.items()
                if queue.asked is not None and now >= queue.asked
            }
            for source in due:
                self._queues[source].asked = now + SEEK_AGAIN
            return due

    def positions(self) -> dict[Input, int]:
        """Where every input goes on: what a rebalance must seek."""
        with self._lock:
            for queue in self._queues.values():
                queue.asked = self._clock() + SEEK_AGAIN
            return {source: queue.next for source, queue in self._queues.items()}

    def take(self, shards: Iterable[int], seconds: float, most: int) -> dict[int, tuple[Messages, Messages]]:
        """What waits for shards, by shard the messages of both inputs: some `most` bytes of each input at most.

        Waits for payments at most so long: letters alone would cost a step of their own, and cause others.
        """
        with self._lock:
            self._lock.wait_for(self._has_legs, seconds)
            taken = {}
            for shard in shards:
                both = (self._some((LEGS, shard), most), self._some((RECORDS, shard), most))
                if both[0] or both[1]:
                    taken[shard] = both
            return taken

    def _has_legs(self) -> bool:
        return any(queue.waiting for (kind, _), queue in self._queues.items() if kind == LEGS)

    def _some(self, source: Input, most: int) -> Messages:
        queue = self._queues.get(source)
        if queue is None or not queue.waiting:
            return []
        found: Messages = []
        size = 0
        while queue.waiting and (not found or size + len(queue.waiting[0][1]) <= most):
            found.append(queue.waiting.popleft())
            size += len(found[-1][1])
        self._bytes -= size
        return found
