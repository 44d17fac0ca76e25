"""The dated party table by columns: whose an account is on a day, what is known of him, who may act on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.engine.intern import I32, NONE, Interner
from aml.engine.keys import Fields, Keys, add_institution, hash_numbers
from aml.engine.tables import kernel

KINDS: Final = ("person", "business", "processor", "bank", "exchange", "public", "other")
UNKNOWN: Final = len(KINDS)
EXCHANGE: Final = KINDS.index("exchange")
ALWAYS: Final = -(1 << 31)  # valid_from of a row without one
UNKNOWN_TURNOVER: Final = -1
OWNER: Final = "owner"
ACTING: Final = (OWNER, "joint", "mandate", "signatory")

_FACTS: Final = (
    "institution", "party_institution", "account", "customer", "role", "kind", "cash_intensive", "risk", "country",
    "opened", "expected_monthly_turnover", "valid_from",
)  # fmt: skip


@kernel
def _in_force(first: np.ndarray, since: np.ndarray, ids: np.ndarray, day: np.ndarray, found: np.ndarray) -> None:
    """Per query the last row of its id that begins on or before the day; rows of an id lie together, by date."""
    for q in range(ids.size):
        found[q] = -1
        if ids[q] < 0:
            continue
        lo = first[ids[q]]
        hi = first[ids[q] + 1]
        start = lo
        while lo < hi:
            mid = (lo + hi) >> 1
            if since[mid] <= day[q]:
                lo = mid + 1
            else:
                hi = mid
        if lo > start:
            found[q] = lo - 1


class _Dated:
    """Rows under 128-bit keys, each from a day on; a row's number is its place in the table."""

    def __init__(self, keys: Keys, since: I32, rows: I32) -> None:
        self._names = Interner()
        ids = self._names.ids(*keys)
        order = np.lexsort((rows, since, ids))
        self._first = np.searchsorted(ids[order], np.arange(len(self._names) + 1)).astype(np.int64)
        self._since, self._rows = since[order], rows[order]

    def rows(self, keys: Keys, day: I32) -> I32:
        """The row in force under each key on the day, -1 where there is none."""
        ids, found = self._names.find(*keys), np.empty(day.size, np.int32)
        _in_force(self._first, self._since, ids, day, found)
        return np.where(found >= 0, self._rows[found], NONE) if self._rows.size else found


class PartyRows:
    """What is known of a party, one row per different row of any party table ever read; a row never changes.

    Arrays by row: segment (place in KINDS, UNKNOWN), cash_intensive, opened (days since 1970-01-01, -1 unknown),
    turnover (reporting minor units a month, -1 unknown).
    """

    def __init__(self) -> None:
        self.names = Interner()
        self.segment = np.empty(0, np.int8)
        self.cash_intensive = np.empty(0, np.bool_)
        self.opened = np.empty(0, np.int32)
        self.turnover = np.empty(0, np.int64)

    def __len__(self) -> int:
        return self.segment.size

    def take(self, table: pl.DataFrame) -> I32:
        """The row numbers of a party frame's rows, new ones given where the very row was never seen."""
        ids, fresh = self.names.ids_and_new(*Fields(table).key(list(enumerate(_FACTS))))
        new = table[fresh]
        kinds = new.get_column("kind").replace_strict({k: i for i, k in enumerate(KINDS)}, default=UNKNOWN)
        self._extend("segment", kinds.cast(pl.Int8).to_numpy())
        self._extend("cash_intensive", new.get_column("cash_intensive").fill_null(False).to_numpy())
        self._extend("opened", new.get_column("opened").to_physical().cast(pl.Int32).fill_null(NONE).to_numpy())
        self._extend("turnover", new.get_column("expected_monthly_turnover").fill_null(UNKNOWN_TURNOVER).to_numpy())
        return ids

    def take_facts(self, facts: Mapping[str, npt.NDArray[np.generic]]) -> I32:
        """The row numbers of parties of whom only the facts travelled; rows of which nothing is known get -1."""
        columns = {name: facts[name].astype(np.int64) for name in ("turnover", "opened", "segment", "cash_intensive")}
        nothing = (columns["turnover"] == UNKNOWN_TURNOVER) & (columns["opened"] == NONE)
        nothing &= (columns["segment"] == UNKNOWN) & (columns["cash_intensive"] == 0)
        ids, fresh = self.names.ids_and_new(*hash_numbers(list(columns.values())), ~nothing)
        for name, column in columns.items():
            self._extend(name, column[fresh])
        return ids

    def facts(self, rows: I32) -> dict[str, npt.NDArray[np.generic]]:
        """What is known of the parties of these rows; of -1 nothing."""
        none = {"turnover": UNKNOWN_TURNOVER, "opened": NONE, "segment": UNKNOWN, "cash_intensive": False}
        known = rows >= 0
        if not len(self):
            return {name: np.full(rows.size, value, getattr(self, name).dtype) for name, value in none.items()}
        return {name: np.where(known, held := getattr(self, name)[rows], held.dtype.type(value))
                for name, value in none.items()}

    def _extend(self, name: str, more: npt.NDArray[np.generic]) -> None:
        if more.size:
            held = getattr(self, name)
            setattr(self, name, np.concatenate([held, more.astype(held.dtype)]))

    def state(self) -> dict[str, np.ndarray]:
        """All rows, as arrays."""
        facts = {n: getattr(self, n) for n in ("segment", "cash_intensive", "opened", "turnover")}
        return {**self.names.state(), **facts}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray]) -> PartyRows:
        """The rows whose `state` this is."""
        self = cls()
        self.names = Interner.from_state(state)
        for name in ("segment", "cash_intensive", "opened", "turnover"):
            self._extend(name, state[name])
        return self


