"""The engine's order key of one row, from its plain-Python definition."""

from __future__ import annotations

from aml.engine.keys import hash_row
from tests.naive.identity import Record


def engine_key(r: Record) -> tuple[int, int]:
    """Tenant; the first account's institution and account, else customer, else the conductor; transaction_id."""
    account = customer = conductor = None
    bank = r["institution"]
    for end in ("originator", "beneficiary"):
        account, customer = r[f"{end}_account"], r[f"{end}_customer"]
        if account is not None or customer is not None:
            bank = r[f"{end}_institution"] or bank
            break
    else:
        conductor = r["conductor"]
    only = None if account is not None else customer
    return hash_row([r["institution"], bank, account, only, conductor, r["transaction_id"]])
