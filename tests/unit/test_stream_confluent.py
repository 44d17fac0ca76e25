"""The client by confluent-kafka, in a process of its own: librdkafka's threads of clients that hang stay busy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_client_keeps_its_promises():
    cases = Path(__file__).with_name("confluent_client.py")
    told = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", str(cases)]
    done = subprocess.run(told, cwd=cases.parents[2], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
