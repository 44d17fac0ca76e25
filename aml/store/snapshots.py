"""A snapshot of a host's state: named arrays in one file, of one version, bound to one database, whole by SHA-256."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from aml.domain.errors import StoreError
from aml.store.files import sha256_of, write_whole
from aml.store.runs import StateFile

KIND: Final = "snapshot"
FORMAT: Final = 1
_MAGIC: Final = "aml snapshot"

Arrays = Mapping[str, npt.NDArray[Any]]


def write_snapshot(path: Path, database_id: str, arrays: Arrays) -> StateFile:
    """Write the arrays, fsynced under this name, and say what the database must remember of the file.

    A line of JSON (format, database, names) is followed by each array in NumPy's own format, without pickle. Raises
    OSError.
    """
    names = sorted(arrays)
    header = {"what": _MAGIC, "format": FORMAT, "database_id": database_id, "arrays": names}

    def fill(out: IO[bytes]) -> None:
        out.write(json.dumps(header).encode() + b"\n")
        for name in names:
            _write(out, np.ascontiguousarray(arrays[name]))

    write_whole(path, fill)
    return StateFile(path.name, KIND, sha256_of(path), path.stat().st_size, len(names))


def read_snapshot(path: Path, database_id: str) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a snapshot whose bytes were checked. Raises StoreError for a newer format or another database's."""
    with path.open("rb") as file:
        header = json.loads(file.readline())
        if header["format"] > FORMAT:
            told = f"format {header['format']}, this version reads {FORMAT}"
            raise StoreError(f"snapshot {path}: written by a newer version of aml ({told}): upgrade aml")
        if header["database_id"] != database_id:
            raise StoreError(f"snapshot {path}: belongs to database {header['database_id']}, not to {database_id}")
        return {name: _read(file) for name in header["arrays"]}


def _write(out: IO[bytes], array: npt.NDArray[Any]) -> None:
    # NumPy's own writer says of a full disk only that less was written than asked for.
    np.lib.format.write_array_header_2_0(out, np.lib.format.header_data_from_array_1_0(array))
    out.write(array.reshape(-1).view(np.uint8).data)


def _read(file: IO[bytes]) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    if array.dtype.names is None:
        return array
    # The format does not say that a record is aligned, and compiled kernels take an unaligned one for another type.
    fields = array.dtype.fields
    assert fields is not None
    names = list(array.dtype.names)
    aligned = np.dtype(
        {
            "names": names,
            "formats": [fields[name][0] for name in names],
            "offsets": [fields[name][1] for name in names],
            "itemsize": array.dtype.itemsize,
            "aligned": True,
        }
    )
    return array.view(aligned)
