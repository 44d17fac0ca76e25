"""How `aml` ends: the exit codes that scripts may rely on, and how a failure becomes one line.

0    done
1    done, but a check that was asked for failed: --rejects-over, rules check, reconcile
2    the command line is wrong, does not fit the database, or names what is not there: an alert, a rule, a profile
3    an input cannot be read: feed, parties, rates, mapping, truth, rule, model or profile file
4    the database or its state folder cannot be opened, read or written
70   a defect of aml itself; the traceback above says where
130  interrupted (Ctrl-C); the database is consistent and the next run continues
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Final, NoReturn

import typer

from aml.cli import render
from aml.domain.errors import AmlError


class ExitCode(IntEnum):
    """The closed set of exit codes."""

    DONE = 0
    CHECK_FAILED = 1
    USAGE = 2
    FILE = 3
    DATABASE = 4
    DEFECT = 70
    INTERRUPTED = 130


WORDS: Final = {
    ExitCode.DONE: "done",
    ExitCode.CHECK_FAILED: "done, but a check that was asked for failed (--rejects-over, rules check, reconcile)",
    ExitCode.USAGE: "the command line is wrong, or names what is not there",
    ExitCode.FILE: "a file cannot be read or written (feed, parties, rates, mapping, truth, rules, models, output)",
    ExitCode.DATABASE: "the database or its state folder cannot be opened, read or written",
    ExitCode.DEFECT: "a defect of aml itself",
    ExitCode.INTERRUPTED: "interrupted; the database is consistent and the next run continues",
}


def table_of_codes() -> str:
    """The codes as the epilog of `aml --help`."""
    return "Exit codes: " + " · ".join(f"{code.value} {WORDS[code]}" for code in ExitCode)


def fail(message: str, code: ExitCode) -> NoReturn:
    """End the command with one line on standard error."""
    render.say(f"error: {message}")
    raise typer.Exit(code)


@contextmanager
def ends_with(code: ExitCode) -> Iterator[None]:
    """An AmlError raised inside ends the command with `code`."""
    try:
        yield
    except AmlError as error:
        fail(str(error), code)
