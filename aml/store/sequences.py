"""Which source_sequence numbers came, exactly: bits in blocks, so that gaps close when late ones come.

Each shard sees some of a source's numbers, in any order and any number of times, and keeps those bits for itself; who
reads puts them together. A block of which all numbers came costs nothing once it is folded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, delete, insert, select, text, tuple_

from aml.store.statements import CHUNK, put_all
from aml.store.stream_tables import stream_sequences

_Key = tuple[int, str, str, int]  # shard, institution, source, block
_KEYS: Final = ("shard", "institution", "source", "block")
Numbers = npt.NDArray[np.int64]
_SHIFT: Final = 13
BLOCK: Final = 1 << _SHIFT
_BITMAP: Final = BLOCK // 8
# Shard of the blocks that all shards filled together.
FULL: Final = -1
_FOLD_LOCK: Final = 0x616D6C04


@dataclass(frozen=True, slots=True)
class Sequence:
    """The numbers of one source: between `first` and `last` some `missing` never came, the earliest `gaps` of them."""

    institution: str
    source: str
    first: int
    last: int
    missing: int
    gaps: tuple[tuple[int, int], ...]  # (first, last) missing


def add_numbers(connection: Connection, numbers: Mapping[tuple[int, str, str], Numbers]) -> None:
    """Note numbers, any number of times each, by (shard, institution, source), in the shards' own rows."""
    came: dict[_Key, npt.NDArray[Any]] = {}
    for feed, found in numbers.items():
        distinct = np.unique(np.asarray(found, np.int64))
        if distinct.size:
            blocks = distinct >> _SHIFT
            cuts = np.flatnonzero(np.diff(blocks)) + 1
            parts = np.split(distinct & (BLOCK - 1), cuts)
            came.update({(*feed, int(block)): part for block, part in zip(np.unique(blocks), parts, strict=True)})
    rows = []
    held = _held(connection, sorted(came))
    for key in sorted(came):
        before = held.get(key)
        if before == b"":
            continue
        after = _packed(came[key] if before is None else np.union1d(came[key], _places(before)))
        if after != before:
            rows.append({**dict(zip(_KEYS, key, strict=True)), "blocks": 1, "seen": after})
    put_all(connection, stream_sequences, rows, ("seen",))


def _held(connection: Connection, keys: list[_Key]) -> dict[_Key, bytes]:
    c = stream_sequences.c
    columns = [c[name] for name in _KEYS]
    found: dict[_Key, bytes] = {}
    for start in range(0, len(keys), CHUNK):
        chosen = tuple_(*columns).in_(keys[start : start + CHUNK])
        for *key, seen in connection.execute(select(*columns, c.seen).where(chosen)):
            found[tuple(key)] = bytes(seen)
    return found


def _packed(places: npt.NDArray[Any]) -> bytes:
    """Places (0 to 8,191, distinct, ascending) as bytes: nothing where all are there, two each where few, else bits."""
    if places.size == BLOCK:
        return b""
    if 2 * places.size < _BITMAP:
        return places.astype("<u2").tobytes()
    bits = np.zeros(BLOCK, np.bool_)
    bits[places] = True
    return np.packbits(bits, bitorder="little").tobytes()


def _places(seen: bytes) -> npt.NDArray[Any]:
    """The places of a block that bytes hold, ascending."""
    if not seen:
        return np.arange(BLOCK)
    if len(seen) < _BITMAP:
        return np.frombuffer(seen, "<u2").astype(np.int64)
    return np.flatnonzero(np.unpackbits(np.frombuffer(seen, np.uint8), bitorder="little"))


def load_sequences(connection: Connection, gaps: int = 100) -> list[Sequence]:
    """Every source that numbers its records, with at most so many gaps each."""
    return [
        _sequence(institution, source, *joined(*_ranges(rows)), gaps)
        for (institution, source), rows in _by_source(connection).items()
    ]


def _by_source(connection: Connection) -> dict[tuple[str, str], list[tuple[int, int, bytes]]]:
    """The rows (block, blocks, seen) by (institution, source)."""
    c = stream_sequences.c
    query = select(c.institution, c.source, c.block, c.blocks, c.seen)
    found: dict[tuple[str, str], list[tuple[int, int, bytes]]] = {}
    for institution, source, block, blocks, seen in connection.execute(
        query.order_by(c.institution, c.source, c.block, c.shard)
    ):
        found.setdefault((institution, source), []).append((block, blocks, bytes(seen)))
    return found


def _ranges(rows: Iterable[tuple[int, int, bytes]]) -> tuple[Numbers, Numbers]:
    """First and last number of each unbroken run in the rows, in no order."""
    firsts, lasts = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for block, blocks, seen in rows:
        start = block * BLOCK
        if not seen:
            firsts.append(np.array([start], np.int64))
            lasts.append(np.array([start + blocks * BLOCK - 1], np.int64))
            continue
        places = _places(seen) + start
        breaks = np.flatnonzero(np.diff(places) != 1)
        firsts.append(places[np.concatenate([[0], breaks + 1])])
        lasts.append(places[np.concatenate([breaks, [places.size - 1]])])
    return np.concatenate(firsts), np.concatenate(lasts)


def joined(firsts: Numbers, lasts: Numbers) -> tuple[Numbers, Numbers]:
    """Ranges [first, last], overlapping or touching ones made one, ascending."""
    if not firsts.size:
        return firsts, lasts
    order = np.argsort(firsts, kind="stable")
    firsts, reached = firsts[order], np.maximum.accumulate(lasts[order])
    begins = np.concatenate([[True], firsts[1:] > reached[:-1] + 1])
    ends = np.concatenate([np.flatnonzero(begins)[1:] - 1, [firsts.size - 1]])
    return firsts[begins], reached[ends]


def _sequence(institution: str, source: str, firsts: Numbers, lasts: Numbers, most: int) -> Sequence:
    missing = firsts[1:] - lasts[:-1] - 1
    gaps = zip((lasts[:-1] + 1)[:most].tolist(), (firsts[1:] - 1)[:most].tolist(), strict=True)
    return Sequence(institution, source, int(firsts[0]), int(lasts[-1]), int(missing.sum()), tuple(gaps))


def fold_sequences(connection: Connection) -> int:
    """Make the blocks that all shards filled together runs of full blocks; returns how many rows that saved.

    Shards may write meanwhile: what they add to a full block changes nothing.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _FOLD_LOCK})
    return sum(_fold(connection, key, rows) for key, rows in _by_source(connection).items())


def _fold(connection: Connection, key: tuple[str, str], rows: list[tuple[int, int, bytes]]) -> int:
    firsts, lasts = joined(*_ranges(rows))
    first_block, past = -(-firsts // BLOCK), (lasts + 1) // BLOCK
    full = past > first_block
    runs = list(zip(first_block[full].tolist(), (past - first_block)[full].tolist(), strict=True))
    covered = [row for row in rows if any(first <= row[0] < first + many for first, many in runs)]
    if len(covered) <= len(runs):
        return 0
    c = stream_sequences.c
    whose = (c.institution == key[0], c.source == key[1])
    for first, many in runs:
        connection.execute(delete(stream_sequences).where(*whose, c.block >= first, c.block < first + many))
    told = [{"institution": key[0], "source": key[1], "block": first, "blocks": many} for first, many in runs]
    connection.execute(insert(stream_sequences), [{"shard": FULL, **run, "seen": b""} for run in told])
    return len(covered) - len(runs)
