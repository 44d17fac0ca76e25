"""What an engine remembers as flat arrays, and back: restored anywhere, it is the engine that never stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from aml.engine.arrays import Books, Transactions, new_holders
from aml.engine.hits import HIT, HitBook
from aml.engine.layout import BASE, HOLDER, LEG, LOOK_UP, PAIR, TRAIL, TX, USED_BASE, USED_SLOTS, Ledger

if TYPE_CHECKING:
    from aml.engine.engine import Engine
    from aml.engine.shard import Shard

FORMAT: Final = 1  # raised whenever a layout below, or what it means, changes
LAYOUTS: Final = {
    "rows": TX, "legs": LEG, "holders": HOLDER, "base": BASE, "pairs": PAIR, "fits": LOOK_UP, "trails": TRAIL,
    "hits": HIT,
}  # fmt: skip


def snapshot(engine: Engine) -> dict[str, np.ndarray]:
    """All that the engine remembers, records as their bytes; what is large is lent, and changes with the next batch."""
    use = engine.book_use
    state = {
        "format": np.array([FORMAT, len(engine.shards)], np.int64), "shard_of": engine.shard_of.copy(),
        "tally": engine.tally.copy(), "use": use.copy(), "trails": engine.books.trails[: use[0]],
        "payers": engine.books.payers[: use[1]],
    }  # fmt: skip
    state |= {f"transactions.{name}": held for name, held in engine.transactions.state().items()}
    state |= {f"hits.{name}": held for name, held in engine.hits.state().items()}
    for s in engine.shards:
        state |= {f"shard{s.number}.{name}": held for name, held in _shard(s).items()}
    return {name: _flat(held) for name, held in state.items()}


def _shard(s: Shard) -> dict[str, np.ndarray]:
    led = s.ledger
    return {
        "legs": led.legs[: int(led.meter[USED_SLOTS])], "holders": led.holders, "pairs": led.pairs, "fits": led.fits,
        "meter": led.meter.copy(),
        "base": led.base[: int(led.meter[USED_BASE])].ravel(), "longest": np.array([s.longest], np.int64),
    }  # fmt: skip


def shards_in(state: Mapping[str, np.ndarray]) -> int:
    """How many shards a state has. Raises ValueError for one of another format."""
    number = int(state["format"][0])
    if number != FORMAT:
        raise ValueError(f"the engine's state has format {number}; this version reads {FORMAT}")
    return int(state["format"][1])


def restore(engine: Engine, state: Mapping[str, np.ndarray]) -> None:
    """Take over a state into a new engine of the same program and number of shards."""
    state = {name: _read(name, held) for name, held in state.items()}
    engine.shard_of = state["shard_of"]
    engine.tally, engine.book_use = state["tally"], state["use"]
    engine.books = Books(_room(state["trails"], 1024), _room(state["payers"], 4096))
    engine.transactions = Transactions.from_state(_part(state, "transactions"))
    for s in engine.shards:
        _restore_shard(s, _part(state, f"shard{s.number}"))
    ledgers = [s.ledger for s in engine.shards]
    engine.hits = HitBook.from_state(_part(state, "hits"), ledgers, engine.shard_of)


def _restore_shard(s: Shard, state: Mapping[str, np.ndarray]) -> None:
    holders = new_holders(max(1024, state["holders"].size))
    holders[: state["holders"].size] = state["holders"]
    s.ledger = Ledger(legs=_room(state["legs"], 4096), holders=holders, pairs=state["pairs"], fits=state["fits"],
                      meter=state["meter"], base=_room(state["base"].reshape(-1, 2), 1))
    s.longest = int(state["longest"][0])


def _part(state: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name[len(prefix) + 1 :]: held for name, held in state.items() if name.startswith(prefix + ".")}


def _flat(array: np.ndarray) -> np.ndarray:
    return array.view(np.uint8) if array.dtype.names else array


def _read(name: str, held: np.ndarray) -> np.ndarray:
    layout = LAYOUTS.get(name.rpartition(".")[2])
    return held.copy() if layout is None else held.copy().view(layout)


def _room(array: np.ndarray, least: int) -> np.ndarray:
    room = np.zeros((max(least, array.shape[0]), *array.shape[1:]), array.dtype)
    room[: array.shape[0]] = array
    return room
