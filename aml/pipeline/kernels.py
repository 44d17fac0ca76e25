"""All compiled code, compiled before its first use: once for each version of it, in two processes.

numba keeps in files what it compiled, and compiles anew what changed in the same file; that a kernel calls another
which changed elsewhere it does not notice. So these files go where a digest of all code that may be compiled is new.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numba
import numpy as np

from aml.domain.errors import AmlError
from aml.engine.arrays import Books, Transactions, new_found, new_run
from aml.engine.confirm import confirm
from aml.engine.layout import PARTY, TRAIL
from aml.engine.shard import Forwarded, Shard
from aml.feed.cells import find_cells
from aml.feed.read import read_feed
from aml.learn.forest import walk_into
from aml.pipeline.detection import Detection
from aml.pipeline.inforce import Judgement, load_judgement
from aml.pipeline.scored import ScoreBook
from aml.pipeline.watermark import advance

_ROOMS: Final = ("engine/*.py", "feed/cells.py", "learn/*.py", "pipeline/watermark.py", "pipeline/parties.py")
_ONE_OF_EACH: Final = (confirm, find_cells, walk_into, advance)  # they know where the files are
_MARK: Final = "kernels.sha256"
_PROFILE: Final = "us"
_MONDAY: Final = 1_772_442_000_000_000
_PAYMENT: Final = {
    "transaction_id": "1", "executed_at": "2026-03-02T09:00:00Z", "amount": "1", "currency": "USD",
    "originator_account": "a", "beneficiary_account": "b",
}  # fmt: skip


def compile_kernels(say: Callable[[str], None]) -> None:
    """Make sure that all kernels are compiled; `say` is told where that takes a while."""
    folders = {Path(str(kernel.stats.cache_path)) for kernel in _ONE_OF_EACH}
    mark, digest = Path(str(confirm.stats.cache_path)) / _MARK, code_digest()
    if mark.exists() and mark.read_text(encoding="utf-8") == digest:
        return
    try:
        judgement = load_judgement(_PROFILE, None)
    except AmlError:
        return  # the command says itself what is wrong with its rules
    say("compiling the engine, once: half a minute")
    for file in [file for folder in folders for file in folder.glob("*.nb[ic]")]:
        file.unlink(missing_ok=True)
    # Whatever goes wrong in the other process goes wrong here too, and is told here.
    command = [sys.executable, "-m", __name__]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as other:  # noqa: S603 - this very file
        _run_one_payment(judgement, other)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(digest, encoding="utf-8")


def code_digest() -> str:
    """SHA-256 of all code that may be compiled, and of what compiles it."""
    home = Path(__file__).parents[1]
    files = sorted(file for room in _ROOMS for file in home.glob(room))
    by = repr((numba.__version__, platform.python_version(), platform.machine()))
    return hashlib.sha256(b"\0".join([by.encode(), *(file.read_bytes() for file in files)])).hexdigest()


def _run_one_payment(judgement: Judgement, other: subprocess.Popen[bytes]) -> None:
    """Have one payment accepted, run and scored; what the other process compiles is waited for where it is needed."""
    with tempfile.TemporaryDirectory(prefix="aml-kernels-") as folder:
        path = Path(folder) / "payment.ndjson"
        path.write_text(json.dumps(_PAYMENT), encoding="utf-8")
        (chunk,) = read_feed(path, institution="main", ingest_time_us=_MONDAY, reporting_currency="USD")
    detection = Detection(judgement.compiled, judgement.scoring)
    (shard,) = detection.engine.shards
    confirming = shard.confirm

    def after_the_other(*args: Any) -> Any:
        other.wait()
        return confirming(*args)

    shard.confirm = after_the_other  # type: ignore[assignment, method-assign]
    step = detection.step(chunk.transactions)
    if judgement.models is not None:
        ScoreBook(judgement.models).step(step)


def _confirm_nothing() -> None:
    """Compile what confirms candidates: half of the work."""
    program = load_judgement(_PROFILE, None).compiled.program
    shard, nobody = Shard(0, program), np.zeros(0, np.int32)
    books = Books(np.zeros(1, TRAIL), np.zeros(1, np.int32))
    done = Forwarded(nobody, new_run(1), np.zeros(4, np.int64))
    tally = np.zeros(1 + program.detectors.size, np.int64)
    party = np.zeros(1, PARTY)
    shard.confirm(Transactions().rows, party, program.knobs, books, done, new_found(1), 0, nobody, tally)


if __name__ == "__main__":
    _confirm_nothing()
