"""The embedded host, `aml run`: feeds into one database, in one process, to its findings and alerts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import chain

from aml.domain.errors import AmlError
from aml.feed.mapping import load_mapping
from aml.feed.parties import read_parties
from aml.feed.rates import load_rates
from aml.pipeline.checkpoint import Keeper, Work
from aml.pipeline.detection import Accepted
from aml.pipeline.feeds import Feeds, FeedTerms, Part
from aml.pipeline.host import Host, Terms
from aml.pipeline.inforce import Judgement, load_judgement
from aml.pipeline.interrupt import Interrupt
from aml.pipeline.letters import Letters
from aml.pipeline.ordering import OutOfOrder
from aml.pipeline.scores import write_scores
from aml.pipeline.summary import RunSettings, RunSummary, Tally, late_messages, warning_messages
from aml.pipeline.threads import Ahead, hasty_threads
from aml.settings import load_settings
from aml.store import queries
from aml.store.database import Database, open_database
from aml.store.runs import RunState
from aml.store.statefolder import folder_of

__all__ = ["RunSettings", "RunSummary", "run_feeds"]

Progress = Callable[[int, float | None], None]
AHEAD = 3  # batches read before they are needed
SPARE = 12  # times as long between two checkpoints as the last one took


def run_feeds(settings: RunSettings, progress: Progress | None = None) -> RunSummary:
    """Bring feeds through rules and models into a database; `progress` is told the records read and the share done.

    Whatever is wrong with a file that is read whole, or with the beginning of a feed, is said before the database is
    touched. Raises AmlError, and KeyboardInterrupt where the user stopped the run; the last checkpoint stands then.
    """
    began = time.monotonic()
    now = time.time_ns() // 1000
    judgement = load_judgement(settings.profile, settings.models, settings.history_from)
    currency = judgement.compiled.profile.currency
    mapping = None if settings.mapping is None else load_mapping(settings.mapping)
    rates = None if settings.rates is None else load_rates(settings.rates)
    feeds = Feeds(
        FeedTerms(settings.feeds, settings.institution, currency, now, mapping, rates, settings.as_arrived)
    )
    tenant = feeds.institution_of(settings.feeds[0])
    parties = None if settings.parties is None else read_parties(settings.parties, tenant, currency)
    database = open_database(settings.db)
    try:
        with database.lock_run(), folder_of(database, load_settings().state) as folder, hasty_threads():
            keeper = Keeper(database, folder)
            keeper.open()
            keeper.check(judgement, settings.lateness)
            terms = Terms(judgement, settings.lateness, parties, folder, now, settings.scores_out is not None)
            run = _Run(settings, judgement, feeds, database, keeper, terms, progress or _silent)
            return run.go(began)
    finally:
        database.close()


def _silent(read: int, share: float | None) -> None:
    """Nobody is told."""


@dataclass
class _Run:
    """One run, once its files are known to be sound and the database is its own."""

    settings: RunSettings
    judgement: Judgement
    feeds: Feeds
    database: Database
    keeper: Keeper
    terms: Terms
    progress: Progress

    def go(self, began: float) -> RunSummary:
        """Read the feeds; or, where the order of files cannot be kept by a window, read them again, all held."""
        self._free = self.feeds.as_arrived or self.feeds.known_sorted
        with self.database.begin() as uow:
            self._run_id = uow.runs.start(
                _version(), self.settings.as_json(), self.settings.feeds, self.judgement.texts
            )
        with self._told_what_stands(), Interrupt() as interrupt:
            try:
                return self._read(began, interrupt, hold=False)
            except OutOfOrder:
                self.keeper.sweep()
                self._free = True
                return self._read(began, interrupt, hold=True)

    def _read(self, began: float, interrupt: Interrupt, *, hold: bool) -> RunSummary:
        self._tally = Tally()
        self._letters = Letters(self.feeds.terms.mapping)
        made, told = self.keeper.host(self.terms)
        self._anew = told is not None
        self._messages = [*self.judgement.messages, *([] if told is None else [told])]
        self._checked, self._took, self._since = time.monotonic(), 0.0, 0
        with made as host:
            with Ahead(lambda: self.feeds.parts(hold), AHEAD) as ahead, ThreadPoolExecutor(1) as acceptor:
                self._follow(host, ahead.until(interrupt.came), acceptor)
            if interrupt.came():
                self._stop(host)
            held = self._checkpoint(host, RunState.FINISHED)
            self._scores(host)
            return self._summary(host, held, began)

    def _follow(self, host: Host, parts: Iterator[Part], acceptor: Executor) -> None:
        """Take all parts. A batch is accepted while the one before it is run, but never across a checkpoint."""
        waiting: tuple[Part, Future[Accepted] | None] | None = None
        for part in chain(parts, [None]):
            due = self._free and self._due()
            coming = None if due or part is None else (part, _accepted(host, part, acceptor))
            if waiting is not None:
                self._take(host, *waiting)
            if due:
                self._checkpoint(host, None)
                coming = None if part is None else (part, _accepted(host, part, acceptor))
            waiting = coming

    def _take(self, host: Host, part: Part, accepted: Future[Accepted] | None) -> None:
        """Take one batch of records, and what was noted while it was read."""
        tally = self._tally
        tally.read += part.noted.read
        tally.warnings.update(part.noted.warnings)
        tally.rejected.update(str(reject.code) for _, reject in part.noted.rejects)
        self._letters.add_unread(part.noted.rejects)
        if accepted is not None:
            arrivals = host.apply(accepted.result())
            tally.counts.add(arrivals.counts)
            tally.rejected.update(arrivals.counts.rejected)
            if arrivals.rejected.height:
                self._letters.add_refused(arrivals.rejected)
                late = arrivals.rejected.filter(arrivals.rejected.get_column("code") == "too_late")
                tally.too_late.update(late.get_column("institution").to_list())
            self._since += arrivals.flags.size
        self.progress(tally.read, part.share)

    def _due(self) -> bool:
        """Whether it is time for a checkpoint: not so often that it would slow the run down."""
        seconds = time.monotonic() - self._checked
        if seconds < SPARE * self._took:
            return False
        return seconds >= self.settings.checkpoint_seconds or self._since >= self.settings.checkpoint_rows

    def _checkpoint(self, host: Host, ends: RunState | None) -> queries.Counts:
        began = time.monotonic()
        host.settle()
        counts = self._tally.as_json(host.rows.superseded, host.rows.voided)
        held = self.keeper.write(host, Work(self._run_id, self._letters.take(), counts, ends), anew=self._anew)
        self._anew = False
        self._checked = time.monotonic()
        self._took, self._since = self._checked - began, 0
        return held

    def _stop(self, host: Host) -> None:
        """End early as the user asked, with a checkpoint where the order of the files is known so far."""
        if self._free:
            self._checkpoint(host, RunState.INTERRUPTED)
        else:
            self._mark(RunState.INTERRUPTED)
        raise KeyboardInterrupt

    def _mark(self, state: RunState) -> None:
        with self.database.begin() as uow:
            uow.runs.end(self._run_id, state, {})

    @contextlib.contextmanager
    def _told_what_stands(self) -> Iterator[None]:
        """A failure says which checkpoint stands, and the run is marked as failed."""
        try:
            yield
        except AmlError as error:
            # Where the database itself is the trouble, the next run marks this one.
            with contextlib.suppress(AmlError):
                self._mark(RunState.FAILED)
            raise AmlError(f"{error}; {self._stands()}", error.exit_code) from error

    def _stands(self) -> str:
        last = self.keeper.last
        if last is None:
            return "nothing of this run was kept"
        records = sum(last.body["records"].values())
        return f"checkpoint {last.checkpoint_id} with {records:,} records stands"

    def _scores(self, host: Host) -> None:
        if self.settings.scores_out is not None:
            write_scores(
                self.settings.scores_out, host.rows, host.archive, host.detection, host.book, self.judgement.scoring
            )

    def _summary(self, host: Host, held: queries.Counts, began: float) -> RunSummary:
        tally, counts = self._tally, self._tally.counts
        tally.check()
        drift = host.drift()
        seconds = time.monotonic() - began
        return RunSummary(
            read=tally.read, scored=counts.scored, duplicates=counts.duplicates,
            rejected=dict(sorted(tally.rejected.items())), superseded=host.rows.superseded, voided=host.rows.voided,
            not_booked=counts.not_booked, own_account=counts.own_account, late=counts.late,
            findings=held.findings, alerts=held.alerts, near_misses=held.near_misses, exempted=held.exempted,
            insufficient=host.insufficient.counts, lacking=self.judgement.lacking,
            seconds=seconds, transactions_per_second=tally.read / max(seconds, 1e-9),
            messages=(
                *self._messages, *warning_messages(tally),
                *late_messages(tally.too_late, host.watermarks, self.settings.lateness),
                *([] if drift is None else [drift]),
            ),
        )  # fmt: skip


def _accepted(host: Host, part: Part, acceptor: Executor) -> Future[Accepted] | None:
    return acceptor.submit(host.accept, part.frame) if part.frame.height else None


def _version() -> str:
    try:
        return version("aml-monitor")
    except PackageNotFoundError:  # a checkout that nobody installed
        return "checkout"
