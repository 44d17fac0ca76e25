"""Simulated layering, small enough to be searched whole; and what of it the engine's trails know.

The engine keeps the eight best trails of a payment and follows the 64 latest credits that it may be sending on; the
slow twin, asked for every trail there is, knows no cap. The share of the twin's answers that the engine has too is its
recall. It is measured on three kinds of banks: the simulator's; a neighbourhood whose people live and launder; and the
same one crowded, so that the caps bite: many fitting credits at those who pass money on, some with a history of their
own, and layers of holders who pay one another crosswise.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from aml.detect.compile import MOST_TRAILS, compile_rules
from aml.detect.load import load_rules
from aml.detect.profile import load_profile
from aml.feed.simulate import SimulateSettings, simulate, write
from aml.pipeline.findings import network_id
from tests.bench.frames import canonical
from tests.naive.book import open_book
from tests.naive.evaluate import Hit, Paths, Rule, hits_at, leg_floor_of, week_of
from tests.naive.fast import Fast, rows_of, twin_profile, twin_rules
from tests.naive.identity import standing
from tests.naive.keys import engine_key
from tests.naive.make import Feed, party
from tests.naive.path import days_between, hops_of, is_cycle

RULES = {"layering-chain": "path.chain", "layering-round-trip": "path.round_trip"}
Row = Mapping[str, Any]

# The neighbourhoods. Times in hours from the feed's start.
DAY = 24.0
DAYS = 30
PEOPLE = tuple(f"P{k:02}" for k in range(70))
FIRMS = tuple(f"F{k:02}" for k in range(14))
# How many credits compete at one who passes money on, in the three days before, and how often so many do.
CROWDS = ((0, 0), (1, 3), (4, 12), (66, 90))
HOW_OFTEN = (62, 22, 13, 3)


@dataclass(frozen=True)
class Bank:
    """Rows in order of time, parties with their kinds, and the ids of each planted attempt's payments."""

    rows: Sequence[Row]
    parties: Sequence[Row]
    attempts: Sequence[set[str]]


def simulated(seed: int) -> Bank:
    """A bank of the simulator, small and with much laundering."""
    bank = simulate(SimulateSettings(seed=seed, transactions=12_000, days=60, attempts=200))
    with tempfile.TemporaryDirectory() as folder:
        write(bank, Path(folder))
        frame, parties = canonical(Path(folder))
    attempts: dict[str, set[str]] = {}
    for name, attempt in bank.truth.select("transaction_id", "attempt").iter_rows():
        attempts.setdefault(attempt, set()).add(name)
    return Bank(rows_of(frame), list(parties.iter_rows(named=True)), list(attempts.values()))


def quiet(seed: int) -> Bank:
    """A neighbourhood whose launderers meet few fitting credits beside their own."""
    return Neighbourhood(random.Random(seed)).bank(crowded=False)


def crowded(seed: int) -> Bank:
    """A neighbourhood in which the caps bite."""
    return Neighbourhood(random.Random(seed)).bank(crowded=True)


BANKS: dict[str, Callable[[int], Bank]] = {"simulated": simulated, "quiet": quiet, "crowded": crowded}


