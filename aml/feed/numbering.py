"""Names and order for records of sets that have neither ids nor exact clocks: there the file's order is data."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import polars as pl

I64 = npt.NDArray[np.int64]


class Occurrences:
    """Counts how often a content came before, over a whole file, in 8 bytes a row."""

    def __init__(self) -> None:
        self._levels: list[npt.NDArray[np.uint64]] = []

    def numbers(self, contents: npt.NDArray[np.uint64]) -> I64:
        """Of each content its occurrence, from 1; contents are remembered."""
        order = np.argsort(contents, kind="stable")
        ordered = contents[order]
        begin = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if ordered.size else np.empty(0, np.int64)
        within = np.arange(ordered.size) - np.repeat(begin, np.diff(np.r_[begin, ordered.size]))
        numbers = np.empty(ordered.size, np.int64)
        numbers[order] = within + 1
        for level in self._levels:
            earlier = np.searchsorted(level, contents, "right") - np.searchsorted(level, contents, "left")
            numbers += earlier
        self._levels.append(ordered)
        # Levels double in size, so that each row is sorted a few times only.
        while len(self._levels) > 1 and self._levels[-2].size <= 2 * self._levels[-1].size:
            last = self._levels.pop()
            self._levels[-1] = np.sort(np.concatenate([self._levels[-1], last]), kind="stable")
        return numbers

    def names(self, texts: list[str]) -> list[str]:
        """A transaction_id for each row's content: 24 hex digits of its hash and its occurrence."""
        digests = [blake2b(text.encode(), digest_size=12).digest() for text in texts]
        heads = np.frombuffer(b"".join(digest[:8] for digest in digests), dtype=np.uint64)
        numbers = self.numbers(heads)
        return [f"{digest.hex()}-{number}" for digest, number in zip(digests, numbers.tolist(), strict=True)]


class Ticks:
    """Gives each row its place within its tick of a coarse clock."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}

    def places(self, ticks: I64) -> I64:
        """How many rows of the same tick came before each, over a whole file."""
        frame = pl.DataFrame({"tick": ticks})
        places = frame.select(pl.int_range(pl.len(), dtype=pl.Int64).over("tick")).to_series().to_numpy()
        found, inverse, counts = np.unique(ticks, return_inverse=True, return_counts=True)
        before = np.array([self._next.get(tick, 0) for tick in found.tolist()], np.int64)
        for tick, count in zip(found.tolist(), counts.tolist(), strict=True):
            self._next[tick] = self._next.get(tick, 0) + count
        return np.asarray(places + before[inverse], np.int64)


def content_of(frame: pl.DataFrame, names: list[str]) -> list[str]:
    """One text of all the named columns, by row."""
    parts = [pl.col(name).cast(pl.String).fill_null("") for name in names]
    return frame.select(pl.concat_str(parts, separator="\x1f")).to_series().to_list()
