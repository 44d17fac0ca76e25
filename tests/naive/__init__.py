"""The slow, obvious twin of the engine: the definitions of the rules in plain Python."""

from tests.naive.book import Book, Leg, Profile, Settings, open_book, sha_key
from tests.naive.evaluate import Finding, Hit, Paths, Rule, findings, hits, hits_in
from tests.naive.features import NAMES, leg_features
from tests.naive.identity import record, standing
from tests.naive.path import Limits, all_trails, hops_of, kept_trails

__all__ = [
    "NAMES", "Book", "Finding", "Hit", "Leg", "Limits", "Paths", "Profile", "Rule", "Settings", "all_trails",
    "findings",
    "hits", "hits_in", "hops_of", "kept_trails", "leg_features", "open_book", "record", "sha_key", "standing",
]
