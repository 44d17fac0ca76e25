"""Sends dead letters to the bank's topic again, once their cause is mended.

The message goes out as the bank sent it, key and headers too, while the topic still holds it: the other elements of a
batch are duplicates then. Afterwards what is kept of the element itself goes out alone. Sending is idempotent: identity
decides, so a record that was scored meanwhile is a duplicate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Protocol

from aml.store.database import Database
from aml.store.dead_letters import StreamLetter, stream_letters
from aml.stream.peek import Message, Peeker

REPLAY: Final = "aml.replay"
# How far apart wanted offsets may lie to be read in one go, and for how long a topic is waited for.
_APART: Final = 100
_SECONDS: Final = 20.0
_AT_ONCE: Final = 500
# What a message's elements would become now: (code, detail) by place, of those that would be rejected.
Judged = Mapping[int, tuple[str, str]]


class Producer(Protocol):
    """What replaying asks of a producer."""

    def send(self, topic: str, value: bytes, *, key: bytes | None, headers: list[tuple[str, bytes]]) -> object:
        """Hand over a message."""

    def flush(self) -> object:
        """Wait until the broker has acknowledged all; raises where it has not."""


@dataclass(frozen=True, slots=True)
class Resend:
    """One message that goes out again for the sake of some letters; whole: as the bank sent it."""

    message: Message
    letters: tuple[StreamLetter, ...]
    whole: bool


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a letter: sent, or not because nothing of it is left. code, detail: why it would be rejected
    again; None where it would be accepted, or a duplicate."""

    letter: StreamLetter
    sent: bool
    whole: bool
    code: str | None
    detail: str | None


def replay(
    database: Database,
    peeker: Peeker,
    producer: Producer | None,
    judge: Callable[[Message], Judged],
    *,
    code: str | None = None,
    ids: Sequence[int] = (),
    again: bool = False,
) -> Iterator[Replayed]:
    """Send letters of streams again, by the hundreds, each noted once the broker has acknowledged it.

    Only those with this code or of these ids, if given, and only those that were not replayed yet, unless `again` asks
    for all or ids name them. Without a producer nothing is sent or noted. Raises what the producer raises, StoreError.
    """
    after = 0
    while True:
        with database.read() as connection:
            letters = stream_letters(connection, code, ids, again or bool(ids), after, _AT_ONCE)
        if not letters:
            return
        after = letters[-1].dead_letter_id
        resends, gone = prepare(letters, peeker)
        for resend in resends:
            if producer is not None:
                out = resend.message
                producer.send(out.topic, out.value or b"", key=out.key, headers=list(out.headers))
        if producer is not None and resends:
            producer.flush()
            with database.begin() as uow:
                uow.dead_letters.replayed(letter.dead_letter_id for resend in resends for letter in resend.letters)
        for resend in resends:
            yield from _told(resend, judge(resend.message))
        yield from (Replayed(letter, False, False, None, None) for letter in gone)


def prepare(letters: Iterable[StreamLetter], peeker: Peeker) -> tuple[list[Resend], list[StreamLetter]]:
    """The messages to send for these letters, each once, in the order of their places; and letters of which nothing is
    left."""
    by_place: dict[tuple[str, int, int], list[StreamLetter]] = {}
    for letter in sorted(letters, key=lambda letter: (letter.topic, letter.partition, letter.offset, letter.element)):
        by_place.setdefault((letter.topic, letter.partition, letter.offset), []).append(letter)
    found = _fetch(peeker, list(by_place))
    resends, gone = [], []
    for place, held in by_place.items():
        message = found.get(place)
        if message is not None:
            resends.append(Resend(_marked(message, place), tuple(held), True))
            continue
        for letter in held:
            if letter.original:
                alone = Message(*place, 0, None, letter.original, ())
                resends.append(Resend(_marked(alone, place), (letter,), False))
            else:
                gone.append(letter)
    return resends, gone


def _marked(message: Message, place: tuple[str, int, int]) -> Message:
    topic, partition, offset = place
    kept = [header for header in message.headers if header[0] != REPLAY]
    mark = (REPLAY, f"{topic}:{partition}:{offset}".encode())
    return Message(topic, partition, offset, message.at, message.key, message.value, (*kept, mark))


def _fetch(peeker: Peeker, places: Sequence[tuple[str, int, int]]) -> dict[tuple[str, int, int], Message]:
    """The messages at these places (sorted), as far as their topics still hold them."""
    wanted, found = set(places), {}

    def take(message: Message) -> None:
        place = (message.topic, message.partition, message.offset)
        if place in wanted and message.value is not None:
            found[place] = message

    bounds = {topic: peeker.ends(topic) for topic in sorted({topic for topic, _, _ in places})}
    for (topic, partition), group in groupby(places, key=lambda place: place[:2]):
        begin, end = bounds[topic].get(partition, (0, 0))
        for first, last in _runs([offset for _, _, offset in group if begin <= offset < end]):
            peeker.read({(topic, partition): (first, last + 1)}, take, last + 1 - first, _SECONDS)
    return found


def _runs(offsets: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of the runs of ascending offsets that lie close together."""
    runs: list[tuple[int, int]] = []
    for offset in offsets:
        if runs and offset - runs[-1][1] <= _APART:
            runs[-1] = (runs[-1][0], offset)
        else:
            runs.append((offset, offset))
    return runs


def _told(resend: Resend, judged: Judged) -> Iterator[Replayed]:
    for letter in resend.letters:
        code, detail = judged.get(letter.element if resend.whole else 0, (None, None))
        yield Replayed(letter, True, resend.whole, code, detail)


def replayed_object(one: Replayed) -> dict[str, Any]:
    """A letter's replay as JSON tells it."""
    letter = one.letter
    return {
        "dead_letter_id": letter.dead_letter_id,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "element": letter.element,
        "code": letter.code,
        "sent": one.sent,
        "whole_message": one.whole,
        "code_now": one.code,
        "detail_now": one.detail,
    }
