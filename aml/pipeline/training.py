"""Training the anomaly models on feeds: acceptance and engine as in a run, a sample of the legs, a folder per model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.content import folder
from aml.detect.compile import compile_rules
from aml.detect.load import load_rules
from aml.detect.profile import load_profile
from aml.engine.arrays import grown
from aml.feed.mapping import load_mapping
from aml.feed.parties import read_parties
from aml.feed.rates import load_rates
from aml.learn.bundle import MODEL, Bundle, save_bundle
from aml.learn.sample import Sampler
from aml.learn.spec import Fit, Spec, read_spec, read_specs
from aml.learn.train import tails_spec, train_on
from aml.pipeline.detection import Detection, Step
from aml.pipeline.feeds import Feeds, FeedTerms
from aml.pipeline.ordering import OutOfOrder
from aml.pipeline.scored import Instruments, legs_for_models
from aml.scoring.config import parse_scoring

Told = Callable[[int, float | None], None]


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """What `aml train` was asked: feeds and what explains them, the jurisdiction, and where the models go."""

    feeds: tuple[str, ...]
    parties: Path | None = None
    rates: Path | None = None
    mapping: Path | None = None
    institution: str | None = None
    profile: str = "us"
    out: Path = Path("aml-models")


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """One model and the folder it was written to."""

    id: str
    version: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Trained:
    """What training did; transactions: accepted; legs: learnt from."""

    transactions: int
    legs: int
    seconds: float
    models: tuple[TrainedModel, ...]


class _Forgetful:
    """Records that nobody will ask for again: training names no evidence."""

    def append(self, first_row: int, frame: pl.DataFrame) -> None:
        """Keep nothing."""

    def take(self, rows: npt.NDArray[np.int64]) -> pl.DataFrame:
        """Never called: no finding is assembled."""
        raise LookupError("training keeps no records")


class Learner:
    """Follows the steps of a detection and draws the legs to learn from."""

    def __init__(self, fit: Fit) -> None:
        self.sampler = Sampler(fit)
        self._instruments = Instruments()
        self._t = np.empty(1024, np.int64)
        self._key = np.empty(1024, np.uint64)

    def take(self, step: Step) -> None:
        """Take the legs of a step; legs of what left are forgotten."""
        columns, first = step.arrivals.columns, self._instruments.n
        codes = self._instruments.append(columns["instrument"])
        self._t, self._key = grown(self._t, codes.size), grown(self._key, codes.size)
        self._t[first : codes.size], self._key[first : codes.size] = columns["t"], columns["key_lo"]
        leave = step.arrivals.leave
        self.sampler.drop(leave[leave >= 0].astype(np.int64))
        rows = step.applied.rows
        self.sampler.add(legs_for_models(rows, codes), self._t[rows.tx], self._key[rows.tx])


def train_feeds(settings: TrainSettings, told: Told | None = None) -> Trained:
    """Train every model on the feeds' legs, without labels, and write `settings.out`/<model>/.

    A model file that lies there already is trained as it says, the others as shipped. Raises AmlError naming what is
    missing or too little; then nothing is written.
    """
    began = time.monotonic()
    specs = specs_for(settings.out)
    fit = tails_spec(specs).fit
    feeds = _feeds(settings)
    try:
        accepted, sampler = _follow(settings, feeds, fit, told, hold=False)
    except OutOfOrder:
        accepted, sampler = _follow(settings, feeds, fit, told, hold=True)
    drawn = sampler.drawn()
    bundles = train_on(drawn, specs, ", ".join(name_of(feed) for feed in settings.feeds))
    return Trained(accepted, drawn.legs.size, time.monotonic() - began, _written(bundles, settings.out))


def _follow(settings: TrainSettings, feeds: Feeds, fit: Fit, told: Told | None, *, hold: bool) -> tuple[int, Sampler]:
    """Run the feeds through acceptance and engine; returns how many records were accepted, and what is drawn from."""
    profile = load_profile(settings.profile)
    scoring = folder("rules") / "scoring.toml"
    parties = None
    if settings.parties is not None:
        parties = read_parties(settings.parties, feeds.institution_of(settings.feeds[0]), profile.currency)
    detection = Detection(
        compile_rules(load_rules(profile.name), profile),
        parse_scoring(scoring.read_text(encoding="utf-8"), str(scoring)),
        records=_Forgetful(),
        parties=parties,
    )
    learner, accepted = Learner(fit), 0
    for part in feeds.parts(hold):
        if part.frame.height:
            step = detection.step(part.frame)
            learner.take(step)
            accepted += step.arrivals.counts.scored
        if told is not None:
            told(accepted, part.share)
    return accepted, learner.sampler


def _feeds(settings: TrainSettings) -> Feeds:
    return Feeds(
        FeedTerms(
            settings.feeds,
            settings.institution,
            load_profile(settings.profile).currency,
            time.time_ns() // 1_000,
            None if settings.mapping is None else load_mapping(settings.mapping),
            None if settings.rates is None else load_rates(settings.rates),
        )
    )


def specs_for(out: Path) -> dict[str, Spec]:
    """The shipped model files, each replaced by one of the same name in `out`."""
    specs = read_specs(folder("models"))
    return {name: read_spec(out / name / MODEL) if (out / name / MODEL).exists() else specs[name] for name in specs}


def name_of(feed: str) -> str:
    """What a model says it was trained on."""
    return "standard input" if feed == "-" else Path(feed).name


def _written(bundles: list[Bundle], out: Path) -> tuple[TrainedModel, ...]:
    return tuple(TrainedModel(b.spec.id, b.spec.version, save_bundle(b, out)) for b in bundles)
