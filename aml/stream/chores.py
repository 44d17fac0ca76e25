"""What a worker does beside its steps: tells alerts downstream, keeps its lease, tidies up; in a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from aml.domain.errors import AmlError
from aml.store.database import Database
from aml.store.failures import will_pass
from aml.stream.client import Producer
from aml.stream.figures import Figures, read_figures
from aml.stream.manifests import ManifestReader
from aml.stream.outbox import Relay

LEASE: Final = "worker"
LEASE_SECONDS: Final = 15.0
_EVERY: Final = 0.1  # seconds between looks at the outbox
_HOUR: Final = 3600.0
_FIGURES: Final = 15.0
_log: Final = logging.getLogger("aml.worker")


class Told:
    """A producer whose flush raises where a message was not acknowledged in time."""

    def __init__(self, producer: Producer, seconds: float = 30.0) -> None:
        self._producer, self._seconds = producer, seconds

    def send(self, topic: str, value: bytes, *, key: bytes, headers: list[tuple[str, bytes]]) -> None:
        """Hand a message over."""
        self._producer.send(topic, value, key=key, headers=headers)

    def flush(self) -> None:
        """Wait for all acknowledgements. Raises TimeoutError where the broker is away."""
        if not self._producer.flush(self._seconds):
            raise TimeoutError("Kafka does not take what is told downstream: it is told again")


class Chores:
    """Everything that a step must not wait for. Errors that pass are logged and tried again; others end the worker."""

    def __init__(
        self, database: Database, relay: Relay, epochs: Callable[[], Mapping[int, int]], owner: str,
        manifests: ManifestReader, figures: Callable[[Figures | None], None] = lambda figures: None,
    ) -> None:  # fmt: skip
        self._database, self._relay, self._epochs, self._owner = database, relay, epochs, owner
        self._manifests, self._figures = manifests, figures
        self._alone = database.engine.dialect.name == "sqlite"
        self._next: dict[str, float] = {}
        self._told: dict[int, int] = {}
        self._ended = threading.Event()

    def claim(self) -> None:
        """Be the only worker of an SQLite database. Raises AmlError where another is."""
        if not self._alone:
            return
        with self._database.begin() as uow:
            held = uow.stream.lease(LEASE, self._owner, LEASE_SECONDS)
        if held.owner != self._owner:
            raise AmlError(
                f"database {self._database.name}: worker {held.owner} works on it, and SQLite takes one: stop it (if "
                f"it was killed, wait {LEASE_SECONDS:.0f} s), or use PostgreSQL for several"
            )

    def run(self) -> None:
        """Do what is due until `end`. Raises AmlError."""
        while not self._ended.is_set():
            try:
                self._turn()
            except (TimeoutError, Exception) as error:
                if not isinstance(error, TimeoutError) and not will_pass(error):
                    raise
                _log.warning("beside the steps: %s", str(error).splitlines()[0])
                self._ended.wait(1.0)
            self._ended.wait(_EVERY)

    def end(self) -> None:
        """Let `run` return, and give the lease up."""
        self._ended.set()

    def release(self) -> None:
        """Give the lease up; after `run` has returned."""
        if self._alone:
            with self._database.begin() as uow:
                uow.stream.release(LEASE, self._owner)

    def _turn(self) -> None:
        if self._alone and self._due("lease", LEASE_SECONDS / 3):
            self.claim()
        epochs = dict(self._epochs())
        if epochs != self._told:
            self._relay.own(epochs)
            self._told = epochs
        while self._relay.relay() and not self._ended.is_set():
            pass
        if 0 in epochs and self._due("manifests", 1.0):
            self._manifests.poll()
        if self._due("figures", _FIGURES):
            # One worker speaks for all: who has the first shard.
            self._figures(read_figures(self._database) if 0 in epochs else None)
        if 0 in epochs and self._due("tidy", _HOUR):
            self._relay.purge()
            with self._database.begin() as uow:
                uow.stream.fold_sequences()

    def _due(self, name: str, seconds: float) -> bool:
        now = time.monotonic()
        if now < self._next.get(name, 0.0):
            return False
        self._next[name] = now + seconds
        return True
