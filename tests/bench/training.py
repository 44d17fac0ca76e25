"""Trains the models that ship, and measures them on banks they have never seen.

    python -m tests.bench.training train               simulate launderer-free life, train models/ on it
    python -m tests.bench.training measure [SEED …]    print the tables of models/*/CARD.md
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from aml.content import folder
from aml.detect.compile import compile_rules
from aml.detect.load import load_rules
from aml.detect.profile import load_profile
from aml.feed.parties import read_parties
from aml.feed.simulate import SimulateSettings, simulate, write
from aml.learn.evaluate import Ranking, evaluate
from aml.learn.features import Legs
from aml.learn.infer import Models, join_models, load_models, transaction_sums
from aml.learn.sample import sample
from aml.learn.train import tails_spec, train_on
from aml.pipeline.detection import Detection
from aml.pipeline.feeds import Feeds, FeedTerms
from aml.pipeline.findings import one_per_leg
from aml.pipeline.scored import Instruments, legs_for_models
from aml.pipeline.training import TrainSettings, specs_for, train_feeds
from aml.scoring.combine import combine_rules, model_points
from aml.scoring.config import ScoringConfig, parse_scoring

SHIPPED = SimulateSettings(seed=2026, transactions=1_000_000, days=120, launderers=False)
FRESH = tuple(range(101, 111))
FIRST_PART = 0.5  # of a bank's time on which its own models are trained, without labels
INGEST = 2_000_000_000_000_000
WAYS = ("peer-tails", "isolation-forest", "blend in equal parts", "blend", "rules alone", "rules and models")
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Bank:
    """A simulated bank run through the engine: its legs as they stand, and what is true of its transactions.

    rules: per transaction the (rule, family, points) of the hits at its legs.
    """

    legs: Legs
    t: Array
    key: Array
    typology: list[str]
    attempt: list[str]
    rules: dict[int, list[Any]]


def train_shipped(out: Path) -> None:
    """Train models/ anew; the same code gives the same bytes."""
    with tempfile.TemporaryDirectory() as place:
        files = write(simulate(SHIPPED), Path(place))
        feed = Path(place) / f"simulated-life-seed-{SHIPPED.seed}.parquet"
        files["transactions"].rename(feed)
        say(train_feeds(TrainSettings((str(feed),), parties=files["parties"], out=out)))


def run(settings: SimulateSettings) -> Bank:
    """Simulate a bank and run it through acceptance, rules and engine."""
    bank, profile, scoring = simulate(settings), load_profile(settings.profile), the_scoring()
    with tempfile.TemporaryDirectory() as place:
        files = write(bank, Path(place))
        parties = read_parties(files["parties"], settings.institution, profile.currency)
        detection = Detection(compile_rules(load_rules(profile.name), profile), scoring, parties=parties)
        instruments, ids, times, keys, parts, gone = Instruments(), [], [], [], [], []
        terms = FeedTerms((str(files["transactions"]),), settings.institution, profile.currency, INGEST)
        for part in Feeds(terms).parts():
            if part.frame.height:
                step = detection.step(part.frame)
                columns = step.arrivals.columns
                codes = instruments.append(columns["instrument"])
                parts.append(legs_for_models(step.applied.rows, codes))
                times.append(columns["t"])
                keys.append(columns["key_lo"])
                gone.append(step.arrivals.leave)
                moved = pl.Series(step.arrivals.transaction >= 0)
                ids.append(step.arrivals.accepted.get_column("transaction_id").filter(moved))
    truth = {i: (t, a) for i, t, a in bank.truth.select("transaction_id", "typology", "attempt").iter_rows()}
    named = [truth.get(i, ("", "")) for i in pl.concat(ids)]
    return Bank(
        standing(parts, np.concatenate(gone)), np.concatenate(times), np.concatenate(keys),
        [t for t, _ in named], [a for _, a in named], hits(detection, scoring),
    )  # fmt: skip


def standing(parts: list[Legs], gone: Array) -> Legs:
    """The last word on each leg, without those that left."""
    names = ("x", "direction", "instrument", "sender", "receiver", "scored", "transaction")
    whole = Legs(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
    leg = whole.transaction * 2 + whole.direction
    last = leg.size - 1 - np.unique(leg[::-1], return_index=True)[1]
    return whole.take(last[~np.isin(whole.transaction[last], gone)])


def hits(detection: Detection, scoring: ScoringConfig) -> dict[int, list[Any]]:
    """What rules say at the legs of each transaction; near misses give no points."""
    found: dict[int, list[Any]] = {}
    for key in detection.engine.keys_about(None):
        rule = detection.compiled.rules[key[0]]
        for hit in one_per_leg(detection.hits_about(key)):
            points = scoring.points_of(rule.severity, hit.steps) if hit.opens else 0
            found.setdefault(hit.tx, []).append((rule.id, rule.family, points))
    return found


def the_scoring() -> ScoringConfig:
    """The shipped scoring."""
    return parse_scoring((folder("rules") / "scoring.toml").read_text(encoding="utf-8"))


def own_models(bank: Bank) -> tuple[Models, Array]:
    """Models trained on the bank's first part, and which of its transactions came later."""
    specs = specs_for(folder("models"))
    cut = int(np.quantile(bank.t, FIRST_PART))
    first = bank.legs.take(bank.t[bank.legs.transaction] < cut)
    drawn = sample(first, bank.t[first.transaction], bank.key[first.transaction], tails_spec(specs).fit)
    return join_models(train_on(drawn, specs, "its own first part"), the_scoring().model_weights), bank.t >= cut


