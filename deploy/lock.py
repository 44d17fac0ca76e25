"""Takes from requirements.lock what an installation needs, with its hashes: `lock.py LOCK WHEEL[EXTRAS] > PINNED`.

The lock pins everything that development needs; an image holds only what the wheel asks for, resolved by pip itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path


def needed(lock: str, wanted: str) -> str:
    """The lock's entries that `wanted` resolves to under the versions of the lock. Raises CalledProcessError."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as versions:
        versions.write("".join(line.split(" ")[0] + "\n" for line in lock.splitlines() if "==" in line))
        versions.flush()
        options = ["--dry-run", "--quiet", "--ignore-installed", "--report", "-", "--constraint", versions.name]
        command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *options, wanted]
        report = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603 - pip
    names = {entry["metadata"]["name"].lower().replace("_", "-") for entry in json.loads(report)["install"]}
    kept, keep = [], False
    for line in lock.splitlines():
        if line and not line.startswith((" ", "#")):
            keep = line.split("==")[0] in names
        kept += [line] * keep
    return "\n".join(kept) + "\n"


if __name__ == "__main__":
    sys.stdout.write(needed(Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[2]))
