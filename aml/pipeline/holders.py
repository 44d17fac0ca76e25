"""Who stands at each end of a transaction: the holder (tenant, party institution, customer or else account)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.engine.intern import I32, NONE, Interner, TextRows, Texts, grown, laid_out
from aml.engine.keys import Fields, Keys, add_institution
from aml.pipeline.parties import Parties

Mask = npt.NDArray[np.bool_]
TENANT, INSTITUTION, ACCOUNT, CUSTOMER = range(4)  # field indices of holder keys
HOLDER_TEXTS: Final = ("institution", "party_institution", "kind", "id")


@dataclass(frozen=True, slots=True)
class End:
    """One end of each record of a batch, whether or not it gets a leg."""

    name: str  # originator or beneficiary
    holder: Keys
    account: Keys  # key of (tenant, institution, account); without meaning where there is no account
    has_account: Mask
    has_customer: Mask  # in the record
    place: I32  # in the party table, of the account's owner or else of the customer; -1 none
    owner: I32  # in the party table, of the account's owner, where a customer stands there; -1 none

    @property
    def present(self) -> Mask:
        """Whether anybody is named by account or customer."""
        return self.has_account | self.has_customer


def end_of(name: str, fields: Fields, tenant: Keys, parties: Parties | None, day: I32) -> End:
    """The end `name` of each record; `tenant` holds the keys of (tenant) alone, `day` the local days."""
    base = (tenant[0].copy(), tenant[1].copy())
    everywhere = np.ones(fields.rows, np.bool_)
    add_institution(fields, base, INSTITUTION, f"{name}_institution", everywhere)
    has_account, has_customer = fields.present(f"{name}_account"), fields.present(f"{name}_customer")
    account = (base[0].copy(), base[1].copy())
    fields.add(account, ACCOUNT, f"{name}_account", has_account)
    holder = (base[0], base[1])
    fields.add(holder, CUSTOMER, f"{name}_customer", has_customer)
    by_account = has_account & ~has_customer
    for half in (0, 1):
        np.copyto(holder[half], account[half], where=by_account)
    none = np.full(fields.rows, NONE, np.int32)
    if parties is None:
        return End(name, holder, account, has_account, has_customer, none, none)
    mine = np.where(has_account, parties.by_account(account, day), NONE)
    linked = (mine >= 0) & parties.has_customer[mine]
    taken = linked & ~has_customer
    for half in (0, 1):
        holder[half][taken] = parties.customer[half][mine[taken]]
    other = linked & has_customer
    other &= (parties.customer[0][mine] != holder[0]) | (parties.customer[1][mine] != holder[1])
    unknown = has_customer & ((mine < 0) | other)
    place = np.where(unknown, parties.by_customer(holder, day), mine) if unknown.any() else mine
    return End(name, holder, account, has_account, has_customer, place, np.where(linked, mine, NONE))


def same_holder(one: End, other: End, parties: Parties | None) -> Mask:
    """Own-account: the same holder at both ends, or two accounts of one customer by the party table."""
    same = (one.holder[0] == other.holder[0]) & (one.holder[1] == other.holder[1]) & one.present & other.present
    if parties is not None:
        both = (one.owner >= 0) & (other.owner >= 0)
        keys = parties.customer
        same |= both & (keys[0][one.owner] == keys[0][other.owner]) & (keys[1][one.owner] == keys[1][other.owner])
    return np.asarray(same, np.bool_)


def conductor_of(fields: Fields, tenant: Keys) -> Keys:
    """Keys of the conductors' holders: customers of the tenant itself."""
    key = (tenant[0].copy(), tenant[1].copy())
    everywhere = np.ones(fields.rows, np.bool_)
    fields.add(key, INSTITUTION, "institution", everywhere)
    fields.add(key, CUSTOMER, "conductor", everywhere)
    return key


