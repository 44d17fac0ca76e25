"""A colleague's note on one alert: why it stands, each reason with its evidence, and what the rules cannot see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from aml.cli import options, render, ruletext
from aml.cli.modelnote import show_strange, terms
from aml.cli.movements import show_hops, show_transactions
from aml.domain.finding import Family, Finding, Value
from aml.scoring.combine import Part
from aml.scoring.config import parse_scoring
from aml.scoring.explain import score_lines
from aml.store.queries import AlertFile
from aml.store.runs import InForce

Rederive = Callable[[str, Finding], str | None]
_LONG: Final = 100
_HASH: Final = 16


def write_note(
    file: AlertFile, texts: Mapping[str, InForce], rederive: Rederive, *, most: int, where: str = ""
) -> None:
    """Show the note.

    texts: stored texts by hash; rederive: None where the stored rule text gives the finding again, else what differs;
    most: transactions to list per finding, 0 = all; where: what the next commands need to find the database.
    """
    _whom(file)
    _score(file, texts)
    for place, (_, group) in enumerate(groupby(_findings(file), key=_reason), start=1):
        held = list(group)
        _show_reason(place, held, _part_of(file, held[0]), texts.get(held[0].rule_sha256))
        for finding in held:
            _show_finding(finding, file, most)
        _weigh(held, texts.get(held[0].rule_sha256), file, rederive)
    _next(file, where)


def _findings(file: AlertFile) -> list[Finding]:
    """Findings by reason, the reason that counts most first, each in its weeks' order."""
    counted = {part.rule: part.points_counted for part in file.parts}
    found = [finding for _, _, finding in file.findings]
    return sorted(found, key=lambda f: (-counted.get(f.rule, 0), *_reason(f), f.week))


def _reason(finding: Finding) -> tuple[str, int, str]:
    return finding.rule, finding.rule_version, finding.rule_sha256


def _part_of(file: AlertFile, finding: Finding) -> Part | None:
    return next((part for part in file.parts if part.rule == finding.rule), None)


def _whom(file: AlertFile) -> None:
    alert = file.alert
    render.heading(f"Alert {alert.alert_id}")
    subject = f"{alert.subject.kind.value} {alert.subject.id} of {alert.subject.party_institution}"
    disposition = f", {alert.disposition.value.replace('_', ' ')}" if alert.disposition is not None else ""
    pairs = [
        ("about", subject),
        ("score", f"{alert.score:.4f}, {alert.band.value} ({render.plural(alert.points, 'point')})"),
        ("status", f"{alert.status.value.replace('_', ' ')}{disposition}"),
        ("crossed", f"{render.moment(alert.crossed_at)} UTC, by the transaction that first reached the threshold"),
        ("raised", f"{render.moment(alert.raised_at)} UTC"),
    ]
    if alert.previous_alert_id is not None:
        pairs.append(("follows", f"alert {render.short(alert.previous_alert_id)}, closed before"))
    if alert.networks:
        pairs.append(("network", ", ".join(map(render.short, alert.networks)) + " (alerts that share one go together)"))
    render.facts(pairs)


def _score(file: AlertFile, texts: Mapping[str, InForce]) -> None:
    render.heading("How the score comes about")
    stored = texts.get(file.scoring_sha256)
    if stored is not None:
        render.bullets(score_lines(file.parts, parse_scoring(stored.text, "the stored scoring.toml")))
        return
    render.bullets(f"{part.rule}: {part.points_counted} of {part.points_full} points" for part in file.parts)


def _show_reason(place: int, held: Sequence[Finding], part: Part | None, stored: InForce | None) -> None:
    first = held[0]
    title = ruletext.read_rule_text(stored.text).title if stored is not None else first.rule
    render.heading(f"{place}. {title}")
    opens = "opens an alert" if any(finding.opens for finding in held) else "supports, opens no alert alone"
    points = "" if part is None else f", counts {part.points_counted} points"
    render.paragraph(
        f"{first.rule} · {first.family.value}, {first.typology} · {first.severity.value} · {opens}{points}"
    )
    if stored is not None:
        strongest = max(held, key=lambda finding: (finding.opens, finding.points))
        said = ruletext.sentence(ruletext.read_rule_text(stored.text), strongest)
        if said != title:
            render.show()
            render.paragraph(said)


