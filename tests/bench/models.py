"""How many legs a second both models score on one core."""

from __future__ import annotations

import argparse
from pathlib import Path

from aml.content import folder as content
from aml.learn.bench import LEGS, legs_like, rates
from aml.learn.infer import load_models
from aml.scoring.config import parse_scoring
from tests.bench.say import say


def main(folder: Path, given: argparse.Namespace) -> None:
    """Print the rates of the models that ship."""
    scoring = parse_scoring((content("rules") / "scoring.toml").read_text(encoding="utf-8"))
    models = load_models(content("models"), scoring.model_weights)
    for name, rate in rates(models, legs_like(models, LEGS)).items():
        say(f"legs a second: {name}", f"{rate:,.0f}")
