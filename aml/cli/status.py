"""`aml status`: how far the feed has come, what was in force, and what the database holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from aml.cli import options, render
from aml.cli.database import opened

if TYPE_CHECKING:
    from sqlalchemy import Connection


def add_to(app: typer.Typer) -> None:
    """Give `app` the command `status`."""
    app.command("status")(status)


def status(db: options.Db = options.DEFAULT_DB, json: options.Json = False) -> None:
    """Show the watermark, the rules and models in force, and the counts."""
    with opened(db) as database, database.read() as connection:
        told = {"database": database.name, **_told(connection)}
    if json:
        render.emit(told)
    else:
        _show(told)


def _told(connection: Connection) -> dict[str, Any]:
    from aml.store.dead_letters import count_dead_letters
    from aml.store.encoding import rfc3339
    from aml.store.queries import count
    from aml.store.runs import last_run, latest_checkpoint, load_counters, load_progress

    progress = load_progress(connection)
    marks: dict[str, int | None] = {}
    for source in progress:
        known = marks.get(source.institution, source.progress_at)
        marks[source.institution] = _least(known, source.progress_at)
    run, checkpoint, counts = last_run(connection), latest_checkpoint(connection), count(connection)
    return {
        "watermark": {name: None if at is None else rfc3339(at) for name, at in sorted(marks.items())},
        "sources": [
            {
                "institution": s.institution,
                "source": s.source,
                "progress": None if s.progress_at is None else rfc3339(s.progress_at),
                "records": s.records,
            }
            for s in progress
        ],
        "last_run": None if run is None else _run(run),
        "checkpoint": None if checkpoint is None else {"id": checkpoint.checkpoint_id, "at": rfc3339(checkpoint.at)},
        "findings": counts.findings,
        "alerts": counts.alerts,
        "near_misses": counts.near_misses,
        "exempted": counts.exempted,
        "insufficient": {} if checkpoint is None else checkpoint.body.get("insufficient", {}),
        "lacking": {} if checkpoint is None else checkpoint.body.get("lacking", {}),
        "dead_letters": count_dead_letters(connection),
        "counters": {f"{name} ({institution})": v for (institution, name), v in load_counters(connection).items()},
    }


def _least(one: int | None, other: int | None) -> int | None:
    """The lesser; unknown where either is: a source that has not begun holds the watermark back."""
    return None if one is None or other is None else min(one, other)


def _run(run: dict[str, Any]) -> dict[str, Any]:
    from aml.store.encoding import rfc3339

    return {
        "id": run["run_id"],
        "state": run["state"],
        "started_at": rfc3339(run["started_at"]),
        "ended_at": None if run["ended_at"] is None else rfc3339(run["ended_at"]),
        "engine_version": run["engine_version"],
        "feeds": run["feeds"],
        "history_from": run["settings"].get("history_from"),
        "counts": run["counts"],
        "in_force": run["in_force"],
    }


def _show(told: dict[str, Any]) -> None:
    render.heading(f"Database {told['database']}")
    names = ("alerts", "findings", "near_misses", *(["exempted"] if told["exempted"] else []))
    pairs = [(name.replace("_", " "), render.count(told[name])) for name in names]
    render.facts([*pairs, ("rejected", render.count(sum(told["dead_letters"].values())))])
    render.heading("Watermark: what lies more than the lateness before it is settled")
    render.facts((name, at or "none yet") for name, at in told["watermark"].items())
    if told["sources"]:
        render.show()
        rows = (
            (s["institution"], s["source"], s["progress"] or "–", render.count(s["records"])) for s in told["sources"]
        )
        render.table(["institution", "source", "progress", "records"], rows, right=["records"])
    run = told["last_run"]
    if run is None:
        render.show("\nno run yet")
        return
    render.heading(f"Last run: {run['state']}")
    render.facts(
        [
            ("started", run["started_at"]),
            ("ended", run["ended_at"] or "–"),
            ("feeds", ", ".join(map(str, run["feeds"]))),
            ("engine", run["engine_version"]),
            *([("history from", run["history_from"])] if run["history_from"] else []),
        ]
    )
    render.insufficient(told["insufficient"], told["lacking"])
    render.heading("In force")
    rows = ((t["kind"], t["name"], str(t["version"]), render.short(t["sha256"])) for t in run["in_force"])
    render.table(["kind", "name", "version", "sha256"], rows, right=["version"])
    if told["counters"]:
        render.heading("Counted")
        render.facts(_counted(name, value) for name, value in told["counters"].items())


def _counted(name: str, value: int) -> tuple[str, str]:
    """A running total as people read it; those of the whole database name no institution."""
    words = name.removesuffix(" (all)").replace(":", ", ").replace("_", " ")
    return words, render.span(value) if name.startswith("span ") else render.count(value)