def _show_finding(finding: Finding, file: AlertFile, most: int) -> None:
    near = "" if finding.opens else " · near miss"
    period = f"{render.day(finding.first_at)} to {render.day(finding.last_at)}"
    total = render.money(finding.total, finding.currency)
    transactions = render.plural(len(finding.transaction_ids), "transaction")
    render.show()
    render.paragraph(f"Week of {finding.week.isoformat()}{near}: {period}, {transactions}, {total}")
    if finding.family is Family.MODEL:
        show_strange(finding, file.evidence)
    else:
        render.paragraph("measured: " + " · ".join(f"{name} {value}" for name, value in ruletext.measured(finding)))
        render.bullets(ruletext.markers(finding), mark="marker")
        render.bullets(finding.notes, mark="note:")
    exemption = ruletext.exemption(finding.parameters)
    if exemption:
        sampled = "; opens all the same, as one in twenty do" if finding.opens else ""
        render.bullets([exemption + sampled], mark="note:")
    if finding.path:
        show_hops(finding.path, finding.currency, file.evidence)
    else:
        show_transactions(finding.transaction_ids, file.evidence, file.decided, most)


def _weigh(held: Sequence[Finding], stored: InForce | None, file: AlertFile, rederive: Rederive) -> None:
    """What speaks against the reason, what to ask, and what the reason rests on."""
    if stored is not None:
        text = ruletext.read_rule_text(stored.text)
        for title, lines in (
            ("What this cannot see", text.blind_spots),
            ("Often innocent", text.false_positives),
            ("Ask", text.triage),
        ):
            if lines:
                render.show(f"\n  {title}")
                render.bullets(lines)
    first = held[0]
    parameters = " · ".join(f"{name} = {_plain(value)}" for name, value in _in_force(first))
    what = "rule"
    if first.family is Family.MODEL:
        what, parameters = "model", terms(first.parameters)
    render.show("\n  In force")
    render.facts(
        [
            (f"  {what}", f"{first.rule} version {first.rule_version}, sha256 {first.rule_sha256[:_HASH]}…"),
            ("  parameters", parameters or "none"),
            ("  derived again", " ".join(_derived(held, stored, file, rederive))),
        ]
    )


def _in_force(finding: Finding) -> Iterator[tuple[str, Value]]:
    """The parameters of the rule; an exemption is told in words."""
    return ((name, value) for name, value in finding.parameters.items() if not name.startswith("exempt_"))


def _plain(value: Any) -> str:
    return render.number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _derived(held: Sequence[Finding], stored: InForce | None, file: AlertFile, rederive: Rederive) -> Iterator[str]:
    """Whether stored rule text, measurements and records still give the finding."""
    if stored is None:
        yield "no: the rule's text is not stored"
        return
    differences = [f"week of {f.week.isoformat()}: {why}" for f in held if (why := rederive(stored.text, f))]
    yield "no: " + "; ".join(differences) if differences else "yes: the stored rule text gives the same points"
    named = {transaction_id for finding in held for transaction_id in finding.transaction_ids}
    missing = sorted(named - file.evidence.keys())
    if missing:
        yield f"(but {render.plural(len(missing), 'record is', 'records are')} not kept: {', '.join(missing)[:_LONG]})"
    else:
        yield f"({render.plural(len(named), 'record')} kept whole)"


def _next(file: AlertFile, where: str) -> None:
    render.heading("Next")
    wanted = render.short(file.alert.alert_id)
    render.paragraph(f"{options.program()} alerts show {wanted}{where}   who did what, and when")
    if file.alert.status.is_open:
        render.paragraph(f"{options.program()} alerts close {wanted} --disposition D --reason TEXT{where}")
