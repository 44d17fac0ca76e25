"""What the engine's trails know of simulated layering, against exhaustive search, by the number of trails kept."""

from __future__ import annotations

import argparse
from pathlib import Path

from aml.detect.compile import MOST_TRAILS
from tests.bench.say import say
from tests.layering import BANKS, WORDS, recall

BANKS_EACH = 4


def main(folder: Path, given: argparse.Namespace) -> None:
    """Recall per kind of bank and thing, with one trail a payment, as many as ship, and twice as many."""
    kept = (1, MOST_TRAILS, 2 * MOST_TRAILS)
    for kind in BANKS:
        found = recall(kind, range(given.seed, given.seed + BANKS_EACH), kept)
        say(kind, "trails kept: " + ", ".join(map(str, kept)))
        for what, words in WORDS.items():
            shares = ", ".join(f"{found[k].of(what):.1%}" for k in kept)
            say(f"  {words}", f"{shares} of {found[MOST_TRAILS].searched[what]:,}")
