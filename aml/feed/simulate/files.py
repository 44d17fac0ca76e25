"""A bank's frames as files: Parquet, NDJSON or CSV, the last two gzipped too; one seed gives the same bytes."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, cast

import polars as pl

from aml.domain.errors import AmlError

FORMATS: Final = ("parquet", "ndjson", "csv", "ndjson.gz", "csv.gz")
_ROWS: Final = 250_000  # written at a time


def write_frame(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame in the format that the suffix names, one of FORMATS, making its folder where there is none.

    Raises AmlError for another suffix and where it cannot be written; then nothing is there. Times are RFC 3339 in UTC,
    amounts decimal text, absent values absent.
    """
    form = next((known for known in FORMATS if path.name.endswith("." + known)), None)
    if form is None:
        raise AmlError(f"{path}: cannot tell the format; name it {', '.join('.' + known for known in FORMATS)}")
    unfinished = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(frame, unfinished, form)
        unfinished.replace(path)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise AmlError(f"{path}: cannot be written: {error.strerror or error}: name another folder") from error


def _write(frame: pl.DataFrame, path: Path, form: str) -> None:
    if form == "parquet":
        frame.write_parquet(path, compression="zstd", compression_level=1, row_group_size=_ROWS, statistics=True)
        return
    with _opened(path, form.endswith(".gz")) as file:
        if form.startswith("ndjson"):
            for part in frame.iter_slices(_ROWS):
                file.write(_lines(part))
        else:
            for number, part in enumerate(frame.iter_slices(_ROWS)):
                _as_text(part).write_csv(file, include_header=number == 0)
            if frame.is_empty():
                frame.write_csv(file)


@contextmanager
def _opened(path: Path, packed: bool) -> Iterator[BinaryIO]:
    with path.open("wb") as raw:
        if not packed:
            yield raw
            return
        # The header would hold the file's name and the time of day: the same seed must give the same bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=3, mtime=0) as stream:
            yield cast(BinaryIO, stream)


def _as_text(frame: pl.DataFrame) -> pl.DataFrame:
    times = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime)]
    return frame.with_columns(pl.col(times).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")).cast(pl.String)


def _lines(frame: pl.DataFrame) -> bytes:
    """One flat JSON object a line; no value of a simulated bank holds a character that JSON escapes."""
    quotes = {name: "" if kind in (pl.Boolean, pl.Int64) else '"' for name, kind in frame.schema.items()}
    members = [
        pl.concat_str([pl.lit(f',"{name}":{quote}'), pl.col(name), pl.lit(quote)]) for name, quote in quotes.items()
    ]
    body = pl.concat_str(members, ignore_nulls=True).str.slice(1)
    lines = _as_text(frame).select(pl.concat_str([pl.lit("{"), body, pl.lit("}")]).str.join("\n"))
    return bytes(lines.item() + "\n", "utf-8") if frame.height else b""
