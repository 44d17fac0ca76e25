"""Which records lack what a rule needs: it would count them, and cannot tell anything of them.

A rule's `needs` names groups of fields; a record must have one field of each. A record that lacks one is *insufficient*
for the rule where a detector of it would count a leg of the record: by direction and `where`, by the least amount of a
leg, by what kind of party stands there. All of it is decided by columns, as the tag bits are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from aml.detect.kinds.base import Shape
from aml.engine.confirm import CONDUCTED, LEGS
from aml.engine.layout import CREDIT, DEBIT, NEW_PAYEE, NEW_PAYER, NONE, PERSON, T_HOP, UNKNOWN, VISIT
from aml.engine.layout import SEGMENTS as ENGINE_SEGMENTS

if TYPE_CHECKING:
    from aml.detect.compile import Compiled

Mask = npt.NDArray[np.bool_]
Columns = Mapping[str, npt.NDArray[Any]]
Tags = tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]
"""Tag words of the debit and of the credit legs."""
Groups = tuple[tuple[str, ...], ...]
_COLUMNS_OF: Final = {NEW_PAYER: CREDIT, NEW_PAYEE: DEBIT}  # what no column tells is among what one does


@dataclass(frozen=True, slots=True)
class Counted:
    """The legs that one detector counts: those with one of the tag bits, of at least `least` (reporting minor units),
    at holders of a segment whose bit is set."""

    bits: int
    least: int
    segments: int


@dataclass(frozen=True, slots=True)
class Need:
    """A rule that cannot do without some fields, and the legs it would count."""

    rule: str
    groups: Groups
    counted: tuple[Counted, ...]


def told(groups: Groups) -> str:
    """What is needed, in words: "branch or conductor, and beneficiary country"."""
    return ", and ".join(" or ".join(name.replace("_", " ") for name in group) for group in groups)


def told_lacking(groups: Groups) -> str:
    """What insufficient records name, in words: "neither branch nor conductor"."""
    return " or ".join(_none_of([name.replace("_", " ") for name in group]) for group in groups)


def _none_of(names: list[str]) -> str:
    match names:
        case [name]:
            return f"no {name}"
        case [one, other]:
            return f"neither {one} nor {other}"
        case _:
            return f"none of {', '.join(names)}"


def counted_by(shape: Shape, segments: int) -> Counted:
    """The legs that a detector of this shape counts."""
    if "bit" in shape.fields:
        bits = int(shape.fields["bit"])
    elif not shape.trigger:
        bits = T_HOP
    else:
        bits = shape.trigger
        for bound in shape.bounds:
            bits |= 1 << _COLUMNS_OF.get(bound.measure, bound.measure)
    least = int(shape.fields.get("floor", 0)) if shape.code in (LEGS, CONDUCTED) else 0
    return Counted(bits, least, segments)


def lacking(
    compiled: Compiled, frame: pl.DataFrame, columns: Columns, tags: Tags, segment: npt.NDArray[np.int8]
) -> dict[str, Mask]:
    """For each rule that needs something, which of the movements are insufficient for it.

    frame: their whole records; columns: as acceptance made them; tags: of their legs; segment: of each party row.
    """
    found: dict[str, Mask] = {}
    for need in compiled.needs:
        lacks = _lacks(frame, need.groups)
        if lacks.any():
            lacks &= _counted(need, columns, tags, segment)
        found[need.rule] = lacks
    return found


def _lacks(frame: pl.DataFrame, groups: Groups) -> Mask:
    absent = [pl.all_horizontal(pl.col(name).is_null() for name in group) for group in groups]
    lacks: Mask = frame.select(pl.any_horizontal(absent)).to_series().to_numpy().copy()
    return lacks


def _counted(need: Need, columns: Columns, tags: Tags, segment: npt.NDArray[np.int8]) -> Mask:
    """Which movements have a leg that some detector of the rule counts."""
    found = np.zeros(columns["t"].size, np.bool_)
    for one in need.counted:
        for side, tag in zip(("debit", "credit"), tags, strict=True):
            legs = (tag & np.uint32(one.bits & 0xFFFFFFFF)) != 0
            legs &= columns[f"{side}_value"] >= one.least
            legs &= _of_segments(one.segments, columns[f"{side}_party"], segment)
            found |= legs
        if one.bits & 1 << VISIT and one.segments >> PERSON & 1:
            found |= (columns["conductor_holder"] != NONE) & (columns["credit_value"] >= one.least)
    return found


def _of_segments(wanted: int, party: npt.NDArray[np.int32], segment: npt.NDArray[np.int8]) -> Mask | np.bool_:
    """Which party rows are of a segment whose bit is set; who is in no table is of unknown kind."""
    if wanted == (1 << ENGINE_SEGMENTS) - 1:
        return np.bool_(True)
    fits = np.array([wanted >> k & 1 for k in range(ENGINE_SEGMENTS)], np.bool_)
    known = np.append(segment, np.int8(UNKNOWN))  # the row -1, nobody, is the last
    of: Mask = fits[known[party]]
    return of
