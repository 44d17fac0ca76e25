"""What a run's alerts found of the planted attempts, how soon, and what the others cost (`aml evaluate`)."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from aml.learn.evaluate import SMALL_ATTEMPT, Ranking, top

HOUR: Final = 3_600_000_000
MONTH: Final = 365.25 / 12 * 24 * HOUR
MINUTES_PER_ALERT: Final = 25  # an analyst's time for one alert
MODEL_BUDGET: Final = 0.005
SETTLING: Final = 30 * 24 * HOUR  # from the beginning of a feed: so long is the own month that rules compare with


@dataclass(frozen=True, slots=True)
class Raised:
    """An alert as evaluation sees it.

    crossed_at: UTC µs, by the rules where they opened it; transactions: ids its findings rest on; by_rules: those that
    rules' findings rest on, none where models alone opened it (None: all); kind: of the subject, "" unknown.
    """

    alert_id: str
    crossed_at: int
    transactions: tuple[str, ...]
    by_rules: tuple[str, ...] | None = None
    kind: str = ""

    @property
    def named(self) -> tuple[str, ...]:
        """What rules named."""
        return self.transactions if self.by_rules is None else self.by_rules


@dataclass(frozen=True, slots=True)
class Planted:
    """A row of the truth: executed_at in UTC µs, None where the truth does not say; shape_rows: how many rows the
    attempt's shape has, 0 where the truth does not say (then all its rows)."""

    transaction_id: str
    typology: str
    attempt: str
    executed_at: int | None
    shape_rows: int = 0


@dataclass(frozen=True, slots=True)
class Population:
    """Customers with a movement, by kind, over a span in µs that begins at `begun` (UTC µs): what alerts are counted
    against."""

    customers: Mapping[str, int]
    span: int
    begun: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt. rows: of its shape; found: a rule's finding in an alert names a row of it; alerts: all that do,
    those opened by models alone too; hours: from its first row to the earliest alert by rules, None if there is none;
    in_top: a row of it stands in the models' top 0.5 %, None where no scores were given."""

    attempt: str
    typology: str
    rows: int
    found: bool
    alerts: tuple[str, ...]
    hours: float | None
    in_top: bool | None


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
    """Alerts on customers of one kind ("": all), those that name no planted transaction, and these per 1,000 customers
    and month, also in hours; None where the number of customers is not known.

    settled: the rate from the 31st day on, None in a shorter span. In the first weeks of any feed every pair is new.
    """

    alerts: int
    on_none: int
    per_1000_customers_month: float | None
    hours_per_1000_customers_month: float | None
    kind: str = ""
    customers: int = 0
    settled_per_1000_customers_month: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """All of an evaluation; small: attempts of one or two rows, which have no shape to find; kinds: the cost by kind of
    customer, where that is known; ranking: how the models' scores alone rank, where scores were given."""

    attempts: tuple[Attempt, ...]
    typologies: tuple[Tally, ...]
    whole: Tally
    small: Tally
    cost: Cost
    kinds: tuple[Cost, ...] = ()
    ranking: Ranking | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain dictionaries, for `--json`."""
        return asdict(self)


def judge(alerts: Sequence[Raised], truth: Iterable[Planted], population: Population,
          top_ids: frozenset[str] | None = None, ranking: Ranking | None = None) -> Outcome:
    """Match alerts with the truth; top_ids: what `top_transactions` gave."""
    planted = sorted(truth, key=lambda p: (p.executed_at or 0, p.transaction_id))
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
    return Outcome(
        attempts,
        tuple(_tally(t, [a for a in large if a.typology == t]) for t in sorted({a.typology for a in large})),
        _tally("all", large),
        _tally(f"1-{SMALL_ATTEMPT} rows", [a for a in attempts if a.rows <= SMALL_ATTEMPT]),
        _cost("", alerts, laundering, population, sum(population.customers.values())),
        tuple(
            _cost(kind, [a for a in alerts if a.kind == kind], laundering, population, number)
            for kind, number in population.customers.items()
        ),
        ranking,
    )


def top_transactions(ids: Sequence[str], anomaly: np.ndarray[Any, np.dtype[np.float64]],
                     budget: float = MODEL_BUDGET) -> frozenset[str]:
    """Ids of the most anomalous share of all scored transactions; NaN = no anomaly."""
    return frozenset(ids[int(i)] for i in np.flatnonzero(top(anomaly, budget)))


def _attempt(rows: list[Planted], by_transaction: Mapping[str, list[Raised]],
             top_ids: frozenset[str] | None) -> Attempt:
    ids = {row.transaction_id for row in rows}
    raised = {a.alert_id: a for row in rows for a in by_transaction.get(row.transaction_id, ())}
    by_rules = [a for a in raised.values() if not ids.isdisjoint(a.named)]
    first = min((a.crossed_at for a in by_rules), default=None)
    begun = min((row.executed_at for row in rows if row.executed_at is not None), default=None)
    # An alert may have been crossed by older evidence of the same subject: then the attempt met an open alert at once.
    hours = None if first is None or begun is None else max(0.0, (first - begun) / HOUR)
    return Attempt(
        rows[0].attempt, rows[0].typology, rows[0].shape_rows or len(rows), bool(by_rules), tuple(sorted(raised)),
        hours, None if top_ids is None else any(row.transaction_id in top_ids for row in rows),
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


def _cost(kind: str, alerts: Sequence[Raised], laundering: set[str], population: Population, customers: int) -> Cost:
    on_none = [a for a in alerts if laundering.isdisjoint(a.transactions)]
    if customers <= 0 or population.span <= 0:
        return Cost(len(alerts), len(on_none), None, None, kind, customers)

    def rate(number: int, span: int) -> float:
        return number / (customers / 1000) / (span / MONTH)

    whole, settled, rest = rate(len(on_none), population.span), None, population.span - SETTLING
    if rest > 0:
        late = sum(a.crossed_at >= population.begun + SETTLING for a in on_none)
        settled = rate(late, rest)
    return Cost(len(alerts), len(on_none), whole, whole * MINUTES_PER_ALERT / 60, kind, customers, settled)
