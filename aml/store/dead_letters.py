"""Records that could not be scored, whole, with where they stood and why."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, Row, func, select

from aml.store.statements import insert_new
from aml.store.tables import dead_letters


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One rejected record: `place` is its row or line in `source`, `code` its reason, `original` its own bytes."""

    institution: str
    source: str
    place: int
    code: str
    detail: str
    original: bytes


class DeadLetterStore:
    """Writes dead letters within one transaction."""

    def __init__(self, connection: Connection, now: int) -> None:
        self._connection = connection
        self._now = now

    def add(self, rejected: Iterable[DeadLetter]) -> int:
        """Keep rejects, each once per institution, source, place and content; returns how many were new."""
        return insert_new(self._connection, dead_letters, (self._row(letter) for letter in rejected))

    def _row(self, letter: DeadLetter) -> dict[str, object]:
        return {
            "institution": letter.institution,
            "source": letter.source,
            "place": letter.place,
            "content_sha256": hashlib.sha256(letter.original).hexdigest(),
            "code": letter.code,
            # PostgreSQL's texts hold no NUL; the original bytes do.
            "detail": letter.detail.replace("\0", "\\0"),
            "original": letter.original,
            "first_seen_at": self._now,
        }


def list_dead_letters(
    connection: Connection, code: str | None = None, limit: int = 100
) -> list[Row[tuple[object, ...]]]:
    """The newest dead letters first, without their bytes."""
    c = dead_letters.c
    query = select(c.dead_letter_id, c.institution, c.source, c.place, c.code, c.detail, c.first_seen_at)
    if code is not None:
        query = query.where(c.code == code)
    return list(connection.execute(query.order_by(c.dead_letter_id.desc()).limit(limit)))


def load_dead_letter(connection: Connection, dead_letter_id: int) -> Row[tuple[object, ...]] | None:
    """One dead letter, whole."""
    query = select(dead_letters).where(dead_letters.c.dead_letter_id == dead_letter_id)
    return connection.execute(query).first()


def count_dead_letters(connection: Connection) -> dict[str, int]:
    """How many dead letters there are, by code."""
    query = select(dead_letters.c.code, func.count()).group_by(dead_letters.c.code).order_by(dead_letters.c.code)
    return {code: number for code, number in connection.execute(query)}
