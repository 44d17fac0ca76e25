"""What a shard counts of blocks: every element once, where it is judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.engine.identity import Outcome
from aml.feed.fields import encode
from aml.pipeline.accept import CODES
from aml.pipeline.resolved import SHARD
from aml.store.dead_letters import DeadLetter, of_stream
from aml.store.encoding import rfc3339
from aml.store.stream import CountKey, SourceRow, TotalKey
from aml.stream.wire import BlockHead

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

    def take_rows(self, topic: str, frame: pl.DataFrame, outcome: npt.NDArray[np.uint8], late: pl.Series) -> None:
        """Count judged rows at their home. frame: rows with coordinates; late: which lay behind the watermark."""
        day = (pl.col("_received") // 86_400_000_000).cast(pl.Int32).cast(pl.Date).cast(pl.String)
        judged = frame.select(
            "_partition", "institution", "source", day.alias("day"), pl.Series("outcome", outcome),
            late.alias("late") & pl.Series(outcome == Outcome.NEW),
        )  # fmt: skip
        keys = ["_partition", "institution", "source", "day", "outcome"]
        grouped = judged.group_by(keys).agg(pl.len().alias("n"), pl.col("late").sum())
        for partition, institution, source, on, code, n, behind in grouped.iter_rows():
            self.counts[CountKey(topic, partition, institution, source, on, OUTCOMES[code])] += n
            if behind:
                self.counts[CountKey(topic, partition, institution, source, on, "late")] += behind
        self._scored(frame.filter(pl.Series(outcome == Outcome.NEW)))

    def _scored(self, frame: pl.DataFrame) -> None:
        if not frame.height:
            return
        hour = pl.from_epoch(pl.col("executed_at"), "us").dt.strftime("%Y-%m-%dT%H").fill_null("")
        keys = ["institution", "source", hour.alias("hour"), pl.col("currency").fill_null("")]
        sums = frame.group_by(keys).agg(pl.len().alias("n"), pl.col("amount").fill_null(0).sum().alias("sum"))
        for institution, source, at, currency, n, total in sums.iter_rows():
            key = TotalKey(institution, source, at, currency)
            before = self.totals.get(key, (0, 0))
            self.totals[key] = (before[0] + n, before[1] + total)
        numbered = frame.filter(pl.col("source_sequence").is_not_null())
        for (institution, source), some in numbered.group_by("institution", "source"):
            found = some.get_column("source_sequence").to_numpy()
            held = self.sequences.get((str(institution), str(source)))
            together = found if held is None else np.concatenate([held, found])
            self.sequences[str(institution), str(source)] = together

    def refuse(self, topic: str, rejected: pl.DataFrame, me: int) -> None:
        """Keep what was too late or in conflict, as it was understood: its bytes stay in the bank's topic."""
        for row in rejected.filter(pl.col(SHARD) == me).iter_rows(named=True):
            told = _DETAILS[row["code"]].format(rfc3339(row["executed_at"]) if row["executed_at"] is not None else "")
            self.letters.append(
                of_stream(
                    row["institution"], topic, row["_partition"], row["_offset"], row["_index"], row["code"], told,
                    encode(_plain(row)),
                )
            )  # fmt: skip


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {n: v for n, v in row.items() if v is not None and n != "code" and not n.startswith("_")}
