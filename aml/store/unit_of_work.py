"""All that one database transaction may write."""

from __future__ import annotations

from sqlalchemy import Connection

from aml.store.alerts import AlertStore
from aml.store.dead_letters import DeadLetterStore
from aml.store.findings import FindingStore
from aml.store.outbox import OutboxStore
from aml.store.runs import RunStore
from aml.store.stream import StreamStore


class UnitOfWork:
    """The repositories of one open transaction, all at `now` (UTC microseconds)."""

    def __init__(self, connection: Connection, now: int) -> None:
        self.connection = connection
        self.now = now
        self.findings = FindingStore(connection, now)
        self.alerts = AlertStore(connection, now)
        self.dead_letters = DeadLetterStore(connection, now)
        self.runs = RunStore(connection, now)
        self.stream = StreamStore(connection, now)
        self.outbox = OutboxStore(connection, now)
