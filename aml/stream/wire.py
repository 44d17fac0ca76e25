"""What travels through the internal topics: blocks from intake to shards, and records from shard to shard.

A message is a mark of four bytes, a version, and parts: a msgpack head, and bytes that it describes. Nothing is
compressed here: producers do that. A reader refuses a version it does not know: an older worker stops at what a newer
one wrote instead of guessing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from aml.domain.errors import AmlError

BLOCK: Final = b"AMLB"
RECORDS: Final = b"AMLR"
BUNDLE: Final = b"AMLP"
VERSION: Final = 1
_ALIGNED: Final = 8
_SIZE: Final = struct.Struct("<I")
T = TypeVar("T")
Array = npt.NDArray[Any]


class Consumed(msgspec.Struct, array_like=True, frozen=True):
    """That each message of [first, next) held so many elements of one institution, source and day.

    A batch holds many elements, what cannot be read counts one. By message, since ranges of two intakes may overlap in
    part: what lies below is counted already.
    """

    first: int
    next: int
    institution: str
    source: str
    day: str  # UTC day of the broker's timestamp
    each: int

    def elements(self, since: int = 0) -> int:
        """Elements of the messages from offset `since` on."""
        return self.each * max(0, self.next - max(self.first, since))


class SourceRange(msgspec.Struct, array_like=True, frozen=True):
    """The part [first, next) of one partition of a source topic that a flush covers; empty where first == next."""

    topic: str
    partition: int
    first: int
    next: int
    partitions: int  # of the source topic, as the intake knew them
    ended_at: int  # broker time up to which the intake had read to the partition's end, UTC µs; 0 where it had not
    reached_at: int  # latest broker timestamp of the range, UTC µs; 0 where it is empty
    highest: dict[str, list[tuple[int, int]]]  # by institution: the highest readable (executed_at, key), at most 100
    consumed: list[Consumed]


class RejectRow(msgspec.Struct, array_like=True, frozen=True):
    """An element that could not be read, with where it stood; `original` are its own bytes."""

    topic: str
    partition: int
    offset: int
    index: int
    institution: str
    source: str
    day: str
    code: str
    detail: str
    original: bytes


class BlockHead(msgspec.Struct, array_like=True, frozen=True):
    """Head of a block to one shard: what the flush covered, and what of it could not be read.

    Rejects ride to shard (source partition mod shards), which counts them and what was consumed, once.
    """

    shard: int
    shards: int
    intake: str
    at: int  # the intake's clock, UTC µs: for latency alone
    ranges: list[SourceRange]
    rejects: list[RejectRow]


def pack(mark: bytes, head: Any, parts: Iterable[bytes] = ()) -> bytes:
    """A message: mark, version, the head, the other parts."""
    told = [mark, bytes([VERSION])]
    for part in (msgspec.msgpack.encode(head), *parts):
        told += [_SIZE.pack(len(part)), part]
    return b"".join(told)


def pack_arrays(arrays: Mapping[str, Array]) -> tuple[list[tuple[str, int]], bytes]:
    """What there is, in order (name, elements), and the bytes of all arrays."""
    parts = []
    for array in arrays.values():
        parts += [array.tobytes(), bytes(-array.nbytes % _ALIGNED)]
    return [(name, array.size) for name, array in arrays.items()], b"".join(parts)


def unpack_arrays(
    told: Iterable[tuple[str, int]], data: memoryview, kinds: Mapping[str, np.dtype[Any]]
) -> dict[str, Array]:
    """The arrays of a message's part, by name, to be written to at will; kinds: what each is made of."""
    whole, at, arrays = bytearray(data), 0, {}
    for name, n in told:
        arrays[name] = array = np.frombuffer(whole, kinds[name], n, at)
        at += array.nbytes + -array.nbytes % _ALIGNED
    return arrays


def pack_bundle(messages: list[bytes]) -> bytes:
    """Several messages as one: what a topic costs, it costs by message."""
    parts = [BUNDLE, bytes([VERSION])]
    for message in messages:
        parts += [_SIZE.pack(len(message)), message]
    return b"".join(parts)


def unpack_bundle(value: bytes) -> list[bytes]:
    """The messages of a bundle. Raises AmlError as `unpack` does."""
    return [bytes(part) for part in _parts(BUNDLE, value)]


def unpack(mark: bytes, value: bytes, head: type[T]) -> tuple[T, list[memoryview]]:
    """Head and other parts of a message. Raises AmlError for another mark, or a version that is not known here."""
    parts = _parts(mark, value)
    return msgspec.msgpack.decode(parts[0], type=head), parts[1:]


def _parts(mark: bytes, value: bytes) -> list[memoryview]:
    if value[:4] != mark:
        raise AmlError(f"an internal topic holds a message that begins with {value[:4]!r}: nobody else may write there")
    if value[4] != VERSION:
        raise AmlError(
            f"an internal message has version {value[4]}, this program knows {VERSION}: let all processes run the same"
        )
    view, at, parts = memoryview(value), 5, []
    while at < len(value):
        (size,) = _SIZE.unpack_from(value, at)
        parts.append(view[at + 4 : at + 4 + size])
        at += 4 + size
    return parts
