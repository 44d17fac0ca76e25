"""The outermost command: every failure becomes one line on standard error and its own exit code."""

from __future__ import annotations

from typing import Any, Final

import typer
from typer.core import TyperGroup

from aml.cli import render
from aml.cli.codes import ExitCode
from aml.domain.errors import AmlError

# What says that the command line is wrong; the library has the class, but not under a name of its own for us.
_WRONG: Final[type[Exception]] = typer.BadParameter.__bases__[0]


class Root(TyperGroup):
    """Runs a command and translates how it ended."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command.

        A wrong command line ends with 2, AmlError with its own code, Ctrl-C with 130; what is nobody's fault but ours
        keeps its traceback.
        """
        try:
            return super().invoke(ctx)
        except _WRONG as error:
            if type(error).__name__ == "NoArgsIsHelpError":  # no error: the help is what was asked for
                raise
            render.say(f"error: {_told(error)}")
            raise typer.Exit(ExitCode.USAGE) from error
        except AmlError as error:
            render.say(f"error: {error}")
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as stop:
            render.say("interrupted: what was committed stands; run the same command again to continue")
            raise typer.Exit(ExitCode.INTERRUPTED) from stop


def _told(wrong: Any) -> str:
    """What is wrong with the command line, and where its help is, in one line."""
    message = " ".join(str(wrong.format_message()).replace("Value error, ", "").split()).rstrip(".")
    where = wrong.ctx.command_path if wrong.ctx is not None else "aml"
    return f"{message}: see `{where} --help`"