class HolderBook:
    """All holders by number, with their texts; `ours` says which may be subjects."""

    def __init__(self) -> None:
        self.names = Interner()
        self.texts = Texts(HOLDER_TEXTS)
        self.ours = self._room = np.empty(0, np.bool_)
        self._accounts = Interner()
        self._seen = np.empty(0, np.uint8)  # per account: 1 with a customer, 2 without

    def __len__(self) -> int:
        return len(self.names)

    def enter(self, end: End, where: Mask, frame: pl.DataFrame, linked: pl.Series | None, ours: Mask) -> I32:
        """The holders' numbers at this end in the rows of the mask, -1 elsewhere.

        linked: per record the customer to whom the party table links the account; ours: who may be a subject.
        """
        return self.take(
            end.holder, where, lambda fresh: laid_out(_texts(end, frame, fresh, linked), HOLDER_TEXTS), ours
        )

    def enter_conductors(self, keys: Keys, where: Mask, frame: pl.DataFrame, ours: Mask) -> I32:
        """The conductors' holder numbers in the rows of the mask, -1 elsewhere."""
        return self.take(keys, where, lambda fresh: laid_out(_conductors(frame, fresh), HOLDER_TEXTS), ours)

    def take(self, keys: Keys, where: Mask, texts: Callable[[I32], TextRows], ours: Mask) -> I32:
        """The numbers of holders by key in the rows of the mask, -1 elsewhere; `texts` of the rows met first."""
        ids, fresh = self.names.ids_and_new(*keys, where)
        if fresh.size:
            self.texts.add(*texts(fresh))
        self._mark_ours(ids, ours)
        return ids

    def _mark_ours(self, ids: I32, ours: Mask) -> None:
        more = len(self.names) - self.ours.size
        if more:
            self._room = grown(self._room, self.ours.size, len(self.names))
            self._room[self.ours.size : len(self.names)] = False
            self.ours = self._room[: len(self.names)]
        self.ours[ids[ours & (ids >= 0)]] = True

    def mixed_accounts(self, end: End, where: Mask) -> int:
        """How many accounts were first met now both with and without a customer (the answers may need relinking)."""
        ids = self._accounts.ids(*end.account, where & end.has_account)
        ids, with_customer = ids[ids >= 0], (end.has_customer | (end.owner >= 0))[ids >= 0]
        more = len(self._accounts) - self._seen.size
        self._seen = np.concatenate([self._seen, np.zeros(more, np.uint8)])
        before = np.count_nonzero(self._seen == 3)
        self._seen[ids[with_customer]] |= 1
        self._seen[ids[~with_customer]] |= 2
        return int(np.count_nonzero(self._seen == 3) - before)

    def state(self) -> dict[str, np.ndarray]:
        """Everything, as arrays."""
        state = {"ours": self.ours.copy(), "seen": self._seen.copy()}
        for prefix, part in (("names", self.names), ("texts", self.texts), ("accounts", self._accounts)):
            state |= {f"{prefix}.{k}": v for k, v in part.state().items()}
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray]) -> HolderBook:
        """The book whose `state` this is."""
        self = cls()
        self.names = Interner.from_state(part(state, "names"))
        self.texts = Texts.from_state(HOLDER_TEXTS, part(state, "texts"))
        self._accounts = Interner.from_state(part(state, "accounts"))
        self.ours = self._room = state["ours"].copy()
        self._seen = state["seen"].copy()
        return self


def part(state: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The entries of a state under one prefix, without it."""
    return {k[len(prefix) + 1 :]: v for k, v in state.items() if k.startswith(prefix + ".")}


def linked_to(end: End, parties: Parties | None) -> pl.Series | None:
    """Per record the customer to whom the party table links this end's account, null where there is none."""
    if parties is None or not parties.frame.height:
        return None
    customers = parties.frame.get_column("customer")[pl.Series(np.where(end.owner < 0, 0, end.owner))]
    return pl.select(pl.when(pl.Series(end.owner >= 0)).then(customers)).to_series()


def _texts(end: End, frame: pl.DataFrame, rows: I32, linked: pl.Series | None) -> pl.DataFrame:
    columns = ("institution", *(f"{end.name}_{what}" for what in ("institution", "customer", "account")))
    tenant, institution, customer, account = (frame.get_column(c)[rows] for c in columns)
    if linked is not None:
        customer = customer.zip_with(customer.is_not_null(), linked[rows])
    kind = pl.select(pl.when(customer.is_not_null()).then(pl.lit("customer")).otherwise(pl.lit("account"))).to_series()
    return _rows(tenant, institution.fill_null(tenant), kind, customer.fill_null(account))


def _conductors(frame: pl.DataFrame, rows: I32) -> pl.DataFrame:
    tenant, who = (frame.get_column(c)[rows] for c in ("institution", "conductor"))
    return _rows(tenant, tenant, pl.repeat("customer", rows.size, eager=True), who)


def _rows(*columns: pl.Series) -> pl.DataFrame:
    return pl.DataFrame([c.alias(n) for c, n in zip(columns, HOLDER_TEXTS, strict=True)])
