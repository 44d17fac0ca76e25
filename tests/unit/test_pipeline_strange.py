"""Findings of the models: those of the legs that stand, however they came; they open only beyond the quantile."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from aml.detect.explain import rederive
from aml.domain.finding import Family
from aml.engine.engine import LegRows
from aml.pipeline.scored import Instruments
from aml.pipeline.scores import graded
from aml.pipeline.strange import LegFacts, ModelFindings
from aml.scoring.combine import model_points
from tests.learn_factory import WEIGHTS, random_legs, trained
from tests.store_factory import scoring

DAY = 86_400_000_000
MONDAY = 20_514 * DAY  # 2 March 2026
N = 300  # transactions
NOBODY = np.empty(0, np.int32)


@pytest.fixture(scope="module")
def models():
    return trained()


@pytest.fixture(scope="module")
def seen():
    return random_legs(2 * N, seed=4, strange=8)


@pytest.fixture(scope="module")
def terms():
    """A scoring whose quantiles three thousand training legs can tell apart."""
    return scoring(opening_quantile="0.001", supporting_quantile="0.02")


class World:
    """Transactions between ten holders over some weeks; of the last holder nobody knows whether it is ours."""

    def __init__(self, legs):
        self.legs = legs
        self.rng = np.random.default_rng(1)
        number = np.arange(N)
        self.columns = {
            "t": MONDAY + number * DAY // 10, "key_hi": number.astype(np.uint64) * np.uint64(2**40),
            "key_lo": number.astype(np.uint64), "debit_holder": (number % 10).astype(np.int32),
            "credit_holder": ((number + 1) % 10).astype(np.int32), "debit_value": 100 + number,
            "credit_value": 100 + number,
        }  # fmt: skip
        self.ours = np.ones(10, np.bool_)
        self.first_seen = np.full(10, MONDAY - 90 * DAY)
        self.instruments = Instruments()
        codes = np.full(N, 255, np.uint8)
        codes[legs.transaction] = legs.instrument.view(np.uint8)
        self.instruments.append(codes)

    @property
    def detection(self):
        """What findings ask of a detection."""
        texts = {"institution": ["main"] * 10, "party_institution": ["main"] * 10, "kind": ["customer"] * 10,
                 "id": [f"C{n}" for n in range(10)]}
        ids = pl.DataFrame({"transaction_id": [f"T{n}" for n in range(N)]})
        holders = SimpleNamespace(ours=self.ours, texts=SimpleNamespace(row=pl.DataFrame(texts).row))
        return SimpleNamespace(
            acceptor=SimpleNamespace(holders=holders),
            rows_of=lambda numbers: numbers.astype(np.int64),
            records=SimpleNamespace(take=lambda rows: ids[rows.astype(np.uint32)]),
            compiled=SimpleNamespace(profile=SimpleNamespace(currency="USD")),
        )  # fmt: skip

    def rows(self, at, x=None):
        legs = self.legs
        return LegRows(
            legs.x[at] if x is None else x, legs.transaction[at], legs.direction[at], legs.sender[at],
            legs.receiver[at],
        )  # fmt: skip

    def take(self, found, models, at, *, x=None, leave=NOBODY, first=0):
        """One batch: the movements from number `first` on are new in it, the others were there before."""
        rows = self.rows(at, x)
        columns = {name: column[first:] for name, column in self.columns.items()}
        names = {"t": "t", "hi": "key_hi", "lo": "key_lo"}
        held = np.zeros(N, [(n, "u8" if n in ("hi", "lo") else "i8") for n in (*names, *list(columns)[3:])])
        for name in held.dtype.names:
            held[name] = self.columns[names.get(name, name)]
        engine = SimpleNamespace(rows=held, places=lambda numbers: np.asarray(numbers, np.int32))
        legs = SimpleNamespace(x=rows.x, at=at)
        made = self.legs.take(np.asarray(at))
        raw = models.legs(type(made)(np.ascontiguousarray(legs.x), *(getattr(made, n) for n in made.__slots__[1:])))
        surprise = models.leg_surprise(raw)
        facts = LegFacts(first, columns, rows, engine, self.first_seen)
        found.take(np.asarray(leave, np.int32), rows, surprise, facts, self.instruments)


def told(changes):
    return {change.change.finding_id: change.change.finding for change in changes}


def everything(world, models, terms):
    found = ModelFindings(models, terms)
    world.take(found, models, np.arange(2 * N))
    return found, told(found.changes(world.detection))


def test_the_strange_are_found_by_holder_and_week(models, seen, terms):
    world = World(seen)
    found, findings = everything(world, models, terms)
    surprise = models.leg_surprise(models.legs(seen))
    strange = np.flatnonzero(surprise >= -math.log(terms.supporting_quantile))
    assert strange.size >= 10
    assert not found.changes(world.detection)
    holders = {"credit": world.columns["credit_holder"], "debit": world.columns["debit_holder"]}
    wanted = set()
    for place in strange:
        x = int(seen.transaction[place])
        holder = holders["debit" if seen.direction[place] else "credit"][x]
        wanted.add((f"C{holder}", int((world.columns["t"][x] // DAY + 3) // 7), f"T{x}"))
    assert {
        (f.subject.id, (f.week.toordinal() - 719_163 + 3) // 7, name)
        for f in findings.values() for name in f.transaction_ids
    } == wanted  # fmt: skip
    for finding in findings.values():
        assert finding.family is Family.MODEL
        assert finding.rule in WEIGHTS
        tails = [math.exp(-s) for s in surprise[strange]]
        assert min(tails) <= finding.measured["tail"] <= max(tails)
        assert finding.points == int(model_points(finding.measured["tail"], terms))
        assert finding.opens is (finding.measured["tail"] <= terms.opening_quantile)
        assert (finding.opened_at is not None) is finding.opens
        assert finding.points <= terms.model_cap
        assert finding.points == terms.model_cap or not finding.opens
        assert finding.notes[0]
        text = next(b.spec.text for b in models.bundles if b.spec.id == finding.rule)
        assert rederive(text, finding, terms) is None
        assert "another hash" in rederive(text + "#", finding, terms)
    assert {f.opens for f in findings.values()} == {True, False}
    assert len({f.rule for f in findings.values()}) == 2


def test_of_a_holder_just_met_models_open_nothing_alone(models, seen, terms):
    """Thirty days must have passed since the holder's first leg; before, the finding only supports others."""
    world = World(seen)
    before = everything(world, models, terms)[1]
    world.first_seen[:5] = MONDAY - 5 * DAY
    after = everything(world, models, terms)[1]
    assert before.keys() == after.keys()
    t = {f"T{n}": int(at) for n, at in enumerate(world.columns["t"])}
    silenced = 0
    for key, finding in after.items():
        late = [t[name] >= MONDAY + 25 * DAY for name in finding.transaction_ids]
        if int(finding.subject.id[1:]) >= 5:
            assert finding.opens is before[key].opens and finding.measured["known_days"] >= 90
        elif not any(late):
            silenced += before[key].opens
            assert not finding.opens and finding.opened_at is None
            assert 5 <= finding.measured["known_days"] < 30
        text = next(b.spec.text for b in models.bundles if b.spec.id == finding.rule)
        assert rederive(text, finding, terms) is None
    assert silenced


