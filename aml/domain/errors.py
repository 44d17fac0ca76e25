"""The one exception that users are meant to read."""

from __future__ import annotations

from typing import Final

# An input that cannot be read; the command line has codes of its own beside it (aml/cli/codes.py).
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
