"""A process that is told to stop ends in time, whatever it waits for."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

STUCK = """
import logging, sys, threading, time
from aml.stream.ending import told_to_stop
logging.basicConfig(stream=sys.stdout, format="%(message)s")
stop = told_to_stop(logging.getLogger("x"), 0.5)
print("ready", flush=True)
while not ({waits}):
    time.sleep(0.01)
print("in order", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("waits", ["False", "stop.is_set()"])
def test_a_process_ends_in_time_with_code_0(number, waits):
    command = [sys.executable, "-c", STUCK.format(waits=waits)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        began = time.monotonic()
        process.send_signal(number)
        process.send_signal(number)  # twice is no more than once
        assert process.wait(10) == 0
        seconds = time.monotonic() - began
        said = process.stdout.read()
    if waits == "False":
        assert seconds >= 0.4
        assert "without a server's answer" in said
    else:
        assert said == "in order\n"
