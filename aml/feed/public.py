"""Importers of public data sets, known by their columns: AMLworld and both forms of AMLSim."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
import polars as pl

from aml.domain.transaction import RejectCode
from aml.feed.numbering import Occurrences, Ticks, content_of
from aml.feed.rates import currencies
from aml.feed.raw import Verdicts, quoted
from aml.feed.times import DAY, read_times

AMLWORLD_HEADER: Final = [
    "Timestamp", "From Bank", "Account", "To Bank", "Account", "Amount Received", "Receiving Currency", "Amount Paid",
    "Payment Currency", "Payment Format", "Is Laundering",
]  # fmt: skip
_AMLWORLD: Final = [*AMLWORLD_HEADER[:4], "To Account", *AMLWORLD_HEADER[5:]]
_AMLWORLD_CONTENT: Final = _AMLWORLD[:-1]  # the label is no part of a payment's identity
_AMLSIM_CSV: Final = {"tran_id", "orig_acct", "bene_acct", "tx_type", "base_amt", "tran_timestamp"}
_AMLSIM_STEPS: Final = {"sourceNodeId", "targetNodeId", "value", "time"}
_AMLSIM_START: Final = dt.date(2017, 1, 1)  # AMLSim's own base date, where none is given

_CURRENCIES: Final = {
    "US Dollar": "USD", "Euro": "EUR", "Yuan": "CNY", "Yen": "JPY", "Rupee": "INR", "Ruble": "RUB", "UK Pound": "GBP",
    "Swiss Franc": "CHF", "Canadian Dollar": "CAD", "Australian Dollar": "AUD", "Shekel": "ILS", "Saudi Riyal": "SAR",
    "Brazil Real": "BRL", "Mexican Peso": "MXN", "Bitcoin": "XBT",
}  # fmt: skip
_INSTRUMENTS: Final = {
    "Reinvestment": "internal", "Cheque": "cheque", "ACH": "ach", "Wire": "wire", "Credit Card": "card", "Cash": "cash",
    "Bitcoin": "crypto",
}  # fmt: skip
_AMLSIM_TYPES: Final = {"TRANSFER": "wire", "WIRE": "wire", "CREDIT": "wire", "DEBIT": "wire", "CHECK": "cheque"}


class Importer(Protocol):
    """Turns a public set's columns into ours; it remembers what came before in the file."""

    name: str

    def __call__(self, frame: pl.DataFrame, verdicts: Verdicts) -> pl.DataFrame:
        """Our columns for a part of the set, in file order; unknown columns stay and are kept as extra."""


def importer_of(columns: Sequence[str]) -> str | None:
    """The set that has these columns: "amlworld", "amlsim", or None."""
    if list(columns) == AMLWORLD_HEADER or list(columns) == _AMLWORLD:
        return "amlworld"
    if set(columns) >= _AMLSIM_CSV or set(columns) == _AMLSIM_STEPS:
        return "amlsim"
    return None


def column_names(columns: list[str]) -> list[str]:
    """The columns with AMLworld's second Account told apart from the first."""
    return list(_AMLWORLD) if columns == AMLWORLD_HEADER else columns


def make_importer(name: str, start: dt.date | None, reporting: str) -> Importer:
    """A fresh importer for one file; steps are days from `start`; a set without currencies is in the reporting one."""
    return AmlWorld() if name == "amlworld" else AmlSim(start or _AMLSIM_START, reporting)


class AmlWorld:
    """AMLworld: bank codes are text, minutes are the clock's ticks, currencies and payment formats have names.

    Amounts have two decimals even where the currency has fewer: those are rounded, half to even, with a warning.
    """

    name = "amlworld"

    def __init__(self) -> None:
        self._ticks, self._occurrences = Ticks(), Occurrences()

    def __call__(self, frame: pl.DataFrame, verdicts: Verdicts) -> pl.DataFrame:
        ids = self._occurrences.names(content_of(frame, _AMLWORLD_CONTENT))
        stamps = frame.get_column("Timestamp").str.replace_all("/", "-", literal=True)
        times = read_times(stamps)
        for row in np.flatnonzero(~times.readable).tolist():
            told = f"executed_at: {quoted(frame['Timestamp'][row])} is no time of this set"
            verdicts.reject(row, RejectCode.TIME_UNREADABLE, told)
        at = times.at + self._ticks.places(times.at)
        paid, received = frame.get_column("Payment Currency"), frame.get_column("Receiving Currency")
        currency, credit_currency = _coded(paid), _coded(received)
        amount = _rounded("amount", frame.get_column("Amount Paid"), currency, verdicts)
        credit = _rounded("credit_amount", frame.get_column("Amount Received"), credit_currency, verdicts)
        ours = [
            pl.Series("transaction_id", ids, dtype=pl.String),
            pl.Series("executed_at", at).cast(pl.Datetime("us", "UTC")),
            pl.lit("minute").alias("time_precision"),
            amount.alias("amount"),
            currency.alias("currency"),
            pl.col("From Bank").alias("originator_institution"),
            pl.col("Account").alias("originator_account"),
            pl.col("To Bank").alias("beneficiary_institution"),
            pl.col("To Account").alias("beneficiary_account"),
            _worded(frame.get_column("Payment Format"), _INSTRUMENTS).alias("instrument"),
        ]
        same = ((currency == credit_currency) & (amount == credit)).fill_null(False)
        if not same.all():
            ours.append(credit.set(same, None).alias("credit_amount"))
            ours.append(credit_currency.set(same, None).alias("credit_currency"))
        return frame.with_columns(ours).drop([name for name in _AMLWORLD if name != "Is Laundering"])


