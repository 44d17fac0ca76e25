"""`aml alerts`: list, show, explain, export and close alerts."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import msgspec
import typer

from aml.cli import options, render
from aml.cli.codes import ExitCode, fail
from aml.cli.database import opened
from aml.domain.alert import Alert, AlertStatus, Disposition
from aml.domain.finding import EXEMPT

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from aml.store.queries import AlertFile

app = typer.Typer(help="The alert queue: list, show, explain, export, close.", no_args_is_help=True)


class Format(StrEnum):
    """How alerts are exported: one object a line, or all in one object."""

    NDJSON = "ndjson"
    JSON = "json"


@app.command("list")
def list_(
    status: Annotated[
        list[AlertStatus] | None, typer.Option("--status", help="Only these; may be repeated.", show_default="all")
    ] = None,
    rule: Annotated[str | None, typer.Option("--rule", metavar="ID", help="Only alerts with this rule.")] = None,
    min_score: Annotated[float | None, typer.Option("--min-score", min=0, max=1, help="Only from this score.")] = None,
    subject: Annotated[str | None, typer.Option("--subject", metavar="ID", help="Only about this customer.")] = None,
    institution: Annotated[str | None, typer.Option("--institution", metavar="ID", help="Only of this one.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="At most so many; 0 = all.")] = 20,
    db: options.Db = options.DEFAULT_DB,
    json: options.Json = False,
) -> None:
    """List alerts, the worst first."""
    from aml.store.export import alert_object
    from aml.store.queries import count, list_alerts

    with opened(db) as database, database.read() as connection:
        found = list_alerts(
            connection,
            statuses=status or None,
            rule=rule,
            min_score=min_score,
            subject=subject,
            institution=institution,
            limit=limit or None,
        )
        rules, total = _rules_of(connection, found), count(connection).alerts
    if json:
        listed = [{**alert_object(alert, [], {}), "reasons": rules[alert.alert_id]} for alert in found]
        render.emit({"alerts": listed, "total": total})
    else:
        _show_list(found, rules, total, options.where(db))


def _rules_of(connection: Connection, found: Iterable[Alert]) -> dict[str, list[str]]:
    """The rules of each alert, those that open first."""
    from aml.store.findings import load_findings

    listed = list(found)
    loaded = load_findings(connection, (pair for alert in listed for pair in alert.findings))
    rules: dict[str, list[str]] = {}
    for alert in listed:
        findings = sorted((loaded[pair] for pair in alert.findings), key=lambda f: (not f.opens, -f.points, f.rule))
        rules[alert.alert_id] = list(dict.fromkeys(finding.rule for finding in findings))
    return rules


def _show_list(found: list[Alert], rules: dict[str, list[str]], total: int, where: str) -> None:
    if not found:
        render.show("no alert" if total == 0 else f"none of the {render.plural(total, 'alert')} fits")
        return
    rows = [
        (
            render.short(alert.alert_id),
            f"{alert.score:.4f}",
            render.styled(alert.band.value),
            render.styled(alert.status.value),
            f"{alert.subject.kind.value} {alert.subject.id}",
            render.moment(alert.crossed_at),
            ", ".join(rules[alert.alert_id]),
        )
        for alert in found
    ]
    render.table(["alert", "score", "band", "status", "about", "crossed (UTC)", "why"], rows, right=["score"])
    render.show(f"\n{len(found):,} of {render.plural(total, 'alert')}. One in full:")
    render.paragraph(f"{options.program()} alerts explain ID{where}")


@app.command()
def show(alert_id: options.AlertId, db: options.Db = options.DEFAULT_DB, json: options.Json = False) -> None:
    """Show an alert: its facts, its findings in short, and who did what when."""
    from aml.store.queries import show_alert

    with opened(db) as database, database.read() as connection:
        file = show_alert(connection, alert_id)
    if json:
        render.emit(_file_object(file))
        return
    alert = file.alert
    render.heading(f"Alert {alert.alert_id}")
    disposition = "" if alert.disposition is None else f" ({alert.disposition.value})"
    render.facts(
        [
            ("about", f"{alert.subject.kind.value} {alert.subject.id} of {alert.subject.party_institution}"),
            ("score", f"{alert.score:.4f}, {alert.band.value}"),
            ("status", alert.status.value + disposition),
            ("queue", alert.queue),
            ("crossed", f"{render.moment(alert.crossed_at)} UTC"),
        ]
    )
    render.heading("Findings")
    rows = [
        (
            finding.rule,
            finding.week.isoformat(),
            render.count(finding.points),
            "opens" if finding.opens else "exempt" if EXEMPT in finding.parameters else "near miss",
            render.count(len(finding.transaction_ids)),
            render.money(finding.total, finding.currency),
        )
        for _, _, finding in file.findings
    ]
    names = ["rule", "week of", "points", "", "transactions", "total"]
    render.table(names, rows, right=["points", "transactions", "total"])
    render.heading("History")
    lines = ((row["at"], row["actor"], row["kind"], _what(row)) for row in file.history)
    render.table(["at", "who", "what", ""], lines)


def _what(row: dict[str, Any]) -> str:
    """A change of history in short: what moved, and why where somebody said."""
    before, after = row.get("before") or {}, row.get("after") or {}
    moved = [
        f"{key} {before.get(key, '–')} → {after[key]}"
        for key in ("status", "score")
        if before.get(key) != after.get(key)
    ]
    if row.get("reason"):
        moved.append(f"{after.get('disposition')}: {row['reason']}")
    return ", ".join(moved)


def _file_object(file: AlertFile) -> dict[str, Any]:
    from aml.store.export import alert_object

    counted = {part.rule: part.points_counted for part in file.parts}
    findings = [finding for _, _, finding in file.findings]
    return {**alert_object(file.alert, findings, counted), "evidence": file.evidence, "history": list(file.history)}


@app.command()
def explain(
    alert_id: options.AlertId,
    transactions: Annotated[
        int, typer.Option("--transactions", min=0, help="At most so many per finding; 0 = all.")
    ] = 40,
    db: options.Db = options.DEFAULT_DB,
    json: options.Json = False,
) -> None:
    """Write a colleague's note on an alert: why, on which transactions, and what the rules could not see."""
    from aml.cli.note import write_note
    from aml.store.queries import show_alert
    from aml.store.runs import load_text

    with opened(db) as database, database.read() as connection:
        file = show_alert(connection, alert_id)
        wanted = {file.scoring_sha256, *(finding.rule_sha256 for _, _, finding in file.findings)}
        found = {sha256: load_text(connection, sha256) for sha256 in sorted(wanted)}
    texts = {sha256: text for sha256, text in found.items() if text is not None}
    scoring = texts.get(file.scoring_sha256)
    again = partial(_rederive, scoring=None if scoring is None else scoring.text)
    if json:
        told = _file_object(file)
        for reason in told["reasons"]:
            stored = texts.get(reason["sha256"])
            reason["text"] = None if stored is None else stored.text
            reason["derived_again"] = stored is not None and all(
                again(stored.text, f) is None for _, _, f in file.findings if f.rule_sha256 == reason["sha256"]
            )
        render.emit(told)
        return
    write_note(file, texts, again, most=transactions, where=options.where(db))


