"""`aml train`: anomaly models from one's own unlabelled history."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aml.cli import options, render
from aml.cli.progress import Work


def add_to(app: typer.Typer) -> None:
    """Give `app` the command `train`."""
    app.command("train")(train)


def train(
    feeds: options.Feeds,
    parties: options.Parties = None,
    rates: options.Rates = None,
    mapping: options.Mapping = None,
    institution: options.Institution = None,
    profile: options.Profile = options.DEFAULT_PROFILE,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Write DIR/<model>/.")] = Path("aml-models"),
    json: options.Json = False,
) -> None:
    """Train the models on history without labels; `aml run --models DIR` uses them."""
    from aml.pipeline.kernels import compile_kernels
    from aml.pipeline.training import TrainSettings, train_feeds

    settings = TrainSettings(
        feeds=tuple(feeds),
        parties=parties,
        rates=rates,
        mapping=mapping,
        institution=institution,
        profile=profile,
        out=out,
    )
    compile_kernels(render.say)
    with Work("train") as work:
        trained = train_feeds(settings, work)
    told = {
        "transactions": trained.transactions,
        "legs": trained.legs,
        "seconds": round(trained.seconds, 3),
        "models": [{"id": m.id, "version": m.version, "folder": str(m.folder)} for m in trained.models],
    }
    if json:
        render.emit(told)
        return
    rows = ((m.id, str(m.version), str(m.folder)) for m in trained.models)
    render.table(["model", "version", "folder"], rows, right=["version"])
    took = render.span(trained.seconds * 1e6)
    render.show(f"\n{trained.transactions:,} transactions read, {trained.legs:,} legs learnt from, {took}")
    render.show(f"Use them: aml run FEED --models {out}")
