"""`aml demo`: the whole job at once, from an invented bank to the worst alerts and why."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from aml.cli import options, render, ruletext
from aml.cli.database import opened
from aml.cli.movements import show_hops
from aml.cli.progress import Work
from aml.cli.run import show_summary, summary_object
from aml.domain.finding import Family, Finding

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from aml.domain.alert import Alert

_WORST: Final = 10
_CHAIN: Final = "layering-chain"
_SENTENCE_END: Final = re.compile(r"\.\s+(?=[A-Z0-9])")  # a number's own point has no blank behind it


def add_to(app: typer.Typer) -> None:
    """Give `app` the command `demo`."""
    app.command("demo")(demo)


def demo(
    folder: Annotated[Path, typer.Option("--folder", metavar="DIR", help="Where the bank and its alerts go.")] = Path(
        "aml-demo"
    ),
    transactions: Annotated[int, typer.Option("--transactions", min=1_000, help="About how many.")] = 210_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed, another bank.")] = 1,
    json: options.Json = False,
) -> None:
    """Invent a bank, find what was planted in it, and show the ten worst alerts and one chain hop by hop.

    Begins anew each time: its own files of an earlier demo in the folder are replaced.
    """
    from aml.feed.simulate import SimulateSettings, simulate, write
    from aml.pipeline.embedded import RunSettings, run_feeds
    from aml.pipeline.kernels import compile_kernels
    from aml.store.queries import list_alerts

    began = time.monotonic()
    url = _begin(folder)
    render.say(f"inventing a bank of about {transactions:,} transactions in {folder}/")
    bank = write(simulate(SimulateSettings(transactions=transactions, seed=seed)), folder)
    compile_kernels(render.say)
    with Work("detect") as work:
        summary = run_feeds(RunSettings(feeds=(str(bank["transactions"]),), parties=bank["parties"], db=url), work)
    for message in summary.messages:
        render.say(message)
    with opened(url) as database, database.read() as connection:
        worst = list_alerts(connection, limit=_WORST)
        if json:
            seconds = round(time.monotonic() - began, 3)
            told = {"worst": [alert.alert_id for alert in worst], "seconds_in_all": seconds}
            render.emit({**summary_object(summary), **told, "database": url})
            return
        _show_worst(connection, worst)
        _show_chain(connection)
    show_summary(summary, url)
    render.show(f"\n{render.span((time.monotonic() - began) * 1e6)} in all, the simulation included")
    _show_next(worst, url)


def _begin(folder: Path) -> str:
    """Make the folder, take away what an earlier demo left there, and return the URL of its database."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("aml.db", "aml.db-wal", "aml.db-shm", "aml.db.lock"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "aml.db.state", ignore_errors=True)
    return f"sqlite:///{folder / 'aml.db'}"


def _show_worst(connection: Connection, worst: list[Alert]) -> None:
    from aml.store.findings import load_findings

    render.heading(f"The {len(worst)} worst alerts")
    loaded = load_findings(connection, (pair for alert in worst for pair in alert.findings))
    rows = []
    for alert in worst:
        findings = [loaded[pair] for pair in alert.findings]
        strongest = max(findings, key=lambda f: (f.opens, f.points, -f.crossed_at))
        others = len({f.rule for f in findings}) - 1
        why = _why(connection, strongest) + (f" (+ {render.plural(others, 'more rule')})" if others else "")
        cells = (render.short(alert.alert_id), f"{alert.score:.2f}", render.styled(alert.band.value))
        rows.append((*cells, alert.subject.id, why))
    render.table(["alert", "score", "band", "about", "why"], rows, right=["score"])


def _why(connection: Connection, finding: Finding) -> str:
    """One line of why: the rule's own sentence with its numbers, or what drove the model."""
    from aml.store.runs import load_text

    stored = load_text(connection, finding.rule_sha256)
    if finding.family is Family.MODEL and finding.notes:
        return finding.notes[0]
    if stored is None:
        return finding.rule
    return _SENTENCE_END.split(ruletext.sentence(ruletext.read_rule_text(stored.text), finding), maxsplit=1)[0]


def _show_chain(connection: Connection) -> None:
    """One layering chain, of the worst alert that has one, hop by hop."""
    from aml.store.queries import list_alerts, show_alert

    for alert in list_alerts(connection, rule=_CHAIN, limit=_WORST):
        file = show_alert(connection, alert.alert_id)
        paths = [finding for _, _, finding in file.findings if finding.rule == _CHAIN and finding.path]
        if paths:
            longest = max(paths, key=lambda finding: (len(finding.path), finding.finding_id))
            render.heading(f"A layering chain, hop by hop (alert {render.short(alert.alert_id)})")
            show_hops(longest.path, longest.currency, file.evidence)
            return


def _show_next(worst: list[Alert], url: str) -> None:
    wanted = render.short(worst[0].alert_id) if worst else "ID"
    render.heading("Try next")
    render.show(f"  {options.program()} alerts explain {wanted} --db {url}")
    render.show(f"  {options.program()} alerts list --rule structuring-kept-under --db {url}")
    render.show(f"  {options.program()} rules explain {_CHAIN}")
