"""The engine alone on a stream's movements: accepted once, then let in and out in any order, by any batches."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aml.detect.compile import Compiled
from aml.detect.tags import given
from aml.engine.engine import Applied, Engine
from tests.naive.fast import Fast, compiled, frame_of
from tests.strategies import Stream

Leg = tuple[int, int]  # movement as acceptance numbered it, side (1 debit)


@dataclass(frozen=True)
class Moves:
    """A stream's movements as acceptance gave them, and which of them stand in the end."""

    columns: dict[str, np.ndarray]
    stand: np.ndarray
    party: np.ndarray
    holders: int
    rules: Compiled

    @classmethod
    def of(cls, stream: Stream, rules: Compiled | None = None) -> Moves:
        """Acceptance of the whole stream at once."""
        rules = rules or compiled(stream.profile)
        fast = Fast.open(stream.profile, stream.parties, rules)
        accepted = fast.detection.accept(frame_of(stream.rows))
        stand = np.setdiff1d(accepted.arrivals.enter, accepted.arrivals.leave)
        return cls(given(accepted.arrivals.columns, rules), stand[stand >= 0], accepted.party,
                   len(fast.detection.acceptor.holders), rules)

    def clash(self, a: int, b: int) -> bool:
        """Whether two have one place in the order (a record and its revision): these never stand together."""
        return all(self.columns[name][a] == self.columns[name][b] for name in ("t", "hi", "lo"))

    @property
    def size(self) -> int:
        """How many there are."""
        return int(self.columns["t"].size)


@dataclass
class Play:
    """An engine that is given movements under numbers of its own; answers speak of them as acceptance numbered them."""

    moves: Moves
    engine: Engine
    name: np.ndarray  # the engine's number -> acceptance's
    number: np.ndarray
    shard_of: np.ndarray
    features: dict[Leg, list[float]] = field(default_factory=dict)

    @classmethod
    def begin(cls, moves: Moves, chance: random.Random | None = None, shards: int = 1) -> Play:
        """An engine that knows all movements, in an order of chance, and holds none."""
        name = np.arange(moves.size)
        if chance is not None:
            chance.shuffle(name)
        engine = Engine(moves.rules.program, shards=shards)
        engine.transactions.append({key: column[name] for key, column in moves.columns.items()})
        spread = random.Random(shards)
        shard_of = np.array([spread.randrange(shards) for _ in range(moves.holders)], np.int32)
        return cls(moves, engine, name, np.argsort(name), shard_of)

    def apply(self, added: Sequence[int] | np.ndarray, removed: Sequence[int] | np.ndarray = ()) -> Applied:
        """Let movements in and out."""
        added, removed = np.array(added, np.int64), np.array(removed, np.int64)
        applied = self.engine.apply(self.moves.party, self.shard_of, self.number[added], self.number[removed])
        rows = applied.rows
        for x, number, side in zip(rows.x.tolist(), rows.tx.tolist(), rows.side.tolist(), strict=True):
            self.features[int(self.name[number]), side] = x
        for gone in removed.tolist():
            self.features.pop((gone, 0), None)
            self.features.pop((gone, 1), None)
        return applied

    def restart(self) -> None:
        """Stop, and go on from the state."""
        state = {name: held.copy() for name, held in self.engine.state().items()}
        self.engine = Engine.from_state(self.moves.rules.program, state)

    def findings(self) -> dict[Any, Any]:
        """What holds, by rule, subject and week: each hit with its facts, and all evidence."""
        return {key: self.finding(key) for key in sorted(self.engine.keys_about(None))}

    def finding(self, key: tuple[int, int, int]) -> Any:
        """One finding."""
        hits = self.engine.hits_of(key)
        evidence = sorted({int(self.name[x]) for hit in hits for x in hit.evidence.tolist()})
        return evidence, [
            (hit.detector, int(self.name[hit.tx]), hit.order, hit.segment, hit.opens, hit.steps,
             [repr(value) for value in hit.facts.tolist()])
            for hit in hits
        ]  # fmt: skip
