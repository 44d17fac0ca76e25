"""`aml intake`: reads the bank's topic and hands every payment to its shard."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from aml.cli import options, render

if TYPE_CHECKING:
    from aml.stream.intake import Flushed


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
    from aml.stream import logs
    from aml.stream.member import claim
    from aml.stream.settings import load_stream_settings
    from aml.stream.start import state_folder, wire

    logs.begin()
    settings = load_stream_settings()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    counted = _Counted()
    with ExitStack() as stack:
        member = claim(state_folder(), "intake", name)
        stack.callback(member.release)
        made = wire(settings, member, profile, stop.is_set, counted)
        render.say(f"{member.name} reads {settings.bank} at {settings.brokers}: stop it with Ctrl-C or SIGTERM")
        made.run()
    if json:
        render.emit({"intake": member.name, "read": counted.rows, "rejected": counted.rejected})
    else:
        render.say(f"{member.name} ended: {counted.rows:,} records read, {counted.rejected:,} rejected, all handed on")


class _Counted:
    """What the process has done."""

    rows = 0
    rejected = 0

    def __call__(self, done: Flushed, seconds: float) -> None:
        del seconds
        self.rows += done.rows
        self.rejected += sum(done.rejected.values())
