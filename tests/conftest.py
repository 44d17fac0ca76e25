"""How this project is tested, and what all tests share.

Strategy. Every fast path has a slow, obvious twin under `tests/` and must agree with it: kernels with `tests/naive`,
the compiled forest with scikit-learn, the fast reader with the plain one. Current findings are a function of the set
of transactions, so property tests shuffle, split, repeat, shard and restart streams and demand the same answer.

    unit/      one file per module or house of `aml/`: small, quick, made of factories
    property/  what must hold for all streams (Hypothesis)
    content/   rule files, models, contracts and the README: each is executed, each is load-bearing
    flow/      whole programs: a feed in, alerts out, through the command line and from the built wheel

Databases come from `tests.postgres`: a test that asks for one runs on SQLite and on a real PostgreSQL. Warnings are
errors. A test marked `thorough` runs only with AML_TEST_ALL=1, and there any skip is a failure: what is skipped
everywhere is tested nowhere.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

# Before anything imports numba: all workers share one folder of compiled kernels.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parent.parent / ".cache" / "numba"))

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.postgres", "tests.broker"]

EVERYTHING = os.environ.get("AML_TEST_ALL") == "1"
# Settings of the person who runs the tests must not reach the program under test.
OWN_SETTINGS = (
    "AML_DB", "AML_PROFILE", "AML_INSTITUTION", "AML_CONTENT", "AML_STATE", "AML_HISTORY_FROM",
    "AML_CONFIG", "AML_TOPIC", "AML_SHARDS", "AML_DB_FILE", "AML_RATES",
)  # fmt: skip

_quiet = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("dev", max_examples=25, derandomize=True, database=None, **_quiet)
settings.register_profile("ci", max_examples=100, derandomize=True, database=None, **_quiet)
settings.register_profile("search", max_examples=2_000, **_quiet)
settings.load_profile(os.environ.get("AML_HYPOTHESIS") or ("ci" if EVERYTHING else "dev"))

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def pytest_configure(config: pytest.Config) -> None:
    """Compile all kernels once, before any worker would."""
    if not hasattr(config, "workerinput"):
        from aml.pipeline.kernels import compile_kernels

        compile_kernels(print)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave thorough tests out unless everything is asked for."""
    if EVERYTHING:
        return
    for item in items:
        if item.get_closest_marker("thorough") is not None:
            item.add_marker(pytest.mark.skip(reason="thorough: runs with AML_TEST_ALL=1"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where everything is asked for, a skipped test has failed."""
    report = yield
    return _refuse_skip(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a file that skips itself as it is collected."""
    report = yield
    return _refuse_skip(report)


def _refuse_skip(report: Report) -> Report:
    if EVERYTHING and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped although AML_TEST_ALL=1 asks for everything: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def _no_settings_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*OWN_SETTINGS, *(one for one in os.environ if one.startswith("AML_KAFKA__"))]:
        monkeypatch.delenv(name, raising=False)
