"""`aml reconcile`: proves that every element the bank sent is accounted for, or says which are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aml.cli import options, render
from aml.cli.codes import ExitCode, fail
from aml.cli.database import opened

if TYPE_CHECKING:
    from aml.stream.ledger import Report


def add_to(app: typer.Typer) -> None:
    """Give `app` the command `reconcile`."""
    app.command("reconcile")(reconcile)


def reconcile(
    db: options.Db = options.DEFAULT_DB,
    day: Annotated[
        str | None, typer.Option("--day", metavar="DATE", help="Only what the broker received on this day (UTC).")
    ] = None,
    json: options.Json = False,
) -> None:
    """Prove that what was consumed was scored, a duplicate or rejected, and that what the bank says it sent came.

    Ends with code 1 where something does not add up, is still under way, or the broker cannot be asked.
    """
    from aml.store.statefolder import folder_of
    from aml.stream import ask
    from aml.stream.reconcile import reconcile as reconciled
    from aml.stream.reconcile import report_object
    from aml.stream.settings import LEGS, RECORDS, load_stream_settings
    from aml.stream.start import state_folder

    settings = load_stream_settings()
    inner = (settings.topic(LEGS), settings.topic(RECORDS))
    chosen = None if day is None else options.read_day(day, "--day")
    with opened(db) as database, folder_of(database, state_folder()) as archive:
        report = reconciled(
            database, lambda: ask.peeker(settings), [settings.bank], inner, ask.elements_of, chosen, archive
        )
    if json:
        for line in report.faults:
            render.say(line)
        render.emit(report_object(report))
    else:
        _show(report)
    if not report.reconciles:
        fail(f"does not reconcile: {render.plural(len(report.faults), 'fault')}, see above", ExitCode.CHECK_FAILED)


def _show(report: Report) -> None:
    total = report.total
    render.heading("Elements")
    rows = [("consumed", total.consumed), ("scored", total.scored), ("  of them late", total.late)]
    rows += [("duplicates", total.duplicates), ("rejected", sum(total.rejected.values()))]
    rows += [(f"  {code}", number) for code, number in sorted(total.rejected.items())]
    told = [(name, render.count(number)) for name, number in rows if number or not name.startswith(" ")]
    render.table(["elements", "number"], [*told, ("pending", _pending(report.pending, report.exact))], right=["number"])
    if report.oldest is not None:
        render.show(f"\nThe oldest that waits came at {render.moment(report.oldest)} UTC.")
    if report.partitions:
        render.heading("By partition")
        _show_partitions(report)
    if report.manifests:
        render.heading("What the bank says it sent")
        _show_manifests(report)
    for title, lines in (("To look at", report.alarms), ("Does not reconcile", report.faults)):
        if lines:
            render.heading(title)
            render.bullets(lines)
    if report.reconciles:
        render.show("\neverything reconciles")


def _pending(number: int | None, exact: bool = True) -> str:
    return "not known" if number is None else render.count(number) + ("" if exact else " or more")


def _show_partitions(report: Report) -> None:
    names = ["topic", "partition", "consumed", "scored", "duplicates", "rejected", "pending", "unaccounted"]
    rows = [
        (
            p.topic,
            str(p.partition),
            *map(render.count, (p.tally.consumed, p.tally.scored, p.tally.duplicates, sum(p.tally.rejected.values()))),
            _pending(p.pending),
            render.count(p.unaccounted),
        )
        for p in report.partitions
    ]
    render.table(names, rows, right=names[1:])


def _show_manifests(report: Report) -> None:
    names = ["institution", "source", "manifest", "sent", "scored", "sums"]
    rows = [
        (
            one["institution"],
            one["source"],
            one["names"][0] + (f" and {len(one['names']) - 1} more" if len(one["names"]) > 1 else ""),
            render.count(one["sent"]),
            render.count(one["scored"]),
            ", ".join(f"{currency} {by:+,}" for currency, by in one["differences"].items()) or "equal",
        )
        for one in report.manifests
    ]
    render.table(names, rows, right=["sent", "scored"])
