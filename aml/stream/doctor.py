"""What may keep the service from working, looked for one by one: what is right, what is not, and how to mend it."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aml.domain.errors import AmlError
from aml.stream.contract import load_contracts
from aml.stream.settings import StreamSettings
from aml.stream.topics import Topics, administering

OK, WARN, FAIL = "ok", "warn", "FAIL"
_PYTHON: Final = (3, 11)
_NEEDED: Final = ("kafka-python", "faust-streaming")
_FASTER: Final = ("crc32c", "lz4", "python-snappy", "zstandard")  # without some, some messages cannot be read
_FAUST: Final = "0.15."  # aml/stream overrides how it seeks
_INSTALL: Final = "pip install 'aml-monitor[stream]'"
_GIB: Final = 1 << 30
_LITTLE, _TOO_LITTLE = 10 * _GIB, 1 * _GIB
_OFF, _FAR_OFF = 30.0, 600.0  # seconds
_LOOPBACK: Final = ("127.", "localhost", "[::1]")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found. verdict: ok, warn or FAIL; mend: what to do, empty where all is well."""

    about: str
    verdict: str
    what: str
    mend: str = ""


def examine(stream: StreamSettings, db: str, state: Path) -> Iterator[Finding]:
    """Everything, in the order in which it is needed. db: URL of the database; state: the folder for state."""
    yield _python()
    yield from packages(_installed)
    yield _encryption(stream)
    yield from _kafka(stream)
    found = _database(db)
    yield found
    if found.verdict == OK:
        yield from shards(db)
    yield folder(state)


def _python() -> Finding:
    told = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < _PYTHON:
        return Finding("python", FAIL, told, "run it by Python 3.11 or newer")
    return Finding("python", OK, told)


def _installed(name: str) -> str | None:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name)
    return None


def packages(installed: Callable[[str], str | None]) -> Iterator[Finding]:
    """What the streaming service needs beside the main job. installed: a package's version, None where it is not."""
    for name in _NEEDED:
        found = installed(name)
        if found is None:
            yield Finding("packages", FAIL, f"{name} is not installed", _INSTALL)
        elif name == "faust-streaming" and not found.startswith(_FAUST):
            yield Finding("packages", FAIL, f"{name} {found} seeks in another way than {_FAUST}*", _INSTALL)
        else:
            yield Finding("packages", OK, f"{name} {found}")
    lacking = [name for name in _FASTER if installed(name) is None]
    if lacking:
        what = f"{', '.join(lacking)}: not installed; some messages cannot be read without, or only slowly"
        yield Finding("packages", WARN, what, _INSTALL)


def _encryption(stream: StreamSettings) -> Finding:
    away = [one for one in stream.brokers.split(",") if not one.startswith(_LOOPBACK)]
    if away and not stream.has_tls:
        what = f"payments travel to {', '.join(away)} for everybody on the way to read"
        wanted = "sasl_ssl" if stream.has_sasl else "ssl or sasl_ssl"
        return Finding("encryption", WARN, what, f"set AML_KAFKA__SECURITY_PROTOCOL to {wanted}")
    return Finding("encryption", OK, stream.security_protocol)


def _kafka(stream: StreamSettings) -> Iterator[Finding]:
    try:
        with administering(stream, load_contracts()) as topics:
            yield Finding("broker", OK, f"{topics.brokers()} at {stream.brokers}")
            yield from _topics(topics)
            yield clock(topics.controller_time, time.time)
    except AmlError as error:
        yield _failed("broker", error)


def _topics(topics: Topics) -> Iterator[Finding]:
    found = topics.check()
    for one in found:
        for fault in one.faults:
            what, _, mend = fault.rpartition(": ")
            yield Finding("topics", FAIL, f"{one.topic} {what}", mend)
    if not any(one.faults for one in found):
        yield Finding("topics", OK, f"{len(found)} as their contracts say")


def clock(theirs: Callable[[], float | None], ours: Callable[[], float]) -> Finding:
    """Whether our clock goes with the broker's, which says when a payment came. Both in seconds since 1970."""
    before = ours()
    told = theirs()
    after = ours()
    if told is None:
        return Finding("clock", WARN, "the broker does not say what time it is", "compare the clocks by hand")
    # Somewhere between the question and the answer it was that late there.
    off = max(before - told, told - after, 0.0)
    what = f"{off:.1f} s apart from the broker's"
    if off <= _OFF:
        return Finding("clock", OK, what)
    return Finding("clock", FAIL if off > _FAR_OFF else WARN, what, "let NTP set the clocks of both machines")


def _database(url: str) -> Finding:
    from aml.store.database import look_at_database

    try:
        name, found, newest = look_at_database(url)
    except AmlError as error:
        return _failed("database", error)
    if found is None:
        return Finding("database", WARN, f"{name} is empty", "the first `aml worker` or `aml run` makes its tables")
    if found != newest:
        return Finding("database", WARN, f"{name} is of version {found}", f"the next command brings it to {newest}")
    return Finding("database", OK, f"{name}, version {found}")


def shards(url: str) -> Iterator[Finding]:
    """How many there are, and whether they are being made anew; nothing where the database has no stream."""
    from aml.store.database import open_database
    from aml.store.generations import resizing
    from aml.store.stream import load_shards

    try:
        database = open_database(url, create=False)
    except AmlError as error:
        yield _failed("shards", error)
        return
    try:
        with database.read() as connection:
            rows, going = load_shards(connection), resizing(connection, database.clock())
    finally:
        database.close()
    if going is not None:
        wanted = going.made or "N"
        yield Finding("shards", FAIL, "are being made anew", f"let `aml shards resize {wanted}` end, or run it again")
    elif rows:
        yield Finding("shards", OK, f"{len(rows)}")


def folder(state: Path) -> Finding:
    """Whether the folder for state can be written, and has room."""
    there = next(one for one in (state, *state.absolute().parents) if one.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"x")
        free = shutil.disk_usage(there).free
    except OSError as error:
        mend = "make it writable, or let AML_STATE name another folder"
        return Finding("state", FAIL, f"{there}: {error.strerror}", mend)
    what = f"{state.absolute()}, {free / _GIB:,.1f} GiB free"
    if free >= _LITTLE:
        return Finding("state", OK, what)
    return Finding("state", FAIL if free < _TOO_LITTLE else WARN, what, "make room, or let AML_STATE name another disk")


def _failed(about: str, error: AmlError) -> Finding:
    """An error's last part is its mend."""
    what, _, mend = str(error).rpartition(": ")
    return Finding(about, FAIL, what, mend) if what else Finding(about, FAIL, mend)


def told(settings: Sequence[tuple[str, str, str]], findings: Sequence[Finding]) -> dict[str, Any]:
    """What `aml doctor --json` ends with."""
    return {
        "settings": [{"name": name, "value": value, "from": origin} for name, value, origin in settings],
        "checks": [{"about": f.about, "verdict": f.verdict, "what": f.what, "mend": f.mend} for f in findings],
        "fails": sum(f.verdict == FAIL for f in findings),
    }
