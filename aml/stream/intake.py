"""The intake: messages in, for every shard a block out; pure, without a broker.

A flush writes to every shard what of the messages falls to it, with a head that says which part of which source
partition is covered. What stands in a block is a function of the messages alone, so two intakes that overlap write the
same, and a shard knows what it has by the offsets.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.domain.transaction import CANONICAL
from aml.engine.arrays import distinct
from aml.engine.identity import NO_TIME
from aml.feed.times import DAY
from aml.pipeline.carried import Carried, carry
from aml.pipeline.watermark import RANK
from aml.stream.block import Block, pack_block, spread
from aml.stream.decode import Decoder, Message, day_of
from aml.stream.missing import nulls
from aml.stream.wire import BlockHead, Consumed, RejectRow, SourceRange

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Place = tuple[str, int]
"""Topic and partition."""
SKEW: Final = 5_000_000  # µs by which a broker's clock may differ from ours
LARGEST: Final = 6 << 20  # bytes of messages that go into a flush
# Bytes of a block of several messages. One message alone gives 40 MiB at most, and brokers are told 64.
LARGEST_BLOCK: Final = 40 << 20
LARGEST_DEAD: Final = 48 << 20  # bytes of a dead letter; of a larger one only the beginning goes
_CUT: Final = 64 << 10
CONNECT: Final = "__connect.errors."


@dataclass(frozen=True, slots=True)
class Assigned:
    """A source partition that this intake reads. ended: it had nothing more after all that was taken was there;
    partitions: of its topic."""

    partitions: int
    ended: bool


@dataclass(frozen=True, slots=True)
class DeadMessage:
    """A message for the dead-letter topic: as it came, with headers that say what was wrong."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Flushed:
    """One flush: a block by shard, dead letters, the offsets to commit once all of it is acknowledged.

    rows, rejected: elements read and not; event_time: by source partition that gave records, their median time, UTC µs;
    reached: by source partition the latest broker timestamp, UTC µs, 0 of an empty range; missing: how many of the
    rows lack a field.
    """

    blocks: list[bytes]
    dead: list[DeadMessage]
    offsets: dict[Place, int]
    rows: int
    rejected: Counter[str]
    event_time: dict[Place, int]
    reached: dict[Place, int]
    missing: dict[str, int] = field(default_factory=dict)


