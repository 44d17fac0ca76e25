"""The README tells no tales: every command it shows exists, with every option it shows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from aml.cli import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def shown() -> Iterator[str]:
    """Command lines in fenced blocks and in code spans, without comments, prompts and pipes."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^ {4}(\S.*)$", README, re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()] + indented + re.findall(r"`([^`\n]+)`", README)
    for line in lines:
        for part in re.split(r"\s*(?:\||&&|;)\s*", line.split(" #")[0]):
            yield part.removeprefix("$ ").strip()


def commands(program: str) -> list[str]:
    return [line for line in shown() if re.match(rf"(?:\.venv/bin/)?{program}(?: |$)", line)]


def unknown(line: str) -> str | None:
    """What of an `aml` command line does not exist."""
    words = [word for word in shlex.split(line.replace("…", "")) if word][1:]
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "commands"):
        if words[0].startswith("-"):
            break
        name = words.pop(0)
        if "|" in name:
            return next((one for one in name.split("|") if one not in command.commands), None)
        if name not in command.commands:
            return name
        command = command.commands[name]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {
        "--help"
    }
    return next((word for word in words if word.startswith("--") and word.split("=")[0] not in known), None)


def test_the_readme_shows_both_commands_of_a_newcomer():
    assert {"make run", "make test"} <= set(commands("make"))


def test_every_aml_command_shown_exists():
    found = commands("aml")
    assert found
    assert {line: unknown(line) for line in found if unknown(line)} == {}


def test_what_does_not_exist_would_be_seen():
    assert unknown("aml alerts eat ID") == "eat"
    assert unknown("aml run FEED --sideways") == "--sideways"
    assert unknown("aml dlq list|shew") == "shew"
    assert unknown(".venv/bin/aml alerts list --db sqlite:///x --json") is None


def test_every_make_target_shown_exists():
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    asked = {word for line in commands("make") for word in line.split()[1:] if re.fullmatch(r"[a-z]+", word)}
    assert asked <= targets


def test_every_file_linked_exists():
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []
