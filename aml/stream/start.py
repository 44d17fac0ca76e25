"""Puts an intake together from what the environment says."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from aml.detect.profile import load_profile
from aml.settings import load_settings
from aml.stream.client import CLIENTS
from aml.stream.decode import Decoder
from aml.stream.intaking import Intake, Topics
from aml.stream.knock import knock
from aml.stream.member import Member
from aml.stream.partyfeed import PartyFeed
from aml.stream.settings import INTAKES, LEGS, PARTIES, StreamSettings
from aml.stream.terms import terms_of
from aml.stream.watch import IntakeWatch

_DEFAULT_STATE: Final = Path("aml-state")
_log: Final = logging.getLogger("aml.intake")


def state_folder() -> Path:
    """The folder for what processes keep."""
    return load_settings().state or _DEFAULT_STATE


def wire(
    stream: StreamSettings,
    member: Member,
    profile: str,
    stop: Callable[[], bool],
    watch: IntakeWatch,
) -> Intake:
    """An intake of the topic. Raises AmlError where topics or brokers are not there."""
    knock(stream)
    settings = replace(load_settings(), profile=profile)
    connection, table = stream.connection, stream.topic(PARTIES)
    terms = terms_of(settings, stream.bank)
    consumer = connection.consumer([stream.bank], stream.group(INTAKES), member.id)
    producer = connection.producer()
    parties = None
    if consumer.partitions(table):
        from aml.stream.kafkaparties import KafkaPartyRows

        # Always by kafka-python: the table is small, and both clients are asked alike.
        rows = KafkaPartyRows(replace(connection, client=CLIENTS[0]), table)
        parties = PartyFeed(rows, terms.institution, terms.reporting_currency)
    else:
        _log.warning("topic %s is not there: accounts have no owners but those that records name", table)
    calendar, topics = load_profile(profile), Topics(stream.bank, stream.topic(LEGS))
    watch.lag = consumer.lag
    return Intake(member.name, topics, Decoder(terms), calendar, consumer, producer, parties, stop, watch, watch.waits)
