"""Errors in scoring.toml name the file, the key and the mend; queues are looked up, never scored."""

from __future__ import annotations

import pytest

from aml.domain.errors import AmlError
from aml.domain.finding import Family
from aml.scoring.config import parse_scoring
from tests.store_factory import SCORING_FILE, scoring, subject

TEXT = SCORING_FILE.read_text()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("threshold = 20", "treshold = 20", "alert.threshold: must be a whole number"),
        ("weeks     = 13", "weeks = 13\nmonths = 3", "alert.months: unknown key; allowed: threshold, weeks"),
        ("half = 80", "half = 0", "link.half: must be a whole number of 1 or more"),
        ("high          = 40", 'high = "40"', "severity.high: must be a whole number"),
        ("medium   = 40", "medium   = 90", "bands: bounds must begin at 0 and rise"),
        ("cap_percent         = 30", "cap_percent = 70", "model.cap_percent: gives 84 points"),
        ("cap_percent         = 30", "cap_percent = 10", "model.cap_percent: gives 12 points"),
        ("opening_quantile    = 0.00001", "opening_quantile = 1.5", "model.opening_quantile: must lie between"),
        ("supporting_quantile = 0.0001", "supporting_quantile = 0.000001", "model.supporting_quantile: must not be"),
        ("[link]", "[links]", "links: unknown key"),
        ("version = 1", "version = ", "not valid TOML"),
        ('default = "main"', 'default = ""', "queues.default: must be a text"),
        ('default = "main"', 'default = "m"\n[[queues.routes]]\nqueue = "x"\nfamily = "cash"', "queues.routes[1]"),
    ],
)
def test_an_error_names_the_key(old, new, said):
    assert old in TEXT
    with pytest.raises(AmlError) as raised:
        parse_scoring(TEXT.replace(old, new, 1), "scoring.toml")
    assert str(raised.value).startswith("scoring.toml: ")
    assert said in str(raised.value)


def test_the_first_route_that_fits_wins():
    routes = """
[[queues.routes]]
queue = "east"
institution = "other"
[[queues.routes]]
queue = "cash"
family = "structuring"
"""
    config = parse_scoring(TEXT + routes)
    assert config.queue_of(subject(), Family.STRUCTURING, "t") == "cash"
    assert config.queue_of(subject(), Family.LAYERING, "t") == "main"
    assert config.queue_of(subject(institution="other"), Family.STRUCTURING, "t") == "east"


def test_the_hash_is_of_the_text():
    assert scoring(half="90").sha256 != scoring().sha256
