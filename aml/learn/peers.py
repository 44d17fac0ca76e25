"""Peers of a leg: the same direction and instrument between the same kinds of party, so that like meets like."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from aml.engine.layout import BANK, BUSINESS, EXCHANGE, OTHER, PERSON, PROCESSOR, PUBLIC, UNKNOWN
from aml.learn.features import CREDIT, DEBIT, Legs

INSTRUMENTS: Final = 9
CASH: Final = 0
CARD: Final = 4
OTHER_INSTRUMENT: Final = 8
KINDS: Final = 3  # person, business, bank and the like
CELLS: Final = 2 * INSTRUMENTS * KINDS * KINDS

# Banks, processors, exchanges and public bodies all stand between many parties: rare for nobody, usual to everybody.
KIND_OF_SEGMENT: Final[dict[int, int]] = {
    PERSON: 0, UNKNOWN: 0, BUSINESS: 1, OTHER: 1, PROCESSOR: 2, BANK: 2, EXCHANGE: 2, PUBLIC: 2,
}
_KIND: Final = np.zeros(256, dtype=np.int16)
for _segment, _kind in KIND_OF_SEGMENT.items():
    _KIND[_segment] = _kind

_KIND_WORDS: Final = ("person", "business", "bank")
_KINDS_WORDS: Final = ("persons", "businesses", "banks")
_INSTRUMENT_WORDS: Final = (
    "cash payments", "wires", "ACH payments", "instant payments", "card payments", "cheques", "crypto transfers",
    "internal transfers", "other payments",
)
ALL_WORDS: Final = "all payments"


def cells(legs: Legs) -> npt.NDArray[np.int16]:
    """Cell number of each leg in 0..CELLS-1: direction, instrument, kind of sender, kind of receiver."""
    known = (legs.instrument >= 0) & (legs.instrument < INSTRUMENTS)
    instrument = np.where(known, legs.instrument, OTHER_INSTRUMENT).astype(np.int16)
    # A cash leg has one end only: whatever stands for the missing one must not split its peers.
    cash = instrument == CASH
    sender = np.where(cash & (legs.direction == CREDIT), 0, _KIND[legs.sender.view(np.uint8)])
    receiver = np.where(cash & (legs.direction == DEBIT), 0, _KIND[legs.receiver.view(np.uint8)])
    cell = ((legs.direction.astype(np.int16) * INSTRUMENTS + instrument) * KINDS + sender) * KINDS + receiver
    return np.asarray(cell, dtype=np.int16)


def ranked(legs: Legs) -> npt.NDArray[np.bool_]:
    """Which legs the models look at: scored ones that are no card payment (those rank last)."""
    return np.asarray(legs.scored & (legs.instrument != CARD))


def words(cell: int) -> str:
    """The peers of a cell in words, e.g. "person-to-person wires", "cash deposits of businesses"."""
    rest, receiver = divmod(cell, KINDS)
    rest, sender = divmod(rest, KINDS)
    direction, instrument = divmod(rest, INSTRUMENTS)
    if instrument == CASH:
        holder = sender if direction == DEBIT else receiver
        return f"cash {'withdrawals' if direction == DEBIT else 'deposits'} of {_KINDS_WORDS[holder]}"
    return f"{_KIND_WORDS[sender]}-to-{_KIND_WORDS[receiver]} {_INSTRUMENT_WORDS[instrument]}"
