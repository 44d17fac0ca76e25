"""Named places at which a process can be made to die, as by kill -9: what tests of recovery are made of.

AML_FAIL_POINT=NAME kills at the first time that the place is reached, NAME:N at the Nth.
"""

from __future__ import annotations

import os
import signal

INTAKE = (
    "intake.after_poll", "intake.before_produce", "intake.after_first_block", "intake.after_produce",
    "intake.before_commit", "intake.after_commit",
)  # fmt: skip
WORKER = (
    "worker.before_evaluate", "worker.before_produce", "worker.after_first_letter", "worker.after_produce",
    "worker.before_commit", "worker.after_commit",
)  # fmt: skip
RESIZE = ("resize.before_commit", "resize.committed", "resize.topics_made")


def _wanted() -> tuple[str, int]:
    name, _, times = os.environ.get("AML_FAIL_POINT", "").partition(":")
    return name, int(times) if times.isdecimal() else 1


# Read once: a place costs one comparison of texts where nothing is asked for.
_name, _left = _wanted()


def asked(name: str) -> bool:
    """Whether the process is to die at a place."""
    return name == _name


def reached(name: str) -> None:
    """A place of this name is passed; the process dies here if it was asked to."""
    global _left
    if not asked(name):
        return
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