class IntakeCore:
    """Buffers messages and packs them. resolve: fixes holders and shards (`pipeline.resolved.resolve`)."""

    def __init__(
        self, name: str, shards: int, decoder: Decoder, resolve: Callable[[pl.DataFrame], pl.DataFrame]
    ) -> None:  # fmt: skip
        self.name, self.shards = name, shards
        self._decoder, self._resolve = decoder, resolve
        self._held: deque[Message] = deque()
        self._bytes = 0
        self._seen = 0  # latest broker timestamp of any message
        self._next: dict[Place, int] = {}  # next offset to hand over, by source partition

    @property
    def held(self) -> int:
        """How many messages wait for a flush."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """Bytes of the messages that wait for a flush."""
        return self._bytes

    def assign(self, positions: Mapping[Place, int]) -> None:
        """Begin with these source partitions, at these offsets; what waited of others is forgotten."""
        self._next = dict(positions)
        self._held, self._bytes = deque(), 0

    def take(self, messages: Sequence[Message]) -> None:
        """Add messages; within a partition in their order."""
        self._held += messages
        self._bytes += _size(messages)
        self._seen = max(self._seen, max((m.at for m in messages), default=0))

    def flush(
        self, now: int, assigned: Mapping[Place, Assigned], most: int = LARGEST, count: int | None = None
    ) -> Flushed:
        """Pack what waits, at most so many bytes of it (but one message at least); an empty flush says where it stands.

        now: UTC µs; assigned: every source partition that this intake reads now; count: messages at most, where not all
        that wait. Call again while `held` is not 0.
        """
        messages = self._some(most, count or len(self._held))
        decoded = self._decoder.decode(messages)
        rows = self._resolve(decoded.rows) if decoded.rows.height else decoded.rows
        carried = carry(rows) if rows.height else Carried(0, {}, {}, [])
        timed = [*_timed(rows, carried)]
        highest: dict[int, dict[str, list[tuple[int, int]]]] = {}
        for partition, institution, t, keys in timed:
            highest.setdefault(partition, {})[institution] = _highest(t, keys)
        ranges = self._ranges(messages, highest, _consumed(rows, carried, decoded.rejects), assigned, now)
        heads = [self._head(shard, now, ranges, decoded.rejects) for shard in range(self.shards)]
        missing = nulls(rows) if rows.height else {}
        parts = self._spread(rows, carried, missing)
        blocks = [pack_block(Block(head, *part)) for head, part in zip(heads, parts, strict=True)]
        if len(messages) > 1 and max(map(len, blocks)) > LARGEST_BLOCK:
            self._held.extendleft(reversed(messages))
            self._bytes += _size(messages)
            return self.flush(now, assigned, most, len(messages) // 2)
        offsets = {(r.topic, r.partition): r.next for r in ranges}
        self._next |= offsets
        dead, rejected = _dead(messages, decoded.rejects, now), Counter(r.code for r in decoded.rejects)
        reached = {(r.topic, r.partition): r.reached_at for r in ranges}
        return Flushed(blocks, dead, offsets, rows.height, rejected, _medians(timed, ranges), reached, missing)

    def _some(self, most: int, count: int) -> list[Message]:
        if self._bytes <= most and len(self._held) <= count:
            taken = list(self._held)
            self._held.clear()
            self._bytes = 0
            return taken
        taken = [self._held.popleft()]
        size = _size(taken)
        while self._held and len(taken) < count and size + (more := len(self._held[0].value or b"")) <= most:
            taken.append(self._held.popleft())
            size += more
        self._bytes -= size
        return taken

    def _head(self, shard: int, now: int, ranges: list[SourceRange], rejects: list[RejectRow]) -> BlockHead:
        mine = [reject for reject in rejects if reject.partition % self.shards == shard]
        return BlockHead(shard, self.shards, self.name, now, ranges, mine)

    def _spread(
        self, rows: pl.DataFrame, carried: Carried, missing: Mapping[str, int]
    ) -> Iterator[tuple[Carried, bytes]]:
        """By shard its records, without the columns that say nothing: shards know them."""
        if rows.height:
            filled = [name for name in CANONICAL if missing.get(name, 0) < rows.height]
            return spread(carried, rows[filled], self.shards)
        return iter([(carried, b"")] * self.shards)

    def _ranges(
        self,
        messages: list[Message],
        highest: Mapping[int, dict[str, list[tuple[int, int]]]],
        consumed: Mapping[int, list[Consumed]],
        assigned: Mapping[Place, Assigned],
        now: int,
    ) -> list[SourceRange]:
        first: dict[Place, int] = {}
        after: dict[Place, int] = {}
        reached: dict[Place, int] = {}
        for m in messages:
            place = m[:2]
            first.setdefault(place, m.offset)
            after[place] = m.offset + 1
            if m.at > reached.get(place, 0):
                reached[place] = m.at
        behind = {m[:2] for m in self._held}
        # What nobody has sent since, or at most as late as clocks may differ.
        ended_at = max(self._seen, now - SKEW)
        ranges = []
        for place, known in sorted(assigned.items()):
            start = self._next.get(place, first.get(place, 0))
            ranges.append(SourceRange(
                *place, start, after.get(place, start), known.partitions,
                ended_at if known.ended and place not in behind else 0, reached.get(place, 0),
                highest.get(place[1], {}), consumed.get(place[1], []),
            ))  # fmt: skip
        return ranges


def _timed(rows: pl.DataFrame, carried: Carried) -> Iterator[tuple[int, str, I64, U64]]:
    """By source partition and institution the readable times of records (µs), and their keys."""
    if not rows.height:
        return
    has = carried["t"] != NO_TIME
    partition, keys = (rows.get_column(name).to_numpy()[has] for name in ("_partition", "_key_lo"))
    t, code = carried["t"][has], carried["institution"][has]
    for wanted in distinct(code).tolist():
        for number in distinct(partition[code == wanted]).tolist():
            mine = (code == wanted) & (partition == number)
            yield number, str(carried.words[wanted]), t[mine], keys[mine]


def _medians(timed: list[tuple[int, str, I64, U64]], ranges: list[SourceRange]) -> dict[Place, int]:
    """By source partition the median time of its records: what a few mistyped dates do not move."""
    found = {}
    for r in ranges:
        mine = [t for partition, _, t, _ in timed if partition == r.partition]
        if mine:
            found[r.topic, r.partition] = int(np.median(np.concatenate(mine)))
    return found


def _highest(t: I64, keys: U64) -> list[tuple[int, int]]:
    """The highest times, each with its record's key; a record that came twice is there once."""
    if t.size > RANK:
        least = np.partition(t, t.size - RANK)[t.size - RANK]
        # A record that is there twice takes one place only: those below the least may move up.
        if np.unique(t[t >= least]).size < RANK:
            least = t.min()
        t, keys = t[t >= least], keys[t >= least]
    return sorted({*zip(t.tolist(), keys.tolist(), strict=True)}, reverse=True)[:RANK]


def _size(messages: Sequence[Message]) -> int:
    return sum(len(m.value) for m in messages if m.value is not None)


