"""Small factories of canonical rows; times in hours from Monday 2 March 2026, 09:00 in the profile's zone."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from tests.naive.book import HOUR, Profile

US = Profile()
CA = Profile("ca", "America/Toronto", "CA", 1_000_000, True, True, False, False)
AU = Profile("au", "Australia/Sydney", "AU", 1_000_000, True, False, True, False)
PROFILES = {"us": US, "ca": CA, "au": AU}


def start(profile: Profile = US) -> int:
    """Monday 2 March 2026, 09:00 there, in UTC microseconds."""
    return round(datetime(2026, 3, 2, 9, tzinfo=ZoneInfo(profile.zone)).timestamp()) * 1_000_000


class Feed:
    """Rows in the making, each with the next id."""

    def __init__(self, profile: Profile = US) -> None:
        self.profile = profile
        self.rows: list[dict[str, Any]] = []

    def add(self, hours: float, amount: float, **more: Any) -> dict[str, Any]:
        """One row; amount in major units."""
        row = {
            "transaction_id": f"t{len(self.rows) + 1:03}", "executed_at": start(self.profile) + round(hours * HOUR),
            "amount": round(amount * 100), "currency": "USD", "instrument": "wire", **more,
        }
        self.rows.append(row)
        return row

    def pay(self, hours: float, payer: str, payee: str, amount: float, **more: Any) -> dict[str, Any]:
        """A payment between two customers, each with an account of his name."""
        return self.add(
            hours, amount, originator_account=f"{payer}-1", originator_customer=payer,
            beneficiary_account=f"{payee}-1", beneficiary_customer=payee, **more,
        )

    def cash_in(self, hours: float, who: str, amount: float, branch: str | None = "A", **more: Any) -> dict[str, Any]:
        """A cash deposit."""
        return self.add(hours, amount, **{
            "instrument": "cash", "originator_method": "cash", "beneficiary_account": f"{who}-1",
            "beneficiary_customer": who, "branch": branch, **more,
        })

    def cash_out(self, hours: float, who: str, amount: float, branch: str | None = "A", **more: Any) -> dict[str, Any]:
        """A cash withdrawal."""
        return self.add(hours, amount, **{
            "instrument": "cash", "beneficiary_method": "cash", "originator_account": f"{who}-1",
            "originator_customer": who, "branch": branch, **more,
        })


def party(who: str, **more: Any) -> dict[str, Any]:
    """The owner's row of a customer's first account."""
    return {"institution": "main", "account": f"{who}-1", "customer": who, "role": "owner", **more}