def _rederive(text: str, finding: Any, scoring: str | None) -> str | None:
    """None where the rule text gives the finding's points again from what was measured, else the difference.

    scoring: the text of the alert's own; None where it is not stored, then the one in force.
    """
    from aml.detect.explain import rederive
    from aml.scoring.config import parse_scoring

    return rederive(text, finding, None if scoring is None else parse_scoring(scoring, "the stored scoring.toml"))


@app.command()
def export(
    form: Annotated[
        Format, typer.Option("--format", help="ndjson: one alert a line; json: one object.")
    ] = Format.NDJSON,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write here.", show_default="stdout")
    ] = None,
    institution: Annotated[str | None, typer.Option("--institution", metavar="ID", help="Only of this one.")] = None,
    db: options.Db = options.DEFAULT_DB,
    json: options.Json = False,
) -> None:
    """Export every current alert, closed ones too, with its reasons, findings and transaction ids."""
    from aml.store.export import export_alerts

    whole = form is Format.JSON or (json and out is None)
    with opened(db) as database, database.read() as connection:
        objects = export_alerts(connection, institution)
        if whole:
            objects = iter([{"alerts": list(objects)}])
        number = _write(objects, out)
    if out is not None:
        if json:
            render.emit({"file": str(out), "lines": number})
        else:
            render.say(f"{out}: {render.plural(number, 'line')}")


def _write(objects: Iterable[dict[str, Any]], out: Path | None) -> int:
    """Write one object a line; a file is complete or not there."""
    if out is None:
        return _write_lines(objects, sys.stdout)
    partial = out.with_name(out.name + ".part")
    try:
        with partial.open("w", encoding="utf-8") as target:
            number = _write_lines(objects, target)
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        fail(f"{out}: cannot be written: {error.strerror}: give another --out", ExitCode.FILE)
    return number


def _write_lines(objects: Iterable[dict[str, Any]], target: TextIO) -> int:
    number = 0
    for value in objects:
        target.write(msgspec.json.encode(value).decode() + "\n")
        number += 1
    return number


@app.command()
def close(
    alert_id: options.AlertId,
    disposition: Annotated[Disposition, typer.Option("--disposition", help="What was decided.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept in the history.")],
    db: options.Db = options.DEFAULT_DB,
    json: options.Json = False,
) -> None:
    """Close an alert: all its current findings are decided; what comes after makes a new alert that points back."""
    from aml.store.queries import find_alert

    if not reason.strip():
        raise typer.BadParameter("say why: the history keeps it", param_hint="--reason")
    with opened(db) as database, database.begin() as uow:
        closed = find_alert(uow.connection, alert_id)
        uow.alerts.close(closed.alert_id, disposition, reason.strip(), getpass.getuser())
    if json:
        told = {"alert_id": closed.alert_id, "status": "closed", "disposition": disposition.value}
        render.emit({**told, "findings": len(closed.findings)})
        return
    findings = render.plural(len(closed.findings), "finding")
    render.show(f"alert {render.short(closed.alert_id)} closed as {disposition.value}; {findings} decided")
