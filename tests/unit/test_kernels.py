"""Kernels are compiled once for each version of the code: by two processes, into files that nothing old survives in."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

from aml.pipeline import kernels

ROOT = Path(__file__).parents[2]
COMPILED = {"kernel", "inner", "jit"}


def test_the_digest_covers_every_file_with_a_kernel():
    covered = {file for room in kernels._ROOMS for file in (ROOT / "aml").glob(room)}
    for file in (ROOT / "aml").rglob("*.py"):
        tree = ast.parse(file.read_text())
        defs = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        has = any(isinstance(d, ast.Name) and d.id in COMPILED for node in defs for d in node.decorator_list)
        assert not has or file in covered, file


def test_files_of_other_code_go_and_all_is_compiled_again(tmp_path, monkeypatch):
    """Seen from another process, whose files lie in a folder of its own."""
    told: list[str] = []
    folder = tmp_path / "cache"
    folder.mkdir()

    class Kernel:
        class stats:
            cache_path = str(folder)

    ran: list[str] = []
    monkeypatch.setattr(kernels, "_ONE_OF_EACH", (Kernel,))
    monkeypatch.setattr(kernels, "confirm", Kernel)
    monkeypatch.setattr(kernels, "_run_one_payment", lambda judgement, other: ran.append("run"))
    (folder / "confirm-1.py311.nbi").write_text("old")
    (folder / "confirm-1.py311.1.nbc").write_text("old")
    kernels.compile_kernels(told.append)
    assert [path.name for path in folder.iterdir()] == ["kernels.sha256"]
    assert ran == ["run"]
    assert len(told) == 1
    kernels.compile_kernels(told.append)
    assert ran == ["run"]
    monkeypatch.setattr(kernels, "code_digest", lambda: "other")
    kernels.compile_kernels(told.append)
    assert ran == ["run", "run"]


def test_what_this_process_compiled_before_nobody_compiles_again():
    """A command that finds everything compiled says nothing and starts at once."""
    script = "from aml.pipeline.kernels import compile_kernels; compile_kernels(lambda told: exit(9))"
    assert subprocess.run([sys.executable, "-c", script], env=os.environ, check=False).returncode == 0