@dataclass(frozen=True)
class Judged:
    """The later transactions of one bank: the rank of each by each of WAYS, and what is true of them."""

    ranks: dict[str, Array]
    typology: list[str]
    attempt: list[str]


def judged(bank: Bank, models: Models, mask: Array, name: str) -> Judged:
    """How each model alone, blends, the rules and all together rank the transactions of the mask, within their bank."""
    later = np.flatnonzero(mask)
    return Judged(
        {way: as_ranks(values[later]) for way, values in zip(WAYS, every_score(bank, models), strict=True)},
        [bank.typology[i] for i in later],
        [f"{name}-{bank.attempt[i]}" if bank.attempt[i] else "" for i in later],
    )


def rankings(banks: list[Judged]) -> dict[str, Ranking]:
    """How well each of WAYS ranks the transactions of all these banks, side by side."""
    typology = [name for bank in banks for name in bank.typology]
    attempt = [name for bank in banks for name in bank.attempt]
    return {way: evaluate(np.concatenate([bank.ranks[way] for bank in banks]), typology, attempt) for way in WAYS}


def every_score(bank: Bank, models: Models) -> list[Array]:
    """One score per transaction by each of WAYS."""
    scoring, n = the_scoring(), bank.t.size
    equal = join_models(list(models.bundles), dict.fromkeys(scoring.model_weights, 1))
    raw = models.legs(bank.legs)
    alone = transaction_sums(raw, bank.legs.transaction, n)
    blend = models.transactions(raw, bank.legs.transaction, n)
    by_rules = np.zeros(n)
    for number, named in bank.rules.items():
        by_rules[number] = combine_rules(named, scoring)
    both = by_rules + np.array([model_points(tail, scoring) for tail in np.exp(-np.nan_to_num(blend, nan=0.0))])
    return [alone[:, 0], alone[:, 1], equal.transactions(raw, bank.legs.transaction, n), blend, by_rules, both]


def as_ranks(values: Array) -> Array:
    """The share of the values below each, NaN where there is none."""
    known = np.sort(values[~np.isnan(values)])
    return np.where(np.isnan(values), np.nan, np.searchsorted(known, values) / max(1, known.size))


def measure(seeds: tuple[int, ...]) -> None:
    """Print recall for models trained on each bank's own first part, and for those that ship."""
    weights = ", ".join(f"{name} {weight}" for name, weight in the_scoring().model_weights.items())
    say(f"Banks of seeds {', '.join(map(str, seeds))}: {SHIPPED.transactions:,} transactions, {SHIPPED.days} days")
    say(f"Weights of the blend: {weights}\n")
    shipped = load_models(folder("models"), the_scoring().model_weights)
    own, given = [], []
    for seed in seeds:
        bank = run(SimulateSettings(seed=seed, transactions=SHIPPED.transactions, days=SHIPPED.days))
        models, later = own_models(bank)
        own.append(judged(bank, models, later, str(seed)))
        given.append(judged(bank, shipped, later, str(seed)))
    show("Trained on the bank's own first half, judged on the second", own)
    show("As shipped, judged on the same", given)


def show(title: str, banks: list[Judged]) -> None:
    """Print a short table of all rankings, over the banks together and the median of them, and one by typology."""
    found, single = rankings(banks), [rankings([bank]) for bank in banks]
    say(f"## {title}\n")
    say("| ranking | recall at 0.1 % / 0.5 % / 1.0 % | at 0.5 %, bank by bank | median | PR-AUC "
        "| attempts of 3 rows and more in the top 0.5 % |")  # fmt: skip
    say("|---|---|---|---|---|---|")
    for name, ranking in found.items():
        recall = " / ".join(f"{100 * r:.0f} %" for r in ranking.whole.recall)
        each = [100 * one[name].whole.recall[1] for one in single]
        area = " / ".join(f"{100 * one[name].pr_auc:.0f}" for one in single)
        touched, every = sum(y.touched[1] for y in ranking.typologies), sum(y.attempts for y in ranking.typologies)
        say(f"| {name} | {recall} | {' / '.join(f'{r:.0f}' for r in each)} | {statistics.median(each):.0f} % "
            f"| {100 * ranking.pr_auc:.0f} % ({area}) | {touched} of {every} |")  # fmt: skip
    say("\n" + by_typology(found) + "\n")


def by_typology(found: dict[str, Ranking]) -> str:
    """Recall at 0.5 % of each typology's rows, a column a ranking."""
    lines = ["| typology | attempts | rows | " + " | ".join(found) + " |", "|---" * (3 + len(found)) + "|"]
    for k, y in enumerate(next(iter(found.values())).typologies):
        each = " | ".join(f"{100 * ranking.typologies[k].recall[1]:.0f} %" for ranking in found.values())
        lines.append(f"| {y.typology} | {y.attempts} | {y.rows} | {each} |")
    return "\n".join(lines)


def say(what: object) -> None:
    """Write a line."""
    sys.stdout.write(f"{what}\n")


def main(arguments: list[str]) -> None:
    """Train or measure."""
    if arguments[:1] == ["train"]:
        train_shipped(Path(__file__).parents[2] / "models")
    elif arguments[:1] == ["measure"]:
        measure(tuple(map(int, arguments[1:])) or FRESH)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