@dataclass
class Neighbourhood:
    """People and firms who live, and some who launder, through one another and through strangers."""

    chance: random.Random
    feed: Feed = field(default_factory=Feed)
    strangers: list[str] = field(default_factory=list)
    attempts: list[set[str]] = field(default_factory=list)

    def bank(self, crowded: bool) -> Bank:
        """All of it."""
        self.live()
        self.launder(crowded)
        rows = sorted(self.feed.rows, key=lambda row: row["executed_at"])
        everybody = (*PEOPLE, *FIRMS, *self.strangers)
        kinds = [party(who, kind="business" if who in FIRMS else "person") for who in everybody]
        return Bank(rows, kinds, self.attempts)

    def stranger(self) -> str:
        """Somebody who was never seen before."""
        self.strangers.append(f"S{len(self.strangers):04}")
        return self.strangers[-1]

    def local(self) -> str:
        """One of those who live here, a firm now and then."""
        return self.chance.choice(PEOPLE if self.chance.random() < 0.85 else FIRMS)

    def pay(self, hours: float, payer: str, payee: str, amount: float) -> str:
        """A payment; returns its id, "" where it would be to oneself and is none."""
        if payer == payee:
            return ""
        rail = self.chance.choice(("wire", "ach"))
        return str(self.feed.pay(hours, payer, payee, round(amount, 2), instrument=rail)["transaction_id"])

    def live(self) -> None:
        """Wages, rents, invoices, help among friends: many above the floor from which trails are kept."""
        chance = self.chance
        for who in PEOPLE:
            firm, landlord, wage = chance.choice(FIRMS), self.local(), chance.uniform(2_200, 6_500)
            friends = [chance.choice(PEOPLE) for _ in range(3)]
            for month in (0, 1):
                self.pay(month * 15 * DAY + chance.uniform(0, 30), firm, who, wage)
                self.pay(month * 15 * DAY + chance.uniform(24, 90), who, landlord, wage * chance.uniform(0.3, 0.9))
            for _ in range(chance.randint(1, 4)):
                self.pay(chance.uniform(0, DAYS * DAY), who, chance.choice(friends), chance.uniform(50, 3_000))
        for firm in FIRMS:
            for _ in range(6):
                amount = chance.lognormvariate(8.4, 0.6)
                self.pay(chance.uniform(0, DAYS * DAY), firm, chance.choice(FIRMS), amount)

    def launder(self, crowded: bool) -> None:
        """Chains and rings; layers too where it is crowded."""
        for turn in range(28):
            ring = turn % 2 == 1
            size = self.chance.randint(3, 5) if ring else self.chance.randint(4, 7)
            path = [self.local() if self.chance.random() < 0.5 else self.stranger() for _ in range(size)]
            if len(set(path)) == size:
                self.pass_on([*path, path[0]] if ring else path, crowded)
        for width, depth in ((2, 5), (2, 6), (3, 4)) if crowded else ():
            self.layers(width, depth)

    def pass_on(self, path: Sequence[str], crowded: bool) -> None:
        """Money along a path, each hop within three days, and crowds of credits beside it where asked for."""
        chance, ids = self.chance, set()
        hours, amount = chance.uniform(0, (DAYS - 18) * DAY), chance.uniform(5_500, 30_000)
        for k, (payer, payee) in enumerate(pairwise(path)):
            ids.add(self.pay(hours, payer, payee, amount))
            hours += chance.uniform(1, 70)
            amount *= chance.uniform(0.88, 1.0)
            if crowded and k + 2 < len(path):
                self.crowd(payee, hours, amount, chance.choices(CROWDS, HOW_OFTEN)[0])
        self.attempts.append(ids)

    def crowd(self, who: str, hours: float, amount: float, size: tuple[int, int]) -> None:
        """Credits that a payment at that hour might be sending on as well; of a few, half have a history."""
        chance = self.chance
        for _ in range(chance.randint(*size)):
            payer, at, sum_ = self.stranger(), hours - chance.uniform(0.1, 70), amount / chance.uniform(0.87, 1.04)
            self.pay(at, payer, who, sum_)
            for _ in range(chance.choice((0, 0, 1, 2)) if size != CROWDS[-1] else 0):
                before = self.stranger()
                at, sum_ = at - chance.uniform(0.5, 60), sum_ / chance.uniform(0.9, 1.0)
                self.pay(at, before, payer, sum_)
                payer = before

    def layers(self, width: int, depth: int) -> None:
        """Layers of strangers, each paying the whole next layer about the same."""
        chance, ids = self.chance, set()
        held = [[self.stranger() for _ in range(width)] for _ in range(depth)]
        hours, amount = chance.uniform(0, 10 * DAY), chance.uniform(6_000, 12_000)
        for payers, payees in pairwise(held):
            for payer in payers:
                for payee in payees:
                    ids.add(self.pay(hours + chance.uniform(0, 12), payer, payee, amount * chance.uniform(0.97, 1.0)))
            hours += chance.uniform(14, 50)
            amount *= chance.uniform(0.93, 1.0)
        self.attempts.append(ids)


@dataclass(frozen=True)
class Known:
    """What one side knows of chains and rings, in sets that can be compared; WORDS says each in words."""

    attempts: set[int]
    payments: set[Any]  # rule, payment
    findings: set[Any]  # rule, subject, week
    hits: set[Any]  # rule, subject, payment
    origins: set[Any]  # rule, network
    near: set[Any]  # rule, subject, payment
    chains: set[Any]  # first payment, last payment


WORDS = {
    "attempts": "planted attempts that a finding names",
    "payments": "payments that end an opening chain or ring",
    "findings": "findings that open",
    "hits": "subjects at such a payment",
    "origins": "first payments that these findings name",
    "near": "subjects at a payment, near misses too",
    "chains": "chains, by first and last payment",
}


def searched(bank: Bank) -> Known:
    """What exhaustive search finds."""
    stand, _, _ = standing(bank.rows)
    book = open_book(stand, bank.parties, twin_profile("us"), None, engine_key)
    paths = Paths(leg_floor_of(twin_rules("us")), book.settings, exhaustive=True)
    rules = [only_trails(rule) for rule in twin_rules("us") if rule.id in RULES]
    debits = [hop.debit for hop in hops_of(book, paths.leg_floor)]
    ours = {("customer", p["customer"]) for p in bank.parties}
    hits = [h for leg in debits for rule in rules for h in hits_at(book, rule, leg, paths) if h.subject[1:] in ours]
    opening = [hit for hit in hits if hit.opens]
    return Known(
        attempts=named(bank, {name for hit in opening for name in hit.evidence}),
        payments={(hit.rule, hit.transaction_id) for hit in opening},
        findings={(hit.rule, hit.subject, week_of(hit.at)) for hit in opening},
        hits={key_of(hit) for hit in opening},
        origins={(hit.rule, network_id(hit.institution, str(hit.network))) for hit in opening},
        near={key_of(hit) for hit in hits},
        chains=chain_ends(paths, rules),
    )


