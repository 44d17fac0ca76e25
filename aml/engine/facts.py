"""What each kernel measures, by name, and the order of the numbers in its vector."""

from __future__ import annotations

from typing import Final

WIDTH: Final = 24  # longest vector

FACTS: Final[dict[str, tuple[str, ...]]] = {
    "aggregate.units": (
        "units", "sum", "due_units", "largest", "branches", "machines", "conductors", "unmandated",
        "m1", "m2", "m3", "m4", "m5", "m6", "m7", "markers", "cash_intensive", "funded_share", "sum_in_T",
    ),
    "aggregate.unit": (
        "visits", "sum", "due", "largest_visit", "largest_due", "branches", "machines", "conductors", "spread",
        "sum_in_T",
    ),
    "aggregate.legs": (
        "legs", "sum", "conductors", "conductor_sum", "named", "branches", "sum_in_T", "conductor_sum_in_T", "beyond",
        "conductor_beyond", "counterparties", "largest",
    ),
    "aggregate.conducted": ("recipients", "sum", "legs", "branches", "sum_in_T", "beyond"),
    "sequence": (
        "in_sum", "in_count", "payers", "out_sum", "out_share", "new_payer_share", "new_payee_share", "exit_share",
        "age", "own_month_ratio",
    ),
    "fan.in": ("new_payers", "new_in_sum", "in_sum", "out_share", "age", "own_month_ratio"),
    "fan.out": (
        "new_payees", "new_out_sum", "funded_share", "batch_share", "out_sum", "own_month_ratio", "age",
    ),
    "fan.in_out": (
        "new_payers", "new_in_sum", "new_payees", "out_sum_others", "out_share", "own_month_ratio", "age",
    ),
    "fan.scatter_gather": ("middles", "end_sum", "origin_sum", "end_credits", "end_card"),
    "path.chain": (
        "hops", "holders", "start", "end", "kept", "days", "new_pairs", "in_share", "out_share", "persons",
        "origin_known_days",
    ),
    "path.round_trip": (
        "hops", "start", "back", "back_share", "days", "new_pairs", "persons", "origin_known_days",
    ),
    "path.there_and_back": ("times", "start", "back", "back_share"),
    "baseline": ("gap_days", "in_sum", "old_mean", "mean_ratio", "out_share", "out_sum"),
    "match": ("amount", "cash", "exit", "new_pair"),
}

# Facts in reporting minor units.
MONEY: Final = frozenset({
    "sum", "largest", "largest_visit", "conductor_sum", "in_sum", "out_sum", "new_in_sum", "new_out_sum",
    "out_sum_others", "origin_sum", "end_sum", "start", "end", "back", "old_mean", "amount",
})  # fmt: skip
