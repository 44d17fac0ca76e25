"""`aml simulate`: an invented bank with planted laundering, and the truth in a file apart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aml.cli import options, render
from aml.cli.progress import Work


def add_to(app: typer.Typer) -> None:
    """Give `app` the command `simulate`."""
    app.command("simulate")(simulate)


def simulate(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write to.")] = Path("aml-bank"),
    transactions: Annotated[int, typer.Option("--transactions", min=1_000, help="About how many.")] = 200_000,
    days: Annotated[int, typer.Option("--days", min=7, max=3_660, help="Over how many days.")] = 90,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same bytes.")] = 1,
    profile: options.Profile = options.DEFAULT_PROFILE,
    launderers: Annotated[
        bool, typer.Option("--launderers/--no-launderers", help="Plant laundering, or leave the same life clean.")
    ] = True,
    json: options.Json = False,
) -> None:
    """Invent a bank: people, companies, shops, processors, and laundering of every typology planted among them.

    Writes transactions.parquet, parties.csv, rates.csv and truth.csv, which says what was planted.
    """
    from aml.feed.simulate import SimulateSettings, write
    from aml.feed.simulate import simulate as invent

    settings = SimulateSettings(transactions=transactions, days=days, seed=seed, profile=profile, launderers=launderers)
    with Work("simulate"):
        bank = invent(settings)
        written = write(bank, out)
    told = {
        "transactions": bank.transactions.height,
        "planted": bank.truth.height,
        "attempts": bank.truth["attempt"].n_unique(),
        "files": {name: str(path) for name, path in sorted(written.items())},
    }
    if json:
        render.emit(told)
        return
    render.show(
        f"{bank.transactions.height:,} transactions, {bank.truth.height:,} of them in {told['attempts']} attempts"
    )
    render.facts((name, str(path)) for name, path in sorted(written.items()))
