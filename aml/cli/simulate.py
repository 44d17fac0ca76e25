"""`aml simulate`: an invented bank with planted laundering, and the truth in a file apart."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from aml.cli import options, render
from aml.cli.progress import Work


class Form(StrEnum):
    """How the transactions may be written."""

    PARQUET = "parquet"
    NDJSON = "ndjson"
    CSV = "csv"
    NDJSON_GZ = "ndjson.gz"
    CSV_GZ = "csv.gz"


def add_to(app: typer.Typer) -> None:
    """Give `app` the command `simulate`."""
    app.command("simulate")(simulate)


def simulate(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write to.")] = Path("aml-bank"),
    transactions: Annotated[int, typer.Option("--transactions", min=1_000, help="About how many.")] = 200_000,
    days: Annotated[int, typer.Option("--days", min=7, max=3_660, help="Over how many days.")] = 120,
    start: Annotated[str, typer.Option("--start", metavar="DATE", help="The first day.")] = "2026-01-05",
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same bytes.")] = 1,
    profile: options.Profile = options.DEFAULT_PROFILE,
    institution: Annotated[str, typer.Option("--institution", metavar="ID", help="Whose records these are.")] = "main",
    attempts: Annotated[
        int | None,
        typer.Option("--attempts", min=0, help="Laundering attempts to plant.", show_default="1 row in 1,000"),
    ] = None,
    launderers: Annotated[
        bool, typer.Option("--launderers/--no-launderers", help="Plant laundering, or leave the same life clean.")
    ] = True,
    form: Annotated[Form, typer.Option("--format", help="How the transactions are written.")] = Form.PARQUET,
    json: options.Json = False,
) -> None:
    """Invent a bank: people, companies, shops, processors, and laundering of every typology planted among them.

    Writes transactions, parties.csv, and truth.csv, which says what was planted.
    """
    from aml.feed.simulate import SimulateSettings, write
    from aml.feed.simulate import simulate as invent

    settings = SimulateSettings(
        transactions=transactions,
        days=days,
        start=options.read_day(start, "--start"),
        seed=seed,
        profile=profile,
        institution=institution,
        attempts=attempts,
        launderers=launderers,
    )
    began = time.monotonic()
    with Work("simulate") as work:
        bank = invent(settings)
        work(bank.transactions.height)
        written = write(bank, out, form.value)
    seconds = time.monotonic() - began
    number, planted, tries = bank.transactions.height, bank.truth.height, bank.truth["attempt"].n_unique()
    if json:
        told = {"transactions": number, "planted": planted, "attempts": tries, "seconds": round(seconds, 3)}
        render.emit({**told, "files": {name: str(path) for name, path in written.items()}})
        return
    attempted = f"{planted:,} of them in {render.plural(tries, 'attempt')} to launder"
    render.show(f"{number:,} transactions, {attempted}; {seconds:.1f} s")
    render.facts((name, str(path)) for name, path in written.items())
    render.show(f"\nTry: {options.program()} run {written['transactions']} --parties {written['parties']}")
