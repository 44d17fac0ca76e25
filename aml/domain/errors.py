"""The one exception that users are meant to read."""

from __future__ import annotations

from typing import Final

# How the command line ends for it (all codes: aml/cli/codes.py). It is wrong, or names what is not there:
USAGE: Final = 2
# An input that cannot be read.
UNREADABLE: Final = 3
# The database or its state folder.
STORE: Final = 4


class AmlError(Exception):
    """Something the user can mend: the message is one line that names the thing, the place and the mend.

    `exit_code` is what the program ends with.
    """

    def __init__(self, message: str, exit_code: int = UNREADABLE) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class StoreError(AmlError):
    """The database or its state folder cannot be opened, read or written."""

    def __init__(self, message: str) -> None:
        super().__init__(message, STORE)
