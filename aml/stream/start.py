"""Puts an intake together from what the environment says."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from aml.detect.profile import load_profile
from aml.settings import load_settings
from aml.stream.client import CLIENTS, Connection
from aml.stream.decode import Decoder
from aml.stream.intake import Flushed
from aml.stream.intaking import GROUP, Intake, Topics
from aml.stream.member import Member
from aml.stream.partyfeed import PartyFeed
from aml.stream.terms import terms_of

LEGS, PARTIES = "aml.legs.v1", "aml.parties.v1"
_DEFAULT_STATE: Final = Path("aml-state")
_log: Final = logging.getLogger("aml.intake")


def state_folder() -> Path:
    """The folder for what processes keep."""
    return load_settings().state or _DEFAULT_STATE


def wire(
    connection: Connection,
    topic: str,
    member: Member,
    profile: str,
    stop: Callable[[], bool],
    flushed: Callable[[Flushed, float], None],
) -> Intake:
    """An intake of the topic. Raises AmlError where topics or brokers are not there."""
    settings = replace(load_settings(), profile=profile)
    terms = terms_of(settings, topic)
    consumer = connection.consumer([topic], GROUP, member.id)
    producer = connection.producer()
    parties = None
    if consumer.partitions(PARTIES):
        from aml.stream.kafkaparties import KafkaPartyRows

        # Always by kafka-python: the table is small, and both clients are asked alike.
        rows = KafkaPartyRows(replace(connection, client=CLIENTS[0]), PARTIES)
        parties = PartyFeed(rows, terms.institution, terms.reporting_currency)
    else:
        _log.warning("topic %s is not there: accounts have no owners but those that records name", PARTIES)
    calendar, topics = load_profile(profile), Topics(topic, LEGS)
    return Intake(member.name, topics, Decoder(terms), calendar, consumer, producer, parties, stop, flushed)
