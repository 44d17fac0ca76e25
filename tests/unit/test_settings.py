"""The AML_* variables as one value."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from aml.domain.errors import USAGE, AmlError
from aml.settings import Settings, load_settings


def test_an_empty_variable_is_unset():
    assert load_settings(dict.fromkeys(("AML_DB", "AML_PROFILE", "AML_STATE", "AML_HISTORY_FROM"), "")) == Settings()


def test_what_is_set():
    found = load_settings({"AML_PROFILE": "ca", "AML_STATE": "/var/aml", "AML_HISTORY_FROM": "2024-07-01"})
    assert found == Settings(profile="ca", state=Path("/var/aml"), history_from=dt.date(2024, 7, 1))


def test_a_day_that_is_none():
    with pytest.raises(AmlError, match=r"^AML_HISTORY_FROM=1.7.2024: is not a date: write 2024-01-31$") as caught:
        load_settings({"AML_HISTORY_FROM": "1.7.2024"})
    assert caught.value.exit_code == USAGE
