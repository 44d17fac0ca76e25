"""Which machine the figures are of."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from tests.bench.say import say


def main() -> None:
    """Print processor, cores, memory and versions."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    say("processor", f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores")
    say("memory", f"{memory:.0f} GiB")
    say("python", f"{platform.python_version()} on {platform.system()} {platform.release()}")
