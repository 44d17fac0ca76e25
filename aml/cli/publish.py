"""`aml publish`: a feed to the bank's topic, as a bank's own producer would send it."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aml.cli import options, render
from aml.cli.progress import Work

if TYPE_CHECKING:
    from aml.stream.publish import Published


class Key(StrEnum):
    """What messages may go by."""

    ACCOUNT = "account"
    BENEFICIARY = "beneficiary"
    ID = "id"
    NONE = "none"


def add_to(app: typer.Typer) -> None:
    """Give `app` the command `publish`."""
    app.command("publish")(publish)


def publish(
    feeds: options.Feeds,
    brokers: Annotated[
        str | None,
        typer.Option("--brokers", metavar="HOST:PORT,…", help="Kafka.", show_default="AML_KAFKA__BOOTSTRAP_SERVERS"),
    ] = None,
    topic: Annotated[
        str | None,
        typer.Option("--topic", help="The bank's topic.", show_default="AML_TOPIC"),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, max=100_000, help="Transactions a message at most.")] = 500,
    singles: Annotated[bool, typer.Option("--singles", help="One transaction a message.")] = False,
    key: Annotated[
        Key | None,
        typer.Option("--key", help="By what messages go to partitions.", show_default="account; none for batches"),
    ] = None,
    rate: Annotated[float | None, typer.Option("--rate", min=0.001, help="So many transactions a second.")] = None,
    replay_speed: Annotated[
        float | None,
        typer.Option("--replay-speed", min=0.001, help="By the feed's own times, so many times as fast."),
    ] = None,
    hourly: Annotated[bool, typer.Option("--hourly", help="A manifest for every hour instead of one a feed.")] = False,
    parties: options.Parties = None,
    mapping: options.Mapping = None,
    institution: options.Institution = None,
    profile: options.Profile = options.DEFAULT_PROFILE,
    as_arrived: Annotated[
        bool, typer.Option("--as-arrived", help="Send files as they are instead of sorting them by time.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="From the start, though it was published before.")] = False,
    json: options.Json = False,
) -> None:
    """Publish a feed to Kafka: everything that `aml run` reads, then manifests that say what was sent.

    Interrupted and run again, it goes on where it was. What cannot be read is sent as it is, for the intake to reject.
    """
    if rate is not None and replay_speed is not None:
        raise typer.BadParameter("either --rate or --replay-speed", param_hint="--rate")
    from aml.stream import logs, packing
    from aml.stream.publish import PublishSettings
    from aml.stream.start import state_folder

    logs.begin("publish")
    chosen = key or (Key.ACCOUNT if singles else Key.NONE)
    settings = PublishSettings(
        feeds=tuple(feeds), state=state_folder(), mapping=mapping, parties=parties, institution=institution,
        profile=profile, as_arrived=as_arrived, batch=0 if singles else batch, key=packing.Key(chosen.value),
        rate=rate, speed=replay_speed, hourly=hourly, again=again,
    )  # fmt: skip
    began = time.monotonic()
    done, named = _published(settings, brokers, topic)
    _tell(done, named, time.monotonic() - began, json)
    if done.stopped:
        raise KeyboardInterrupt


def _published(settings: Any, brokers: str | None, topic: str | None) -> tuple[Published, str]:
    from aml.stream.destination import hashed, look
    from aml.stream.publish import publish as published
    from aml.stream.settings import MANIFESTS, PARTIES, load_stream_settings

    stream = load_stream_settings()
    stream = stream if brokers is None else replace(stream, brokers=brokers)
    bank, parties, manifests = topic or stream.bank, stream.topic(PARTIES), stream.topic(MANIFESTS)
    needed = [bank, manifests, *([] if settings.parties is None else [parties])]
    connection = stream.connection
    topics = look(connection, bank, parties, manifests, needed)
    stop = threading.Event()

    def end(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    with ExitStack() as stack:
        for number in (signal.SIGTERM, signal.SIGINT):
            stack.callback(signal.signal, number, signal.signal(number, end))
        producer = connection.producer(linger_ms=5)
        stack.callback(producer.close)
        work = stack.enter_context(Work("publish"))
        return published(settings, topics, producer, hashed, stop.is_set, work), bank


def _tell(done: Published, topic: str, seconds: float, json: bool) -> None:
    if done.finished_before:
        render.say("was published before, whole: nothing was sent; --again sends it once more")
    if done.rejects:
        told = render.plural(done.rejects, "record")
        render.say(f"{told} could not be read and went out as they are: the intake rejects them")
    if json:
        took = {"seconds": round(seconds, 3), "transactions_per_second": round(done.records / max(seconds, 1e-9))}
        render.emit({"topic": topic, **asdict(done), **took})
        return
    render.facts(
        [
            ("sent", f"{render.count(done.records)} transactions in {render.plural(done.messages, 'message')}"),
            ("sent before", render.count(done.skipped)),
            ("rejected", render.count(done.rejects)),
            ("parties", render.count(done.parties)),
            ("manifests", render.count(done.manifests)),
            ("time", f"{render.span(seconds * 1e6)}, {done.records / max(seconds, 1e-9):,.0f} transactions/s"),
            ("topic", topic),
        ]
    )
