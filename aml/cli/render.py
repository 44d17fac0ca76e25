"""What people see: tables, money, times and lines, fitted to the screen, and plain where there is none."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
# Wide enough for a table whose reader is a program or a file: nothing is folded or cut there.
_PLAIN_WIDTH: Final = 400
# Colour repeats what the words say, never says it alone.
STYLES: Final = {
    "critical": "bold red", "high": "red", "medium": "yellow", "low": "dim",
    "closed": "dim", "withdrawn": "dim", "new": "bold",
}  # fmt: skip


def out() -> Console:
    """Standard output: results."""
    return _console(sys.stdout.isatty(), stderr=False)


def err() -> Console:
    """Standard error: progress and messages."""
    return _console(sys.stderr.isatty(), stderr=True)


def _console(terminal: bool, *, stderr: bool) -> Console:
    width = None if terminal else _PLAIN_WIDTH
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=not terminal, emoji=False)


def show(what: RenderableType = "") -> None:
    """Write to standard output. Texts are taken as they are: data cannot pass for markup."""
    out().print(Text(what) if isinstance(what, str) else what)


def say(message: str) -> None:
    """Write one line to standard error."""
    err().print(Text(message))


def emit(value: Any) -> None:
    """Write the one JSON object that ends standard output, on one line."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def heading(text: str) -> None:
    """A line that begins a part."""
    show()
    show(Text(text, style="bold"))


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, right: Iterable[str] = (), title: str = ""
) -> None:
    """Show rows under their column names, those in `right` as numbers."""
    terminal = sys.stdout.isatty()
    drawn = Table(box=box.SIMPLE_HEAD if terminal else None, title=title or None, title_justify="left", pad_edge=False)
    numeric = set(right)
    for name in columns:
        # The last column takes what is left of the screen and folds; numbers never do.
        drawn.add_column(
            name,
            justify="right" if name in numeric else "left",
            no_wrap=name in numeric or not terminal,
            overflow="fold",
        )
    for row in rows:
        drawn.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    if terminal:
        out().print(drawn)
        return
    for line in _lines(drawn):
        sys.stdout.write(line.rstrip() + "\n")


def _lines(drawn: Table) -> list[str]:
    console = Console(width=_PLAIN_WIDTH, color_system=None, force_terminal=False, highlight=False)
    return [
        "".join(segment.text for segment in line) for line in console.render_lines(drawn, pad=False, new_lines=False)
    ]


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Show names and values, one pair a line."""
    listed = list(pairs)
    width = max((len(name) for name, _ in listed), default=0)
    for name, value in listed:
        show(f"  {name:<{width}}  {value}")


def insufficient(counts: Mapping[str, int], lacking: Mapping[str, str]) -> None:
    """Show how many records each rule would count and cannot judge, and what they do not name; nothing where none."""
    if not counts:
        return
    heading("Insufficient: what a rule would count and cannot judge")
    facts((rule, f"{plural(n, 'record names', 'records name')} {lacking[rule]}") for rule, n in sorted(counts.items()))


def bullets(texts: Iterable[str], mark: str = "-") -> None:
    """Show texts one under the other, each hanging from its mark."""
    for text in texts:
        if not sys.stdout.isatty():
            show(f"  {mark} {text}")
            continue
        hanging = Table.grid(padding=(0, 1))
        hanging.add_row(Text(f"  {mark}"), Text(text))
        show(hanging)


def paragraph(text: str) -> None:
    """Show a text set in by two, on a screen in all its lines."""
    show(Padding(Text(text), (0, 0, 0, 2)) if sys.stdout.isatty() else f"  {text}")


def styled(word: str) -> Text:
    """A word of a known list in its colour."""
    return Text(word, style=STYLES.get(word, ""))


def count(number: int) -> str:
    """1,234,567."""
    return f"{number:,}"


def number(value: float) -> str:
    """A whole number plainly, another to three significant places."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def percent(share: float) -> str:
    """0.953 as 95.3 %."""
    return f"{100 * share:.1f} %".replace(".0 %", " %")


def money(minor: int, currency: str) -> str:
    """Minor units as 12,345.60 USD, with the currency's own number of decimals."""
    from aml.domain.money import decimals

    return f"{plain_money(minor, decimals(currency))} {currency}"


def plain_money(minor: int, places: int) -> str:
    """Minor units with `places` decimals and thousands set apart."""
    sign, digits = "-" if minor < 0 else "", f"{abs(minor):0{places + 1}d}"
    whole = f"{int(digits[: len(digits) - places]):,}"
    return f"{sign}{whole}.{digits[-places:]}" if places else f"{sign}{whole}"


def moment(at: int | None) -> str:
    """UTC microseconds as 2026-03-02 09:15:07, with no zone: all times on the screen are UTC."""
    if at is None:
        return "–"
    return (_EPOCH + dt.timedelta(microseconds=at)).strftime("%Y-%m-%d %H:%M:%S")


def day(at: int) -> str:
    """UTC microseconds as 2026-03-02."""
    return (_EPOCH + dt.timedelta(microseconds=at)).strftime("%Y-%m-%d")


def span(microseconds: float) -> str:
    """How long, in the unit that suits: 40 s, 35 min, 5.2 h, 3.4 d."""
    seconds = microseconds / 1e6
    for limit, unit, size in ((90.0, "s", 1), (5400.0, "min", 60), (172_800.0, "h", 3600)):
        if abs(seconds) < limit:
            return f"{seconds / size:.{1 if unit == 'h' else 0}f} {unit}".replace(".0 ", " ")
    return f"{seconds / 86400:.1f} d".replace(".0 ", " ")


def short(identifier: str) -> str:
    """As much of an id as people type."""
    return identifier[:8]


def plural(number: int, one: str, many: str | None = None) -> str:
    """ "1 alert", "2 alerts"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
