"""What a simulated bank is made from: seed, size, span, country, and whether anybody launders."""

from __future__ import annotations

import datetime
import zlib
from dataclasses import dataclass

import numpy as np

from aml.domain.errors import USAGE, AmlError
from aml.feed.simulate.places import PLACES, Place


@dataclass(frozen=True, slots=True)
class SimulateSettings:
    """Settings of one simulated bank.

    transactions: about how many rows of ordinary life · days: span from `start` on (local days; a few rows of accounts
    that sleep since lie before it) · profile: whose country, zone and currency (us, ca, au) · institution: the tenant ·
    attempts: laundering attempts to plant (None: so many that about 1 row in 1,000 is laundering, at least one of each
    typology from 100,000 rows on) · launderers: False for the launderer-free twin, the same ordinary life with nothing
    planted.
    """

    seed: int = 1
    transactions: int = 200_000
    days: int = 120
    profile: str = "us"
    start: datetime.date = datetime.date(2026, 1, 5)
    institution: str = "main"
    attempts: int | None = None
    launderers: bool = True

    def __post_init__(self) -> None:
        for name, value, least in (
            ("seed", self.seed, 0),
            ("transactions", self.transactions, 100),
            ("days", self.days, 7),
            ("attempts", self.attempts or 0, 0),
        ):
            if value < least:
                raise AmlError(f"simulate: {name} must be at least {least}, not {value}", USAGE)
        if not self.institution:
            raise AmlError("simulate: institution must not be empty", USAGE)
        if self.profile not in PLACES:
            raise AmlError(f"simulate: profile {self.profile!r} is none of {', '.join(PLACES)}", USAGE)

    @property
    def place(self) -> Place:
        """Where the bank stands."""
        return PLACES[self.profile]

    def rng(self, part: str) -> np.random.Generator:
        """The random numbers of one part, independent of every other part's."""
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, zlib.crc32(part.encode())])))
