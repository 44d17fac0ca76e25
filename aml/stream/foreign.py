"""Hits on subjects here that other shards found: of each finding, what each of them told last."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from aml.engine.arrays import Transactions, distinct
from aml.engine.engine import FindingKey, Hit


class ForeignHits:
    """By finding and shard; an empty telling takes the earlier one away."""

    def __init__(self) -> None:
        self._by_key: dict[FindingKey, dict[int, list[Hit]]] = {}

    def put(self, key: FindingKey, sender: int, hits: list[Hit]) -> None:
        """Take what a shard tells of a finding, in place of what it told before."""
        told = self._by_key.setdefault(key, {})
        if hits:
            told[sender] = hits
        else:
            told.pop(sender, None)
            if not told:
                del self._by_key[key]

    def of(self, key: FindingKey) -> Iterable[Hit]:
        """All hits told of a finding."""
        for hits in self._by_key.get(key, {}).values():
            yield from hits

    def keys_about(self, subjects: Collection[int]) -> set[FindingKey]:
        """Findings told about these subjects."""
        return {key for key in self._by_key if key[1] in subjects}

    def forget(self, since: npt.NDArray[Any]) -> None:
        """Drop findings of weeks before a week of each subject: they stand as they were told."""
        self._by_key = {key: told for key, told in self._by_key.items() if key[2] >= since[key[1]]}

    def evidence(self) -> npt.NDArray[np.int64]:
        """Numbers of all transactions that hits name."""
        hits = [hit for told in self._by_key.values() for some in told.values() for hit in some]
        named = [np.append(hit.evidence, hit.tx).astype(np.int64) for hit in hits]
        return distinct(np.zeros(0, np.int64), *named)

    def state(self) -> dict[str, np.ndarray]:
        """Everything, as arrays."""
        told = [(key, sender, hits) for key, by in self._by_key.items() for sender, hits in by.items()]
        flat = [(key, sender, hit) for key, sender, hits in told for hit in hits]
        hits = [hit for *_, hit in flat]
        evidence = [hit.evidence.astype(np.int64) for hit in hits]
        numbers = [
            (*key, sender, hit.detector, hit.subject, hit.owner, hit.tx, hit.segment, hit.opens, hit.steps,
             hit.evidence.size, hit.facts.size)
            for key, sender, hit in flat
        ]  # fmt: skip
        return {
            "numbers": np.array(numbers, np.int64).reshape(len(flat), 13),
            "facts": np.concatenate([*(hit.facts for hit in hits), np.zeros(0)]),
            "evidence": np.concatenate([*evidence, np.zeros(0, np.int64)]),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray], transactions: Transactions) -> ForeignHits:
        """The hits whose `state` this is."""
        self = cls()
        facts, evidence = 0, 0
        for row in state["numbers"].tolist():
            *key, sender, detector, subject, owner, tx, segment, opens, steps, named, width = row
            hit = make_hit(
                transactions, detector, subject, owner, tx, segment, bool(opens), steps,
                state["facts"][facts : facts + width].copy(), state["evidence"][evidence : evidence + named].copy(),
            )  # fmt: skip
            facts, evidence = facts + width, evidence + named
            self._by_key.setdefault((key[0], key[1], key[2]), {}).setdefault(sender, []).append(hit)
        return self


def make_hit(
    transactions: Transactions, detector: int, subject: int, owner: int, tx: int, segment: int, opens: bool, steps: int,
    facts: np.ndarray, evidence: np.ndarray,
) -> Hit:  # fmt: skip
    """A hit at a transaction that is known here."""
    row = transactions.of(np.array([tx]))[0]
    order = (int(row["t"]), int(row["hi"]), int(row["lo"]))
    return Hit(detector, subject, owner, tx, order, segment, opens, steps, facts, evidence)
