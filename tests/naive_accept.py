"""The slow, obvious twin of acceptance: identity, lateness, revisions, voids, reversals, one record at a time."""

from __future__ import annotations

from typing import Any

from aml.engine import keys

Row = dict[str, Any]
REVERSAL = 0
BOOKED = 0


def first_account(row: Row) -> tuple[str | None, ...]:
    """(institution, account, customer, conductor) of the end that gives the record its identity."""
    for end in ("originator", "beneficiary"):
        institution = row.get(f"{end}_institution") or row["institution"]
        if row.get(f"{end}_account") is not None:
            return institution, row[f"{end}_account"], None, None
        if row.get(f"{end}_customer") is not None:
            return institution, None, row[f"{end}_customer"], None
    conductor = row.get("conductor")
    return (row["institution"] if conductor else None), None, None, conductor


class NaiveAcceptance:
    """Feed it rows one by one; `outcomes`, `standing` and `counts` say what it thinks."""

    def __init__(self, lateness: int) -> None:
        self.lateness = lateness
        self.seen: set[tuple[Any, ...]] = set()
        self.accepted: list[Row] = []
        self.outcomes: list[str] = []
        self.mark: int | None = None

    def arrive(self, row: Row) -> None:
        """Judge one readable record of the one tenant."""
        mark = self.mark
        if row["executed_at"] is not None:
            self.seen.add((row["executed_at"], first_account(row), row["transaction_id"]))
            best = sorted((record[0] for record in self.seen), reverse=True)
            self.mark = best[99] if len(best) >= 100 else None
        self.outcomes.append(self._judge(row, mark))

    def checkpoint(self, horizon: int) -> None:
        """Old records neither act nor suffer any more; their identities stay known.

        A revision or void counts from its arrival, since what it acts on may come after it.
        """
        for row in self.accepted:
            since = row["executed_at"]
            if row["void"] or row["revision"] > 1:
                since = max((t for t in (since, row["seen"]) if t is not None), default=None)
            if since is not None and self.mark is not None and since < self.mark - horizon:
                row["gone"] = True

    def _judge(self, row: Row, mark: int | None) -> str:
        who = (first_account(row), row["transaction_id"], row["revision"], row["void"])
        family = [r for r in self.accepted if r["transaction_id"] == row["transaction_id"]]
        for other in family:
            if other["who"] == who:
                return "duplicate" if _content(other) == _content(row) else "conflict"
        family = [r for r in family if not r["gone"]]
        for other in family:
            if other["void"] or self._late(other, mark):
                continue
            if row["void"] and other["revision"] <= row["revision"]:
                other["voided"] = True
            if not row["void"] and other["revision"] < row["revision"]:
                other["superseded"] = True
        if not row["void"] and self._late(row, mark):
            return "too_late"
        voids = [r for r in family if r["void"] and r["revision"] >= row["revision"]]
        higher = [r for r in family if not r["void"] and r["revision"] > row["revision"]]
        mine = row | {"who": who, "voided": False, "superseded": False, "seen": mark, "gone": False}
        if not row["void"]:
            mine |= {"voided": bool(voids), "superseded": bool(higher)}
        self.accepted.append(mine)
        return "new"

    def _late(self, row: Row, mark: int | None) -> bool:
        return mark is not None and row["executed_at"] is not None and row["executed_at"] < mark - self.lateness

    def _fits(self, reversal: Row, row: Row) -> bool:
        out = (reversal, row)
        if any(r["voided"] or r["superseded"] or r["void"] for r in out) or _is_reversal(row):
            return False
        if not _is_reversal(reversal) or reversal.get("relates_to") != row["transaction_id"]:
            return False
        same = all(reversal[k] == row[k] for k in ("amount", "currency"))
        return same and 0 <= reversal["executed_at"] - row["executed_at"] <= self.lateness

    def reversed(self, row: Row) -> bool:
        """Whether some reversal fits the record."""
        return any(self._fits(r, row) for r in self.accepted)

    def standing(self) -> set[tuple[Any, ...]]:
        """Identities of the records whose legs are in."""
        return {
            r["who"]
            for r in self.accepted
            if not (r["void"] or r["voided"] or r["superseded"] or _is_reversal(r) or self.reversed(r))
            and r["status"] == BOOKED
            and r["originator_account"] != r["beneficiary_account"]
        }

    def counts(self) -> dict[str, int]:
        """Subsets of the accepted."""
        idle = [r for r in self.accepted if _is_reversal(r) and not (r["voided"] or r["superseded"])]
        return {
            "scored": len(self.accepted),
            "voided": sum(r["voided"] for r in self.accepted),
            "superseded": sum(r["superseded"] and not r["voided"] for r in self.accepted),
            "reversed": sum(self.reversed(r) for r in self.accepted),
            "idle_reversals": sum(not any(self._fits(r, o) for o in self.accepted) for r in idle),
        }


def _is_reversal(row: Row) -> bool:
    return row.get("relation") == REVERSAL and row["status"] == BOOKED and not row["void"]


def _content(row: Row) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in keys.CONTENT)
