"""Evidence as tables: transactions in the engine's order, or a path hop by hop."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from aml.cli import render
from aml.domain.finding import Hop

Record = Mapping[str, Any]
_HOUR: Final = 3_600_000_000


def show_transactions(
    transaction_ids: Sequence[str], evidence: Mapping[str, Record], decided: Collection[str], most: int
) -> None:
    """The transactions that a finding names; those an earlier alert decided are marked."""
    shown = transaction_ids if most == 0 else transaction_ids[:most]
    rows = [_transaction(name, evidence.get(name), name in decided) for name in shown]
    render.show()
    render.table(["  time (UTC)", "transaction", "from", "to", "amount", "how", ""], rows, right=["amount"])
    if len(shown) < len(transaction_ids):
        render.show(f"  … and {len(transaction_ids) - len(shown):,} more: --transactions 0 lists all")


def _transaction(name: str, record: Record | None, decided: bool) -> tuple[str, ...]:
    mark = "decided before" if decided else ""
    if record is None:
        return ("  –", name, "", "", "", "record not kept", mark)
    amount = record.get("amount")
    return (
        f"  {render.moment(record.get('executed_at'))}",
        name,
        party(record, "originator"),
        party(record, "beneficiary"),
        "–" if amount is None else render.money(amount, record["currency"]),
        manner(record),
        mark,
    )


def party(record: Record, side: str) -> str:
    """Who stands at one side: name, customer and account as far as the record has them; cash is told as such."""
    name, customer, account = (record.get(f"{side}_{part}") for part in ("name", "customer", "account"))
    who = name or customer or account
    if who is None:
        return "cash" if record.get(f"{side}_method") == _cash() else "–"
    return f"{who} ({account})" if account is not None and account != who else str(who)


def _cash() -> int:
    from aml.domain.transaction import Method

    return Method.CASH.value


def manner(record: Record) -> str:
    """Instrument, channel and place in words: "cash, branch B1"."""
    from aml.domain.transaction import Channel, Instrument

    words = [] if record.get("instrument") is None else [Instrument(record["instrument"]).name.lower()]
    if record.get("branch") is not None:
        words.append(f"branch {record['branch']}")
    elif record.get("channel") is not None:
        words.append(Channel(record["channel"]).name.lower())
    if record.get("terminal") is not None:
        words.append(f"machine {record['terminal']}")
    conductor = record.get("conductor_name") or record.get("conductor")
    if conductor is not None:
        words.append(f"by {conductor}")
    return ", ".join(words)


def show_hops(path: Sequence[Hop], currency: str, evidence: Mapping[str, Record]) -> None:
    """A path hop by hop: how long the money was held before each hop, and how much of the hop before went on."""
    render.show()
    names = ["  hop", "time (UTC)", "transaction", "from", "to", "amount", "held", "kept", ""]
    rows = [_hop(place, path, currency, evidence) for place in range(len(path))]
    render.table(names, rows, right=["amount", "held", "kept"])
    if len(path) > 1 and path[0].amount:
        hours = render.span(path[-1].at - path[0].at)
        share = render.percent(path[-1].amount / path[0].amount)
        render.show(f"  {share} of the first amount arrives at the end, after {hours}")


def _hop(place: int, path: Sequence[Hop], currency: str, evidence: Mapping[str, Record]) -> tuple[str, ...]:
    hop = path[place]
    before = path[place - 1] if place else None
    return (
        f"  {place + 1}",
        render.moment(hop.at),
        hop.transaction_id,
        hop.from_holder,
        hop.to_holder,
        render.money(hop.amount, currency),
        "" if before is None else f"{(hop.at - before.at) / _HOUR:.1f} h",
        "" if before is None or not before.amount else render.percent(hop.amount / before.amount),
        "" if hop.transaction_id in evidence else "record not kept",
    )
