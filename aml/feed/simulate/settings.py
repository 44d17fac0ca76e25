"""What a simulated bank is made from: seed, size, span, and whether anybody launders."""

from __future__ import annotations

import datetime
import zlib
from dataclasses import dataclass

import numpy as np

from aml.domain.errors import AmlError


@dataclass(frozen=True, slots=True)
class Simulation:
    """Settings of one simulated bank.

    transactions: about how many rows of ordinary life · days: span from `start` on (local days of New York; a few
    rows of accounts that sleep since lie before it) · institution: the tenant · attempts: laundering attempts to plant
    (None: so many that about 1 row in 1,000 is laundering, at least one of each typology from 100,000 rows on) ·
    clean: the launderer-free twin, the same ordinary life with nothing planted.
    """

    seed: int = 1
    transactions: int = 200_000
    days: int = 120
    start: datetime.date = datetime.date(2026, 1, 5)
    institution: str = "main"
    attempts: int | None = None
    clean: bool = False

    def __post_init__(self) -> None:
        for name, value, least in (
            ("seed", self.seed, 0),
            ("transactions", self.transactions, 100),
            ("days", self.days, 7),
            ("attempts", self.attempts or 0, 0),
        ):
            if value < least:
                raise AmlError(f"simulate: {name} must be at least {least}, not {value}")
        if not self.institution:
            raise AmlError("simulate: institution must not be empty")

    def rng(self, part: str) -> np.random.Generator:
        """The random numbers of one part, independent of every other part's."""
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, zlib.crc32(part.encode())])))
