"""Laundering that begins or ends with cash, or keeps its payments under a limit."""

from __future__ import annotations

from aml.feed.simulate.codes import NONE, Channel, Instrument
from aml.feed.simulate.plant.stage import Move, Stage, beside
from aml.feed.simulate.world import MACHINES


def _workdays(stage: Stage, begin: float, n: int, gap_low: float, gap_high: float) -> list[float]:
    """`n` different working days, about so many days apart."""
    days: list[float] = []
    day = begin
    for _ in range(n):
        working = stage.working(day)
        if days and working <= days[-1]:
            working = stage.working(days[-1] + 1)
        days.append(working)
        day = max(day, working) + stage.between(gap_low, gap_high) * stage.hurry
    return days


def _wired(
    stage: Stage, account: int, moves: list[Move], low: float, high: float, days: float, abroad: float
) -> list[Move]:
    """Most of what came in leaves by wire within days of the last."""
    last, total = max(m.at for m in moves), sum(m.amount for m in moves)
    payee = stage.abroad() if stage.chance(abroad) else stage.outsider(0.6)
    return stage.emptied(
        account, total * stage.between(low, high), last + 0.05, last + days * stage.hurry, stage.count(1, 3), [payee],
        Instrument.WIRE,
    )  # fmt: skip


def kept_under(stage: Stage, full: bool) -> list[Move]:
    """Deposits kept at or under the report's limit, some after one that was reported; then wired out."""
    account = stage.customer(0.4)
    number, begin = stage.count(3, 11), stage.begin(40)
    branches = stage.places(stage.count(1, 4), stage.home(account))
    helper = stage.stranger() if stage.chance(0.35) else account
    moves = []
    if stage.chance(0.35):
        moves.append(beside(stage.paid_in(begin, stage.between(10_500, 16_000), account, branches[0], account)))
        begin = moves[0].at + stage.between(4, 14) * stage.hurry
    for k, day in enumerate(_workdays(stage, begin, number, 1, 3.2)):
        amount = (
            10_000
            if stage.chance(0.08)
            else stage.between(7_800, 9_950)
            if stage.chance(0.8)
            else stage.between(4_500, 9_000)
        )
        conductor = helper if stage.chance(0.5) else account
        moves.append(stage.paid_in(day, amount, account, branches[k % len(branches)], conductor))
    if stage.chance(0.8):
        moves += _wired(stage, account, moves, 0.55, 0.98, 4, 0.4)
    return moves


def slow_structuring(stage: Stage, full: bool) -> list[Move]:
    """Many middling deposits over a month."""
    account = stage.customer(0.3)
    number = stage.count(10, 20)
    branches = stage.places(stage.count(1, 3), stage.home(account))
    usual, helper = stage.between(1_500, 4_200), stage.stranger()
    days = _workdays(stage, stage.begin(36), number, 0.9, 2.0)
    moves = [
        stage.paid_in(
            day, stage.near(usual, 0.2), account, branches[k % len(branches)], helper if k % 4 == 3 else account
        )
        for k, day in enumerate(days)
    ]
    return moves + _wired(stage, account, moves, 0.6, 0.95, 5, 0.4)


def same_unit(stage: Stage, full: bool) -> list[Move]:
    """One day's cash carried to several counters."""
    account = stage.customer(0.3)
    begin, moves = stage.begin(16), []
    for k in range(stage.count(1, 3)):
        visits = stage.count(2, 4)
        total = stage.between(10_800, min(27_000, 9_600 * visits))
        branches = stage.places(stage.count(2, visits), stage.home(account))
        conductors = [account, stage.stranger() if stage.chance(0.4) else account]
        for visit in range(visits):
            amount = min(total / visits * stage.between(0.85, 1.15), 9_900)
            moves.append(
                stage.paid_in(
                    begin + 5 * k * stage.hurry, amount, account, branches[visit % len(branches)], conductors[visit % 2]
                )
            )
    return moves + _wired(stage, account, moves, 0.6, 0.98, 4, 0.4)


def micro_atm(stage: Stage, full: bool) -> list[Move]:
    """Small deposits at many machines within days."""
    account = stage.person()
    machines = stage.machines(stage.count(2, 5))
    begin, moves = stage.begin(9), []
    for k in range(stage.count(6, 18)):
        machine = machines[k % len(machines)]
        moves.append(
            Move(
                stage.moment(begin + stage.between(0, 6) * stage.hurry, 7, 23), round(stage.between(600, 2_700), -1),
                NONE,
                account, Instrument.CASH, Channel.ATM, branch=machine // MACHINES, terminal=machine,
            )
        )  # fmt: skip
    return moves + _wired(stage, account, moves, 0.5, 0.95, 3, 0.2)


