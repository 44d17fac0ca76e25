"""Blocks: what the intake hands to one shard of a flush, its head and the records that fall to the shard.

A record travels twice: by plain columns, which is how the shard judges it, and whole, as a part of an Arrow stream that
is looked at only where somebody wants to see the record.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from aml.domain.transaction import CANONICAL
from aml.pipeline.carried import NUMBERS, TEXTS, Carried
from aml.stream.wire import BLOCK, Array, BlockHead, pack, pack_arrays, unpack, unpack_arrays

_SIZES: Final = {name: f"{name}.sizes" for name in TEXTS}
_KINDS: Final[dict[str, np.dtype[Any]]] = {
    **NUMBERS, **dict.fromkeys(_SIZES.values(), np.dtype("i4")), **dict.fromkeys(TEXTS, np.dtype("u1")),
}  # fmt: skip


class _Rows(msgspec.Struct, array_like=True, frozen=True):
    """What `Carried` is but for its arrays, and which of these there are."""

    n: int
    parties: bool
    words: list[str | None]
    arrays: list[tuple[str, int]]


class _Told(msgspec.Struct, array_like=True, frozen=True):
    head: BlockHead
    rows: _Rows


@dataclass(slots=True)
class Block:
    """A block: its head, and the records for this shard."""

    head: BlockHead
    rows: Carried
    records: bytes  # of an Arrow stream; empty where there are none

    def frame(self) -> pl.DataFrame:
        """The records whole: all canonical columns; those that were null throughout did not travel."""
        told = self.told()
        absent = [pl.lit(None, kind).alias(name) for name, kind in CANONICAL.items() if name not in told.columns]
        return told.with_columns(absent).select(list(CANONICAL))

    def told(self) -> pl.DataFrame:
        """The records by the columns that travelled."""
        return pl.read_ipc_stream(self.records) if self.records else pl.DataFrame(schema=CANONICAL)

    def only(self, kept: npt.NDArray[np.int64]) -> Block:
        """A block of some of the rows."""
        return Block(self.head, self.rows.take(kept), _stream(self.frame()[kept]))


def pack_block(block: Block) -> bytes:
    """The bytes of a block."""
    rows = block.rows
    arrays: dict[str, Array] = dict(rows.columns)
    for name, (sizes, data) in rows.texts.items():
        arrays |= {_SIZES[name]: sizes, name: data}
    told, whole = pack_arrays(arrays)
    return pack(BLOCK, _Told(block.head, _Rows(rows.n, rows.parties, rows.words, told)), [whole, block.records])


def unpack_block(value: bytes) -> Block:
    """The block that a message of `aml.legs.v1` holds. Raises AmlError for what is none, or of a newer version."""
    told, (data, records) = unpack(BLOCK, value, _Told)
    rows = told.rows
    arrays = unpack_arrays(rows.arrays, data, _KINDS)
    texts = {name: (arrays.pop(_SIZES[name]).reshape(-1, 1), arrays.pop(name)) for name in TEXTS if name in arrays}
    return Block(told.head, Carried(rows.n, arrays, texts, rows.words, rows.parties), bytes(records))


def spread(carried: Carried, records: pl.DataFrame, shards: int) -> Iterator[tuple[Carried, bytes]]:
    """By shard its records, in their order: all are gathered once, for each shard is a slice then."""
    to, everywhere = carried["shard"], carried["everywhere"]
    mine = [np.flatnonzero((to == shard) | everywhere) for shard in range(shards)]
    order = np.concatenate(mine)
    gathered, whole, first = carried.take(order), records[order], 0
    cuts = {name: _bounds(sizes) for name, (sizes, _) in gathered.texts.items()}
    for places in mine:
        last = first + places.size
        columns = {name: column[first:last] for name, column in gathered.columns.items()} if places.size else {}
        texts = {
            name: (sizes[first:last], data[cuts[name][first] : cuts[name][last]])
            for name, (sizes, data) in (gathered.texts.items() if places.size else ())
        }
        yield Carried(places.size, columns, texts, carried.words, carried.parties), _stream(whole[first:last])
        first = last


def _bounds(sizes: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.maximum(sizes[:, 0], 0), dtype=np.int64)])


def _stream(frame: pl.DataFrame) -> bytes:
    if not frame.height:
        return b""
    out = io.BytesIO()
    frame.write_ipc_stream(out, compression="uncompressed")
    return out.getvalue()
