"""What the database says of the whole service, for metrics: balance, backlog, silent feeds; asked once in a while."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import func, select

from aml.domain.alert import AlertStatus
from aml.metrics import Metrics
from aml.store.completeness import load_known
from aml.store.database import Database
from aml.store.tables import alerts
from aml.stream.ledger import judge

_OVER = (AlertStatus.CLOSED.value, AlertStatus.WITHDRAWN.value)


@dataclass(slots=True)
class Figures:
    """By source topic and partition, by feed, by band."""

    gap: dict[str, float] = field(default_factory=dict)
    silent: dict[str, float] = field(default_factory=dict)
    missing: dict[str, float] = field(default_factory=dict)
    open: dict[str, float] = field(default_factory=dict)
    oldest: float = 0.0
    unsent: int = 0
    reused: int = 0


def read_figures(database: Database) -> Figures:
    """The figures as they are now. Raises StoreError."""
    now = database.clock()
    found = Figures()
    with database.read() as connection:
        known = load_known(connection)
        undecided = alerts.c.status.not_in(_OVER)
        by_band = select(alerts.c.band, func.count()).where(undecided).group_by(alerts.c.band)
        found.open = {band: float(n) for band, n in connection.execute(by_band)}
        first = connection.execute(select(func.min(alerts.c.raised_at)).where(undecided)).scalar()
    found.oldest = 0.0 if first is None else (now - first) / 1e6
    report = judge(known, "not asked", now)
    found.gap = {f"{p.topic}[{p.partition}]": float(p.unaccounted) for p in report.partitions}
    found.silent = {feed.source: 0.0 for feed in known.counts} | {one["source"]: 1.0 for one in report.silent}
    found.missing = {one["source"]: float(one["missing"]) for one in report.gaps}
    found.unsent, found.reused = report.unsent, report.reused
    return found


def tell(metrics: Metrics, figures: Figures | None) -> None:
    """Set the gauges; None: another worker tells them now."""
    shown = figures or Figures()
    metrics.only("aml_reconcile_gap", shown.gap)
    metrics.only("aml_feed_silent", shown.silent)
    metrics.only("aml_sequence_gaps", shown.missing)
    metrics.only("aml_alerts_open", shown.open)
    metrics.of("aml_backlog_oldest_seconds").set(shown.oldest)
    metrics.of("aml_outbox_pending").set(shown.unsent)
    metrics.of("aml_reused_ids").set(shown.reused)
