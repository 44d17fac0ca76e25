"""`aml intake`: reads the bank's topic and hands every payment to its shard."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import Annotated

import typer

from aml.cli import options, render


def add_to(app: typer.Typer) -> None:
    """Give `app` the command `intake`."""
    app.command("intake")(intake)


def intake(
    name: Annotated[
        str | None, typer.Option("--name", help="This intake's name among others.", show_default="lowest free number")
    ] = None,
    profile: options.Profile = options.DEFAULT_PROFILE,
    json: options.Json = False,
) -> None:
    """Read the bank's topic, judge every record and write it to the topic of its shards; runs until it is stopped.

    What cannot be read goes to the topic's dead letters as it came. Several intakes share the partitions.
    """
    from aml.pipeline.threads import hasty_threads, settled_objects
    from aml.stream import logs
    from aml.stream.ending import told_to_stop
    from aml.stream.health import serving
    from aml.stream.member import claim
    from aml.stream.settings import load_stream_settings
    from aml.stream.start import state_folder, wire
    from aml.stream.watch import IntakeWatch

    logs.begin("intake")
    log = logging.getLogger("aml.intake")
    settings = load_stream_settings()
    stop = told_to_stop(log)
    watch = IntakeWatch()
    with ExitStack() as stack:
        member = claim(state_folder(), "intake", name)
        stack.callback(member.release)
        stack.enter_context(serving(watch.metrics, watch.pulse))
        made = wire(settings, member, profile, stop.is_set, watch)
        log.info("%s reads %s at %s: stop it with Ctrl-C or SIGTERM", member.name, settings.bank, settings.brokers)
        stack.enter_context(hasty_threads())
        settled_objects()
        made.run()
    log.info("%s ended: %d records read, %d rejected, all handed on", member.name, watch.rows, watch.rejected)
    if json:
        render.emit({"intake": member.name, "read": watch.rows, "rejected": watch.rejected})