class AmlSim:
    """AMLSim: transactions with ids and stamps or steps, or four columns of node numbers and steps; days are ticks."""

    name = "amlsim"

    def __init__(self, start: dt.date, reporting: str) -> None:
        self._start = (start - dt.date(1970, 1, 1)).days
        self._reporting = reporting
        self._ticks, self._occurrences = Ticks(), Occurrences()

    def __call__(self, frame: pl.DataFrame, verdicts: Verdicts) -> pl.DataFrame:
        if set(frame.columns) == _AMLSIM_STEPS:
            ids = self._occurrences.names(content_of(frame, sorted(_AMLSIM_STEPS)))
            return self._ours(frame, ids, ("sourceNodeId", "targetNodeId", "value", "time"), None, verdicts)
        ids = frame.get_column("tran_id").cast(pl.String).to_list()
        names = ("orig_acct", "bene_acct", "base_amt", "tran_timestamp")
        return self._ours(frame, ids, names, frame.get_column("tx_type"), verdicts)

    def _ours(
        self, frame: pl.DataFrame, ids: list[str], names: tuple[str, str, str, str], kind: pl.Series | None,
        verdicts: Verdicts,
    ) -> pl.DataFrame:  # fmt: skip
        payer, payee, amount, when = names
        at = self._days(frame.get_column(when), verdicts)
        word = pl.lit("wire") if kind is None else _worded(kind.str.to_uppercase(), _AMLSIM_TYPES)
        ours = [
            pl.Series("transaction_id", ids, dtype=pl.String),
            pl.Series("executed_at", at).cast(pl.Datetime("us", "UTC")),
            pl.lit("day").alias("time_precision"),
            _cents(frame.get_column(amount)).alias("amount"),
            pl.lit(self._reporting).alias("currency"),
            pl.col(payer).cast(pl.String).alias("originator_account"),
            pl.col(payee).cast(pl.String).alias("beneficiary_account"),
            word.alias("instrument"),
        ]
        used = [*names, *([] if "tran_id" not in frame.columns else ["tran_id", "tx_type"])]
        if kind is not None:
            ours.append(kind.alias("transaction_code"))
        return frame.with_columns(ours).drop(used)

    def _days(self, when: pl.Series, verdicts: Verdicts) -> np.ndarray:
        """UTC µs of a step or stamp: its day, and the row's place within that day."""
        steps = when.cast(pl.Int64, strict=False)
        days = steps.fill_null(0).to_numpy() + self._start
        odd = steps.is_null().to_numpy()
        if odd.any():
            times = read_times(when.cast(pl.String))
            days = np.where(odd, times.at // DAY, days)
            for row in np.flatnonzero(odd & ~times.readable).tolist():
                verdicts.reject(row, RejectCode.TIME_UNREADABLE, f"executed_at: {quoted(when[row])} is no step or time")
        return np.asarray(days * DAY + self._ticks.places(days))


def _coded(names: pl.Series) -> pl.Series:
    """ISO codes of AMLworld's currency names; an unknown name stays, to be refused as a currency."""
    return names.replace(_CURRENCIES)


def _worded(names: pl.Series, table: dict[str, str]) -> pl.Series:
    return names.replace_strict(table, default=names, return_dtype=pl.String)


def _rounded(field: str, amounts: pl.Series, currency: pl.Series, verdicts: Verdicts) -> pl.Series:
    """Amount texts, those in a currency of no decimals rounded to whole units."""
    whole = currency.is_in([code for code, places in currencies().items() if places == 0]).fill_null(False)
    if not whole.any():
        return amounts
    units = amounts.cast(pl.Decimal(38, 18), strict=False)
    rounded = pl.DataFrame({"x": units}).select(pl.col("x").round(0, mode="half_to_even")).to_series()
    changed = whole & (rounded != units).fill_null(False)
    for row in changed.arg_true():
        verdicts.warn(row, field, amounts[row])
    return amounts.zip_with(~changed, rounded.cast(pl.Decimal(38, 0)).cast(pl.String))


def _cents(amounts: pl.Series) -> pl.Series:
    """Amounts as decimals; binary ones hold cents written to two places, which are found again by rounding."""
    return amounts.round(2).cast(pl.Decimal(38, 2)) if amounts.dtype.is_float() else amounts
