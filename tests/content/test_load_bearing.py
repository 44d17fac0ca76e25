"""Content is load-bearing: take one file away and what is loaded changes, or loading stops with an error."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from aml import content
from aml.domain.errors import AmlError
from aml.scoring.config import parse_scoring

ROOT = Path(__file__).parents[2]
PAPER = {"README.md", "CARD.md"}
PROFILES = ("us", "ca", "au")


def files(folder: str) -> list[str]:
    """The files of a content folder but for what only people read."""
    found = (path for path in (ROOT / folder).rglob("*") if path.is_file() and path.name not in PAPER)
    return sorted(str(path.relative_to(ROOT)) for path in found)


def load_rules():
    from aml.detect.load import load_rules

    scoring = parse_scoring((content.folder("rules") / "scoring.toml").read_text())
    return scoring.sha256, [[rule.sha256 for rule in load_rules(profile)] for profile in PROFILES]


def load_models():
    from aml.learn.infer import load_models

    scoring = parse_scoring((ROOT / "rules" / "scoring.toml").read_text())
    return [bundle.sha256 for bundle in load_models(content.folder("models"), scoring.model_weights).bundles]


def without(gone: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the program find all content but one file."""
    name = gone.split("/")[0]
    shutil.copytree(ROOT / name, folder / name)
    (folder / gone).unlink()
    monkeypatch.setattr(content, "folder", lambda wanted: (folder if wanted == name else ROOT) / wanted)


@pytest.mark.parametrize(
    ("gone", "load"),
    [*((name, load_rules) for name in files("rules")), *((name, load_models) for name in files("models"))],
)
def test_without_this_file_something_is_missing(gone, load, tmp_path, monkeypatch):
    whole = load()
    without(gone, tmp_path, monkeypatch)
    try:
        left = load()
    except (AmlError, FileNotFoundError):
        return
    assert left != whole
