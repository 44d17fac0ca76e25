"""`aml run`: feeds in, findings and alerts in the database, a summary on the screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aml.cli import options, render
from aml.cli.codes import ExitCode, fail
from aml.cli.progress import Work

if TYPE_CHECKING:
    from aml.pipeline.embedded import RunSummary

# The subsets of the scored records in the order they are told, and what each means.
_SUBSETS = (
    ("superseded", "replaced by a later revision"),
    ("voided", "taken back"),
    ("not_booked", "attempted, pending, rejected or cancelled"),
    ("own_account", "between accounts of one holder"),
    ("late", "behind the watermark, in time to count"),
)


def add_to(app: typer.Typer) -> None:
    """Give `app` the command `run`."""
    app.command("run")(run)


def run(
    feeds: options.Feeds,
    parties: options.Parties = None,
    rates: options.Rates = None,
    mapping: options.Mapping = None,
    db: options.Db = options.DEFAULT_DB,
    profile: options.Profile = options.DEFAULT_PROFILE,
    institution: options.Institution = None,
    lateness: Annotated[
        str, typer.Option("--lateness", metavar="SPAN", help="How late a record may come and still count: 7d, 36h.")
    ] = "7d",
    history_from: options.HistoryFrom = None,
    as_arrived: Annotated[
        bool, typer.Option("--as-arrived", help="Take files as they come instead of sorting them first.")
    ] = False,
    models: options.Models = None,
    scores_out: Annotated[
        Path | None,
        typer.Option("--scores-out", metavar="FILE.parquet", help="Also write every transaction's score here."),
    ] = None,
    rejects_over: Annotated[
        str | None,
        typer.Option(
            "--rejects-over", metavar="P%", help="End with code 1 if more than P% of the records are rejected."
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Bring transactions through rules and models into scored alerts.

    The same feed again changes nothing; an interrupted run is continued by running it again.

    Defective records are counted, kept and passed by: see `aml dlq list`.
    """
    from aml.pipeline.embedded import RunSettings, run_feeds
    from aml.pipeline.kernels import compile_kernels

    limit = None if rejects_over is None else options.read_percent(rejects_over)
    settings = RunSettings(
        feeds=tuple(feeds),
        parties=parties,
        rates=rates,
        mapping=mapping,
        db=db,
        profile=profile,
        institution=institution,
        lateness=options.read_span(lateness),
        history_from=options.read_history_from(history_from),
        as_arrived=as_arrived,
        models=models,
        scores_out=scores_out,
    )
    compile_kernels(render.say)
    with Work("run") as work:
        summary = run_feeds(settings, work)
    for message in summary.messages:
        render.say(message)
    if json:
        render.emit(summary_object(summary))
    else:
        show_summary(summary, db)
    rejected = sum(summary.rejected.values())
    if limit is not None and rejected > limit * summary.read:
        share = render.percent(rejected / summary.read)
        fail(f"{share} of the records are rejected, over the limit of {render.percent(limit)}", ExitCode.CHECK_FAILED)


def summary_object(summary: RunSummary) -> dict[str, Any]:
    """The object that `aml run --json` ends with: read = scored + duplicates + all rejected."""
    return {
        "read": summary.read,
        "scored": summary.scored,
        "duplicates": summary.duplicates,
        "rejected": dict(sorted(summary.rejected.items())),
        **{name: getattr(summary, name) for name, _ in _SUBSETS},
        "findings": summary.findings,
        "alerts": summary.alerts,
        "near_misses": summary.near_misses,
        "exempted": summary.exempted,
        "insufficient": dict(sorted(summary.insufficient.items())),
        "seconds": round(summary.seconds, 3),
        "transactions_per_second": round(summary.transactions_per_second),
    }


def show_summary(summary: RunSummary, db: str) -> None:
    """The summary in words; every record read is accounted for."""
    render.heading("Records")
    rows = [("read", summary.read, ""), ("scored", summary.scored, "")]
    rows += [(f"  {name.replace('_', ' ')}", getattr(summary, name), words) for name, words in _SUBSETS]
    rows.append(("duplicates", summary.duplicates, "seen before, changed nothing"))
    rows.append(("rejected", sum(summary.rejected.values()), "kept whole: aml dlq list"))
    rows += [(f"  {code}", number, "") for code, number in sorted(summary.rejected.items())]
    told = [row for row in rows if row[1] or not row[0].startswith("  ")]
    render.table(["records", "number", ""], [(n, render.count(v), w) for n, v, w in told], right=["number"])
    if summary.read == 0:
        render.say("nothing was read: the feed is empty")
    render.insufficient(summary.insufficient, summary.lacking)
    near = f"of them near misses {render.count(summary.near_misses)}"
    if summary.exempted:
        near += f", exempt {render.count(summary.exempted)}"
    render.heading("Found")
    render.facts(
        [
            ("alerts", render.count(summary.alerts)),
            ("findings", f"{render.count(summary.findings)}, {near}"),
            ("time", f"{render.span(summary.seconds * 1e6)}, {summary.transactions_per_second:,.0f} transactions/s"),
            ("database", options.public(db)),
        ]
    )
