"""`aml publish`: sends feeds to the bank's topic, as a bank's own producer would."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated

import typer

from aml.cli import options, render
from aml.cli.progress import Work


def add_to(app: typer.Typer) -> None:
    """Give `app` the command `publish`."""
    app.command("publish")(publish)


def publish(
    feeds: options.Feeds,
    brokers: Annotated[
        str | None,
        typer.Option("--brokers", envvar="AML_KAFKA__BOOTSTRAP_SERVERS", metavar="HOST:PORT,…", help="The brokers."),
    ] = None,
    parties: options.Parties = None,
    mapping: options.Mapping = None,
    rates: options.Rates = None,
    institution: options.Institution = None,
    profile: options.Profile = options.DEFAULT_PROFILE,
    batch: Annotated[int, typer.Option("--batch", min=1, max=5000, help="Records a message, as NDJSON.")] = 500,
    singles: Annotated[bool, typer.Option("--singles", help="One record a message, as JSON.")] = False,
    key: Annotated[
        str, typer.Option("--key", help="Key of a message: account, beneficiary or id of its first record, or none.")
    ] = "none",
    rate: Annotated[float, typer.Option("--rate", min=0, help="Records a second; 0: as fast as they go.")] = 0,
    speed: Annotated[
        float, typer.Option("--replay-speed", min=0, help="Event time over time: 60 plays an hour in a minute.")
    ] = 0,
    hourly: Annotated[bool, typer.Option("--hourly", help="A manifest for every hour instead of one a feed.")] = False,
    json: options.Json = False,
) -> None:
    """Send feeds to the bank's topic in batches, acknowledged by all replicas, and a manifest of what was sent.

    Interrupted and called again it goes on where it was; what was under way is a duplicate then, and counted as one.
    """
    from aml.detect.profile import load_profile
    from aml.feed.mapping import load_mapping
    from aml.feed.parties import read_parties
    from aml.feed.rates import load_rates
    from aml.settings import DEFAULT_INSTITUTION
    from aml.stream.publish import Publisher, Terms
    from aml.stream.publishing import KEYS
    from aml.stream.settings import MANIFESTS, PARTIES, load_stream_settings
    from aml.stream.start import state_folder

    if key not in KEYS:
        raise typer.BadParameter(f"{key!r} is none of {', '.join(KEYS)}", param_hint="--key")
    settings = load_stream_settings()
    settings = settings if brokers is None else replace(settings, brokers=brokers)
    tenant, currency = institution or DEFAULT_INSTITUTION, load_profile(profile).currency
    table = None if parties is None else read_parties(parties, tenant, currency)
    terms = Terms(
        settings.bank, settings.topic(MANIFESTS), tenant, currency, None if rates is None else load_rates(rates),
        None if mapping is None else load_mapping(mapping), 1 if singles else batch, key, rate, speed, hourly,
        time.time_ns() // 1000, state_folder(),
    )  # fmt: skip
    began = time.monotonic()
    with Work("publish") as work:
        counted = _Counted(work)
        producer = settings.connection.producer()
        try:
            publisher = Publisher(producer, terms, counted)
            rows = 0 if table is None else publisher.parties(table, settings.topic(PARTIES))
            done = [publisher.feed(path) for path in feeds]
        finally:
            producer.close()
    seconds = time.monotonic() - began
    total = {name: sum(getattr(one, name) for one in done) for name in _NAMES}
    if json:
        render.emit({**total, "parties": rows, "seconds": round(seconds, 3)})
        return
    rejected = f", {total['rejects']:,} of them unreadable and sent as they are" if total["rejects"] else ""
    skipped = f"; {total['skipped']:,} messages had been sent before" if total["skipped"] else ""
    render.say(
        f"{total['records'] + total['rejects']:,} records{rejected} in {total['messages']:,} messages{skipped}, "
        f"{render.plural(total['manifests'], 'manifest')}, {render.plural(rows, 'party row')}; {seconds:.1f} s, "
        f"{counted.records / max(seconds, 1e-9):,.0f} records/s"
    )


_NAMES = ("records", "rejects", "messages", "skipped", "manifests")


class _Counted:
    """Shows how far it is."""

    def __init__(self, work: Work) -> None:
        self._work, self.records = work, 0

    def __call__(self, records: int) -> None:
        self.records += records
        self._work(self.records, None)
