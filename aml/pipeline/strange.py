"""Findings of the models: legs stranger than nearly all that the models were trained on, by holder and week."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from aml.detect.rulefile import SEGMENTS
from aml.domain.finding import Family, Finding, FindingChange, Severity, Subject, SubjectKind, Value, finding_id
from aml.engine.arrays import Transactions
from aml.engine.engine import Engine, LegRows
from aml.engine.layout import DAY, NONE
from aml.learn.features import DEBIT, NAMES, Legs
from aml.learn.infer import Models
from aml.learn.words import why
from aml.pipeline.detection import Change, Detection
from aml.pipeline.findings import Named, week_of
from aml.pipeline.scored import SIDES, Instruments, legs_for_models
from aml.scoring.combine import model_points
from aml.scoring.config import ScoringConfig

TYPOLOGY: Final = "anomaly"
MOST_NOTES: Final = 5
_FACTS: Final = ("t", "hi", "lo", "debit_holder", "credit_holder", "debit_value", "credit_value")
_ARRAYS: Final = ("surprise", "each", "x")
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Columns = Mapping[str, npt.NDArray[Any]]
Key = tuple[int, int, int]
"""Model's place in the bundles, holder, week (0 = the week of 29 December 1969, Mondays, UTC)."""


class Strange(NamedTuple):
    """A leg that the blend finds stranger than nearly all of its training; `by`: the model that says it loudest."""

    leg: int  # transaction index × 2 + side
    holder: int
    t: int
    hi: int
    lo: int
    value: int
    by: int
    surprise: float
    each: F64
    x: F64
    instrument: int
    sender: int
    receiver: int
    known: int  # days since its holder's first leg

    @property
    def transaction(self) -> int:
        """Its transaction's index."""
        return self.leg // SIDES


