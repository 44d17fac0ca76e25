"""Dead letters of a run: what the feed could not read, and what acceptance turned away, each with its own bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import polars as pl

from aml.feed.fields import encode
from aml.feed.formats import STDIN
from aml.feed.mapping import Mapping
from aml.feed.originals import originals
from aml.feed.raw import Reject
from aml.pipeline.feeds import FILE
from aml.store.dead_letters import DeadLetter
from aml.store.encoding import rfc3339

_TOO_LATE: Final = "too_late"
_STDIN: Final = "stdin"  # as the feed names it


class Letters:
    """The dead letters that no checkpoint holds yet."""

    def __init__(self, mapping: Mapping | None) -> None:
        self._mapping = mapping
        self._read: list[DeadLetter] = []
        self._refused: dict[str, list[dict[str, Any]]] = {}

    def add_unread(self, rejects: list[tuple[str, Reject]]) -> None:
        """Take records that the feed could not read, each with the institution of its feed."""
        for institution, r in rejects:
            self._read.append(DeadLetter(institution, r.source, int(r.place), str(r.code), r.detail, r.original))

    def add_refused(self, rejected: pl.DataFrame) -> None:
        """Take records that acceptance turned away: whole canonical rows with `code` and the feed's name."""
        for row in rejected.iter_rows(named=True):
            self._refused.setdefault(row[FILE], []).append(row)

    def take(self) -> list[DeadLetter]:
        """Hand over all that were added since, the bytes of refused ones fetched from their files.

        Standard input cannot be read again: there the record as it was understood stands for its bytes.
        """
        letters, self._read = self._read, []
        refused, self._refused = self._refused, {}
        for path, rows in sorted(refused.items()):
            bytes_of = originals(path, {row["place"] for row in rows}, self._mapping)
            letters += [_letter(path, row, bytes_of) for row in rows]
        return letters


def _letter(path: str, row: dict[str, Any], bytes_of: dict[int, bytes]) -> DeadLetter:
    name = _STDIN if path == STDIN else Path(path).name
    original = bytes_of.get(row["place"])
    return DeadLetter(row["institution"], name, row["place"], row["code"], _detail(row), original or _known(row))


def _detail(row: dict[str, Any]) -> str:
    if row["code"] == _TOO_LATE:
        return f"executed_at: {rfc3339(row['executed_at'])} lies more than the lateness behind the watermark"
    return f"transaction_id: {row['transaction_id']!r} was there before with other content, which stands"


def _known(row: dict[str, Any]) -> bytes:
    left_out = ("code", FILE)
    return encode({name: value for name, value in row.items() if value is not None and name not in left_out})
