"""What a model found, as a colleague tells it: which payment, what drove it, how rare that is, and what it lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from aml.cli import render, ruletext
from aml.cli.movements import Record, manner, party
from aml.domain.finding import Finding, Value

_APART: Final = "; "  # between the phrases of a note, as `pipeline.strange` writes them


def show_strange(finding: Finding, evidence: Mapping[str, Record]) -> None:
    """The strangest payment of a finding and what drove it, then the others."""
    strongest = _strongest(finding, evidence)
    first, *others = finding.notes or ("",)
    render.paragraph(_payment(strongest, evidence.get(strongest)))
    render.paragraph(" ".join(_rarity(finding)))
    render.bullets(phrase for phrase in first.split(_APART) if phrase)
    render.bullets(others, mark="also")


def _strongest(finding: Finding, evidence: Mapping[str, Record]) -> str:
    """The transaction that the first note speaks of: the one at the moment at which the finding crossed."""
    named = {note.partition(":")[0] for note in finding.notes[1:]}
    then = [i for i in finding.transaction_ids if evidence.get(i, {}).get("executed_at") == finding.crossed_at]
    return next((i for i in then if i not in named), (then or list(finding.transaction_ids))[0])


def _payment(name: str, record: Record | None) -> str:
    if record is None or record.get("amount") is None:
        return f"{name}: the record is not kept"
    money = render.money(record["amount"], record["currency"])
    way = f"from {party(record, 'originator')} to {party(record, 'beneficiary')}"
    return f"{name}: {money} {way}, {manner(record)}, {render.moment(record.get('executed_at'))} UTC"


def _rarity(finding: Finding) -> Iterator[str]:
    """How rare the payment is, and why the model opens nothing where it is rare enough."""
    one_in, known = finding.measured.get("one_in"), finding.measured.get("known_days")
    if isinstance(one_in, int):
        yield f"About one in {_rounded(one_in)} payments of its training history is as strange."
    if isinstance(known, int):
        tail, bound = finding.measured.get("tail"), finding.parameters.get("opening_quantile")
        rare = isinstance(tail, float) and isinstance(bound, float) and tail <= bound
        short = ", too short for a model to open an alert alone" if rare and not finding.opens else ""
        yield f"The holder had been known for {ruletext.days(known)}{short}."


def _rounded(number: int) -> str:
    """To two places: 590,000."""
    return f"{float(f'{number:.2g}'):,.0f}"


def terms(parameters: Mapping[str, Value]) -> str:
    """What a model's findings were judged by, in words."""
    opens, supports = (_one_in(parameters.get(name)) for name in ("opening_quantile", "supporting_quantile"))
    artefact = str(parameters.get("artefact_sha256", ""))[:16]
    kind = str(parameters.get("segment", "")).replace("_", " ")
    article = "an" if kind[:1] in "aeiou" else "a"
    return f"opens beyond {opens}, supports beyond {supports}, for {article} {kind}; artefact sha256 {artefact}…"


def _one_in(quantile: Any) -> str:
    return f"one in {1 / quantile:,.0f}" if isinstance(quantile, float) and quantile > 0 else "an unknown rarity"
