"""A trained model on disk: model.toml, artefact.json and artefact.npz, each byte of them covered by a checksum.

artefact.json holds the SHA-256 of the npz and of the model file's own text; the model file ends in a seal, written by
training, with the SHA-256 of both artefacts. Arrays are read without pickle.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from aml.domain.errors import AmlError
from aml.learn.features import NAMES
from aml.learn.fingerprint import Fingerprint
from aml.learn.spec import SEAL, Spec, read_spec

FORMAT: Final = 1
MODEL, MANIFEST, ARRAYS = "model.toml", "artefact.json", "artefact.npz"
Arrays = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model as trained; needs: SHA-256 of the arrays of the model it builds on, by that model's id;
    sha256: of its own arrays."""

    spec: Spec
    fingerprint: Fingerprint
    arrays: Arrays
    needs: Mapping[str, str]
    sha256: str


def make_bundle(spec: Spec, fingerprint: Fingerprint, arrays: Arrays, needs: Mapping[str, str]) -> Bundle:
    """A bundle with its checksum."""
    return Bundle(spec, fingerprint, arrays, needs, _sha256(_npz(arrays)))


def save_bundle(bundle: Bundle, out: Path) -> Path:
    """Write the bundle to out/<model id>/; the same bundle gives the same bytes. Returns the folder.

    Raises AmlError where it cannot be written.
    """
    folder = out / bundle.spec.id
    arrays = _npz(bundle.arrays)
    manifest = _manifest(bundle)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The model file comes last: until its seal fits, an interrupted writing is seen as damage.
        (folder / ARRAYS).write_bytes(arrays)
        (folder / MANIFEST).write_bytes(manifest)
        (folder / MODEL).write_bytes(bundle.spec.text.encode() + _seal(arrays, manifest))
    except OSError as error:
        raise AmlError(f"{folder}: the model cannot be written: {error.strerror}") from error
    return folder


def load_bundle(folder: Path) -> Bundle:
    """Read a model's folder and check every byte of it. Raises AmlError that names the file and the mend."""
    spec = read_spec(folder / MODEL)
    arrays, manifest = _read(folder / ARRAYS), _read(folder / MANIFEST)
    values = _checked_manifest(folder / MANIFEST, manifest, spec, arrays)
    model = _read(folder / MODEL)
    if model != spec.text.encode() + _seal(arrays, manifest):
        raise _damaged(folder / MODEL, "its [artefact] section does not fit the artefacts")
    return Bundle(
        spec, Fingerprint.from_json(values["trained_on"]), _arrays(folder / ARRAYS, arrays), values["needs"],
        values["npz_sha256"],
    )


def _checked_manifest(path: Path, raw: bytes, spec: Spec, arrays: bytes) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(raw)
        claims = values["format"], values["npz_sha256"], values["model_sha256"], values["features"], values["needs"]
        Fingerprint.from_json(values["trained_on"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, "not a model's manifest") from error
    if claims[0] != FORMAT:
        raise AmlError(f"{path}: format {claims[0]} is not known here (this version reads {FORMAT}); run aml train")
    if claims[1] != _sha256(arrays):
        raise _damaged(path.with_name(ARRAYS), "its SHA-256 differs from the one in artefact.json")
    if claims[2] != _sha256(spec.text.encode()):
        raise _damaged(path.with_name(MODEL), "its text is not the one that was trained")
    if claims[3] != list(NAMES):
        raise _damaged(path, "its features are not the engine's")
    return values


def _manifest(bundle: Bundle) -> bytes:
    values = {
        "format": FORMAT,
        "model": bundle.spec.id,
        "version": bundle.spec.version,
        "features": list(NAMES),
        "npz_sha256": bundle.sha256,
        "model_sha256": _sha256(bundle.spec.text.encode()),
        "needs": dict(sorted(bundle.needs.items())),
        "trained_on": bundle.fingerprint.as_json(),
    }
    return json.dumps(values, indent=1, sort_keys=True).encode() + b"\n"


def _seal(arrays: bytes, manifest: bytes) -> bytes:
    return f'{SEAL}npz_sha256  = "{_sha256(arrays)}"\njson_sha256 = "{_sha256(manifest)}"\n'.encode()


def _npz(arrays: Arrays) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, allow_pickle=False, **{name: arrays[name] for name in sorted(arrays)})
    return out.getvalue()


def _arrays(path: Path, raw: bytes) -> Arrays:
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as loaded:
            return {name: loaded[name] for name in loaded.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise _damaged(path, "not an npz file") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise AmlError(f"{path}: missing; {_mend(path)}") from error
    except OSError as error:
        raise AmlError(f"{path}: cannot be read: {error.strerror}") from error


def _damaged(path: Path, why: str) -> AmlError:
    return AmlError(f"{path}: damaged or changed: {why}; {_mend(path)}")


def _mend(path: Path) -> str:
    return f"restore it or train anew: aml train FEED --out {path.parent.parent}"


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
