"""What a stream's records are judged by: the settings of the environment, alike at every intake and in every replay."""

from __future__ import annotations

import os
from pathlib import Path

from aml.detect.profile import load_profile
from aml.feed.rates import NO_RATES, load_rates
from aml.feed.validate import Terms
from aml.settings import DEFAULT_INSTITUTION, Settings


def terms_of(settings: Settings, topic: str) -> Terms:
    """The terms for records of a topic; their clock is each message's own.

    AML_RATES names a file of dated exchange rates. Raises AmlError where profile or rates cannot be read.
    """
    rates = os.environ.get("AML_RATES")
    return Terms(
        topic,
        settings.institution or DEFAULT_INSTITUTION,
        0,
        load_profile(settings.profile).currency,
        load_rates(Path(rates)) if rates else NO_RATES,
    )
