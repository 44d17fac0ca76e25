"""What a run judges by: profile, rules, scoring and models, loaded and checked before anything is written."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from aml import content
from aml.detect.compile import Compiled, compile_rules
from aml.detect.load import load_rules
from aml.detect.needs import told_lacking
from aml.detect.profile import load_profile
from aml.domain.errors import AmlError
from aml.learn.bundle import ARRAYS, MANIFEST
from aml.learn.infer import Models, load_models
from aml.scoring.config import ScoringConfig, parse_scoring
from aml.store.encoding import digest
from aml.store.runs import InForce

SCORING = "scoring.toml"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Everything in force. models: None where none was trained. messages: what the user should know of it.

    history_from: the day from which the feed is complete, None where nobody says.
    """

    compiled: Compiled
    scoring: ScoringConfig
    models: Models | None
    messages: tuple[str, ...]
    history_from: dt.date | None = None

    @property
    def texts(self) -> list[InForce]:
        """Every text in force, word for word."""
        profile = self.compiled.profile
        texts = [InForce("rule", rule.id, rule.version, rule.text) for rule in self.compiled.rules]
        texts += [
            InForce("scoring", SCORING, self.scoring.version, self.scoring.text),
            InForce("profile", profile.name, 1, profile.text),
        ]
        if self.models is not None:
            texts += [InForce("model", b.spec.id, b.spec.version, b.spec.text) for b in self.models.bundles]
        return texts

    @property
    def lacking(self) -> dict[str, str]:
        """What records name that a rule cannot judge, in words, by rule."""
        return {need.rule: told_lacking(need.groups) for need in self.compiled.needs}

    @property
    def rules_sha256(self) -> str:
        """Hash of all that decides which hits there are: the rules and the profile."""
        return digest(self.compiled.profile.sha256, [rule.sha256 for rule in self.compiled.rules])

    @property
    def history_sha256(self) -> str:
        """Hash of the day from which ages are known."""
        return digest(None if self.history_from is None else self.history_from.isoformat())

    @property
    def models_sha256(self) -> str:
        """Hash of all that decides how strange a leg is: the artefacts and their weights."""
        if self.models is None:
            return digest(None)
        return digest([bundle.sha256 for bundle in self.models.bundles], dict(self.scoring.model_weights))


def load_judgement(profile: str, models: Path | None, history_from: dt.date | None = None) -> Judgement:
    """Load what is in force under a profile. `models`: the folder of `aml train`, default the shipped ones;
    `history_from`: the day from which the feed is complete.

    Raises AmlError that names the file and the mend.
    """
    held = load_profile(profile)
    compiled = compile_rules(load_rules(held.name), held, history_from=history_from)
    path = content.folder("rules") / SCORING
    scoring = parse_scoring(path.read_text(encoding="utf-8"), str(path))
    loaded, told = _models(models, scoring)
    return Judgement(compiled, scoring, loaded, told, history_from)


def _models(models: Path | None, scoring: ScoringConfig) -> tuple[Models | None, tuple[str, ...]]:
    """The models in force, and what to say where there are none."""
    if models is not None:
        if not models.is_dir():
            raise AmlError(f"{models}: is no folder of models: train some with `aml train FEED --out {models}`")
        return load_models(models, scoring.model_weights), ()
    shipped = content.folder("models")
    if not any((shipped / name / file).exists() for name in scoring.model_weights for file in (ARRAYS, MANIFEST)):
        told = "no anomaly models: none is trained yet; train on your own history: aml train FEED --out my-models"
        return None, (f"{told}, then aml run FEED --models my-models",)
    return load_models(shipped, scoring.model_weights), ()
