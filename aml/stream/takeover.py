"""Taking a shard over: under a new epoch, from the newest snapshot and a silent replay to where the database stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, Protocol

from aml.domain.errors import AmlError
from aml.pipeline.inforce import Judgement
from aml.store.stream_rows import ShardRow
from aml.stream import snapshot
from aml.stream.block import unpack_block
from aml.stream.frozen import restore
from aml.stream.mail import unpack_letters
from aml.stream.shard import Shard, ShardTerms

LEGS, RECORDS = "legs", "records"
_AT_ONCE: Final = 200  # messages of a replay in one step


class Stopped(Exception):
    """The process was told to end while it waited."""


class Log(Protocol):
    """The two internal topics."""

    def send(self, kind: str, shard: int, value: bytes) -> None:
        """Hand a message over for a shard's partition of LEGS or RECORDS."""

    def flush(self) -> None:
        """Wait until everything sent is acknowledged. Raises where something was refused."""

    def ends(self, shard: int) -> tuple[int, int]:
        """Offsets behind the last messages of both inputs of a shard."""

    def begins(self, shard: int) -> tuple[int, int]:
        """Offsets of the first messages kept."""

    def read(self, kind: str, shard: int, first: int, last: int) -> Iterator[tuple[int, bytes]]:
        """The messages [first, last), with their offsets."""


def take_over(
    terms: ShardTerms, database_id: str, own: Callable[[int, int], ShardRow], log: Log, now: int,
    say: Callable[[str], None],
) -> Shard:  # fmt: skip
    """Own a shard: raise its epoch, tell everybody, and bring its memory to where the database stands.

    own(shard, seen): raises the shard's epoch above the stored one and one that was seen; where the shard stands.
    Raises AmlError where the topics do not hold what is needed any more.
    """
    row = own(terms.shard, 0)
    same_rules(row, terms.judgement, terms.shards)
    seen = _seen(terms.shard, row, log)
    if seen >= row.epoch:
        say(f"shard {terms.shard}: epoch {seen} was seen, the database knows {row.epoch}: it was restored")
        row = own(terms.shard, seen)
    shard = Shard(terms)
    for to, marker in shard.markers(row.epoch, now):
        log.send(RECORDS, to, marker)
    log.flush()
    ends = log.ends(terms.shard)
    if not restored(shard, row, database_id, restore, say):
        shard = Shard(terms)
        shard.at = log.begins(terms.shard)
        if row.generation and shard.at == (0, 0):
            raise AmlError(
                f"shard {terms.shard}: no snapshot in {terms.folder}, and what came before the shards were made anew "
                "is nowhere else: let AML_STATE name the folder of that `aml shards resize`, or restore that folder"
            )
        if row.legs or row.records:
            before = "" if shard.at == (0, 0) else (
                ": what lay before is not known, and rules that look further back have too short a history"
            )  # fmt: skip
            say(f"shard {terms.shard}: no snapshot, is read again from offsets {shard.at} on{before}")
    replay(shard, row, log, now)
    shard.own(row, ends)
    return shard


def same_rules(row: ShardRow, judgement: Judgement, shards: int) -> None:
    """Raise AmlError where a shard was judged by something else so far: all change together, at one place."""
    ours = snapshot.in_force(judgement)
    if row.state.get("in_force", ours) != ours:
        raise AmlError(
            f"shard {row.shard} is judged by other rules, models, scoring or engine, or history from another day: run "
            f"with those, or stop all and let `aml shards resize {shards}` judge the whole archive by these"
        )


def _seen(shard: int, row: ShardRow, log: Log) -> int:
    """The highest epoch that owners of the shard told of after where the database stands: more than it knows, where it
    was restored from a backup."""
    _, end = log.ends(shard)
    letters = (one for _, value in log.read(RECORDS, shard, row.records, end) for one in unpack_letters(value))
    return max((letter.head.epoch for letter in letters if letter.head.sender == shard), default=0)


def restored(
    shard: Shard, row: ShardRow, database_id: str, take_up: Callable[[Shard, snapshot.Arrays], None],
    say: Callable[[str], None],
) -> bool:  # fmt: skip
    """Whether a new shard could take up one of its snapshots, the newest that can be used."""
    for path, state in snapshot.newest(shard.terms.folder, database_id, (row.legs, row.records)):
        if isinstance(state, str):
            say(f"snapshot {path}: {state}: the one before is taken")
            continue
        try:
            take_up(shard, state)
        except AmlError as error:
            say(f"snapshot {path}: {error}: the one before is taken")
            continue
        say(f"shard {shard.terms.shard}: from the snapshot at {shard.at}")
        return True
    return False


def replay(shard: Shard, row: ShardRow, log: Log, now: int) -> None:
    """Read again what was committed since the shard's memory, telling nobody."""
    number = shard.terms.shard
    if shard.at[0] > row.legs or shard.at[1] > row.records:
        raise AmlError(
            f"shard {number}: its topics begin at {shard.at}, the database stands at {(row.legs, row.records)}: what "
            "lay between was removed before it was read; raise the topics' retention, and begin with a new database"
        )
    legs, records = log.read(LEGS, number, shard.at[0], row.legs), log.read(RECORDS, number, shard.at[1], row.records)
    # The payments first: letters tell of some of them, whoever else evaluated them before.
    while blocks := [(offset, unpack_block(value)) for offset, value in _some(legs)]:
        shard.step(blocks, [], now, silent=True)
    while letters := [(offset, unpack_letters(value)) for offset, value in _some(records)]:
        shard.step([], letters, now, silent=True)
    if shard.at != (row.legs, row.records):
        raise AmlError(f"shard {number}: its topics end before the database's {(row.legs, row.records)}")


def _some(messages: Iterator[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    return list(islice(messages, _AT_ONCE))
