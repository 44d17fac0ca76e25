"""`aml dlq`: the records that could not be scored, whole, with where they stood and why."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from aml.cli import options, render
from aml.cli.codes import ExitCode, fail
from aml.cli.database import opened

if TYPE_CHECKING:
    from aml.stream.replay import Replayed

_TIMES: Final = ("first_seen_at", "replayed_at")
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

    with opened(db) as database, database.read() as connection:
        counts = count_dead_letters(connection)
        rows: list[Any] = [*list_dead_letters(connection, code, limit)]
    if json:
        listed = [{**row._mapping, **_times(row)} for row in rows]
        render.emit({"counts": counts, "dead_letters": listed})
        return
    if not counts:
        render.show("no record was rejected")
        return
    render.table(["code", "records"], [(name, render.count(n)) for name, n in counts.items()], right=["records"])
    render.show()
    cells = ((str(r.dead_letter_id), r.code, _where(r), _again(r), r.detail) for r in rows)
    render.table(["id", "code", "where", "sent again", "what is wrong"], cells, right=["id"])
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
        told = {**found._mapping, "original": text, **_times(row)}
        render.emit(told)
        return
    render.facts(
        [
            ("code", row.code),
            ("what is wrong", row.detail),
            ("where", _where(row)),
            ("institution", row.institution),
            ("first seen", render.moment(row.first_seen_at)),
            *([] if row.topic is None else [("sent again", _again(row) or "never")]),
        ]
    )
    render.heading("The record")
    render.show(text)


@app.command()
def replay(
    dead_letter_ids: Annotated[
        list[int] | None, typer.Argument(metavar="[ID…]", help="Only these, also if they were sent again before.")
    ] = None,
    code: Annotated[str | None, typer.Option("--code", help="Only those with this reason code.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also those that were sent again before.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Send nothing: tell what would be sent, and what would become of it.")
    ] = False,
    db: options.Db = options.DEFAULT_DB,
    json: options.Json = False,
) -> None:
    """Send rejected records of a stream to the bank's topic again, once their cause is mended.

    The message goes out as the bank sent it; what was scored meanwhile is a duplicate then. A record that is still
    wrong is rejected again.
    """
    from aml.stream import ask
    from aml.stream.replay import replay as replayed
    from aml.stream.settings import load_stream_settings

    settings = load_stream_settings()
    with opened(db) as database, ExitStack() as stack:
        peeker = stack.enter_context(ask.peeker(settings))
        producer = None if dry_run else stack.enter_context(ask.producer(settings))
        told = list(replayed(database, peeker, producer, ask.judge, code=code, ids=dead_letter_ids or (), again=again))
    _tell_replayed(told, dry_run, json)


def _tell_replayed(told: list[Replayed], dry_run: bool, json: bool) -> None:
    from aml.stream.replay import replayed_object

    sent = sum(one.sent for one in told)
    wrong = sum(one.code is not None for one in told)
    counts = {"sent": 0 if dry_run else sent, "would_send": sent, "wrong_still": wrong, "gone": len(told) - sent}
    if json:
        render.emit({**counts, "dry_run": dry_run, "dead_letters": [replayed_object(one) for one in told]})
        return
    if not told:
        render.show("nothing to send: no record of a stream waits to be sent again")
        return
    cells = (
        (
            str(one.letter.dead_letter_id),
            one.letter.code,
            f"{one.letter.topic}[{one.letter.partition}]:{one.letter.offset}.{one.letter.element}",
            "nothing is left of it" if not one.sent else one.code or "read",
            one.detail or "",
        )
        for one in told
    )
    render.table(["id", "code", "where", "now", "what is wrong"], cells, right=["id"])
    verb = "would be sent" if dry_run else "sent"
    render.show(f"\n{render.plural(sent, 'record')} {verb}, {wrong:,} of them still wrong, {len(told) - sent:,} gone")


def _where(row: Any) -> str:
    """Feed and line, or topic, partition, offset and place in the message."""
    return f"{row.source}:{row.place}" if row.topic is None else f"{row.source}:{row.message_offset}.{row.element}"


def _again(row: Any) -> str:
    return "" if row.replayed_at is None else render.moment(row.replayed_at)


def _times(row: Any) -> dict[str, str | None]:
    from aml.store.encoding import rfc3339

    return {name: None if (at := getattr(row, name)) is None else rfc3339(at) for name in _TIMES}
