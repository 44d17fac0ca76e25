"""Records that could not be scored, whole, with where they stood and why."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Row, Subquery, func, select

from aml.store.statements import insert_all, insert_new
from aml.store.tables import dead_letter_replays, dead_letters

BAD_MANIFEST: Final = "bad_manifest"
"""Code of a message that should say what the bank sent, and is no manifest."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One rejected record: `place` is its row or line in `source`, `code` its reason, `original` its own bytes.

    Of a stream (make those with `of_stream`) also where it stood: `element` is its place in the message, from 0.
    """

    institution: str
    source: str
    place: int
    code: str
    detail: str
    original: bytes
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    element: int | None = None


# A message's elements are counted within it; no message of a size that brokers take has more.
_MOST_ELEMENTS: Final = 1 << 20


def of_stream(
    institution: str, topic: str, partition: int, offset: int, element: int, code: str, detail: str, original: bytes
) -> DeadLetter:
    """The dead letter of an element of a message; one that is written again is still one."""
    place = offset * _MOST_ELEMENTS + element
    where = f"{topic}[{partition}]"
    return DeadLetter(institution, where, place, code, detail, original, topic, partition, offset, element)


class DeadLetterStore:
    """Writes dead letters within one transaction."""

    def __init__(self, connection: Connection, now: int) -> None:
        self._connection = connection
        self._now = now

    def add(self, rejected: Iterable[DeadLetter]) -> int:
        """Keep rejects, each once per institution, source, place and content; returns how many were new."""
        return insert_new(self._connection, dead_letters, (self._row(letter) for letter in rejected))

    def replayed(self, dead_letter_ids: Iterable[int]) -> None:
        """Note that these were sent to their topics again."""
        rows = [{"dead_letter_id": sent, "replayed_at": self._now} for sent in dead_letter_ids]
        insert_all(self._connection, dead_letter_replays, rows)

    def _row(self, letter: DeadLetter) -> dict[str, object]:
        return {
            # PostgreSQL's texts hold no NUL; the original bytes do.
            "institution": letter.institution.replace("\0", "\\0"),
            "source": letter.source,
            "place": letter.place,
            "content_sha256": hashlib.sha256(letter.original).hexdigest(),
            "code": letter.code,
            "detail": letter.detail.replace("\0", "\\0"),
            "original": letter.original,
            "first_seen_at": self._now,
            "topic": letter.topic,
            "partition": letter.partition,
            "message_offset": letter.offset,
            "element": letter.element,
        }


@dataclass(frozen=True, slots=True)
class StreamLetter:
    """A dead letter of a stream, as it is sent again. replayed_at: when it last was, UTC µs."""

    dead_letter_id: int
    institution: str
    topic: str
    partition: int
    offset: int
    element: int
    code: str
    original: bytes
    replayed_at: int | None


def stream_letters(
    connection: Connection, code: str | None, ids: Sequence[int], again: bool, after: int, limit: int
) -> list[StreamLetter]:
    """Dead letters of streams with an id above `after`, in the order of their ids; no manifests: the bank sends others.

    Only those with this code and of these ids, if given; `again`: those too that were replayed already.
    """
    c, last = dead_letters.c, _last_replay()
    query = (
        select(c.dead_letter_id, c.institution, c.topic, c.partition, c.message_offset, c.element, c.code, c.original)
        .add_columns(last.c.replayed_at)
        .outerjoin_from(dead_letters, last, last.c.dead_letter_id == c.dead_letter_id)
        .where(c.topic.is_not(None), c.dead_letter_id > after, c.code != BAD_MANIFEST)
    )
    if code is not None:
        query = query.where(c.code == code)
    if ids:
        query = query.where(c.dead_letter_id.in_(ids))
    if not again:
        query = query.where(last.c.replayed_at.is_(None))
    return [StreamLetter(*row) for row in connection.execute(query.order_by(c.dead_letter_id).limit(limit))]


def _last_replay() -> Subquery:
    c = dead_letter_replays.c
    query = select(c.dead_letter_id, func.max(c.replayed_at).label("replayed_at"))
    return query.group_by(c.dead_letter_id).subquery()


def list_dead_letters(
    connection: Connection, code: str | None = None, limit: int = 100
) -> list[Row[tuple[object, ...]]]:
    """The newest dead letters first, without their bytes; `replayed_at` is when each was last sent again."""
    c, last = dead_letters.c, _last_replay()
    query = (
        select(c.dead_letter_id, c.institution, c.source, c.place, c.code, c.detail, c.first_seen_at)
        .add_columns(c.topic, c.partition, c.message_offset, c.element, last.c.replayed_at)
        .outerjoin_from(dead_letters, last, last.c.dead_letter_id == c.dead_letter_id)
    )
    if code is not None:
        query = query.where(c.code == code)
    return list(connection.execute(query.order_by(c.dead_letter_id.desc()).limit(limit)))


def load_dead_letter(connection: Connection, dead_letter_id: int) -> Row[tuple[object, ...]] | None:
    """One dead letter, whole, and when it was last sent again."""
    last = _last_replay()
    query = (
        select(dead_letters, last.c.replayed_at)
        .outerjoin_from(dead_letters, last, last.c.dead_letter_id == dead_letters.c.dead_letter_id)
        .where(dead_letters.c.dead_letter_id == dead_letter_id)
    )
    return connection.execute(query).first()


def count_dead_letters(connection: Connection) -> dict[str, int]:
    """How many dead letters there are, by code."""
    query = select(dead_letters.c.code, func.count()).group_by(dead_letters.c.code).order_by(dead_letters.c.code)
    return {code: number for code, number in connection.execute(query)}
