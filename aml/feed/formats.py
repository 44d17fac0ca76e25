"""Finds by looking what a feed is and opens it: NDJSON, CSV or Parquet, gzipped text too, or standard input."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final

from aml.domain.errors import AmlError

STDIN: Final = "-"
_GZIP, _PARQUET, _BOM = b"\x1f\x8b", b"PAR1", b"\xef\xbb\xbf"
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_HEAD: Final = 1 << 16


class Format(StrEnum):
    """How the records of a feed are written."""

    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"
    EMPTY = "empty"


@dataclass(slots=True)
class Source:
    """An open feed.

    `name` is the file's name (stdin for standard input), `shown` its path as errors name it. `read` gives unpacked
    bytes without a byte order mark. `done` counts the bytes taken from the file itself, `total` is its size.
    """

    name: str
    shown: str
    path: Path | None
    format: Format
    total: int | None
    gzipped: bool
    head: bytes  # the first unpacked bytes
    _stream: BinaryIO | None
    _raw: BinaryIO | None
    _rest: bytes = field(default=b"")
    _taken: int = 0

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`, none at the end. Raises AmlError where a gzip stream is cut or damaged."""
        if self._rest:
            block, self._rest = self._rest, b""
            return block
        if self._stream is None:
            return b""
        block = _read(self._stream, size, self.shown)
        self._taken += len(block)
        return block

    def done(self) -> int:
        """Bytes of the file read so far, packed if it is packed."""
        if self.gzipped and self._raw is not None and self.path is not None:
            return self._raw.tell()
        return self._taken

    def close(self) -> None:
        """Close the file; standard input stays open."""
        if self._raw is not None and self.path is not None:
            self._raw.close()


def _read(stream: BinaryIO, size: int, shown: str) -> bytes:
    try:
        return stream.read(size)
    except EOFError as error:
        raise AmlError(f"{shown}: the gzip stream is cut off: fetch the file again") from error
    except (zlib.error, gzip.BadGzipFile) as error:
        raise AmlError(f"{shown}: the gzip stream is damaged ({error}): fetch the file again") from error
    except OSError as error:
        raise AmlError(f"{shown}: cannot be read: {error.strerror or error}") from error


def open_source(path: str | Path) -> Source:
    """Open a feed and look what it is. Raises AmlError where it cannot be read or is nothing that we read."""
    if str(path) == STDIN:
        return _look("stdin", "standard input", None, sys.stdin.buffer, None)
    file = Path(path)
    try:
        raw = file.open("rb")
        total = file.stat().st_size
    except OSError as error:
        raise AmlError(f"{file}: cannot be read: {error.strerror}: check the path") from error
    try:
        return _look(file.name, str(file), file, raw, total)
    except AmlError:
        raw.close()
        raise


def look(path: str | Path) -> Source:
    """A feed's beginning, for looking only: the file is closed again, and standard input keeps all its bytes."""
    if str(path) != STDIN:
        source = open_source(path)
        source.close()
        return source
    peeked = getattr(sys.stdin.buffer, "peek", lambda _: b"")(_HEAD)
    return _look("stdin", "standard input", None, io.BytesIO(peeked), None, cut=True)


def _look(name: str, shown: str, path: Path | None, raw: BinaryIO, total: int | None, cut: bool = False) -> Source:
    stream, head = raw, _full(raw, _HEAD, shown)
    taken, gzipped = len(head), head.startswith(_GZIP)
    if gzipped:
        packed = gzip.GzipFile(fileobj=_Joined(head, raw), mode="rb")
        stream = packed  # type: ignore[assignment]  # it reads bytes, which is all that is asked of it
        head = zlib.decompressobj(wbits=31).decompress(head) if cut else _full(stream, _HEAD, shown)
    if head.startswith(_PARQUET) and (gzipped or path is None):
        where = "comes gzipped: unpack it first" if gzipped else "cannot come by standard input: name the file"
        raise AmlError(f"{shown}: Parquet {where}")
    if head.startswith(_UTF16):
        raise AmlError(f"{shown}: is UTF-16 text: convert it to UTF-8")
    head = head.removeprefix(_BOM)
    return Source(name, shown, path, _format(head), total, gzipped, head, stream, raw, head, taken)


def _full(stream: BinaryIO, size: int, shown: str) -> bytes:
    """Up to `size` bytes, fewer only at the end."""
    found = b""
    while len(found) < size:
        more = _read(stream, size - len(found), shown)
        if not more:
            break
        found += more
    return found


def _format(head: bytes) -> Format:
    if head.startswith(_PARQUET):
        return Format.PARQUET
    text = head.lstrip()
    if not text:
        return Format.EMPTY
    return Format.NDJSON if text[:1] in b"{[" else Format.CSV


class _Joined(io.RawIOBase):
    """Bytes already taken from a stream, then the rest of it."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        super().__init__()
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._head:
            block, self._head = self._head, b""
            if 0 <= size < len(block):
                block, self._head = block[:size], block[size:]
            return block
        return self._rest.read(size)