class LegFacts:
    """What findings say of the legs that a batch ran, beyond what models read.

    Made while the engine stands still: of movements that were there before, it alone knows.
    """

    def __init__(
        self, first: int, columns: Columns, rows: LegRows, transactions: Transactions, first_seen: I64
    ) -> None:
        """`columns`: of the movements that the batch brought, from number `first` on; `rows`: of the legs it ran;
        `first_seen`: time of each holder's first leg (UTC µs)."""
        self._first, self._columns, self._rows = first, columns, rows
        self._older = np.flatnonzero(self._rows.tx < self._first)
        numbers = self._rows.tx[self._older]
        held = transactions.rows
        places = transactions.places(numbers) if numbers.size else np.empty(0, np.int32)
        self._held = {name: held[name][places] for name in _FACTS}
        # The engine's own array will have moved on when it is asked.
        self._first_seen = first_seen.copy()

    def known(self, place: int) -> int:
        """Whole days from its holder's first leg to the leg in a row."""
        holder, t, *_ = self.of(place)
        return int((t - self._first_seen[holder]) // DAY)

    def of(self, place: int) -> tuple[int, int, int, int, int]:
        """Holder, t, hi, lo and value of the leg in a row."""
        x, end = int(self._rows.tx[place]), "debit" if self._rows.side[place] == DEBIT else "credit"
        if x >= self._first:
            columns, at = self._columns, x - self._first
            hi, lo = columns["key_hi"][at], columns["key_lo"][at]
        else:
            columns, at = self._held, int(np.searchsorted(self._older, place))
            hi, lo = columns["hi"][at], columns["lo"][at]
        holder, t, value = (int(columns[name][at]) for name in (f"{end}_holder", "t", f"{end}_value"))
        return holder, t, int(hi), int(lo), value


class ModelFindings:
    """The strange legs that stand, and the findings they make; what changed since it was last asked."""

    def __init__(self, models: Models, scoring: ScoringConfig) -> None:
        self._models = models
        self._scoring = scoring
        self._floor = -math.log(scoring.supporting_quantile)
        self._legs: dict[int, Strange] = {}
        self._by_key: dict[Key, set[int]] = {}
        self._changed: set[Key] = set()
        self._strangers: set[Key] = set()  # findings about holders that were no subjects when they were last told

    @property
    def news(self) -> bool:
        """Whether any finding changed since they were last told."""
        return bool(self._changed)

    def take(
        self, leave: npt.NDArray[np.int32], rows: LegRows, surprise: F64, facts: LegFacts, instruments: Instruments
    ) -> None:
        """Take what a batch did. surprise: of each of its rows; facts: theirs."""
        for x in leave[leave >= 0].tolist():
            self._drop(x * SIDES)
            self._drop(x * SIDES + 1)
        legs = rows.tx.astype(np.int64) * SIDES + rows.side
        strange = np.flatnonzero(surprise >= self._floor)
        if self._legs:
            # A leg that ran again is what it is now: of a leg that stands twice in a batch the later row counts.
            held = np.fromiter(self._legs, np.int64, len(self._legs))
            for leg in legs[np.isin(legs, held)].tolist():
                self._drop(leg)
        if strange.size:
            self._add(_latest(legs, strange), rows, surprise, facts, instruments)

    def _add(self, at: I64, rows: LegRows, surprise: F64, facts: LegFacts, instruments: Instruments) -> None:
        some = LegRows(*(column[at] for column in rows))
        legs = legs_for_models(some, instruments.all)
        raw = self._models.legs(legs)
        each = np.stack([table.of(raw[:, m]) for m, table in enumerate(self._models.leg_ranks)], axis=1)
        loudest = np.argmax(each * self._models.leg_blend.weights, axis=1)
        for k, place in enumerate(at.tolist()):
            self._put(
                Strange(
                    int(some.tx[k]) * SIDES + int(some.side[k]), *facts.of(place), int(loudest[k]),
                    float(surprise[place]), each[k], legs.x[k].astype(np.float64), int(legs.instrument[k]),
                    int(some.sender[k]), int(some.receiver[k]), facts.known(place),
                )
            )  # fmt: skip

    def _put(self, one: Strange) -> None:
        self._drop(one.leg)
        if one.surprise < self._floor or one.holder == NONE:
            return
        key = _key(one)
        self._legs[one.leg] = one
        self._by_key.setdefault(key, set()).add(one.leg)
        self._changed.add(key)

    def _drop(self, leg: int) -> None:
        one = self._legs.pop(leg, None)
        if one is None:
            return
        key = _key(one)
        self._changed.add(key)
        self._by_key[key].discard(leg)
        if not self._by_key[key]:
            del self._by_key[key]

    def ask_all(self) -> None:
        """Have every finding told anew."""
        self._changed |= self._by_key.keys()

    def changes(self, detection: Detection) -> list[Change]:
        """The findings that changed since this was last asked, as they are now, and those about new subjects."""
        ours = detection.acceptor.holders.ours
        asked = sorted(self._changed | {key for key in self._strangers if ours[key[1]]})
        self._changed = set()
        self._note_strangers(ours)
        named = sorted({leg // SIDES for key in asked for leg in self._by_key.get(key, ())})
        looked_up = _named(detection, np.array(named, np.int32))
        texts = detection.acceptor.holders.texts
        out = []
        for key in asked:
            subject = _subject(texts.row(key[1]))
            legs = [self._legs[leg] for leg in self._by_key.get(key, ())] if ours[key[1]] else []
            if legs:
                out.append(self._finding(key, subject, legs, looked_up, detection))
            else:
                gone = finding_id(subject, self._models.bundles[key[0]].spec.id, week_of(key[2]))
                out.append(Change(FindingChange.withdraw(gone), ()))
        return out

    def _finding(
        self, key: Key, subject: Subject, legs: list[Strange], named: Named, detection: Detection
    ) -> Change:
        legs.sort(key=lambda one: (one.t, one.hi, one.lo, one.leg))
        opening = [one for one in legs if self._opens(one)]
        strongest = max(opening or legs, key=lambda one: self._points(one))
        spec = self._models.bundles[key[0]].spec
        ordered = list(dict.fromkeys(one.transaction for one in legs))
        made = Finding(
            subject=subject, rule=spec.id, rule_version=spec.version, rule_sha256=_sha256(spec.text),
            typology=TYPOLOGY, family=Family.MODEL, severity=Severity.MEDIUM, week=week_of(key[2]),
            points=self._points(strongest), opens=bool(opening), crossed_at=strongest.t,
            opened_at=opening[0].t if opening else None, first_at=legs[0].t, last_at=legs[-1].t,
            total=sum(one.value for one in legs), currency=detection.compiled.profile.currency,
            measured=self._measured(strongest), parameters=self._parameters(key[0], strongest),
            transaction_ids=tuple(named[x][0] for x in ordered), hits=len(legs),
            notes=self._notes(strongest, legs, named),
        )  # fmt: skip
        return Change(FindingChange.upsert(made), tuple(named[x][1] for x in ordered))

    def _points(self, one: Strange) -> int:
        """Whole points: to open an alert they suffice alone, to support one they rise with strangeness."""
        return int(model_points(math.exp(-one.surprise), self._scoring))

    def _opens(self, one: Strange) -> bool:
        return self._scoring.model_opens(math.exp(-one.surprise), one.known)

    def _measured(self, one: Strange) -> dict[str, Value]:
        """How rare the leg is by the blend and by each model (one in so many training legs), and its features."""
        models = {
            f"one_in_by_{bundle.spec.id.replace('-', '_')}": round(math.exp(float(surprise)))
            for bundle, surprise in zip(self._models.bundles, one.each, strict=True)
        }
        features = {name: round(float(value), 4) + 0.0 for name, value in zip(NAMES, one.x, strict=True)}  # no -0.0
        rare = {"one_in": round(math.exp(one.surprise)), "tail": math.exp(-one.surprise), "known_days": one.known}
        return {**rare, **models, **features}

    def _parameters(self, model: int, one: Strange) -> dict[str, Value]:
        own = one.sender if one.leg % SIDES == DEBIT else one.receiver
        return {
            "segment": SEGMENTS[own] if 0 <= own < len(SEGMENTS) else SEGMENTS[0],
            "opening_quantile": self._scoring.opening_quantile,
            "supporting_quantile": self._scoring.supporting_quantile,
            "artefact_sha256": self._models.bundles[model].sha256,
        }

    def _notes(self, strongest: Strange, legs: Sequence[Strange], named: Named) -> tuple[str, ...]:
        """What drove the score, in words: of the strongest leg first, then of some others, by transaction."""
        others = [one for one in legs if one is not strongest][: MOST_NOTES - 1]
        phrases = why(self._models.table, _legs([strongest, *others]))
        first = "; ".join(phrases[0])
        rest = zip(others, phrases[1:], strict=True)
        return (first, *(f"{named[one.transaction][0]}: {'; '.join(told)}" for one, told in rest))

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """The strange legs, for a snapshot; they fit only the models that found them."""
        legs = [self._legs[leg] for leg in sorted(self._legs)]
        state: dict[str, npt.NDArray[Any]] = {}
        for name in Strange._fields:
            if name not in _ARRAYS:
                kind = np.uint64 if name in ("hi", "lo") else np.int64
                state[name] = np.array([getattr(one, name) for one in legs], kind)
        state["surprise"] = np.array([one.surprise for one in legs], np.float64)
        state["each"] = np.array([one.each for one in legs], np.float64).reshape(len(legs), len(self._models.bundles))
        state["x"] = np.array([one.x for one in legs], np.float64).reshape(len(legs), len(NAMES))
        return state

    def restore(self, state: Mapping[str, npt.NDArray[Any]], ours: npt.NDArray[np.bool_]) -> None:
        """Take over what `state` gave, and which holders were subjects then; nothing has changed since."""
        self._legs, self._by_key = {}, {}
        for k in range(state["leg"].size):
            whole = {name: int(state[name][k]) for name in Strange._fields if name not in _ARRAYS}
            self._put(Strange(surprise=float(state["surprise"][k]), each=state["each"][k], x=state["x"][k], **whole))
        self._changed = set()
        self._note_strangers(ours)

    def _note_strangers(self, ours: npt.NDArray[np.bool_]) -> None:
        self._strangers = {key for key in self._by_key if not ours[key[1]]}


def first_seen(engine: Engine) -> I64:
    """Time of each holder's first leg that stands (UTC µs), in the shard that it belongs to."""
    if len(engine.shards) == 1:
        seen: I64 = engine.shards[0].ledger.holders["first_t"]
        return seen
    seen = np.zeros(engine.shard_of.size, np.int64)
    for shard in engine.shards:
        mine = np.flatnonzero(engine.shard_of == shard.number)
        seen[mine] = shard.ledger.holders["first_t"][mine]
    return seen


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _key(one: Strange) -> Key:
    return one.by, one.holder, (one.t // DAY + 3) // 7


def _subject(texts: Sequence[str]) -> Subject:
    institution, party_institution, kind, name = texts
    return Subject(institution, party_institution, SubjectKind(kind), name)


def _named(detection: Detection, transactions: npt.NDArray[np.int32]) -> dict[int, tuple[str, int]]:
    """Id and row of each transaction."""
    if not transactions.size:
        return {}
    rows = detection.rows_of(transactions)
    ids = detection.records.take(rows).get_column("transaction_id").to_list()
    return dict(zip(transactions.tolist(), zip(ids, rows.tolist(), strict=True), strict=True))


def _latest(legs: I64, strange: I64) -> I64:
    """The places among the strange that no later row of the same leg takes back."""
    again = np.flatnonzero(np.isin(legs, legs[strange]))
    last = {int(legs[place]): int(place) for place in again}
    chosen = set(strange.tolist())
    return np.array(sorted(place for place in last.values() if place in chosen), np.int64)


def _legs(some: Sequence[Strange]) -> Legs:
    """Strange legs as the models read them."""

    def codes(values: list[int]) -> npt.NDArray[np.int8]:
        return np.array(values, np.int8)

    return Legs(
        np.array([one.x for one in some], np.float64), codes([one.leg % SIDES for one in some]),
        codes([one.instrument for one in some]), codes([one.sender for one in some]),
        codes([one.receiver for one in some]), np.ones(len(some), np.bool_),
        np.array([one.transaction for one in some], np.int64),
    )  # fmt: skip
