"""`aml shards`: changes the number of shards, or makes them anew under other rules."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from aml.cli import options, render
from aml.cli.database import opened

app = typer.Typer(no_args_is_help=True, help="The shards of the streaming service: change their number.")


@app.callback()
def shards() -> None:
    """A group, though of one command."""


@app.command()
def resize(
    number: Annotated[int, typer.Argument(metavar="N", min=1, max=256, help="How many there shall be.")],
    db: options.Db = options.DEFAULT_DB,
    profile: options.Profile = options.DEFAULT_PROFILE,
    lateness: options.Lateness = options.DEFAULT_LATENESS,
    history_from: options.HistoryFrom = None,
    models: options.Models = None,
    json: options.Json = False,
) -> None:
    """Make N shards from the archive, in the place of those there are; with as many as there are, under today's rules.

    Intake and workers must have read everything and be stopped. Findings, alerts and decisions stay. What ends the
    command before its end is mended by the same command again.
    """
    from aml.pipeline.inforce import load_judgement
    from aml.pipeline.kernels import compile_kernels
    from aml.store.statefolder import folder_of
    from aml.stream import settings as names
    from aml.stream.contract import load_contracts
    from aml.stream.kafkalog import KafkaLog
    from aml.stream.resize import Resizer
    from aml.stream.settings import load_stream_settings
    from aml.stream.start import state_folder
    from aml.stream.takeover import LEGS, RECORDS
    from aml.stream.topics import administering

    settings = load_stream_settings()
    judgement = load_judgement(profile, models, options.read_history_from(history_from))
    late = options.read_span(lateness)
    compile_kernels(render.say)
    topics = {LEGS: settings.topic(names.LEGS), RECORDS: settings.topic(names.RECORDS)}
    with (
        administering(settings, load_contracts()) as admin,
        opened(db) as database,
        folder_of(database, state_folder()) as state,
        closing(KafkaLog(settings.connection, topics, lambda: False)) as log,
    ):
        done = Resizer(database, judgement, late, state, log, admin, render.say).resize(number)
    applied = done.applied
    if json:
        told = {name: getattr(applied, name, 0) for name in ("new", "amended", "withdrawn")}
        facts = {"shards": done.shards, "before": done.before, "records": done.records}
        render.emit({**facts, "seconds": round(done.seconds, 1), "findings": told})
        return
    render.say(f"{done.shards} shards in place of {done.before}, of {done.records:,} records in {done.seconds:.0f} s")
    if applied is not None and applied.new + applied.amended + applied.withdrawn:
        render.say(f"findings: {applied.new} new, {applied.amended} amended, {applied.withdrawn} withdrawn")
    render.say(f"now set AML_SHARDS={done.shards} where `aml topics` reads it, make a backup, start workers and intake")
