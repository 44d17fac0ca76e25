"""What a run's alerts found of the planted attempts, how soon, and what the others cost (`aml evaluate`)."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from aml.learn.evaluate import SMALL_ATTEMPT, top

HOUR: Final = 3_600_000_000
MONTH: Final = 365.25 / 12 * 24 * HOUR
MINUTES_PER_ALERT: Final = 25  # an analyst's time for one alert
MODEL_BUDGET: Final = 0.005


@dataclass(frozen=True, slots=True)
class Raised:
    """An alert as evaluation sees it: crossed_at in UTC µs, transactions: ids its findings rest on."""

    alert_id: str
    crossed_at: int
    transactions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Planted:
    """A row of the truth: executed_at in UTC µs."""

    transaction_id: str
    typology: str
    attempt: str
    executed_at: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt. alerts: ids that name a transaction of it; hours: from its first row to the earliest of them, None
    if there is none; in_top: a row of it stands in the models' top 0.5 %, None where no scores were given."""

    attempt: str
    typology: str
    rows: int
    alerts: tuple[str, ...]
    hours: float | None
    in_top: bool | None

    @property
    def found(self) -> bool:
        """Alerted by the rules."""
        return bool(self.alerts)


@dataclass(frozen=True, slots=True)
class Tally:
    """Attempts of one typology: how many, found by rules, by rules or model, median hours to the alert."""

    typology: str
    attempts: int
    found: int
    in_top: int | None
    covered: int | None
    median_hours: float | None


@dataclass(frozen=True, slots=True)
class Cost:
    """Alerts, those that name no planted transaction, and these per 1,000 customers and month, also in hours."""

    alerts: int
    on_none: int
    per_1000_customers_month: float | None
    hours_per_1000_customers_month: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """All of an evaluation; small: attempts of one or two rows, which have no shape to find."""

    attempts: tuple[Attempt, ...]
    typologies: tuple[Tally, ...]
    whole: Tally
    small: Tally
    cost: Cost

    def as_json(self) -> dict[str, Any]:
        """Plain dictionaries, for `--json`."""
        return asdict(self)


def judge(alerts: Sequence[Raised], truth: Iterable[Planted], customers: int, span: int,
          top_ids: frozenset[str] | None = None) -> Outcome:
    """Match alerts with the truth.

    customers: how many had a transaction; span: µs from the first to the last; top_ids: what `top_transactions` gave.
    """
    planted = sorted(truth, key=lambda p: (p.executed_at, p.transaction_id))
    by_transaction: dict[str, list[Raised]] = {}
    for alert in alerts:
        for transaction in alert.transactions:
            by_transaction.setdefault(transaction, []).append(alert)
    groups: dict[tuple[str, str], list[Planted]] = {}
    for row in planted:
        groups.setdefault((row.typology, row.attempt), []).append(row)
    attempts = tuple(_attempt(groups[key], by_transaction, top_ids) for key in sorted(groups))
    large = [a for a in attempts if a.rows > SMALL_ATTEMPT]
    laundering = {row.transaction_id for row in planted}
    on_none = sum(laundering.isdisjoint(a.transactions) for a in alerts)
    return Outcome(
        attempts,
        tuple(_tally(t, [a for a in large if a.typology == t]) for t in sorted({a.typology for a in large})),
        _tally("all", large),
        _tally(f"1-{SMALL_ATTEMPT} rows", [a for a in attempts if a.rows <= SMALL_ATTEMPT]),
        _cost(len(alerts), on_none, customers, span),
    )


def top_transactions(ids: Sequence[str], anomaly: np.ndarray[Any, np.dtype[np.float64]],
                     budget: float = MODEL_BUDGET) -> frozenset[str]:
    """Ids of the most anomalous share of all scored transactions; NaN = no anomaly."""
    return frozenset(ids[int(i)] for i in np.flatnonzero(top(anomaly, budget)))


def _attempt(rows: list[Planted], by_transaction: Mapping[str, list[Raised]],
             top_ids: frozenset[str] | None) -> Attempt:
    raised = {a.alert_id: a for row in rows for a in by_transaction.get(row.transaction_id, ())}
    first = min((a.crossed_at for a in raised.values()), default=None)
    # An alert may have been crossed by older evidence of the same subject: then the attempt met an open alert at once.
    hours = None if first is None else max(0.0, (first - rows[0].executed_at) / HOUR)
    return Attempt(
        rows[0].attempt, rows[0].typology, len(rows), tuple(sorted(raised)), hours,
        None if top_ids is None else any(row.transaction_id in top_ids for row in rows),
    )


def _tally(name: str, attempts: list[Attempt]) -> Tally:
    scored = all(a.in_top is not None for a in attempts)
    hours = [a.hours for a in attempts if a.hours is not None]
    return Tally(
        name, len(attempts), sum(a.found for a in attempts),
        sum(bool(a.in_top) for a in attempts) if scored else None,
        sum(a.found or bool(a.in_top) for a in attempts) if scored else None,
        statistics.median(hours) if hours else None,
    )


def _cost(alerts: int, on_none: int, customers: int, span: int) -> Cost:
    if customers <= 0 or span <= 0:
        return Cost(alerts, on_none, None, None)
    rate = on_none / (customers / 1000) / (span / MONTH)
    return Cost(alerts, on_none, rate, rate * MINUTES_PER_ALERT / 60)
