"""Accounts, the people and companies behind them and the institutions that keep them, as columns."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.feed.simulate.codes import NONE, Kind

I32 = npt.NDArray[np.int32]

LONG_AGO: Final = -100_000
# Places in `Place.countries`.
ORDINARY_ABROAD: Final = np.arange(1, 13)
RISKY: Final = np.array([13, 14, 15])
_BANKS: Final = 36
_NAMES: Final = ("harbor", "prairie", "summit", "river", "liberty", "granite", "coastal", "union", "pioneer", "cedar")
_SORTS: Final = ("national", "savings", "trust", "community")


def mixed(number: npt.NDArray[np.int64], salt: int) -> npt.NDArray[np.int64]:
    """A fixed one-to-one scramble of 0 … 2^30 − 1, so that numbers tell nothing about what they number."""
    mask = np.int64((1 << 30) - 1)
    x = (number + salt) & mask
    for factor, shift in ((0x2C1B3C6D, 15), (0x297A2D39, 13), (0x1B56C4E9, 16)):
        x = (x * factor) & mask
        x ^= x >> shift
    return x


class Directory:
    """Every account that may appear, by account number.

    Columns after `close`: institution, country, kind (codes), customer (place among the people, NONE = not ours),
    opened (day number). People are customers and others who may stand at a counter; `person_text` names them.
    Institution 0 is the bank itself.
    """

    def __init__(self, institution: str, seed: int, countries: tuple[str, ...]) -> None:
        self.countries = countries
        self.institutions = [institution]
        self.institutions += [f"{name}-{sort}" for sort in _SORTS for name in _NAMES][:_BANKS]
        self.institutions += [f"{code.lower()}-bank-{n}" for code in countries[1:] for n in (1, 2, 3)]
        self._seed = seed
        self._lots: dict[str, list[npt.NDArray[Any]]] = {
            name: [] for name in ("institution", "country", "kind", "customer", "opened")
        }
        self._accounts = self._people = 0
        self.customers = 0
        self.roles: list[tuple[int, int]] = []  # (account, person with a mandate on it)

    def people(self, n: int) -> I32:
        """Room for `n` more people; returns their numbers."""
        self._people += n
        return np.arange(self._people - n, self._people, dtype=np.int32)

    def ours(self, customer: npt.ArrayLike, kind: npt.ArrayLike, opened: npt.ArrayLike) -> I32:
        """Accounts at the bank itself, one for each customer given."""
        return self._add(np.zeros(np.asarray(customer).size, np.int16), 0, kind, customer, opened)

    def outside(self, rng: np.random.Generator, n: int, kind: Kind) -> I32:
        """Accounts at the country's other banks, the large ones more often."""
        weights = 1.0 / np.arange(1, _BANKS + 1)
        bank = rng.choice(_BANKS, n, p=weights / weights.sum()) + 1
        return self._add(bank, 0, kind, NONE, LONG_AGO)

    def abroad(self, rng: np.random.Generator, country: npt.NDArray[np.int64], kind: Kind) -> I32:
        """Accounts in the given countries, one each."""
        bank = 1 + _BANKS + (country - 1) * 3 + rng.integers(0, 3, country.size)
        return self._add(bank, country, kind, NONE, LONG_AGO)

    def close(self) -> None:
        """End of additions: join the columns and write the names."""
        self.institution, self.country, self.kind, self.customer, self.opened = (
            np.concatenate(self._lots[name]) for name in ("institution", "country", "kind", "customer", "opened")
        )
        numbers = mixed(np.arange(self._accounts, dtype=np.int64), self._seed * 7919)
        self.account_text = pl.Series(numbers + 1_000_000_000).cast(pl.String)
        people = mixed(np.arange(self._people, dtype=np.int64), self._seed * 104_729 + 17)
        letter = pl.Series(np.where(np.arange(self._people) < self.customers, 0, 1))
        prefix = pl.Series(["C", "P"]).gather(letter)
        self.person_text = prefix + pl.Series(people).cast(pl.String).str.zfill(10)

    def _add(
        self, institution: npt.ArrayLike, country: npt.ArrayLike, kind: npt.ArrayLike, customer: npt.ArrayLike,
        opened: npt.ArrayLike,
    ) -> I32:  # fmt: skip
        n = np.asarray(institution).size
        for name, values, sort in (
            ("institution", institution, np.int16), ("country", country, np.int16), ("kind", kind, np.int8),
            ("customer", customer, np.int32), ("opened", opened, np.int32),
        ):  # fmt: skip
            self._lots[name].append(np.broadcast_to(np.asarray(values, dtype=sort), n))
        self._accounts += n
        return np.arange(self._accounts - n, self._accounts, dtype=np.int32)
