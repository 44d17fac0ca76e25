"""The worker's steps: what came for its shards is evaluated, told to the other shards, and committed; and again.

One step covers all shards of the worker: one take, one evaluation, one acknowledged produce, one transaction. While it
is committed the next one is evaluated, and told only when the one before stands. Whatever ends the process, the next
owner of a shard begins where the database stands.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Protocol

from aml.stream.block import unpack_block
from aml.stream.commit import commit_surely
from aml.stream.failpoints import asked, reached
from aml.stream.inbox import Inbox, Messages
from aml.stream.mail import bundled, unpack_letters
from aml.stream.shard import Shard, Step
from aml.stream.snapshots import EVERY, Snapshots
from aml.stream.takeover import RECORDS, Log, Stopped
from aml.stream.takeovers import Takeovers, WorkerTerms

PATIENCE: Final = 0.05  # seconds that a turn waits for messages
MOST: Final = 2 << 20  # bytes of each input of a shard in one step
AGAIN: Final = 5.0  # seconds until a shard that somebody else took is asked for again, where it is still ours to take
_log: Final = logging.getLogger("aml.worker")


@dataclass(slots=True)
class Done:
    """A step that is committed: seconds by stage, when (seconds since 1970), the alerts that it raised by leading rule
    and band, and the shards that somebody else took meanwhile."""

    steps: list[Step]
    seconds: dict[str, float] = field(default_factory=dict)
    at: float = 0.0
    opened: Mapping[tuple[str, str], int] = field(default_factory=dict)
    lost: frozenset[int] = frozenset()


class Watcher(Protocol):
    """Who is told what the worker does; cheap."""

    def turned(self) -> None:
        """The loop turned."""

    def stepped(self, done: Done) -> None:
        """A step is committed."""

    def owns(self, shards: Mapping[int, Shard], wanted: frozenset[int]) -> None:
        """The shards that are held, of those that Kafka gave the worker."""

    def snapshot(self, size: int, seconds: float) -> None:
        """A snapshot of so many bytes was written."""

    def outage(self, kind: str, seconds: float) -> None:
        """The worker waits for so long already for "database" or "broker"; 0: it is over."""


class Worker:
    """The steps of one worker, for a thread of their own."""

    def __init__(
        self, terms: WorkerTerms, inbox: Inbox, log: Log, takeovers: Takeovers, stop: Callable[[], bool],
        watcher: Watcher, every: float = EVERY,
    ) -> None:  # fmt: skip
        self._terms, self._inbox, self._kafka, self._takeovers = terms, inbox, log, takeovers
        self._stop, self._watcher = stop, watcher
        self._snapshots = Snapshots(terms.database.database_id, watcher.snapshot, every=every)
        self._wanted: frozenset[int] = frozenset()
        self._held: dict[int, Shard] = {}
        self._not_before: dict[int, float] = {}
        self._away: float | None = None  # since when the database does not answer
        self._commits = ThreadPoolExecutor(1, thread_name_prefix="commits")
        self._going: Future[Done] | None = None  # the step that is being committed

    def assign(self, shards: frozenset[int]) -> None:
        """From now on these are the worker's shards; called from the thread of Kafka's client."""
        self._wanted = shards

    @property
    def epochs(self) -> dict[int, int]:
        """The shards that are held, with their epochs; for other threads."""
        return {number: shard.epoch for number, shard in self._held.copy().items()}

    def run(self) -> None:
        """Step until told to stop. Raises AmlError where going on would lose something."""
        try:
            while not self._stop():
                self.turn()
            self._finish()
        except Stopped:
            _log.warning("ends before its last step was committed: the next worker does it again")
        finally:
            self._commits.shutdown()
            self._takeovers.close()
            self._snapshots.close()

    def turn(self) -> None:
        """See what is ours, and do one step where something came."""
        self._watcher.turned()
        self._see()
        taken = self._inbox.take(list(self._held), PATIENCE, MOST)
        if taken:
            self.step(taken)
        if not taken or self._snapshots.due(self._held):
            self._finish()
        self._snapshots.turn(self._held)

    # ------------------------------------------------------------------ what is ours

    def _see(self) -> None:
        wanted, before = self._wanted, self._held.keys()
        if wanted != before or self._takeovers.waiting:
            self._finish()  # what comes and goes stands where the database does
        for number in [number for number in self._held if number not in wanted]:
            self._drop(number)
        for number in sorted(wanted - self._held.keys()):
            if number not in self._takeovers.waiting and time.monotonic() >= self._not_before.get(number, 0.0):
                self._takeovers.begin(number)
        for number in self._takeovers.waiting - wanted:
            self._takeovers.drop(number)
        for shard in self._takeovers.done():
            if shard.terms.shard in wanted:
                self._held = {**self._held, shard.terms.shard: shard}
                self._inbox.open(shard.terms.shard, shard.at[0])
        for number, shard in self._held.items():
            if shard.hears:
                self._inbox.hear(number, shard.at[1])
        if before != self._held.keys():
            self._watcher.owns(self._held, wanted)

    def _drop(self, number: int) -> None:
        self._inbox.close(number)
        self._held = {other: shard for other, shard in self._held.items() if other != number}

    def _lose(self, number: int) -> None:
        """Somebody else has taken it over; Kafka will say so, or has given it to us again already."""
        _log.warning("shard %d is another worker's now: what was evaluated last is dropped", number)
        self._drop(number)
        self._not_before[number] = time.monotonic() + AGAIN
        self._watcher.owns(self._held, self._wanted)

    # ------------------------------------------------------------------ a step

    def step(self, taken: Mapping[int, tuple[Messages, Messages]]) -> None:
        """Evaluate; once the step before is committed, tell, and begin to commit."""
        reached("worker.before_evaluate")
        began = time.monotonic()
        steps = [step for number in sorted(taken) for step in self._evaluate(number, *taken[number])]
        evaluated = time.monotonic()
        lost = self._finish()
        steps = [step for step in steps if step.move.shard not in lost]
        reached("worker.before_produce")
        finished = time.monotonic()
        self._tell(steps)
        seconds = {"evaluate": evaluated - began, "produce": time.monotonic() - finished}
        self._going = self._commits.submit(self._commit, steps, seconds)

    def _commit(self, steps: list[Step], seconds: dict[str, float]) -> Done:
        began = time.monotonic()
        reached("worker.before_commit")
        done = commit_surely(self._terms.database, steps, self._terms.judgement.scoring, self._wait)
        self._back()
        seconds["commit"] = time.monotonic() - began
        reached("worker.after_commit")
        good = [step for step in steps if step.move.shard not in done.lost]
        return Done(good, seconds, time.time(), done.opened, frozenset(done.lost))

    def _finish(self) -> frozenset[int]:
        """Wait for the commit that is under way; the shards that it found to be somebody else's."""
        if self._going is None:
            return frozenset()
        done, self._going = self._going.result(), None
        for number in done.lost:
            self._lose(number)
        self._watcher.stepped(done)
        return done.lost

    def _evaluate(self, number: int, legs: Messages, records: Messages) -> list[Step]:
        """A shard's step; none where its records say that another has taken it over."""
        blocks = [(offset, unpack_block(value)) for offset, value in legs]
        letters = [(offset, unpack_letters(value)) for offset, value in records]
        shard = self._held[number]
        step = shard.step(blocks, letters, time.time_ns() // 1000)
        if shard.epochs.get(number, 0) <= shard.epoch:
            return [step]
        self._lose(number)
        return []

    def _tell(self, steps: list[Step]) -> None:
        messages = list(bundled(letter for step in steps for letter in step.letters))
        for number, (to, message) in enumerate(messages):
            self._kafka.send(RECORDS, to, message)
            if not number and asked("worker.after_first_letter"):
                self._kafka.flush()
                reached("worker.after_first_letter")
        if messages:
            self._kafka.flush()
        reached("worker.after_produce")

    def _back(self) -> None:
        if self._away is not None:
            _log.warning("the database is back after %.1f s", time.monotonic() - self._away)
            self._watcher.outage("database", 0.0)
            self._away = None

    def _wait(self, error: Exception) -> None:
        """Between two tries of a commit."""
        self._away = self._away or time.monotonic()
        waited = time.monotonic() - self._away
        _log.warning("the database does not answer, nothing is read on until it does: %s", str(error).splitlines()[0])
        self._watcher.outage("database", waited)
        until = time.monotonic() + min(2.0, 0.1 + waited)
        while time.monotonic() < until:
            if self._stop():
                raise Stopped
            time.sleep(0.05)