def _consumed(rows: pl.DataFrame, carried: Carried, rejects: list[RejectRow]) -> dict[int, list[Consumed]]:
    """By source partition: how many elements of each institution, source and day its messages held, read or not.

    Messages one after another that hold as many are one run.
    """
    names, of = _named(rows, carried) if rows.height else ([], np.empty(0, np.int64))
    told = [(r.institution, r.source, r.day) for r in rejects]
    known = sorted({*names, *told})
    if not known:
        return {}
    codes = {name: code for code, name in enumerate(known)}
    unread = np.array([(r.partition, r.offset, codes[name]) for r, name in zip(rejects, told, strict=True)], np.int64)
    code = np.array([codes[name] for name in names], np.int64)[of]
    read = [rows.get_column("_partition").to_numpy(), rows.get_column("_offset").to_numpy(), code]
    partition, offset, code = np.concatenate([np.stack(read), unread.reshape(-1, 3).T], axis=1)
    keys = np.stack([partition, code, offset])
    keys = keys[:, np.lexsort(keys[::-1])]
    first = np.flatnonzero(_new(keys))
    (partition, code, offset), n = keys[:, first], np.diff(np.append(first, keys.shape[1]))
    begins = np.flatnonzero(_new(np.stack([partition, code, n, offset - np.arange(n.size)])))
    ends = np.append(begins[1:], n.size) - 1
    found = dict[int, list[Consumed]]()
    for p, c, low, high, many in zip(partition[begins].tolist(), code[begins].tolist(), offset[begins].tolist(),
                                     offset[ends].tolist(), n[begins].tolist(), strict=True):  # fmt: skip
        institution, source, day = known[c]
        found.setdefault(p, []).append(Consumed(low, high + 1, institution, source, day, many))
    return found


def _named(rows: pl.DataFrame, carried: Carried) -> tuple[list[tuple[str, str, str]], I64]:
    """The institutions, sources and UTC days of messages that there are, and which of these each record has."""
    day, words = rows.get_column("_received").to_numpy() // DAY, carried.words
    whose = carried["institution"], carried["source"]
    which = (day * len(words) + whose[0]) * len(words) + whose[1]
    _, first, of = np.unique(which, return_index=True, return_inverse=True)
    told = zip(whose[0][first].tolist(), whose[1][first].tolist(), day[first].tolist(), strict=True)
    return [(str(words[i]), str(words[s]), day_of(d * DAY)) for i, s, d in told], of


def _new(keys: I64) -> npt.NDArray[np.bool_]:
    """Which columns differ from those before them."""
    return np.append(np.ones(min(1, keys.shape[1]), np.bool_), (keys[:, 1:] != keys[:, :-1]).any(axis=0))


def _dead(messages: list[Message], rejects: list[RejectRow], now: int) -> list[DeadMessage]:
    """One dead letter a message that was not read whole."""
    if not rejects:
        return []
    by_place: dict[tuple[str, int, int], list[RejectRow]] = {}
    for reject in rejects:
        by_place.setdefault((reject.topic, reject.partition, reject.offset), []).append(reject)
    return [
        _as_it_came(m, _why(m, found, now))
        for m in messages
        if (found := by_place.get((m.topic, m.partition, m.offset)))
    ]


def _as_it_came(m: Message, why: list[tuple[str, bytes]]) -> DeadMessage:
    """The message with what was wrong; cut where no broker would take it, and it stays in the bank's topic."""
    topic = f"{m.topic}.dlq"
    size = len(m.key or b"") + len(m.value or b"") + sum(len(name) + len(told or b"") for name, told in m.headers)
    if size <= LARGEST_DEAD:
        return DeadMessage(topic, m.key, m.value, (*m.headers, *why))
    cut = ("aml.error.cut", str(size).encode())
    return DeadMessage(topic, (m.key or b"")[:_CUT], (m.value or b"")[:_CUT], (*why, cut))


def _why(m: Message, found: list[RejectRow], now: int) -> list[tuple[str, bytes]]:
    """Headers in the words of Kafka Connect, and our own."""
    told = {
        f"{CONNECT}topic": m.topic, f"{CONNECT}partition": m.partition, f"{CONNECT}offset": m.offset,
        f"{CONNECT}stage": "VALUE_CONVERTER", f"{CONNECT}exception.class.name": "aml.Rejected",
        f"{CONNECT}exception.message": found[0].detail[:500],
        "aml.error.code": ",".join(reject.code for reject in found[:100]),
        "aml.error.index": ",".join(str(reject.index) for reject in found[:100]),
        "aml.error.attempts": 1, "aml.first_seen": now,
    }  # fmt: skip
    return [(name, str(value).encode()) for name, value in told.items()]
