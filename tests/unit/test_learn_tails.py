"""Tails within peers against counting, and what counts as peers."""

from __future__ import annotations

import numpy as np
import pytest

from aml.learn import peers
from aml.learn.features import NAMES, Legs
from aml.learn.tails import ALL, UNRANKED, fit_tails, tails
from tests.learn_factory import CARD, CASH, random_legs, slow_tail


def same_peers(legs, i):
    """Rows of the peers of leg i, spelt out."""
    def kind(segment):
        return {0: "person", 7: "person", 1: "business", 6: "business"}.get(int(segment), "bank")

    def peer(k):
        cash = legs.instrument[k] == CASH
        sender = "" if cash and legs.direction[k] == 0 else kind(legs.sender[k])
        receiver = "" if cash and legs.direction[k] == 1 else kind(legs.receiver[k])
        return int(legs.direction[k]), int(legs.instrument[k]), sender, receiver

    return [k for k in range(legs.size) if legs.instrument[k] != CARD and peer(k) == peer(i)]


def test_tails_equal_counting_among_the_first_values_of_the_peers():
    legs = random_legs(1_200)
    table = fit_tails(legs, most_values=60, least_rows=30, cap=4.0, step=0.0)
    found = tails(table, legs)
    everyone = [k for k in range(legs.size) if legs.instrument[k] != CARD]
    for i in range(0, legs.size, 37):
        rows = same_peers(legs, i)
        rows = (rows if len(rows) >= 30 else everyone)[:60]
        for j in range(len(NAMES)):
            x = np.float32(legs.x[i, j])
            want = 0.0 if legs.instrument[i] == CARD else slow_tail([np.float32(legs.x[k, j]) for k in rows], x, 4.0)
            assert found[i, j] == pytest.approx(want, abs=1e-6), (i, NAMES[j])


def test_a_thinned_table_is_off_by_less_than_a_step():
    legs, other = random_legs(4_000), random_legs(4_000, seed=5)
    exact = tails(fit_tails(legs, 20_000, 100, 9.0, 0.0), other)
    thinned = fit_tails(legs, 20_000, 100, 9.0, 0.25)
    error = np.abs(tails(thinned, other) - exact)
    assert error.max() < 0.25 + 1e-6
    assert error.max() > 0.1
    assert thinned.start[:, :, 1].max() <= 9.0 / 0.25 + 2


def test_single_and_double_precision_give_the_same_tails():
    legs = random_legs(2_000)
    table = fit_tails(legs, 500, 100, 9.0, 0.0)
    single = Legs(legs.x.astype(np.float32), legs.direction, legs.instrument, legs.sender, legs.receiver, legs.scored,
                  legs.transaction)
    assert (tails(table, legs) == tails(table, single)).all()


def test_values_beyond_the_training_get_its_ends():
    legs = random_legs(2_000)
    table = fit_tails(legs, 500, 100, 9.0, 0.03125)
    low, high = legs.take(np.arange(10)), legs.take(np.arange(10))
    low.x[:] = -1e9
    high.x[:] = 1e9
    ranked = legs.instrument[:10] != CARD
    assert (tails(table, low) <= 0.03125).all()
    assert (tails(table, high)[ranked] > 5.0).all()


def test_small_groups_are_judged_among_all_and_cards_not_at_all():
    legs = random_legs(2_000)
    table = fit_tails(legs, 500, 100_000, 9.0, 0.03125)
    group = table.groups(legs)
    assert set(group[legs.instrument != CARD]) == {ALL}
    assert set(group[legs.instrument == CARD]) == {UNRANKED}
    assert (tails(table, legs)[legs.instrument == CARD] == 0).all()


def test_unscored_legs_teach_nothing():
    legs = random_legs(2_000)
    legs.scored[::2] = False
    rest = legs.take(legs.scored)
    a, b = fit_tails(legs, 500, 100, 9.0, 0.0), fit_tails(rest, 500, 100, 9.0, 0.0)
    assert (a.knots == b.knots).all() and (a.tail == b.tail).all()


def test_nothing_to_learn_from_is_refused():
    legs = random_legs(100)
    legs.scored[:] = False
    with pytest.raises(ValueError, match="no leg"):
        fit_tails(legs, 500, 100, 9.0, 0.0)


@pytest.mark.parametrize(("direction", "instrument", "sender", "receiver", "words"), [
    (1, 1, 0, 0, "person-to-person wires"),
    (0, 2, 1, 0, "business-to-person ACH payments"),
    (0, 0, -1, 1, "cash deposits of businesses"),
    (1, 0, 7, 3, "cash withdrawals of persons"),
    (1, 3, 2, 5, "bank-to-bank instant payments"),
    (1, 99, 6, 7, "business-to-person other payments"),
])
def test_peers_have_a_name(direction, instrument, sender, receiver, words):
    def one(code):
        return np.array([code], np.int8)

    legs = Legs(np.zeros((1, 18)), one(direction), one(instrument), one(sender), one(receiver), np.ones(1, np.bool_),
                np.zeros(1, np.int64))
    assert peers.words(int(peers.cells(legs)[0])) == words


def test_a_cash_leg_has_the_same_peers_whatever_stands_for_its_missing_end():
    legs = random_legs(400)
    cash = legs.take(np.flatnonzero((legs.instrument == CASH) & (legs.direction == 0)))
    before = peers.cells(cash).copy()
    cash.sender[:] = -1
    assert (peers.cells(cash) == before).all()
