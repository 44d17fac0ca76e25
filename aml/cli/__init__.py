"""The command line: `aml`, one module per group of commands, each command a thin function over the house's own."""

from __future__ import annotations

import sys
import traceback
from typing import Annotated

import typer

from aml.cli import (
    alerts,
    demo,
    dlq,
    doctor,
    evaluate,
    intake,
    publish,
    reconcile,
    rules,
    run,
    shards,
    simulate,
    status,
    topics,
    train,
    worker,
)
from aml.cli.codes import ExitCode, table_of_codes
from aml.cli.root import Root

app = typer.Typer(
    name="aml",
    cls=Root,
    help="Open anti-money-laundering transaction monitor: payments in, explained alerts out.",
    epilog=table_of_codes(),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
run.add_to(app)
simulate.add_to(app)
app.add_typer(alerts.app, name="alerts")
status.add_to(app)
app.add_typer(rules.app, name="rules")
train.add_to(app)
evaluate.add_to(app)
app.add_typer(dlq.app, name="dlq")
app.add_typer(topics.app, name="topics")
app.add_typer(shards.app, name="shards")
doctor.add_to(app)
reconcile.add_to(app)
publish.add_to(app)
intake.add_to(app)
worker.add_to(app)
demo.add_to(app)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"aml {version('aml-monitor')}")
        raise typer.Exit


@app.callback()
def _options(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Open anti-money-laundering transaction monitor: payments in, explained alerts out."""
    import os

    from aml.settings import with_files

    # What files set; `aml doctor` says so.
    ctx.obj = with_files(os.environ)
    os.environ.update(ctx.obj)


def main() -> None:
    """The console script `aml`."""
    try:
        app()
    except Exception:
        traceback.print_exc()
        sys.stderr.write("error: a defect of aml: please report it with the lines above\n")
        sys.exit(ExitCode.DEFECT)
