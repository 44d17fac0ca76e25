"""The feeds of a run: looked at before anything begins, then read as parts, in order or as they come."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from aml.domain.errors import USAGE, AmlError
from aml.feed.formats import STDIN, Format
from aml.feed.mapping import Mapping
from aml.feed.rates import Rates, default_rates
from aml.feed.raw import Chunk, Reject
from aml.feed.read import FeedInfo, inspect_feed, read_feed
from aml.pipeline.ordering import in_order, merged, sorted_whole
from aml.settings import DEFAULT_INSTITUTION

BATCH: Final = 1 << 17
MOST_BEGUN: Final = 8  # feeds whose first records are kept from the look at them; of others they are read again
FILE: Final = "file"  # lineage beside the canonical columns: the feed as it was named


@dataclass(frozen=True, slots=True)
class FeedTerms:
    """How feeds are read. ingest_time_us: the present (UTC µs); start: day of a public set's step 0."""

    feeds: tuple[str, ...]
    institution: str | None
    reporting_currency: str
    ingest_time_us: int
    mapping: Mapping | None = None
    rates: Rates | None = None
    as_arrived: bool = False
    start: dt.date | None = None


@dataclass(slots=True)
class Noted:
    """What reading found beside the transactions."""

    read: int = 0
    rejects: list[tuple[str, Reject]] = field(default_factory=list)  # with the feed's institution
    warnings: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Part:
    """A batch of transactions (a canonical frame and the column `file`), and what was noted since the last.

    share: how much of the feeds is read, None where nobody knows.
    """

    frame: pl.DataFrame
    noted: Noted
    share: float | None


@dataclass(frozen=True, slots=True)
class _Feed:
    path: str
    institution: str
    info: FeedInfo
    rates: Rates | None
    bytes: int | None


class Feeds:
    """All feeds of a run. Raises AmlError where one cannot be read, before any is."""

    def __init__(self, terms: FeedTerms) -> None:
        self.terms = terms
        twice = [path for path, times in Counter(terms.feeds).items() if path == STDIN and times > 1]
        if twice:
            raise AmlError("standard input can be read once: name - once", USAGE)
        self._feeds = [_look(path, terms) for path in terms.feeds]
        self._done = [0] * len(self._feeds)
        self._noted = Noted()
        self._begun: dict[int, tuple[Chunk | None, Iterator[Chunk]]] = {}
        for number, path in enumerate(terms.feeds):
            begun = self._begin(number)
            if number < MOST_BEGUN or path == STDIN:
                self._begun[number] = begun

    @property
    def as_arrived(self) -> bool:
        """Whether records are taken as they come: standard input always is."""
        return self.terms.as_arrived or STDIN in self.terms.feeds

    @property
    def known_sorted(self) -> bool:
        """Whether the files are in order throughout, by a look at their times alone."""
        return all(_is_sorted(feed) for feed in self._feeds)

    def institution_of(self, path: str) -> str:
        """The institution of records of this feed that name none."""
        return next(feed.institution for feed in self._feeds if feed.path == path)

    def parts(self, hold: bool = False) -> Iterator[Part]:
        """All records, in batches. In order: through a window, or (`hold`) all held and sorted first.

        Raises OutOfOrder where the window is too narrow: then begin again and hold.
        """
        self._noted, self._done = Noted(), [0] * len(self._feeds)
        feeds = [self._frames(number) for number in range(len(self._feeds))]
        for frame in self._ordered(feeds, hold):
            for piece in frame.iter_slices(BATCH):
                yield Part(piece, self._taken(), self._share())
        yield Part(pl.DataFrame(), self._taken(), 1.0)

    def _ordered(self, feeds: Sequence[Iterator[pl.DataFrame]], hold: bool) -> Iterator[pl.DataFrame]:
        if self.as_arrived:
            for feed in feeds:
                yield from feed
        elif hold:
            whole = sorted_whole(feeds)
            if whole is not None:
                yield whole
        else:
            yield from merged([in_order(feed) for feed in feeds])

    def _begin(self, number: int) -> tuple[Chunk | None, Iterator[Chunk]]:
        """Read a file's first records, so that what is wrong with the file itself is said before the run begins."""
        feed = self._feeds[number]
        chunks = read_feed(
            feed.path, institution=feed.institution, ingest_time_us=self.terms.ingest_time_us,
            reporting_currency=self.terms.reporting_currency, rates=feed.rates, mapping=self.terms.mapping,
            start=self.terms.start, chunk=BATCH,
        )  # fmt: skip
        return next(chunks, None), chunks

    def _chunks(self, number: int) -> Iterator[Chunk]:
        first, rest = self._begun.pop(number) if number in self._begun else self._begin(number)
        if first is not None:
            yield first
            yield from rest

    def _frames(self, number: int) -> Iterator[pl.DataFrame]:
        feed = self._feeds[number]
        for chunk in self._chunks(number):
            self._noted.read += chunk.read
            self._noted.rejects += [(feed.institution, reject) for reject in chunk.rejects]
            self._noted.warnings.update(chunk.warnings)
            self._done[number] = chunk.bytes_done
            if chunk.transactions.height:
                yield chunk.transactions.with_columns(pl.lit(feed.path, pl.String).alias(FILE))

    def _taken(self) -> Noted:
        noted, self._noted = self._noted, Noted()
        return noted

    def _share(self) -> float | None:
        sizes = [feed.bytes for feed in self._feeds]
        if not sizes or None in sizes:
            return None
        return min(1.0, sum(self._done) / max(1, sum(size or 0 for size in sizes)))


def _look(path: str, terms: FeedTerms) -> _Feed:
    info = inspect_feed(path, terms.mapping)
    institution = terms.institution or info.institution or DEFAULT_INSTITUTION
    rates = terms.rates
    if rates is None and info.importer == "amlworld":
        rates = default_rates("amlworld", terms.reporting_currency)
    return _Feed(path, institution, info, rates, None if path == STDIN else Path(path).stat().st_size)


def _is_sorted(feed: _Feed) -> bool:
    """Whether a Parquet file's times rise, told by that column alone; of other files nobody knows before the end."""
    if feed.info.format is Format.EMPTY:
        return True
    if feed.info.format is not Format.PARQUET or feed.info.importer is not None:
        return False
    scanned = pl.scan_parquet(feed.path)
    if not isinstance(scanned.collect_schema().get("executed_at"), pl.Datetime):
        return False
    return scanned.select("executed_at").collect().to_series().is_sorted()
