"""`aml topics`: makes and checks the topics by their contracts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aml.cli import render
from aml.cli.codes import ExitCode, fail
from aml.cli.options import Json

if TYPE_CHECKING:
    from aml.stream.topics import Told

app = typer.Typer(no_args_is_help=True, help="The topics of the streaming service: make, check, describe.")


@app.command()
def apply(
    shards: Annotated[
        int,
        typer.Option(
            "--shards", envvar="AML_SHARDS", min=1, max=256, show_default=True,
            help="Shards, if the internal topics are new: fixed from then on; as many workers at most.",
        ),
    ] = 4,
    replication: Annotated[
        int, typer.Option("--replication", help="Copies of each partition.", show_default="the brokers' default")
    ] = -1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing: tell what would be done.")] = False,
    json: Json = False,
) -> None:
    """Make topics that are not there, and set what the others lack; partitions stay as they are."""
    from aml.stream.contract import load_contracts
    from aml.stream.settings import load_stream_settings
    from aml.stream.topics import administering

    with administering(load_stream_settings(), load_contracts()) as topics:
        told = topics.apply(shards, replication, dry_run)
    if json:
        render.emit({"dry_run": dry_run, "topics": [_object(one) for one in told]})
        return
    rows = [(one.topic, str(one.partitions), ", ".join(one.did) or "is as it should be") for one in told]
    render.table(["topic", "partitions", "would be done" if dry_run else "done"], rows, right=["partitions"])


@app.command()
def check(json: Json = False) -> None:
    """Hold every topic against its contract; ends with code 1 where one differs."""
    from aml.stream.contract import load_contracts
    from aml.stream.settings import load_stream_settings
    from aml.stream.topics import administering

    with administering(load_stream_settings(), load_contracts()) as topics:
        told = topics.check()
    faults = [f"{one.topic} {fault}" for one in told for fault in one.faults]
    if json:
        render.emit({"ok": not faults, "topics": [_object(one) for one in told]})
    else:
        rows = [(one.topic, str(one.partitions), "; ".join(one.faults) or "ok") for one in told]
        render.table(["topic", "partitions", "state"], rows, right=["partitions"])
    if faults:
        fail(f"{render.plural(len(faults), 'fault')}: {faults[0]}", ExitCode.CHECK_FAILED)


@app.command()
def asyncapi() -> None:
    """Print the AsyncAPI 3 document of the topics, for catalogues and code generators."""
    from aml.stream.asyncapi import document
    from aml.stream.contract import load_contracts
    from aml.stream.settings import load_stream_settings

    render.emit(document(load_contracts(), load_stream_settings()))


def _object(told: Told) -> dict[str, object]:
    return {"topic": told.topic, "partitions": told.partitions, "did": told.did, "faults": told.faults}