def smurfing(stage: Stage, full: bool) -> list[Move]:
    """Strangers pay cash into one account, or one stranger into many."""
    begin, span = stage.begin(9), stage.between(0.4, 4.5) * stage.hurry
    number = stage.count(3, 8)
    branches = stage.places(stage.count(1, 5))
    if stage.chance(0.3):
        courier = stage.stranger()
        return [
            stage.paid_in(
                begin + stage.between(0, span),
                stage.between(1_200, 6_000),
                stage.person(),
                branches[k % len(branches)],
                courier,
            )
            for k in range(number)
        ]
    account = stage.person()
    moves = [
        stage.paid_in(
            begin + stage.between(0, span),
            stage.between(1_500, 7_000),
            account,
            branches[k % len(branches)],
            stage.stranger(),
        )
        for k in range(number)
    ]
    return moves + _wired(stage, account, moves, 0.6, 0.98, 3, 0.5)


def structured_withdrawals(stage: Stage, full: bool) -> list[Move]:
    """A wire comes in and is drawn in cash, lot by lot, under the limit."""
    account = stage.customer(0.35)
    number, lot = stage.count(3, 9), stage.between(7_600, 9_900)
    days = _workdays(stage, stage.begin(16), number, 1, 1.9)
    branches = stage.places(stage.count(1, 3), stage.home(account))
    source = stage.abroad() if stage.chance(0.4) else stage.outsider(0.6)
    funding = number * lot * stage.between(1.0, 1.2)
    moves = [Move(stage.moment(days[0], 7, 9), funding, source, account, Instrument.WIRE, shape=False)]
    for k, day in enumerate(days):
        moves.append(stage.drawn(day + 0.01, min(stage.near(lot, 0.04), 10_000), account, branches[k % len(branches)]))
    return moves


def sub_record_abroad(stage: Stage, full: bool) -> list[Move]:
    """Small credits under the record's limit, then the sum abroad."""
    account = stage.person()
    begin, span = stage.begin(18), stage.between(4, 11) * stage.hurry
    branches, moves = stage.places(2, stage.home(account)), []
    for k in range(stage.count(5, 14)):
        amount, day = stage.between(600, 2_950), begin + stage.between(0, span)
        if stage.chance(0.5):
            moves.append(stage.paid_in(day, amount, account, branches[k % 2], account))
        else:
            moves.append(
                Move(stage.moment(day), amount, stage.outsider(0), account, Instrument.INSTANT, Channel.MOBILE)
            )
    last, total = max(m.at for m in moves), sum(m.amount for m in moves)
    return moves + stage.emptied(
        account, total * stage.between(0.65, 1.0), last + 0.05, last + 4 * stage.hurry, stage.count(1, 2),
        [stage.abroad()],
        Instrument.WIRE,
    )  # fmt: skip


def cash_for_instruments(stage: Stage, full: bool) -> list[Move]:
    """Cashier's cheques bought for cash, each under the limit."""
    account = stage.person()
    branches = stage.places(stage.count(1, 3), stage.home(account))
    return [
        Move(
            stage.counter(day), round(stage.between(3_000, 9_900), -2), account, NONE, Instrument.CASH, Channel.BRANCH,
            conductor=account, branch=branches[k % len(branches)], bought=True,
        )
        for k, day in enumerate(_workdays(stage, stage.begin(10), stage.count(3, 6), 0, 2.2))
    ]  # fmt: skip


def non_cash_structuring(stage: Stage, full: bool) -> list[Move]:
    """Cheques or transfers just under a round limit to a few payees."""
    account = stage.customer(0.4)
    limit = [10_000, 3_000, 1_000][int(stage.rng.choice(3, p=[0.7, 0.2, 0.1]))]
    number = stage.count(5, 9)
    payees = [stage.outsider(0.4) for _ in range(stage.count(2, 4))]
    rail = Instrument.CHEQUE if stage.chance(0.6) else stage.rail()
    days = _workdays(stage, stage.begin(16), number, 0.5, 2.0)
    funding = limit * number * stage.between(0.95, 1.1)
    moves = [Move(stage.moment(days[0], 6, 8), funding, stage.outsider(0.7), account, Instrument.WIRE, shape=False)]
    moves += [
        Move(stage.moment(day, 9, 18), limit * stage.between(0.955, 0.999), account, payees[k % len(payees)], rail)
        for k, day in enumerate(days)
    ]
    return moves


def funnel(stage: Stage, full: bool) -> list[Move]:
    """Cash goes in at branches of some regions and leaves in another the next days."""
    account = stage.person()
    home = stage.home(account)
    region = stage.world.region_of(home)
    far = [branch for branch in stage.places(stage.world.branches) if stage.world.region_of(branch) != region]
    begin, branches = stage.begin(10), far[: stage.count(2, 4)]
    moves = [
        stage.paid_in(
            begin + stage.between(0, 5) * stage.hurry, stage.between(2_000, 8_500), account,
            branches[k % len(branches)], stage.stranger(),
        )
        for k in range(stage.count(3, 8))
    ]  # fmt: skip
    last, total = max(m.at for m in moves), sum(m.amount for m in moves)
    if stage.chance(0.5):
        return moves + _wired(stage, account, moves, 0.7, 0.98, 2.5, 0.4)
    lots = int(total * 0.85 // 9_000) + 1
    return moves + [beside(stage.drawn(last + 0.6 + k * 0.5, total * 0.85 / lots, account, home)) for k in range(lots)]
