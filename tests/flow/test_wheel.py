"""The built wheel does its job in an empty environment, away from the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTENT = ("rules", "models", "streams", "migrations")
LEFT_OUT = (".pyc", ".nbi", ".nbc")
PAYMENT = {
    "transaction_id": "T1",
    "executed_at": "2026-03-02T09:00:00Z",
    "amount": "12.50",
    "currency": "USD",
    "instrument": "wire",
    "originator": {"account": "A1"},
    "beneficiary": {"account": "A2"},
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built as a release would be."""
    out = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    return next(out.glob("*.whl"))


def call(*command, cwd):
    """Run a program that sees nothing of this process's environment but where to find programs."""
    env = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    ran = subprocess.run([str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def sample(folder: Path) -> Path:
    """Three payments, one of them twice, and a line that is none."""
    lines = [json.dumps({**PAYMENT, "transaction_id": name}) for name in ("T1", "T2", "T3", "T1")]
    feed = folder / "feed.ndjson"
    feed.write_text("\n".join([*lines, "no JSON"]) + "\n")
    return feed


def runs_on_a_sample(python: Path, folder: Path) -> None:
    aml = python.parent / "aml"
    where = call(python, "-c", "import aml.cli; print(aml.cli.__file__)", cwd=folder)
    assert not Path(where).is_relative_to(ROOT)
    told = call(aml, "run", sample(folder), "--db", "sqlite:///aml.db", "--json", cwd=folder).splitlines()[-1]
    summary = json.loads(told)
    assert (summary["read"], summary["scored"], summary["duplicates"]) == (5, 3, 1)
    assert sum(summary["rejected"].values()) == 1
    assert json.loads(call(aml, "alerts", "list", "--json", cwd=folder))["total"] == 0


def test_the_wheel_holds_all_content_and_no_rubbish(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        f"aml/_content/{path.relative_to(ROOT)}"
        for folder in CONTENT
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted <= held
    assert [name for name in held if name.endswith(LEFT_OUT)] == []
    assert {name.split("/")[0] for name in held} == {"aml", next(n.split("/")[0] for n in held if "dist-info" in n)}


def test_the_wheel_runs_away_from_the_checkout(wheel, tmp_path):
    python = tmp_path / "env" / "bin" / "python"
    call(sys.executable, "-m", "venv", "--without-pip", tmp_path / "env", cwd=tmp_path)
    site = Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    call(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    # Dependencies are borrowed, not installed again; a .pth file found there is not read, so the checkout stays out.
    (site / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    runs_on_a_sample(python, tmp_path)


@pytest.mark.thorough
def test_the_wheel_runs_with_nothing_but_what_it_asks_for(wheel, tmp_path):
    python = tmp_path / "env" / "bin" / "python"
    call(sys.executable, "-m", "venv", tmp_path / "env", cwd=tmp_path)
    lock = ROOT / "requirements.lock"
    install = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    call(*install, "--require-hashes", "-r", runtime_lock(lock, wheel, tmp_path), cwd=tmp_path)
    call(*install, "--no-deps", "--no-index", wheel, cwd=tmp_path)
    call(python, "-m", "pip", "check", cwd=tmp_path)
    runs_on_a_sample(python, tmp_path)


def runtime_lock(lock: Path, wheel: Path, folder: Path) -> Path:
    """The lock's entries that the wheel needs without extras, resolved by pip itself."""
    report = call(
        sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed", "--report", "-",
        "--constraint", constraints(lock, folder), wheel, cwd=folder,
    )  # fmt: skip
    names = {entry["metadata"]["name"].lower().replace("_", "-") for entry in json.loads(report)["install"]}
    kept, keep = [], False
    for line in lock.read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            keep = line.split("==")[0] in names
        kept += [line] * keep
    runtime = folder / "runtime.lock"
    runtime.write_text("\n".join(kept) + "\n")
    return runtime


def constraints(lock: Path, folder: Path) -> Path:
    path = folder / "constraints.txt"
    path.write_text("\n".join(line.split(" ")[0] for line in lock.read_text().splitlines() if "==" in line) + "\n")
    return path
