"""What a shard counts of blocks: every element once, where it is judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aml.engine.identity import NO_TIME, Outcome
from aml.feed.fields import encode
from aml.pipeline.accept import CODES
from aml.pipeline.carried import Carried
from aml.pipeline.holders import Mask
from aml.store.dead_letters import DeadLetter, of_stream
from aml.store.encoding import rfc3339
from aml.store.stream import CountKey, SourceRow, TotalKey
from aml.stream.block import Block
from aml.stream.wire import BlockHead

_DAY, _HOUR = 86_400_000_000, 3_600_000_000  # µs
OUTCOMES: Final = {
    int(Outcome.NEW): "scored", int(Outcome.DUPLICATE): "duplicate",
    **{int(outcome): f"rejected:{code}" for outcome, code in CODES.items()},
}  # fmt: skip
_DETAILS: Final = {
    "too_late": "executed_at: {} lies more than the lateness behind the watermark",
    "conflict": "transaction_id: was there before with other content, which stands",
}


@dataclass(slots=True)
class Tally:
    """What one step adds to the database beside findings."""

    counts: Counter[CountKey] = field(default_factory=Counter)
    totals: dict[TotalKey, tuple[int, int]] = field(default_factory=dict)
    sequences: dict[tuple[str, str], npt.NDArray[np.int64]] = field(default_factory=dict)
    sources: dict[tuple[str, int], SourceRow] = field(default_factory=dict)
    letters: list[DeadLetter] = field(default_factory=list)

    def take_head(self, head: BlockHead, covered: Mapping[tuple[str, int], int]) -> None:
        """Count what was consumed and could not be read, of the source partitions that fall to this shard.

        covered: how far each source partition was covered before this block; what lies below was counted then.
        """
        for part in head.ranges:
            since = covered.get((part.topic, part.partition), part.first)
            if part.partition % head.shards != head.shard or part.next < since:
                continue
            self.sources[part.topic, part.partition] = SourceRow(
                part.topic, part.partition, part.first, part.next, part.partitions, part.reached_at, part.ended_at > 0,
                head.shard,
            )  # fmt: skip
            for c in part.consumed:
                key = CountKey(part.topic, part.partition, c.institution, c.source, c.day, "consumed")
                self.counts[key] += c.elements(since)
        for r in head.rejects:
            if r.offset < covered.get((r.topic, r.partition), 0):
                continue
            self.counts[CountKey(r.topic, r.partition, r.institution, r.source, r.day, f"rejected:{r.code}")] += 1
            self.letters.append(
                of_stream(r.institution, r.topic, r.partition, r.offset, r.index, r.code, r.detail, r.original)
            )

    def take_rows(
        self, topic: str, rows: Carried, outcome: npt.NDArray[np.uint8], home: Mask, late: Mask
    ) -> None:  # fmt: skip
        """Count judged rows at their home. late: which lay behind the watermark."""
        at = np.flatnonzero(home)
        found = outcome[at].astype(np.int64)
        day = rows["received"][at] // _DAY
        judged, n = _groups(rows["partition"][at], rows["institution"][at], rows["source"][at], day, found,
                            late[at] & (found == Outcome.NEW))  # fmt: skip
        for (partition, institution, source, on, code, behind), times in zip(judged, n, strict=True):
            where = topic, partition, rows.words[institution] or "", rows.words[source] or "", _day(on)
            self.counts[CountKey(*where, OUTCOMES[code])] += times
            if behind:
                self.counts[CountKey(*where, "late")] += times
        self._scored(rows, at[found == Outcome.NEW])

    def _scored(self, rows: Carried, at: npt.NDArray[np.intp]) -> None:
        if not at.size:
            return
        t, amount = rows["t"][at], rows["amount"][at]
        hour = np.where(t == NO_TIME, NO_TIME, t // _HOUR)
        columns = rows["institution"][at], rows["source"][at], hour, rows["currency"][at]
        order, first = _sorted(columns)
        # An amount of -1 is none.
        sums = np.add.reduceat(np.maximum(amount, 0)[order], first).tolist()
        n = np.diff(np.append(first, at.size)).tolist()
        for place, times, total in zip(order[first].tolist(), n, sums, strict=True):
            institution, source, when, currency = (int(column[place]) for column in columns)
            told = "" if when == NO_TIME else str(np.datetime64(when, "h"))
            key = TotalKey(rows.words[institution] or "", rows.words[source] or "", told, rows.words[currency] or "")
            before = self.totals.get(key, (0, 0))
            self.totals[key] = (before[0] + times, before[1] + total)
        self._sequenced(rows, at[rows.sequenced[at]])

    def _sequenced(self, rows: Carried, at: npt.NDArray[np.intp]) -> None:
        if not at.size:
            return
        columns = rows["institution"][at], rows["source"][at]
        order, first = _sorted(columns)
        for start, some in zip(first.tolist(), np.split(order, first[1:]), strict=True):
            institution, source = (rows.words[int(column[order[start]])] or "" for column in columns)
            found, held = rows["sequence"][at[some]], self.sequences.get((institution, source))
            self.sequences[institution, source] = found if held is None else np.concatenate([held, found])

    def refuse(self, topic: str, block: Block, at: npt.NDArray[np.intp], outcome: npt.NDArray[np.uint8]) -> None:
        """Keep what was too late or in conflict, as it was understood: its bytes stay in the bank's topic."""
        rows, records = block.rows, block.frame()[at].iter_rows(named=True)
        places = zip(*(rows[name][at].tolist() for name in ("partition", "offset", "index")), strict=True)
        for row, (partition, offset, index), verdict in zip(records, places, outcome.tolist(), strict=True):
            code = CODES[Outcome(verdict)]
            told = _DETAILS[code].format(rfc3339(row["executed_at"]) if row["executed_at"] is not None else "")
            plain = {name: value for name, value in row.items() if value is not None}
            self.letters.append(
                of_stream(row["institution"], topic, partition, offset, index, code, told, encode(plain))
            )


def _groups(*columns: npt.NDArray[Any]) -> tuple[list[tuple[int, ...]], list[int]]:
    """The different rows of whole numbers, and how often each is there."""
    order, first = _sorted(columns)
    rows = zip(*(column[order[first]].tolist() for column in columns), strict=True)
    return list(rows), np.diff(np.append(first, order.size)).tolist()


def _sorted(columns: Sequence[npt.NDArray[Any]]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows in an order in which equal ones lie together as they came, and where each group begins."""
    order = np.lexsort(columns)
    other = np.ones(order.size, np.bool_)
    if order.size:
        other[1:] = np.any([column[order[1:]] != column[order[:-1]] for column in columns], axis=0)
    return order, np.flatnonzero(other)


def _day(number: int) -> str:
    return str(np.datetime64(number, "D"))