def only_trails(rule: Rule) -> Rule:
    """The rule without what is found without trails."""
    return replace(rule, detect=[one for one in rule.detect if one.get("shape") in ("chain", "round_trip")])


def key_of(hit: Hit) -> tuple[Any, ...]:
    """Rule, subject, last payment."""
    return hit.rule, hit.subject, hit.transaction_id


def named(bank: Bank, ids: set[str]) -> set[int]:
    """The planted attempts of which a payment is among the ids."""
    return {k for k, attempt in enumerate(bank.attempts) if attempt & ids}


def chain_ends(paths: Paths, rules: Sequence[Rule]) -> set[Any]:
    """First and last payment of every trail that is long, large, new and quick enough for the chain rule."""
    asked = next(rule for rule in rules if rule.id == "layering-chain").parameters
    kept, _ = paths.known[paths.limits({name: asked[name] for name in ("gap", "kept", "kept_most")})]
    return {
        (trail[0].debit.tx["transaction_id"], trail[-1].debit.tx["transaction_id"])
        for trails in kept.values() for trail in trails
        if len(trail) >= asked["hops"] and trail[0].debit.amount >= asked["start"] and not is_cycle(trail)
        and sum(hop.new for hop in trail) >= asked["new_pairs"] and days_between(trail) <= asked["days"]
    }  # fmt: skip


def followed(bank: Bank, most_trails: int = MOST_TRAILS) -> Known:
    """What the engine finds when it keeps so many trails a payment."""
    rules = compile_rules(load_rules("us"), load_profile("us"), most_trails=most_trails)
    fast = Fast.open("us", bank.parties, rules)
    fast.take(bank.rows)
    ours = fast.ours()
    hits = [(key[:3], opens) for key, _, (_, opens) in fast.hits() if RULES.get(key[0]) == key[3] and key[1] in ours]
    findings = {key: f for key, f in fast.findings().items() if key[0] in RULES and f.opens}
    return Known(
        attempts=named(bank, {name for f in findings.values() for name in f.transaction_ids}),
        payments={(key[0], key[2]) for key, opens in hits if opens},
        findings=set(findings),
        hits={key for key, opens in hits if opens},
        origins={(key[0], network) for key, f in findings.items() for network in f.networks},
        near={key for key, _ in hits},
        chains=trail_ends(fast),
    )


def trail_ends(fast: Fast) -> set[Any]:
    """First and last payment of every trail that the engine holds."""
    engine = fast.detection.engine
    rows = engine.transactions.rows[: engine.transactions.n]
    names = fast.names(engine.transactions.numbers(np.arange(rows.size)))
    return {
        (names[trail["tx"][0]], names[x])
        for x in np.flatnonzero(rows["n_trails"]).tolist()
        for trail in engine.books.trails[rows["trails"][x] : rows["trails"][x] + rows["n_trails"][x]]
    }


@dataclass(frozen=True)
class Recall:
    """Of each thing in WORDS: how many exhaustive search finds, and how many of these the engine has."""

    searched: dict[str, int]
    found: dict[str, int]

    def of(self, what: str) -> float:
        """The share that the engine has."""
        return self.found[what] / self.searched[what] if self.searched[what] else 1.0

    def __add__(self, other: Recall) -> Recall:
        """Of both banks together."""
        pairs = ((self.searched, other.searched), (self.found, other.found))
        return Recall(*({name: mine[name] + theirs[name] for name in mine} for mine, theirs in pairs))


def compared(all_: Known, kept: Known) -> Recall:
    """How much of all there is is known."""
    sets = {one.name: (getattr(all_, one.name), getattr(kept, one.name)) for one in fields(Known)}
    return Recall({name: len(a) for name, (a, _) in sets.items()}, {name: len(a & b) for name, (a, b) in sets.items()})


def recall(kind: str, seeds: Sequence[int], most_trails: Sequence[int] = (MOST_TRAILS,)) -> dict[int, Recall]:
    """Over the banks of one kind and these seeds together, by the number of trails kept."""
    found: dict[int, Recall] = {}
    for seed in seeds:
        bank = BANKS[kind](seed)
        all_ = searched(bank)
        for k in most_trails:
            one = compared(all_, followed(bank, k))
            found[k] = found[k] + one if k in found else one
    return found
