"""Integer columns to the frames that others read: transactions and parties as version 1 spells them."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.feed.simulate.book import Columns
from aml.feed.simulate.codes import NONE, Channel, Initiated, Instrument, Kind, Method, Relation, Status, words
from aml.feed.simulate.directory import mixed
from aml.feed.simulate.world import CATEGORIES, MACHINES, World

_MONEY = pl.Decimal(18, 2)


def identifiers(settings_seed: int, number: npt.NDArray[np.int64]) -> pl.Series:
    """Transaction ids of row numbers under 2^30: unlike numbers, unlike ids, in no order that tells anything."""
    return "T" + pl.Series(mixed(number, settings_seed * 31_337)).cast(pl.String).str.zfill(10)


def transactions(world: World, rows: Columns, number: npt.NDArray[np.int64]) -> pl.DataFrame:
    """Rows as Transaction v1 in its input form, by executed_at then transaction_id; `number` gives the ids."""
    code = mixed(number, world.settings.seed * 31_337)
    order = np.lexsort((code, rows["at"]))
    related = rows["relates_to"]
    known = np.where(related == NONE, 0, related)
    rows = {name: column[order] for name, column in rows.items()}
    identity = identifiers(world.settings.seed, number)
    data: dict[str, pl.Series] = {
        "transaction_id": identity.gather(order),
        "institution": _repeat(world.settings.institution, order.size),
        "executed_at": pl.Series(rows["at"]).cast(pl.Datetime("us", "UTC")),
        "amount": _money(rows["amount"]),
        "currency": _repeat(world.settings.place.currency, order.size),
        "instrument": _word(rows["instrument"], Instrument),
        "channel": _word(rows["channel"], Channel),
        "initiated_by": _word(
            np.where(rows["initiated_by"] == Initiated.CUSTOMER, NONE, rows["initiated_by"]), Initiated
        ),
        "status": _word(np.where(rows["status"] == Status.BOOKED, NONE, rows["status"]), Status),
        **_end(world, rows, "originator"),
        **_end(world, rows, "beneficiary"),
        **_counter(world, rows),
        "relates_to": _pick(identity, np.where(related == NONE, NONE, known)[order]),
        "relation": _word(rows["relation"], Relation),
        "batch_id": _numbered("B", rows["batch"]),
    }
    return pl.DataFrame({name: column.alias(name) for name, column in data.items()})


def _end(world: World, rows: Columns, end: str) -> dict[str, pl.Series]:
    d, account = world.directory, rows[end]
    present = account != NONE
    place = np.where(present, account, 0)
    customer = np.where(present, d.customer[place], NONE)
    cash = rows["instrument"] == Instrument.CASH
    bought = rows["bought"] == 1
    if end == "originator":
        shown = present & ~bought
        card = (rows["instrument"] == Instrument.CARD) & (rows["relation"] == NONE)
        method = np.where((cash & ~present) | bought, Method.CASH, np.where(card, Method.CARD, NONE))
    else:
        shown = present
        method = np.where(bought, Method.MONETARY_INSTRUMENT, np.where(cash & ~present, Method.CASH, NONE))
    cheque = (rows["instrument"] == Instrument.CHEQUE) & (end == "originator")
    return {
        f"{end}_account": _pick(d.account_text, np.where(shown, account, NONE)),
        f"{end}_customer": _pick(d.person_text, customer),
        f"{end}_institution": _pick(pl.Series(d.institutions), np.where(shown, d.institution[place], NONE)),
        f"{end}_country": _pick(pl.Series(d.countries), np.where(shown, d.country[place], NONE)),
        f"{end}_method": _word(np.where(cheque, Method.CHEQUE, method), Method),
    }


def _counter(world: World, rows: Columns) -> dict[str, pl.Series]:
    """Where the customer or somebody for him stood, and the merchant of a card purchase."""
    merchant = np.where(rows["relation"] == NONE, rows["beneficiary"], rows["originator"])
    merchant = np.where(rows["instrument"] == Instrument.CARD, merchant, NONE)
    category = pl.Series([str(code) for code in CATEGORIES])
    branch = [world.branch_name(n) for n in range(world.branches)]
    terminal = [f"atm-{n // MACHINES + 1:04d}-{n % MACHINES + 1}" for n in range(world.branches * MACHINES)]
    return {
        "branch": _pick(pl.Series(branch), rows["branch"]),
        "terminal": _pick(pl.Series(terminal), rows["terminal"]),
        "conductor": _pick(world.directory.person_text, rows["conductor"]),
        "merchant": _pick("M" + world.directory.account_text, merchant),
        "merchant_category": _pick(category, np.where(merchant == NONE, NONE, merchant % len(CATEGORIES))),
    }


def parties(world: World) -> pl.DataFrame:
    """Parties v1: the owners of our accounts, those with a mandate, and well-known institutions elsewhere."""
    d, o = world.directory, world.others
    ours = np.flatnonzero(d.customer != NONE)
    turnover = np.concatenate([world.people.income * 1.2, world.companies.turnover])
    cash = np.concatenate([np.zeros(world.people.number, np.bool_), world.companies.are("shop")])
    accounts = np.array([account for account, _ in d.roles], dtype=np.int64)
    acting = np.array([person for _, person in d.roles], dtype=np.int64)
    known = np.concatenate([o.exchange, o.acquirer, o.tax, o.pension, o.lender]).astype(np.int64)
    lots = (
        _lot(
            world, ours, "owner", d.customer[ours], d.opened[ours], turnover[d.customer[ours]], cash[d.customer[ours]]
        ),
        _lot(world, accounts, "mandate", acting, None, None, None),
        _lot(world, known, "owner", None, None, None, None),
    )
    return pl.concat(lots, how="vertical")


def _lot(
    world: World, accounts: npt.NDArray[np.int64], role: str, customer: npt.NDArray[Any] | None,
    opened: npt.NDArray[Any] | None, turnover: npt.NDArray[Any] | None, cash: npt.NDArray[np.bool_] | None,
) -> pl.DataFrame:  # fmt: skip
    d, n = world.directory, accounts.size
    kind = np.full(n, Kind.PERSON) if role == "mandate" else d.kind[accounts]
    nothing = pl.Series([None], dtype=pl.String).new_from_index(0, n)
    start = np.datetime64(world.settings.start)
    columns = {
        "institution": _repeat(world.settings.institution, n),
        "party_institution": _pick(pl.Series(d.institutions), d.institution[accounts]),
        "account": _pick(d.account_text, accounts),
        "customer": nothing if customer is None else _pick(d.person_text, customer),
        "role": _repeat(role, n),
        "kind": _word(kind, Kind),
        "cash_intensive": pl.Series([None] * n if cash is None else cash.tolist(), dtype=pl.Boolean),
        "country": _repeat(world.settings.place.country, n),
        "opened": (nothing if opened is None else pl.Series(start + opened.astype("timedelta64[D]"))).cast(pl.Date),
        "expected_monthly_turnover": nothing.cast(_MONEY)
        if turnover is None
        else _money((turnover // 100 * 10_000).astype(np.int64)),
    }
    return pl.DataFrame({name: column.alias(name) for name, column in columns.items()})


def _repeat(text: str, n: int) -> pl.Series:
    return pl.Series([text]).new_from_index(0, n)


def _pick(texts: pl.Series, place: npt.NDArray[Any]) -> pl.Series:
    """The text at each place, null at NONE."""
    return texts.gather(pl.Series(place.astype(np.int64)).set(pl.Series(place < 0), None))


def _word(code: npt.NDArray[Any], kind: type[IntEnum]) -> pl.Series:
    return _pick(pl.Series(words(kind)), code)


def _numbered(letter: str, number: npt.NDArray[Any]) -> pl.Series:
    """A letter and a number, null at NONE; few rows have one, and only those are spelt."""
    some = np.flatnonzero(number != NONE)
    spelt = letter + pl.Series(number[some].astype(np.int64)).cast(pl.String)
    place = np.full(number.size, NONE, np.int64)
    place[some] = np.arange(some.size)
    return _pick(spelt, place)


def _money(amount: npt.NDArray[np.int64]) -> pl.Series:
    """Cents as a decimal with two places, exactly."""
    return pl.DataFrame({"cents": amount}).select((pl.col("cents").cast(_MONEY) / 100).cast(_MONEY)).to_series()
