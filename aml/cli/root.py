"""The outermost command: every failure becomes one line on standard error and its own exit code."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from aml.cli import render
from aml.cli.codes import ExitCode
from aml.domain.errors import AmlError


class Root(TyperGroup):
    """Runs a command and translates how it ended."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command.

        AmlError ends with its own code, Ctrl-C with 130; what is nobody's fault but ours keeps its traceback.
        """
        try:
            return super().invoke(ctx)
        except AmlError as error:
            render.say(f"error: {error}")
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as stop:
            render.say("interrupted: what was committed stands; run the same command again to continue")
            raise typer.Exit(ExitCode.INTERRUPTED) from stop