class Parties:
    """One party table, for look-ups by account or customer and day.

    `frame` is a parties frame (see `aml.feed`). Of an account's rows the owner's count (role owner or none; where it
    has no such row, joint ones): the latest that has begun; of several of one day the first by customer. Arrays are by
    place in `frame`, and -1 is nobody.
    """

    def __init__(self, frame: pl.DataFrame, rows: PartyRows) -> None:
        self.frame = frame = _ordered(frame)
        self.rows = rows
        fields = Fields(frame)
        row = rows.take(frame)
        since = frame.get_column("valid_from").to_physical().cast(pl.Int32).fill_null(ALWAYS).to_numpy()
        base = fields.key([(0, "institution")])
        add_institution(fields, base, 1, "party_institution", np.ones(frame.height, np.bool_))
        account = _with(fields, base, 2, "account")
        customer = _with(fields, base, 3, "customer")
        has_customer = fields.present("customer")
        place = np.arange(frame.height, dtype=np.int32)
        owns = frame.get_column("_owns").to_numpy()
        self._accounts = _Dated(_some(account, owns), since[owns], place[owns])
        named = owns & has_customer
        self._customers = _Dated(_some(customer, named), since[named], place[named])
        acts = frame.get_column("role").fill_null(OWNER).is_in(ACTING).to_numpy() & has_customer
        acting = _with(fields, account, 3, "customer")
        self._acting = _Dated(_some(acting, acts), since[acts], place[acts])
        # One more entry for the place -1, nobody: look-ups need no case of their own, not even in an empty table.
        self.row = np.append(row, np.int32(NONE))
        self.kind = np.append(rows.segment[row], np.int8(UNKNOWN))
        self.customer = (np.append(customer[0], np.uint64(0)), np.append(customer[1], np.uint64(0)))
        self.has_customer = np.append(has_customer, False)

    def by_account(self, account: Keys, day: I32) -> I32:
        """Places in `frame` of the owner's rows in force, by account key (tenant 0, institution 1, account 2)."""
        return self._accounts.rows(account, day)

    def by_customer(self, customer: Keys, day: I32) -> I32:
        """Places in `frame` of a customer's latest row in force, by customer key (tenant 0, institution 1, customer 3).
        """
        return self._customers.rows(customer, day)

    def may_act(self, account_and_customer: Keys, day: I32) -> npt.NDArray[np.bool_]:
        """Whether the customer is owner, joint owner, mandated or signatory of the account on the day."""
        return self._acting.rows(account_and_customer, day) >= 0


def _ordered(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows, sorted so that of equal dates the row that counts is last; `_owns` marks those that name the holder."""
    own = pl.col("role").fill_null(OWNER) == OWNER
    account = ["institution", "party_institution", "account"]
    joint = (pl.col("role") == "joint") & ~own.any().over(account)
    ordered = frame.with_columns(pl.col("party_institution").fill_null(pl.col("institution")))
    return ordered.with_columns((own | joint).alias("_owns")).sort(
        [*account, "customer", "role"], descending=[True, True, True, True, True], nulls_last=False, maintain_order=True
    )


def _with(fields: Fields, base: Keys, index: int, name: str) -> Keys:
    key = (base[0].copy(), base[1].copy())
    fields.add(key, index, name, np.ones(fields.rows, np.bool_))
    return key


def _some(keys: Keys, which: npt.NDArray[np.bool_]) -> Keys:
    return keys[0][which], keys[1][which]
