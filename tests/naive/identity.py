"""Which records stand: duplicates, conflicts, revisions, voids and reversals, judged one by one (DESIGN, Identity)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

DAY = 86_400_000_000
LATENESS = 7 * DAY
PROGRESS_RANK = 100

INSTRUMENTS = ("cash", "wire", "ach", "instant", "card", "cheque", "crypto", "internal", "other")
CHANNELS = ("branch", "atm", "online", "mobile", "api", "correspondent", "other")
INITIATED = ("customer", "bank", "third_party")
STATUSES = ("booked", "attempted", "pending", "rejected", "cancelled")
METHODS = ("account", "cash", "cheque", "monetary_instrument", "card", "crypto")
RELATIONS = ("reversal", "return", "refund", "chargeback", "recall")
SIDES = ("both", "debit", "credit")
PRECISIONS = ("instant", "minute", "day")
WORDS = {
    "instrument": INSTRUMENTS, "channel": CHANNELS, "initiated_by": INITIATED, "status": STATUSES,
    "relation": RELATIONS, "entry_side": SIDES, "time_precision": PRECISIONS,
    "originator_method": METHODS, "beneficiary_method": METHODS,
}
DEFAULTS: dict[str, Any] = {
    "institution": "main", "revision": 1, "void": False, "batch_lump": False,
    "initiated_by": "customer", "status": "booked", "entry_side": "both", "time_precision": "instant",
}
END = ("account", "customer", "name", "country", "institution", "method", "ultimate", "balance_after")
FIELDS = (
    "transaction_id", "institution", "revision", "void", "source", "source_sequence", "executed_at", "time_precision",
    "booking_date", "value_date", "amount", "currency", "credit_amount", "credit_currency", "debit_value",
    "credit_value", "instrument", "channel", "initiated_by", "status", "relation", "entry_side",
    *(f"originator_{e}" for e in END), *(f"beneficiary_{e}" for e in END), "intermediaries", "branch", "terminal",
    "teller", "conductor", "conductor_name", "on_behalf_of", "merchant", "merchant_category", "device", "ip",
    "relates_to", "batch_id", "batch_lump", "purpose", "end_to_end_id", "uetr", "extra", "place",
)
LINEAGE = ("place", "source", "source_sequence", "debit_value", "credit_value")
Record = dict[str, Any]


def record(row: Mapping[str, Any]) -> Record:
    """A whole canonical row: every field present, enumerations as words, dates as ordinal day numbers."""
    unknown = set(row) - set(FIELDS)
    assert not unknown, f"no such field: {sorted(unknown)}"
    full: Record = {name: row.get(name) for name in FIELDS}
    for name, value in DEFAULTS.items():
        if full[name] is None:
            full[name] = value
    for name, words in WORDS.items():
        if isinstance(full[name], int):
            full[name] = words[full[name]]
        assert full[name] is None or full[name] in words, (name, full[name])
    for name in ("booking_date", "value_date"):
        if isinstance(full[name], date):
            full[name] = full[name].toordinal()
    if full["debit_value"] is None:
        full["debit_value"] = full["amount"]
    if full["credit_value"] is None:
        full["credit_value"] = full["credit_amount"] if full["credit_amount"] is not None else full["debit_value"]
    return full


def first_account(r: Record) -> tuple[str, str] | None:
    """Originator's institution and account (else customer), else the beneficiary's, else the conductor's."""
    for end in ("originator", "beneficiary"):
        name = r[f"{end}_account"] or r[f"{end}_customer"]
        if name is not None:
            return (r[f"{end}_institution"] or r["institution"], name)
    if r["conductor"] is not None:
        return (r["institution"], r["conductor"])
    return None


def identity(r: Record) -> tuple[Any, ...]:
    """What makes two records the same one."""
    return (r["institution"], first_account(r), r["transaction_id"], r["revision"], r["void"])


