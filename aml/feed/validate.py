"""Columns as they were read to canonical transactions: every defect gets its code, every other row passes.

Which defects reject is in aml/feed/fields.py: identity, time, amounts, currencies, ids of the parties and what says
whether and how a record counts. An unknown instrument or channel becomes `other`, an unknown initiated_by or method its
default, an unreadable date or balance nothing: each is a warning under its field's name, what stood there is kept in
`extra`, and the payment is monitored. A void needs its transaction_id (and institution, revision) only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.domain.money import Defect
from aml.domain.transaction import CANONICAL, DEFAULTS, ENDS, WORDS, Channel, Instrument, RejectCode, words
from aml.feed.amounts import minor_column
from aml.feed.extra import extra_column
from aml.feed.fields import FIELDS, REQUIRED, Kind
from aml.feed.gaps import Mask, filled, lost, nullable, present
from aml.feed.mapping import PLAIN, Mapping
from aml.feed.ndjson import banks_of_text
from aml.feed.rates import UNVALUED, Rates, convert, currencies
from aml.feed.raw import Chunk, Raw, Reject, Verdicts, quoted
from aml.feed.texts import by_value, cleaned, coded, different
from aml.feed.times import DAY, read_dates, read_instants

LONGEST: Final = 500  # bytes of what names a record: databases index it
YEAR_1990: Final = 631_152_000_000_000
_OTHERWISE: Final = {"instrument": Instrument.OTHER, "channel": Channel.OTHER}
_FLAGS: Final = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
_AMOUNT_CODES: Final = {
    Defect.NOT_DECIMAL: RejectCode.AMOUNT_NOT_DECIMAL,
    Defect.NOT_FINITE: RejectCode.AMOUNT_NOT_FINITE,
    Defect.NEGATIVE: RejectCode.AMOUNT_NEGATIVE,
    Defect.ZERO: RejectCode.AMOUNT_ZERO,
    Defect.TOO_LARGE: RejectCode.AMOUNT_TOO_LARGE,
    Defect.DECIMALS: RejectCode.AMOUNT_DECIMALS,
}
_COUNTRY: Final = re.compile("[A-Z]{2}")


@dataclass(frozen=True, slots=True)
class Terms:
    """What records are judged by: defaults, the clock they may not outrun, reporting currency, rates.

    ingest_time_us: UTC µs, one for all or one by place, from place 1 on.
    """

    source: str
    institution: str
    ingest_time_us: int | npt.NDArray[np.int64]
    reporting_currency: str
    rates: Rates
    mapping: Mapping = field(default=PLAIN)


def validate(raw: Raw, terms: Terms, total: int | None) -> Chunk:
    """Judge rows: canonical transactions, rejects with their codes, warnings by field. Nothing is dropped unsaid."""
    transactions = _Judge(raw, terms).transactions() if raw.place.len() else pl.DataFrame(schema=CANONICAL)
    found = raw.verdicts.found
    rejects = raw.failed + [
        Reject(code, terms.source, raw.place[row], detail, raw.original(row)) for row, (code, detail) in found.items()
    ]
    rejects.sort(key=lambda reject: reject.place)
    return Chunk(transactions, rejects, raw.verdicts.warnings, raw.read, raw.done, total)


class _Judge:
    """One chunk under judgement; `columns` fills up with canonical series."""

    def __init__(self, raw: Raw, terms: Terms) -> None:
        self.raw, self.terms = raw, terms
        self.verdicts: Verdicts = raw.verdicts
        self.rows = raw.place.len()
        self.frame = cleaned(raw.frame, raw.padded)
        self.columns: dict[str, pl.Series] = {}

    def transactions(self) -> pl.DataFrame:
        self._texts()
        self._lengths()
        self._flags()
        self._words()
        self._required()
        self._money()
        self._parties()
        self._times()
        self._dates()
        self._values()
        self._codes()
        self._extra()
        return self._frame()

    def _get(self, name: str) -> pl.Series:
        if name in self.frame.columns:
            return self.frame.get_column(name)
        return pl.Series(name, [None], dtype=pl.String).new_from_index(0, self.rows).alias(name)

    def _texts(self) -> None:
        for name, kind in FIELDS.items():
            if kind is Kind.TEXT and name in self.frame.columns and name in CANONICAL:
                values = self.frame.get_column(name)
                self.columns[name] = self._country(name, values) if name.endswith("_country") else values
        if "intermediaries" in self.frame.columns:
            texts = self.frame.get_column("intermediaries")
            if texts.null_count() < self.rows:
                texts = pl.Series(texts.name, banks_of_text(texts.to_list(), self.verdicts), dtype=pl.String)
            self.columns["intermediaries"] = texts
        for name, default in (("institution", self.terms.institution), ("source", self.terms.source)):
            told, absent = self._get(name), pl.Series(name, [default]).new_from_index(0, self.rows)
            self.columns[name] = absent if told.null_count() == self.rows else told.fill_null(default)

    def _lengths(self) -> None:
        names = ("transaction_id", "institution", "source")
        named = pl.DataFrame([self.columns[name] if name in self.columns else self._get(name) for name in names])
        for name, longest in zip(names, named.select_seq(pl.all().str.len_bytes().max()).row(0), strict=True):
            if (longest or 0) > LONGEST:
                told = f"{name}: is longer than {LONGEST} bytes"
                long = (named.get_column(name).str.len_bytes() > LONGEST).fill_null(False).to_numpy()
                self.verdicts.reject_where(long, RejectCode.WRONG_TYPE, lambda _, told=told: told)  # type: ignore[misc]

    def _country(self, name: str, values: pl.Series) -> pl.Series:
        codes = by_value(values, lambda text: text.upper() if _COUNTRY.fullmatch(text.upper()) else None)
        self.verdicts.warn_where(lost(values, codes), name, values)
        return codes

    def _flags(self) -> None:
        for name, kind in FIELDS.items():
            if name not in self.frame.columns or kind not in (Kind.FLAG, Kind.INTEGER):
                continue
            values = self.frame.get_column(name)
            if values.dtype != pl.String:
                read = values.cast(CANONICAL[name], strict=False)
            elif kind is Kind.FLAG:
                read = values.str.to_lowercase().replace_strict(_FLAGS, default=None, return_dtype=pl.Boolean)
            else:
                read = values.cast(CANONICAL[name], strict=False)
            bad = lost(values, read)
            if name == "revision":
                bad |= filled(read, 1) < 1
            self.verdicts.defects(bad, name, values, RejectCode.WRONG_TYPE, f"is not {_wanted(kind)}")
            self.columns[name] = read.set(pl.Series(bad), None) if bad.any() else read
        void = self.columns.get("void")
        self.void: Mask = np.zeros(self.rows, np.bool_) if void is None else void.fill_null(False).to_numpy()

    def _words(self) -> None:
        for name, enum in WORDS.items():
            if name not in self.frame.columns:
                continue
            values = self.frame.get_column(name)
            read = coded(values, {word: code for code, word in enumerate(words(enum))})
            bad = lost(values, read)
            if bad.any():
                what = f"is none of {', '.join(words(enum))}"
                self.verdicts.defects(bad, name, values, RejectCode.WRONG_TYPE, what)
                read = read.set(pl.Series(bad), int(_OTHERWISE[name]) if name in _OTHERWISE else None)
            self.columns[name] = read

    def _required(self) -> None:
        for name in REQUIRED:
            missing = ~present(self._get(name))
            if name != "transaction_id":
                missing &= ~self.void
            self.verdicts.reject_where(missing, RejectCode.FIELD_MISSING, lambda _, n=name: f"{n}: missing")  # type: ignore[misc]

    def _judged(self, mask: Mask) -> Mask:
        """The mask without voids: nothing but a void's identity can be wrong."""
        return mask & ~self.void

    def _money(self) -> None:
        currency = self._currency("currency")
        told, lone = self._currency("credit_currency"), np.zeros(self.rows, np.bool_)
        credit = currency
        if told.null_count() < self.rows:
            credit = told.fill_null(currency)
            lone = (currency != credit).fill_null(False).to_numpy() & ~present(self._get("credit_amount"))
        places = _places(currency)
        self.places = {"amount": places, "credit_amount": places if credit is currency else _places(credit)}
        self.currency = {"amount": currency, "credit_amount": credit}
        for name in ("amount", "credit_amount"):
            if name in self.frame.columns:
                values = self.frame.get_column(name)
                self.columns[name], defects = minor_column(values, self.places[name])
                for row, defect in defects.items():
                    if self.void[row]:
                        self.verdicts.warn(row, name, values[row])
                    else:
                        said = f"{name}: {quoted(values[row])} is {defect.value}" + _hint(values[row], defect)
                        self.verdicts.reject(row, _AMOUNT_CODES[defect], said)
        what = "credit_amount: missing beside another credit_currency"
        self.verdicts.reject_where(self._judged(lone), RejectCode.FIELD_MISSING, lambda _: what)
        for end, name in zip(ENDS, ("amount", "credit_amount"), strict=True):
            field_name = f"{end}_balance_after"
            if field_name in self.frame.columns:
                values = self.frame.get_column(field_name)
                self.columns[field_name], defects = minor_column(values, self.places[name], signed=True)
                for row in defects:
                    self.verdicts.warn(row, field_name, values[row])

    def _currency(self, name: str) -> pl.Series:
        values = self._get(name)
        if name not in self.frame.columns:
            return values
        known = currencies()
        upper = by_value(values, lambda text: text.upper() if text.upper() in known else None)
        unknown = lost(values, upper)
        told = "is no currency: write an ISO 4217 code or add it to streams/currencies.csv"
        self.verdicts.reject_where(
            self._judged(unknown), RejectCode.UNKNOWN_CURRENCY, lambda row: f"{name}: {quoted(values[row])} {told}"
        )
        self.columns[name] = upper
        return upper

    def _parties(self) -> None:
        names = [f"{end}_{part}" for end in ENDS for part in ("account", "customer")] + ["conductor"]
        nobody = np.ones(self.rows, np.bool_)
        for name in names:
            nobody &= ~present(self._get(name))
        told = "no party: neither end has an account or customer, and nobody conducted it"
        self.verdicts.reject_where(self._judged(nobody), RejectCode.NO_PARTY, lambda _: told)

    def _times(self) -> None:
        values, zone = self._get("executed_at"), self.terms.mapping.zone
        times = read_instants(values, zone, self.terms.mapping.time_formats)
        bad = present(values) & ~times.readable
        told = "is no RFC 3339 time: write 2026-03-02T09:30:00Z"
        self._time_defect(bad, RejectCode.TIME_UNREADABLE, told)
        told = "has no offset: send one, or name the zone in a mapping"
        self._time_defect(times.naive, RejectCode.TIME_NO_OFFSET, told)
        known = times.readable & ~times.naive
        early, late = known & (times.at < YEAR_1990), known & (times.at > self._latest())
        self._time_defect(early, RejectCode.TIME_BEFORE_1990, "is before 1990")
        self._time_defect(late, RejectCode.TIME_IN_FUTURE, "is in the future")
        self.columns["executed_at"] = nullable("executed_at", times.at, known & ~early & ~late)
        if times.precision.any():
            told_so = self.columns.get("time_precision")
            shown = pl.Series("time_precision", times.precision)
            self.columns["time_precision"] = shown if told_so is None else told_so.fill_null(shown)

    def _latest(self) -> npt.NDArray[np.int64] | int:
        """The latest time that is no mistake, one or by row."""
        clock = self.terms.ingest_time_us
        return clock + DAY if isinstance(clock, int) else clock[self.raw.place.to_numpy() - 1] + DAY

    def _time_defect(self, mask: Mask, code: RejectCode, what: str) -> None:
        values = self._get("executed_at")
        for row in np.flatnonzero(mask).tolist():
            if self.void[row]:
                self.verdicts.warn(row, "executed_at", str(values[row]))
            else:
                self.verdicts.reject(row, code, f"executed_at: {quoted(values[row])} {what}")

    def _dates(self) -> None:
        for name in ("booking_date", "value_date"):
            if name not in self.frame.columns:
                continue
            values = self.frame.get_column(name)
            if values.dtype == pl.String:
                read = read_dates(values, self.terms.mapping.date_formats)
                self.verdicts.warn_where(lost(values, read), name, values)
                values = read
            self.columns[name] = values

    def _values(self) -> None:
        if self.terms.rates is UNVALUED:
            return
        at = self.columns["executed_at"]
        day = filled(at, 0) // DAY
        empty = pl.Series([None], dtype=pl.Int64).new_from_index(0, self.rows)
        amount = self.columns.get("amount", empty)
        debit = self._converted("amount", amount, at, day)
        credit_amount = self.columns.get("credit_amount")
        if credit_amount is None or credit_amount.null_count() == self.rows:
            credit = debit
        else:
            own = self._converted("credit_amount", credit_amount, at, day)
            credit = pl.select(pl.when(credit_amount.is_null()).then(debit).otherwise(own)).to_series()
        self.columns["debit_value"], self.columns["credit_value"] = debit, credit

    def _converted(self, name: str, amount: pl.Series, at: pl.Series, day: npt.NDArray[np.int64]) -> pl.Series:
        currency, reporting = self.currency[name], self.terms.reporting_currency
        wanted = present(amount) & present(at) & present(currency)
        got = convert(filled(amount, 0), currency, day, wanted, self.terms.rates, reporting)
        values = self._get(name)
        self.verdicts.reject_where(
            self._judged(got.no_rate),
            RejectCode.NO_RATE,
            lambda row: f"{name}: no rate of {currency[row]} in {reporting} within 7 days: give it with --rates",
        )
        self.verdicts.reject_where(
            self._judged(got.too_large),
            RejectCode.AMOUNT_TOO_LARGE,
            lambda row: f"{name}: {quoted(values[row])} is too large in {reporting}",
        )
        return nullable(name, got.value, wanted & ~got.no_rate & ~got.too_large)

    def _codes(self) -> None:
        """The bank's own codes say what the record itself does not; the code is kept."""
        if "transaction_code" not in self.frame.columns:
            return
        values, codes = self.frame.get_column("transaction_code"), self.terms.mapping.codes
        if not codes:
            return
        for name in sorted({name for meaning in codes.values() for name in meaning}):
            coded = {code: meaning[name].upper() for code, meaning in codes.items() if name in meaning}
            table = {code: int(WORDS[name][word]) for code, word in coded.items()}
            meant = values.replace_strict(table, default=None, return_dtype=pl.UInt8)
            told = self.columns.get(name)
            self.columns[name] = meant if told is None else told.fill_null(meant)
        unknown = values.is_not_null() & ~values.is_in(list(codes)).fill_null(True)
        self.verdicts.warnings.update(["transaction_code"] * int(unknown.sum()))

    def _extra(self) -> None:
        sparse = self.raw.extra
        for row, fields in self.verdicts.kept.items():
            sparse.setdefault(row, {}).update(fields)
        beside = self.raw.beside
        if "transaction_code" in self.frame.columns:
            codes = self.frame.select("transaction_code")
            beside = beside.hstack(codes) if beside.width else codes
        column = extra_column(beside, sparse, self.rows)
        if column is not None:
            self.columns["extra"] = column

    def _frame(self) -> pl.DataFrame:
        self.columns["place"] = self.raw.place
        series = []
        for name, kind in CANONICAL.items():
            column = self.columns.get(name)
            if column is None:
                series.append(_absent(name).new_from_index(0, self.rows))
                continue
            if name in DEFAULTS and column.null_count():
                column = column.fill_null(DEFAULTS[name])
            series.append((column if column.dtype == kind else column.cast(kind)).alias(name))
        frame = pl.DataFrame(series)
        rejected = self.verdicts.found
        if not rejected:
            return frame
        keep = np.ones(self.rows, np.bool_)
        keep[list(rejected)] = False
        return frame.filter(pl.Series(keep))


@cache
def _absent(name: str) -> pl.Series:
    """One row of a field that a feed does not have."""
    return pl.Series(name, [DEFAULTS.get(name)], dtype=CANONICAL[name])


def _wanted(kind: Kind) -> str:
    return "true or false" if kind is Kind.FLAG else "a whole number in range"


def _places(currency: pl.Series) -> npt.NDArray[np.int8]:
    """Decimals of each row's currency, -1 where it is unknown."""
    table = {code: currencies()[code] for code in different(currency)}
    if len(table) == 1 and not currency.null_count():
        return np.full(len(currency), next(iter(table.values())), np.int8)
    return currency.replace_strict(table, default=None, return_dtype=pl.Int8).fill_null(-1).to_numpy()


def _hint(value: Any, defect: Defect) -> str:
    commas = defect is Defect.NOT_DECIMAL and isinstance(value, str) and "," in value
    return ": set decimal or thousands in a mapping" if commas else ""
