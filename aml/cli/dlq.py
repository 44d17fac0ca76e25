"""`aml dlq`: the records that could not be scored, whole, with where they stood and why."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from aml.cli import options, render
from aml.cli.codes import ExitCode, fail
from aml.cli.database import opened

app = typer.Typer(
    help="Records that could not be scored: where they stood, why, and their own bytes.", no_args_is_help=True
)


@app.command("list")
def list_(
    code: Annotated[str | None, typer.Option("--code", help="Only those with this reason code.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest first.")] = 50,
    db: options.Db = options.DEFAULT_DB,
    json: options.Json = False,
) -> None:
    """List rejected records, the newest first, and how many there are by code."""
    from aml.store.dead_letters import count_dead_letters, list_dead_letters
    from aml.store.encoding import rfc3339

    with opened(db) as database, database.read() as connection:
        counts = count_dead_letters(connection)
        rows: list[Any] = [*list_dead_letters(connection, code, limit)]
    if json:
        listed = [{**row._mapping, "first_seen_at": rfc3339(row._mapping["first_seen_at"])} for row in rows]
        render.emit({"counts": counts, "dead_letters": listed})
        return
    if not counts:
        render.show("no record was rejected")
        return
    render.table(["code", "records"], [(name, render.count(n)) for name, n in counts.items()], right=["records"])
    render.show()
    cells = ((str(r.dead_letter_id), r.code, f"{r.source}:{r.place}", r.detail) for r in rows)
    render.table(["id", "code", "where", "what is wrong"], cells, right=["id"])
    render.show("\nThe record itself: aml dlq show ID")


@app.command()
def show(
    dead_letter_id: Annotated[int, typer.Argument(metavar="ID", help="The id that `aml dlq list` shows.")],
    raw: Annotated[bool, typer.Option("--raw", help="Write the record's own bytes and nothing else.")] = False,
    db: options.Db = options.DEFAULT_DB,
    json: options.Json = False,
) -> None:
    """Show one rejected record whole."""
    from aml.store.dead_letters import load_dead_letter
    from aml.store.encoding import rfc3339

    with opened(db) as database, database.read() as connection:
        found = load_dead_letter(connection, dead_letter_id)
    if found is None:
        fail(f"dead letter {dead_letter_id}: there is none with this id: see `aml dlq list`", ExitCode.USAGE)
    row: Any = found
    if raw:
        sys.stdout.buffer.write(row.original)
        return
    text = row.original.decode("utf-8", errors="backslashreplace")
    if json:
        told = {**found._mapping, "original": text, "first_seen_at": rfc3339(row.first_seen_at)}
        render.emit(told)
        return
    render.facts(
        [
            ("code", row.code),
            ("what is wrong", row.detail),
            ("where", f"{row.source}:{row.place}"),
            ("institution", row.institution),
            ("first seen", render.moment(row.first_seen_at)),
        ]
    )
    render.heading("The record")
    render.show(text)
