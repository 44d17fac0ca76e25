"""Every planted attempt that meets a rule's definition, as the slow twin reads it, is alerted by the program.

A bank of a seed that nothing was tuned on, with attempts of every typology. The twin sees all its payments and judges
the customers who took part in an attempt, from their first planted payment to a week after the last; what it says opens
must stand in an alert about the same subject, by the same rule, on the same payments.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl
import pytest

from aml.feed.simulate import SimulateSettings, simulate, write
from aml.pipeline.inforce import load_judgement
from tests.bench.frames import canonical
from tests.flow_factory import exported, run, url
from tests.naive.book import DAY, Book, Holder, open_book
from tests.naive.evaluate import Finding, FindingKey, Hit, Rule, findings, hits_at, in_force, paths_of
from tests.naive.fast import rows_of, twin_profile, twin_rules
from tests.naive.identity import standing
from tests.naive.keys import engine_key

SEED = 9_177
AFTER = 7 * DAY
Named = dict[tuple[str, str, str], set[str]]  # rule, kind of subject, its id -> ids of the payments


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """The folder of a bank's files, with eight or nine attempts of every typology."""
    folder = tmp_path_factory.mktemp("covered")
    write(simulate(SimulateSettings(seed=SEED, transactions=24_000, days=90, attempts=240)), folder)
    return folder


@pytest.fixture(scope="module")
def attempts(bank) -> dict[str, set[str]]:
    """Ids of each attempt's payments."""
    made: dict[str, set[str]] = defaultdict(set)
    for name, attempt in pl.read_csv(bank / "truth.csv").select("transaction_id", "attempt").iter_rows():
        made[attempt].add(name)
    return made


@pytest.fixture(scope="module")
def by_the_twin(bank, attempts) -> dict[FindingKey, Finding]:
    """What the twin says opens, about customers of ours and those who bring cash to their accounts."""
    frame, parties = canonical(bank)
    stand, _, _ = standing(rows_of(frame))
    rules = twin_rules("us")
    book = open_book(stand, parties.iter_rows(named=True), twin_profile("us"), None, engine_key)
    planted = set().union(*attempts.values())
    accounts = set(parties.get_column("account"))
    brought = {r["conductor"] for r in stand if r["instrument"] == "cash" and r["beneficiary_account"] in accounts}
    ours = {("customer", name) for name in brought | set(parties.get_column("customer"))}
    found = findings(hits_near(book, rules, planted), rules)
    return {key: f for key, f in found.items() if f.opens and key[2][1:] in ours}


def hits_near(book: Book, rules: Iterable[Rule], planted: set[str]) -> list[Hit]:
    """Hits at the legs of those who took part, from their first planted payment to a week after the last."""
    times: dict[Holder, list[int]] = defaultdict(list)
    for leg in book.all_legs():
        if leg.tx["transaction_id"] in planted:
            times[leg.holder].append(leg.t)
    rules = in_force(book, rules)
    paths = paths_of(book, rules)
    legs = [
        leg for holder, held in times.items() for leg in book.legs[holder] if min(held) <= leg.t <= max(held) + AFTER
    ]
    return [hit for leg in legs for rule in rules for hit in hits_at(book, rule, leg, paths)]


def alerted(alerts: Iterable[Mapping[str, Any]]) -> Named:
    """What stands in alerts as a reason that opens."""
    named: Named = defaultdict(set)
    for alert in alerts:
        for reason in alert["reasons"]:
            if reason["opens"]:
                key = (reason["rule"], alert["subject"]["kind"], alert["subject"]["id"])
                named[key].update(name for f in reason["findings"] for name in f["transaction_ids"])
    return named


def test_every_attempt_that_meets_a_definition_is_alerted(bank, attempts, by_the_twin):
    run(url(bank), bank / "transactions.parquet", parties=bank / "parties.csv")
    named = alerted(exported(url(bank)))
    of = {name: attempt for attempt, names in attempts.items() for name in names}
    qualify: dict[str, set[str]] = defaultdict(set)
    missed = []
    for (rule, _, (_, kind, subject), week), finding in by_the_twin.items():
        met = {of[name] for name in finding.transaction_ids if name in of}
        qualify[rule] |= met
        lacking = set(finding.transaction_ids) - named[rule, kind, subject]
        if met and lacking:
            missed.append((rule, subject, week, sorted(met), sorted(lacking)))
    assert missed == []
    customers = set(pl.read_csv(bank / "parties.csv", infer_schema=False).get_column("customer"))
    assert {subject for _, _, (_, _, subject), _ in by_the_twin} - customers  # couriers need not bank here
    covered = {rule.id for rule in load_judgement("us", None).compiled.rules}
    assert {rule for rule, met in qualify.items() if met} == covered
