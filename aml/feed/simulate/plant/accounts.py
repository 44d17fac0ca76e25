"""Laundering that shows in one account: mules, sleepers, exchanges, detours abroad, sums out of proportion."""

from __future__ import annotations

from aml.feed.simulate.codes import Channel, Instrument
from aml.feed.simulate.plant.stage import Move, Stage


def pass_through(stage: Stage, full: bool) -> list[Move]:
    """A sum comes in and nearly all of it goes on within hours or days."""
    account = stage.young() if stage.chance(0.3) else stage.customer(0.2)
    begin = stage.begin(4, stage.opened(account) + 1)
    into, out = stage.count(1, 3), stage.count(1, 3)
    total, first = stage.sum(14_000, 0.7), stage.moment(begin)
    shares = stage.rng.dirichlet([5.0] * into)
    arrived = sorted(first + stage.hours(0, 8) for _ in range(into))
    moves = [
        Move(at, total * float(share), stage.outsider(), account, stage.rail())
        for at, share in zip(arrived, shares, strict=True)
    ]
    exits = [
        stage.exchange() if stage.chance(0.2) else stage.abroad() if stage.chance(0.25) else stage.outsider()
        for _ in range(out)
    ]
    share = stage.between(0.86, 1.02) if stage.chance(0.85) else stage.between(0.65, 0.86)
    leaving = stage.rng.dirichlet([5.0] * out)
    for payee, part in zip(exits, leaving, strict=True):
        moves.append(
            Move(arrived[-1] + stage.hours(0.5, 44), total * share * float(part), account, payee, stage.rail())
        )
    return moves


def young_mule(stage: Stage, full: bool) -> list[Move]:
    """A new account: some strangers pay in, all leaves within a day; then again."""
    account = stage.young()
    opened = stage.opened(account)
    moves = []
    day = stage.begin(24, opened + 2, opened + 60)
    for _ in range(stage.count(2, 3)):
        arrivals = [
            Move(
                stage.moment(day, 8, 16),
                stage.sum(1_300, 0.5),
                stage.outsider(0),
                account,
                Instrument.INSTANT,
                Channel.MOBILE,
            )
            for _ in range(stage.count(2, 5))
        ]
        total, last = sum(m.amount for m in arrivals), max(m.at for m in arrivals)
        way = stage.count(0, 2)
        share = stage.between(0.78, 0.99)
        if way == 0:
            out = [stage.drawn(last + 0.7, total * share, account, stage.home(account))]
        else:
            payee = stage.exchange() if way == 1 else stage.outsider(0)
            out = [Move(last + stage.hours(0.5, 14), total * share, account, payee, Instrument.INSTANT, Channel.MOBILE)]
        moves += arrivals + out
        day += stage.between(4, 9) * stage.hurry
    return moves


def u_turn(stage: Stage, full: bool) -> list[Move]:
    """From abroad and abroad again within days, with no business here."""
    account, begin = stage.customer(0.4), stage.begin(22)
    moves = []
    for k in range(stage.count(1, 3)):
        at, amount = stage.moment(begin + 6 * k * stage.hurry, 8, 17), stage.sum(24_000, 0.7)
        moves.append(Move(at, amount, stage.abroad(), account, Instrument.WIRE))
        moves.append(
            Move(at + stage.hours(4, 110), amount * stage.between(0.86, 1.0), account, stage.abroad(), Instrument.WIRE)
        )
    return moves


def crypto_in_out(stage: Stage, full: bool) -> list[Move]:
    """From one exchange in, to another out within the day, several times."""
    account, day = stage.person(), stage.begin(26)
    moves = []
    for _ in range(stage.count(2, 4)):
        at, amount = stage.moment(day, 7, 18), stage.sum(7_500, 0.4)
        day += stage.between(3, 8) * stage.hurry
        moves.append(Move(at, amount, stage.exchange(), account, Instrument.ACH))
        moves.append(
            Move(at + stage.hours(1, 22), amount * stage.between(0.88, 1.0), account, stage.exchange(), Instrument.ACH)
        )
    return moves


def dormant_wakes(stage: Stage, full: bool) -> list[Move]:
    """An account that slept for half a year or more takes in a sum and passes it on."""
    account, begin = stage.sleeper(), stage.begin(9)
    moves = [
        Move(
            stage.moment(begin + stage.between(0, 2) * stage.hurry),
            stage.sum(9_000, 0.6),
            stage.outsider(),
            account,
            stage.rail(),
        )
        for _ in range(stage.count(1, 3))
    ]
    last, total = max(m.at for m in moves), sum(m.amount for m in moves)
    for _ in range(parts := stage.count(1, 3)):
        amount = total / parts * stage.between(0.5, 1.0)
        moves.append(Move(last + stage.hours(2, 80), amount, account, stage.outsider(), stage.rail()))
    return moves


def out_of_profile(stage: Stage, full: bool) -> list[Move]:
    """Sums of a month far beyond what the account has ever moved."""
    account, begin = stage.person(), stage.begin(30, not_before=max(0.0, stage.days - 40.0))
    income = float(stage.world.people.income[account])
    incoming = stage.chance(0.5)
    moves = []
    for _ in range(stage.count(3, 8)):
        other = stage.outsider()
        ends = (other, account) if incoming else (account, other)
        amount = max(income, 2_500) * stage.between(1.2, 4.0)
        moves.append(Move(stage.moment(begin + stage.between(0, 24) * stage.hurry), amount, *ends, Instrument.WIRE))
    return moves


def risky_corridor(stage: Stage, full: bool) -> list[Move]:
    """Wires to a country of the upper tiers, where the customer has nobody."""
    account, begin = stage.customer(0.4), stage.begin(26)
    payees = [stage.abroad(risky=True) for _ in range(stage.count(1, 2))]
    return [
        Move(
            stage.moment(begin + stage.between(0, 22) * stage.hurry), stage.sum(6_500, 0.6), account,
            payees[k % len(payees)], Instrument.WIRE,
        )
        for k in range(stage.count(2, 5))
    ]  # fmt: skip


def round_amounts(stage: Stage, full: bool) -> list[Move]:
    """Transfers in whole thousands and nothing else."""
    account, begin = stage.customer(0.3), stage.begin(18)
    other = [stage.outsider() for _ in range(stage.count(1, 3))]
    incoming, rail = stage.chance(0.4), stage.rail()
    moves = []
    for k in range(stage.count(5, 9)):
        ends = (other[k % len(other)], account) if incoming else (account, other[k % len(other)])
        moves.append(
            Move(
                stage.moment(begin + stage.between(0, 14) * stage.hurry),
                1_000.0 * stage.skewed(4, 0.6, 1, 20),
                *ends,
                rail,
            )
        )
    return moves
