"""Ordinary life as a whole: everybody's rows, those of accounts not yet open or asleep left out."""

from __future__ import annotations

import numpy as np

from aml.feed.simulate import companies, events, habits, persons
from aml.feed.simulate.book import Book, Columns, join, take
from aml.feed.simulate.codes import NONE
from aml.feed.simulate.world import World


def live(world: World) -> Columns:
    """All rows of ordinary life, in an order that depends on the settings alone."""
    book, asleep = Book(), Book()
    for module in (persons, habits, companies, events):
        for part in module.PARTS:
            part(world, book, world.settings.rng(f"{module.__name__}.{part.__name__}"))
    for part in events.ASLEEP:
        part(world, asleep, world.settings.rng(f"asleep.{part.__name__}"))
    awake = book.columns()
    awake = take(awake, _possible(world, awake))
    return events.corrections(world, join(awake, asleep.columns()))


def _possible(world: World, rows: Columns) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Within the span, from one account to another, both open and neither asleep."""
    days = np.arange(world.settings.days + 1)
    midnight = world.clock.at(days, np.zeros(days.size))
    day = np.searchsorted(midnight, rows["at"], side="right") - 1
    opened = world.directory.opened.copy()
    opened[: world.people.number][world.people.asleep] = world.settings.days + 1
    sleeping = world.people.savings[world.people.asleep]
    opened[sleeping[sleeping != NONE]] = world.settings.days + 1
    kept = (rows["at"] >= midnight[0]) & (rows["at"] < midnight[-1]) & (rows["originator"] != rows["beneficiary"])
    for end in ("originator", "beneficiary"):
        account = rows[end]
        kept &= (account == NONE) | (day >= opened[np.where(account == NONE, 0, account)])
    return np.asarray(kept)
