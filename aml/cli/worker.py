"""`aml worker`: evaluates the payments of its shards and writes findings and alerts to the database."""

from __future__ import annotations

import logging
from contextlib import ExitStack, suppress
from typing import Annotated

import typer

from aml.cli import options, render


def add_to(app: typer.Typer) -> None:
    """Give `app` the command `worker`."""
    app.command("worker")(worker)


def worker(
    name: Annotated[
        str | None, typer.Option("--name", help="This worker's name among others.", show_default="lowest free number")
    ] = None,
    db: options.Db = options.DEFAULT_DB,
    profile: options.Profile = options.DEFAULT_PROFILE,
    lateness: options.Lateness = options.DEFAULT_LATENESS,
    history_from: options.HistoryFrom = None,
    models: options.Models = None,
    snapshots: Annotated[
        float,
        typer.Option(
            "--snapshots", metavar="SECONDS", envvar="AML_SNAPSHOTS", min=1, show_default=True,
            help="Time between two snapshots of a shard, at least.",
        ),
    ] = 120.0,
    json: options.Json = False,
) -> None:
    """Bring the payments of some shards through rules and models into scored alerts; runs until it is stopped.

    Several workers share the shards, on PostgreSQL; SQLite takes one.
    """
    from aml.cli.codes import ExitCode, ends_with
    from aml.pipeline.inforce import load_judgement
    from aml.pipeline.kernels import compile_kernels
    from aml.pipeline.threads import hasty_threads, settled_objects
    from aml.store.database import open_database
    from aml.store.statefolder import folder_of
    from aml.stream import logs
    from aml.stream.ending import told_to_stop
    from aml.stream.health import serving
    from aml.stream.member import claim
    from aml.stream.settings import load_stream_settings
    from aml.stream.start import state_folder
    from aml.stream.startworker import work
    from aml.stream.takeover import Stopped
    from aml.stream.takeovers import patiently
    from aml.stream.watch import WorkerWatch

    logs.begin("worker")
    log = logging.getLogger("aml.worker")
    settings = load_stream_settings()
    stop = told_to_stop(log)
    judgement = load_judgement(profile, models, options.read_history_from(history_from))
    late = options.read_span(lateness)
    compile_kernels(render.say)
    watch = WorkerWatch(log.info)
    # Told to end while it waited for a server: nothing was begun.
    with suppress(Stopped), ExitStack() as stack:
        member = claim(state_folder(), "worker", name)
        stack.callback(member.release)
        with ends_with(ExitCode.DATABASE):
            # A server that is away comes back; what is wrong for good is said at once.
            database = patiently(lambda: open_database(db), stop.is_set)
        stack.callback(database.close)
        folder = stack.enter_context(folder_of(database, state_folder()))
        folder.mkdir(parents=True, exist_ok=True)
        stack.enter_context(hasty_threads())
        log.info("%s works on %s: stop it with Ctrl-C or SIGTERM", member.name, database.name)
        stack.enter_context(serving(watch.metrics, watch.pulse))
        settled_objects()
        work(settings, member, database, judgement, late, folder, stop, watch, snapshots)
    log.info("%s ended: %d steps, %d findings told", member.name, watch.steps, watch.changes)
    if json:
        render.emit({"worker": member.name, "steps": watch.steps, "findings": watch.changes})
