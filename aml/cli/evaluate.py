"""`aml evaluate`: what the alerts found of what was planted, how soon, and what the rest of them cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aml.cli import options, render

if TYPE_CHECKING:
    from aml.learn.evaluate import Ranking, Yield
    from aml.learn.outcome import Cost, Outcome, Tally


def add_to(app: typer.Typer) -> None:
    """Give `app` the command `evaluate`."""
    app.command("evaluate")(evaluate)


def evaluate(
    db: Annotated[str, typer.Argument(metavar="DB", help="Database of the run: a URL or an SQLite file.")],
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="What was planted, as `aml simulate` writes it.")],
    scores: Annotated[
        Path | None,
        typer.Option(
            "--scores", metavar="FILE.parquet", help="What `aml run --scores-out` wrote: judges the models too."
        ),
    ] = None,
    attempts: Annotated[bool, typer.Option("--attempts", help="Also list every attempt.")] = False,
    json: options.Json = False,
) -> None:
    """Compare the alerts with the truth: per typology and attempt, found or not, and the time to alert.

    Also says how many alerts point at nothing planted, per 1,000 customers and month, and the hours they cost.
    """
    from aml.pipeline.evaluation import evaluate_database

    outcome = evaluate_database(options.database_url(db), truth, scores)
    if json:
        render.emit(outcome.as_json())
    else:
        _show(outcome, attempts)


def _show(outcome: Outcome, attempts: bool) -> None:
    rows = [_row(tally) for tally in (*outcome.typologies, outcome.whole, outcome.small)]
    names = ["typology", "attempts", "by rules", "", "model top 0.5 %", "either", "median time"]
    render.table(names, rows, right=names[1:])
    _show_cost(outcome)
    if outcome.ranking is not None:
        _show_ranking(outcome.ranking)
    if not attempts:
        return
    render.show()
    listed = (
        (
            attempt.attempt,
            attempt.typology,
            str(attempt.rows),
            "found" if attempt.found else "missed",
            _hours(attempt.hours),
            " ".join(map(render.short, attempt.alerts)),
        )
        for attempt in outcome.attempts
    )
    render.table(
        ["attempt", "typology", "rows", "", "time to alert", "alerts"], listed, right=["rows", "time to alert"]
    )


def _show_cost(outcome: Outcome) -> None:
    cost = outcome.cost
    render.show(f"\n{cost.alerts:,} alerts, {cost.on_none:,} of them name nothing that was planted")
    told = [_cost_row(kind.kind, kind) for kind in outcome.kinds if kind.customers]
    if cost.per_1000_customers_month is not None:
        names = ["customers", "number", "alerts", "on nothing planted", "per 1,000 and month", "hours of work"]
        names.append("per 1,000 and month, from the 31st day")
        render.table(names, [*told, _cost_row("all", cost)], right=names[1:])


def _cost_row(name: str, cost: Cost) -> tuple[str, ...]:
    rate, hours = cost.per_1000_customers_month, cost.hours_per_1000_customers_month
    return (
        name,
        render.count(cost.customers),
        render.count(cost.alerts),
        render.count(cost.on_none),
        "–" if rate is None else f"{rate:.1f}",
        "–" if hours is None else f"{hours:.1f}",
        "–" if cost.settled_per_1000_customers_month is None else f"{cost.settled_per_1000_customers_month:.1f}",
    )


def _show_ranking(ranking: Ranking) -> None:
    budgets = [render.percent(budget) for budget in ranking.budgets]
    render.show(f"\nWhat the models rank highest of all (area under precision and recall {ranking.pr_auc:.3f}):")
    named: list[tuple[str, Yield]] = [(y.typology, y) for y in ranking.typologies]
    named += [("all", ranking.whole), ("1-2 rows", ranking.small)]
    rows = (_yield_row(name, y) for name, y in named if y.rows)
    names = ["typology", "rows", *(f"recall in top {b}" for b in budgets), "attempts", f"with a row in {budgets[1]}"]
    render.table(names, rows, right=names[1:])


def _yield_row(name: str, y: Yield) -> tuple[str, ...]:
    recalls = (render.percent(recall) for recall in y.recall)
    return name, render.count(y.rows), *recalls, render.count(y.attempts), render.count(y.touched[1])


def _row(tally: Tally) -> tuple[str, ...]:
    share = render.percent(tally.found / tally.attempts) if tally.attempts else "–"
    return (
        tally.typology,
        render.count(tally.attempts),
        render.count(tally.found),
        share,
        "–" if tally.in_top is None else render.count(tally.in_top),
        "–" if tally.covered is None else render.count(tally.covered),
        _hours(tally.median_hours),
    )


def _hours(hours: float | None) -> str:
    return "–" if hours is None else render.span(hours * 3.6e9)
