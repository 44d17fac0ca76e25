"""What a shard knows of transactions beside the engine's own record: their name in all shards, their id, their home."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aml.engine.arrays import Transactions, grown
from aml.engine.intern import NONE, Interner, TextRows, Texts
from aml.engine.keys import U64

I64 = npt.NDArray[np.int64]
MOVEMENT: Final = np.dtype([("hi", "u8"), ("lo", "u8"), ("row", "i8"), ("home", "i2"), ("inside", "?")], align=True)
"""hi, lo: the reference; row: of the record in the home's archive, -1 elsewhere; home: shard of the first visit;
inside: its legs stand in the engine here."""
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)


def references(partition: npt.NDArray[Any], offset: I64, index: npt.NDArray[Any]) -> tuple[U64, U64]:
    """The name of elements in every shard: one to one with (partition, offset, index), whatever was accepted when."""
    hi = _mixed((offset.astype(np.uint64) << np.uint64(16)) | partition.astype(np.uint64))
    return hi, _mixed(hi + (index.astype(np.uint64) + np.uint64(1)) * _STEP)


def _mixed(z: U64) -> U64:
    """The finaliser of splitmix64, which is one to one."""
    z = z ^ (z >> np.uint64(30))
    z = z * np.uint64(0xBF58476D1CE4E5B9)
    z = z ^ (z >> np.uint64(27))
    z = z * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class Movements:
    """One row for each of the engine's rows, in their order."""

    def __init__(self) -> None:
        self.rows = np.zeros(1024, MOVEMENT)
        self.ids = Texts(("id",))
        self._names = Interner()
        self._numbers: I64 = np.empty(1024, np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    def append(self, first: int, names: tuple[U64, U64], ids: TextRows, home: npt.NDArray[Any], row: I64) -> None:
        """Add transactions, to which the engine gave the numbers from `first` on."""
        n, m = len(self.ids), row.size
        self.rows = grown(self.rows, n + m)
        new = self.rows[n : n + m]
        new["hi"], new["lo"] = names
        new["home"], new["row"], new["inside"] = home, row, False
        self.ids.add(*ids)
        self._number(names, first + np.arange(m))

    def _number(self, names: tuple[U64, U64], numbers: I64) -> None:
        dense = self._names.ids(*names)
        self._numbers = grown(self._numbers, len(self._names))
        self._numbers[dense] = numbers

    def find(self, names: tuple[U64, U64]) -> I64:
        """Numbers of transactions by reference, -1 where there is none."""
        dense = self._names.find(*names)
        return np.where(dense >= 0, self._numbers[dense], NONE)

    def keep(self, transactions: Transactions, numbers_before: I64) -> None:
        """Hold only what the engine still holds; numbers_before: of its rows before it dropped some."""
        numbers = transactions.numbers(np.arange(transactions.n))
        kept = np.isin(numbers_before, numbers)
        self.rows = self.rows[: kept.size][kept]
        ids, self.ids = self.ids.take(np.flatnonzero(kept)), Texts(("id",))
        self.ids.add(*ids)
        self._names = Interner()
        self._number((self.rows["hi"].copy(), self.rows["lo"].copy()), numbers)

    def state(self) -> dict[str, np.ndarray]:
        """Everything, as arrays."""
        rows = self.rows[: len(self.ids)].copy().view(np.uint8)
        return {"rows": rows, **self.ids.state()}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray], transactions: Transactions) -> Movements:
        """The table whose `state` this is, of the engine that was restored with it."""
        self = cls()
        self.ids = Texts.from_state(("id",), state)
        self.rows = state["rows"].copy().view(MOVEMENT)
        self._number((self.rows["hi"].copy(), self.rows["lo"].copy()), transactions.numbers(np.arange(len(self.ids))))
        return self