@pytest.mark.parametrize("size", [1, 7, 100])
def test_it_does_not_matter_how_they_come(models, seen, terms, size):
    world = World(seen)
    wanted = everything(world, models, terms)[1]
    found, findings = ModelFindings(models, terms), {}
    order = np.random.default_rng(size).permutation(2 * N)
    for at in np.array_split(order, 2 * N // size):
        world.take(found, models, at, first=N // 2)
        findings |= told(found.changes(world.detection))
    assert {key: f for key, f in findings.items() if f is not None} == wanted


def test_a_leg_that_runs_again_is_what_it_is_then(models, seen, terms):
    """Also where it stands twice in one batch: the later row counts."""
    world = World(seen)
    found, before = everything(world, models, terms)
    quiet = np.zeros((2 * N, seen.x.shape[1]))
    world.take(found, models, np.arange(2 * N), x=quiet)
    assert found.news
    assert told(found.changes(world.detection)) == dict.fromkeys(before)
    at = np.tile(np.arange(2 * N), 2)
    world.take(found, models, at, x=np.concatenate([seen.x, quiet]))
    assert all(finding is None for finding in told(found.changes(world.detection)).values())
    world.take(found, models, at, x=np.concatenate([quiet, seen.x]))
    assert told(found.changes(world.detection)) == before


def test_what_leaves_is_found_no_more(models, seen, terms):
    world = World(seen)
    found, before = everything(world, models, terms)
    world.take(found, models, np.empty(0, np.int64), leave=np.arange(N))
    assert told(found.changes(world.detection)) == dict.fromkeys(before)


def test_a_holder_that_becomes_a_subject_later_is_told_then(models, seen, terms):
    world = World(seen)
    whole = everything(world, models, terms)[1]
    world.ours[:] = False
    found, none = everything(world, models, terms)
    assert set(none.values()) == {None}
    world.ours[3:] = True
    again = ModelFindings(models, terms)
    again.restore(found.state(), np.zeros(10, np.bool_))
    assert not again.news
    for one in (found, again):
        late = told(one.changes(world.detection))
        assert late == {key: f for key, f in whole.items() if int(f.subject.id[1:]) >= 3}
        assert not one.changes(world.detection)


def test_a_snapshot_holds_it_all(models, seen, terms):
    world = World(seen)
    found, findings = everything(world, models, terms)
    again = ModelFindings(models, terms)
    again.restore(found.state(), world.ours)
    assert not again.changes(world.detection)
    again.ask_all()
    assert told(again.changes(world.detection)) == findings
    state = again.state()
    assert all(np.array_equal(state[name], held) for name, held in found.state().items())


def test_points_of_many_are_those_of_each(terms):
    tails = np.array([1.0, 0.5, 0.01, 0.0011, 0.001, 1e-9])
    assert graded(-np.log(tails), terms) == pytest.approx([model_points(t, terms) for t in tails], abs=1e-9)
    assert graded(np.array([np.nan]), terms).tolist() == [0.0]
