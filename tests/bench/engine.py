"""The engine alone on one core: integer columns to features, filters and findings with all rules on.

Acceptance has judged the records beforehand; the clock runs from its columns to the set of changed findings.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from aml.detect.compile import compile_rules
from aml.detect.load import load_rules
from aml.detect.profile import load_profile
from aml.detect.tags import given as given_columns
from aml.engine.columns import Flag
from aml.engine.engine import Engine
from aml.engine.layout import PARTY
from aml.feed.simulate import SimulateSettings, simulate, write
from aml.pipeline.accept import Acceptor, Arrivals
from aml.pipeline.feeds import BATCH
from tests.bench.frames import canonical
from tests.bench.say import Clock, say


def main(folder: Path, given: argparse.Namespace) -> None:
    """Print the pace, how it holds, bytes a leg, candidates by rule and the share of confirming."""
    bank = folder / "engine"
    write(simulate(SimulateSettings(transactions=given.transactions, seed=given.seed, days=60)), bank)
    profile = load_profile("us")
    compiled = compile_rules(load_rules("us"), profile)
    transactions, parties = canonical(bank)
    acceptor = Acceptor(profile, parties=parties)
    engine = Engine(compiled.program)
    whole, confirming = Clock(), Clock()
    _time_confirming(engine, confirming)
    paces: list[float] = []
    legs = findings = timed = 0
    million, since = 0, 0.0
    for arrivals in _accepted(acceptor, transactions):
        columns = arrivals.columns
        party, shard_of = _party(acceptor), np.zeros(len(acceptor.holders), np.int32)
        if paces or million:  # the first batch loads kernels
            timed += columns["t"].size
            with whole.running():
                applied = _step(engine, compiled, arrivals, party, shard_of)
        else:
            applied = _step(engine, compiled, arrivals, party, shard_of)
            confirming.seconds = 0.0
        findings += len(applied.findings)
        legs += sum(int(np.count_nonzero(columns[f"{side}_holder"] >= 0)) for side in ("debit", "credit"))
        million += arrivals.accepted.height
        if million >= 1_000_000:
            paces.append(million / (whole.seconds - since))
            million, since = 0, whole.seconds
    say("transactions a second, one core", f"{timed / whole.seconds:,.0f} ({timed:,} in {whole.seconds:.1f} s)")
    if len(paces) > 1:
        last = f"{paces[-1] / paces[1]:.0%} of the second's" if len(paces) > 2 else ""
        say("by million", f"{', '.join(f'{p:,.0f}' for p in paces)} {last}")
    say("confirming", f"{confirming.seconds / whole.seconds:.1%} of the time")
    say("bytes a leg held", f"{_bytes(engine) / legs:.0f} (legs, holders and look-ups in use)")
    say("changed findings", f"{findings:,}")
    for k, kind in enumerate(compiled.program.kinds):
        rule = compiled.program.rules[int(compiled.program.detectors['rule'][k])]
        say(f"  candidates {rule}", f"{int(engine.tried[k]):,} ({kind})")


def _accepted(acceptor: Acceptor, transactions: pl.DataFrame) -> Iterator[Arrivals]:
    for frame in transactions.iter_slices(BATCH):
        yield acceptor.accept(frame)


def _step(engine: Engine, compiled: Any, arrivals: Arrivals, party: np.ndarray, shard_of: np.ndarray) -> Any:
    engine.transactions.append(given_columns(arrivals.columns, compiled))
    assert not np.any(arrivals.flags & np.uint32(Flag.DAY_PRECISION))
    return engine.apply(party, shard_of, arrivals.enter[arrivals.enter >= 0], arrivals.leave[arrivals.leave >= 0])


def _party(acceptor: Acceptor) -> np.ndarray:
    known = acceptor.party_rows
    table = np.zeros(max(1, known.segment.size), PARTY)
    for name in ("turnover", "opened", "segment", "cash_intensive"):
        table[name][: known.segment.size] = getattr(known, name)
    return table


def _time_confirming(engine: Engine, clock: Clock) -> None:
    """Put a clock around the confirming pass of each shard."""
    for shard in engine.shards:
        plain = shard.confirm

        def timed(*args: Any, plain: Any = plain, **more: Any) -> Any:
            with clock.running():
                return plain(*args, **more)

        shard.confirm = timed  # type: ignore[method-assign]


def _bytes(engine: Engine) -> int:
    total = 0
    for shard in engine.shards:
        led = shard.ledger
        total += int(led.meter[0]) * led.legs.dtype.itemsize + led.holders.nbytes + led.pairs.nbytes + led.fits.nbytes
    return total
