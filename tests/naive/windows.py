"""Windows, first times, segments, ages and own months: what every kind shares."""

from __future__ import annotations

from collections.abc import Iterable

from tests.naive.book import DAY, NAN, Book, Holder, Leg

COLLECTS = 20  # distinct counterparties in seven days above which an unknown holder is a business


def not_after(leg: Leg, hit: Leg) -> bool:
    """Up to the hit leg in the order; either order where one of the two has only that same day."""
    return leg.order <= hit.order or same_whole_day(leg, hit)


def same_whole_day(leg: Leg, hit: Leg) -> bool:
    """Whether both lie on one local day of which one of them knows no more than the day."""
    return (leg.whole_day or hit.whole_day) and leg.day == hit.day


def in_hours(leg: Leg, hit: Leg, width: int) -> bool:
    """In (t - width, t] of the hit leg; where one of the two has only its day, on the days that 24 hours each make."""
    if same_whole_day(leg, hit):
        return True
    if leg.order > hit.order:
        return False
    if leg.whole_day or hit.whole_day:
        return leg.t > hit.t - width or leg.day >= hit.day - -(-width // DAY)
    return leg.t > hit.t - width


def in_days(leg: Leg, hit: Leg, first: int, last: int) -> bool:
    """On a local day first … last and not after the hit leg."""
    return first <= leg.day <= last and not_after(leg, hit)


def hours_of(legs: Iterable[Leg], hit: Leg, width: int) -> list[Leg]:
    """Those legs in the hour window that ends with the hit."""
    return [leg for leg in legs if in_hours(leg, hit, width)]


def days_of(legs: Iterable[Leg], hit: Leg, days: int) -> list[Leg]:
    """Those legs in the `days` local days that end with the hit's."""
    return [leg for leg in legs if in_days(leg, hit, hit.day - days + 1, hit.day)]


def total(legs: Iterable[Leg]) -> int:
    """Sum of amounts."""
    return sum(leg.amount for leg in legs)


def share(part: float, whole: float) -> float:
    """part ÷ whole, unknown where there is no whole."""
    return part / whole if whole else NAN


def first_of_pair(book: Book, leg: Leg) -> Leg | None:
    """The first counted leg ever of (holder, counterparty, direction); None without a counterparty."""
    if leg.counterparty is None:
        return None
    return book.first(leg.holder, leg.counterparty, leg.credit)


def new_among(book: Book, window: list[Leg], credit: bool) -> set[Holder]:
    """Counterparties met for the first time, in that direction, inside the window."""
    inside = {id(leg) for leg in window}
    return {
        leg.counterparty for leg in window
        if leg.counterparty is not None and leg.credit == credit and id(first_of_pair(book, leg)) in inside
    }


def first_day(book: Book, holder: Holder) -> int | None:
    """Local day of the holder's first leg that rules see."""
    legs = book.of(holder)
    return legs[0].day if legs else None


def segment(book: Book, hit: Leg) -> str:
    """Party kind; unknown: person, and business from the leg that makes more than twenty counterparties in a week.

    A conductor is a person."""
    if hit.visit:
        return "person"
    if hit.party is not None and hit.party["kind"] is not None:
        return str(hit.party["kind"])
    if len({leg.counterparty for leg in book.of(hit.holder)}) <= COLLECTS:
        return "person"
    for leg in book.of(hit.holder):
        if leg.order > hit.order:
            break
        week = [o for o in book.of(hit.holder) if o.order <= leg.order and leg.day - 6 <= o.day <= leg.day]
        if len({o.counterparty for o in week if o.counterparty is not None}) > COLLECTS:
            return "business"
    return "person"


def age(book: Book, hit: Leg) -> float:
    """Whole calendar days since the account was opened, or since a first leg that history_from makes credible."""
    if hit.party is not None and hit.party["opened"] is not None:
        return float(hit.day - hit.party["opened"])
    first = first_day(book, hit.holder)
    since = book.settings.history_from
    if since is None or first is None or first < since.toordinal() + 90:
        return NAN
    return float(hit.day - first)


def own_month_days(book: Book, hit: Leg, window_start: int, credit: bool) -> float:
    """Own month before a day window that starts on the local day `window_start`; unknown if there is not enough."""
    before = [
        leg for leg in book.of(hit.holder)
        if leg.credit == credit and in_days(leg, hit, window_start - 30, window_start - 1)
    ]
    first = first_day(book, hit.holder)
    known_before = first is not None and first < window_start - 30
    return scaled_month(book, hit, total(before), known_before, window_start - first if first is not None else 0)


def own_month_hours(book: Book, hit: Leg, window_start: int, credit: bool) -> float:
    """Own month before an hour window that starts at `window_start` (µs): thirty times 24 hours, by the legs' times."""
    after = window_start - 30 * DAY
    legs = book.of(hit.holder)
    before = [leg for leg in legs if leg.credit == credit and after < leg.t <= window_start]
    known = (window_start - legs[0].t) // DAY if legs else 0
    return scaled_month(book, hit, total(before), bool(legs) and legs[0].t <= after, known)


def scaled_month(book: Book, hit: Leg, amount: int, known_before: bool, known: int) -> float:
    """A person's month is scaled up from 14 known days; others need a leg from before it."""
    if amount <= 0:
        return NAN
    if segment(book, hit) == "person":
        return amount * 30 / min(30, known) if known >= 14 else NAN
    return float(amount) if known_before else NAN


