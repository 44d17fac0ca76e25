"""Servers of tests that run side by side never take each other's ports."""

from __future__ import annotations

import subprocess
import sys

from tests.broker import free_ports


def test_a_port_is_given_once_though_nobody_listens_there_yet():
    mine = free_ports(20)
    other = subprocess.run(
        [sys.executable, "-c", f"import tests.broker as b; b._PORTS = {mine}; b.free_ports(1)"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert "no 1 free ports" in other.stderr
    assert len(set(mine) | set(free_ports(20))) == 40
