"""`aml doctor`: what the settings are, where each came from, what is wrong and how to mend it."""

from __future__ import annotations

import os
from typing import Final

import typer
from rich.text import Text

from aml.cli import options, render
from aml.cli.codes import ExitCode, fail

_STYLES: Final = {"ok": "green", "warn": "yellow", "FAIL": "bold red"}


def add_to(app: typer.Typer) -> None:
    """Give `app` the command `doctor`."""
    app.command("doctor")(doctor)


def doctor(ctx: typer.Context, db: options.Db = options.DEFAULT_DB, json: options.Json = False) -> None:
    """Show the settings in force, secrets hidden, and look for what keeps the streaming service from working.

    Ends with code 1 where something does.
    """
    from aml.settings import NAMES
    from aml.stream.doctor import FAIL, examine, told
    from aml.stream.settings import load_stream_settings
    from aml.stream.start import state_folder

    stream = load_stream_settings()
    ours = {name: options.public(os.environ.get(name, "")) for name in NAMES} | {"AML_DB": options.public(db)}
    settings = [(name, value, _origin(ctx, name, value)) for name, value in (ours | stream.shown()).items()]
    if not json:
        render.heading("Settings")
        render.table(["variable", "value", "from"], [(name, value or "–", origin) for name, value, origin in settings])
        render.heading("Checks")
    findings = []
    for one in examine(stream, db, state_folder()):
        findings.append(one)
        if not json:
            mark = Text(f"{one.verdict:<5}", style=_STYLES[one.verdict])
            render.show(mark + Text(f"{one.about:<11} {one.what}{f': {one.mend}' if one.mend else ''}"))
    if json:
        render.emit(told(settings, findings))
    fails = sum(one.verdict == FAIL for one in findings)
    if fails:
        fail(f"{render.plural(fails, 'check')} failed", ExitCode.CHECK_FAILED)


def _origin(ctx: typer.Context, name: str, value: str) -> str:
    """Where a value came from: a file that the environment names, the environment itself, the command line."""
    if name in (ctx.find_root().obj or {}):
        return "file"
    if os.environ.get(name):
        return "environment"
    return "default" if value in ("", options.DEFAULT_DB) or name != "AML_DB" else "command line"
