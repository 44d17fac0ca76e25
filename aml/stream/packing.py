"""Lines of JSON as messages: batches of many, or one each; and which partition and key they go by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.feed.fields import encode
from aml.feed.rates import UNVALUED
from aml.feed.validate import Terms
from aml.stream.decode import LARGEST_BATCH, Decoder, Message

BATCH: Final = 500
LARGEST: Final = 900_000  # bytes of a batch: brokers that nobody configured take a MiB
_CLOCK: Final = 1 << 60  # far ahead: whether a time lies in the future is the intake's to say


class Key(StrEnum):
    """What a message goes by."""

    ACCOUNT = "account"
    BENEFICIARY = "beneficiary"
    ID = "id"
    NONE = "none"


_COLUMN: Final = {
    Key.ACCOUNT: "originator_account", Key.BENEFICIARY: "beneficiary_account", Key.ID: "transaction_id",
}  # fmt: skip


class Packed(NamedTuple):
    """A message to send, and how many records of its piece have then gone out, if they go in order."""

    value: bytes
    key: bytes | None
    partition: int | None
    last: int  # place in the piece of its last record


@dataclass(slots=True)
class Packer:
    """Makes messages. batch: records of one at most, 0 for singles; hashed: the partition's number before the modulo.

    A single message bears its key. A batch has none: with a key, records of one key are in one partition all the same,
    in their order.
    """

    batch: int
    key: Key
    partitions: int
    hashed: Callable[[bytes], int]
    _turn: int = 0

    def messages(self, frame: pl.DataFrame, lines: pl.Series) -> Iterator[Packed]:
        """The messages of one piece of a feed, all of its records."""
        if not self.batch:
            yield from self._singles(frame, lines)
        elif self.key is Key.NONE:
            for value, last in _batches(lines, np.arange(len(lines)), self.batch):
                yield Packed(value, None, self._next(), last)
        else:
            to = self._partitions(frame)
            for partition in np.unique(to).tolist():
                for value, last in _batches(lines, np.flatnonzero(to == partition), self.batch):
                    yield Packed(value, None, partition, last)

    def _singles(self, frame: pl.DataFrame, lines: pl.Series) -> Iterator[Packed]:
        keys = [None] * len(lines) if self.key is Key.NONE else frame.get_column(_COLUMN[self.key]).to_list()
        for place, (line, key) in enumerate(zip(lines.to_list(), keys, strict=True)):
            partition = self._next() if key is None else None
            yield Packed(line.encode(), None if key is None else key.encode(), partition, place)

    def _next(self) -> int:
        self._turn = (self._turn + 1) % self.partitions
        return self._turn

    def _partitions(self, frame: pl.DataFrame) -> npt.NDArray[np.int32]:
        """Of each record, the partition of its key; of one without, that of its id."""
        keys = frame.select(pl.col(_COLUMN[self.key]).fill_null(pl.col("transaction_id"))).to_series()
        table = {key: self.hashed(key.encode()) % self.partitions for key in keys.unique().to_list()}
        return keys.replace_strict(table, return_dtype=pl.Int32).to_numpy()


def _batches(lines: pl.Series, rows: npt.NDArray[np.int64], most: int) -> Iterator[tuple[bytes, int]]:
    """The lines of these rows in messages of so many, and of no more bytes than brokers take, each with its last row.

    A line that is longer goes alone.
    """
    texts = lines if rows.size == len(lines) else lines.gather(rows)
    most = min(most, LARGEST_BATCH)
    for start in range(0, rows.size, most):
        some = texts.slice(start, most)
        value = some.str.join("\n").item().encode()
        if len(value) <= LARGEST:
            yield value, int(rows[start + len(some) - 1])
        else:
            for first, part in _smaller(some.to_list()):
                yield "\n".join(part).encode(), int(rows[start + first + len(part) - 1])


def _smaller(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    sizes = [0, *accumulate(len(line.encode()) + 1 for line in lines)]
    first = 0
    while first < len(lines):
        past = first + 1
        while past < len(lines) and sizes[past + 1] - sizes[first] <= LARGEST:
            past += 1
        yield first, lines[first:past]
        first = past


def unreadable(original: bytes) -> bytes:
    """The value of a message that the intake rejects as one element, with what could not be read of a feed in it.

    Its own bytes; where an intake could read those otherwise than the feed's reader (a line of a CSV that is JSON, a
    batch, an event), they go as one JSON text.
    """
    decoder = Decoder(Terms("", "", 0, "USD", UNVALUED))
    found = decoder.decode([Message("", 0, 0, _CLOCK, None, original)])
    if not found.rows.height and [reject.original for reject in found.rejects] == [original]:
        return original
    return encode(original.decode("utf-8", "backslashreplace"))