def content(r: Record) -> tuple[Any, ...]:
    """What two copies of a record share: all that the bank said, not where it stood or what rates made of it."""
    return tuple(r[name] for name in FIELDS if name not in LINEAGE)


def watermark(times: list[int]) -> int | None:
    """The 100th-highest time read so far of one tenant (one source), or None under 100 records."""
    return sorted(times, reverse=True)[PROGRESS_RANK - 1] if len(times) >= PROGRESS_RANK else None


def standing(
    rows: Iterable[Mapping[str, Any]], lateness: int = LATENESS, *, judge_late: bool = False
) -> tuple[list[Record], Counter[str], list[tuple[Record, str]]]:
    """The records whose legs stand after all rows, in arrival order; counts; the rejects with their codes.

    With judge_late, a record more than `lateness` behind the 100th-highest time of its tenant among the rows before it
    is rejected as too late; an act on an older record (a revision, a void) that is too late removes nothing.
    """
    counts: Counter[str] = Counter(
        dict.fromkeys(("read", "scored", "duplicates", "superseded", "voided", "not_booked", "own", "reversed"), 0)
    )
    rejects: list[tuple[Record, str]] = []
    accepted: list[Record] = []
    held: dict[tuple[Any, ...], Record] = {}
    seen: dict[str, set[tuple[Any, ...]]] = {}  # a record that comes again moves no watermark
    marks: dict[int, int | None] = {}
    for row in rows:
        r = record(row)
        counts["read"] += 1
        mark = watermark([t for t, *_ in seen.get(r["institution"], ())]) if judge_late else None
        if r["executed_at"] is not None:
            seen.setdefault(r["institution"], set()).add((r["executed_at"], first_account(r), r["transaction_id"]))
        before = held.get(identity(r))
        if before is not None:
            if content(before) == content(r):
                counts["duplicates"] += 1
            else:
                rejects.append((r, "conflict"))
            continue
        if mark is not None and not r["void"] and r["executed_at"] < mark - lateness:
            rejects.append((r, "too_late"))
            continue
        held[identity(r)] = r
        marks[id(r)] = mark
        accepted.append(r)
    counts["scored"] = len(accepted)

    def acts(act: Record, on: Record) -> bool:
        mark = marks[id(act)]
        arrived_after = accepted.index(act) > accepted.index(on)
        return not (mark is not None and arrived_after and on["executed_at"] < mark - lateness)

    current: list[Record] = []
    named: dict[tuple[str, str], list[Record]] = {}
    for r in accepted:
        named.setdefault((r["institution"], r["transaction_id"]), []).append(r)
    for r in accepted:
        if r["void"]:
            continue
        others = [o for o in named[r["institution"], r["transaction_id"]] if o is not r and acts(o, r)]
        if any(not o["void"] and o["revision"] > r["revision"] for o in others):
            counts["superseded"] += 1
        elif any(o["void"] and o["revision"] >= r["revision"] for o in others):
            counts["voided"] += 1
        else:
            current.append(r)
    stand: list[Record] = []
    reversals = [r for r in current if r["relation"] == "reversal"]
    for r in current:
        if r["status"] != "booked":
            counts["not_booked"] += 1
        elif r["relation"] != "reversal" and any(reverses(o, r, lateness) for o in reversals):
            counts["reversed"] += 1
        else:
            stand.append(r)
    return [r for r in stand if r["relation"] != "reversal"], counts, rejects


def reverses(r: Record, original: Record, lateness: int) -> bool:
    """Whether r is a booked reversal that fits the original: id, amount, currency, within the lateness after it."""
    return bool(
        r["relation"] == "reversal" and r["status"] == "booked" and r["institution"] == original["institution"]
        and r["relates_to"] == original["transaction_id"] and r["amount"] == original["amount"]
        and r["currency"] == original["currency"]
        and 0 <= r["executed_at"] - original["executed_at"] <= lateness
    )
