"""The house stands as described: imports point one way, files are short, content is content."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "aml").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
CONTENT = ("rules", "models", "streams")
LINES, MOST_LINES, MAY_EXCEED = 350, 500, 0.05

# room -> the rooms it may import besides itself. web stands on casework, casework and pipeline on the rest, all on
# domain; the engine knows nothing but domain.
MAY_IMPORT: dict[str, set[str]] = {
    "domain": set(),
    "content": {"domain"},
    "settings": {"domain", "content"},
    "metrics": set(),
    "operate": {"content", "domain", "metrics"},
    "engine": {"domain"},
    "scoring": {"domain"},
    "feed": {"domain", "content", "settings"},
    "detect": {"domain", "content", "engine", "scoring"},
    "learn": {"domain", "content", "engine"},
    "store": {"domain", "content", "settings", "scoring"},
    "pipeline": {"domain", "content", "settings", "metrics", "engine", "scoring", "feed", "detect", "learn", "store"},
    "stream": {
        "domain", "content", "settings", "metrics", "engine", "scoring", "feed", "detect", "learn", "store", "pipeline",
    },
    "casework": {"domain", "content", "settings", "metrics", "detect", "scoring", "store"},
    "web": {"domain", "content", "settings", "metrics", "detect", "scoring", "store", "casework"},
    "cli": {
        "domain", "content", "settings", "metrics", "engine", "scoring", "feed", "detect", "learn", "store", "pipeline",
        "stream", "casework", "web",
    },
}  # fmt: skip
# What the engine must never know of: brokers, databases, files, the clock.
NOT_IN_ENGINE = {"sqlalchemy", "kafka", "faust", "time", "random", "secrets", "os", "requests"}

CLOCKS = {"now", "utcnow", "today", "time_ns", "monotonic"}


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(path: Path) -> set[str]:
    """Dotted names of all that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(path: Path) -> str:
    return path.relative_to(ROOT / "aml").parts[0].removesuffix(".py")


def test_there_is_a_house():
    assert len(SOURCES) > 50


def test_every_room_is_known():
    assert {room(path) for path in SOURCES} - {"__init__", "__main__"} <= set(MAY_IMPORT)


def test_the_directions_have_no_way_round():
    seen: set[str] = set()
    left = dict(MAY_IMPORT)
    while left:
        free = {name for name, allowed in left.items() if allowed <= seen}
        assert free, f"these import one another: {sorted(left)}"
        seen |= free
        left = {name: allowed for name, allowed in left.items() if name not in free}


def test_imports_point_one_way():
    wrong = []
    for path in SOURCES:
        ours = {name.split(".")[1] for name in imported(path) if name.startswith("aml.")}
        here = room(path)
        if here not in ("__init__", "__main__"):
            wrong += [f"{path.relative_to(ROOT)} imports aml.{other}" for other in ours - MAY_IMPORT[here] - {here}]
    assert sorted(wrong) == []


def test_the_engine_is_pure():
    found = []
    for path in SOURCES:
        if room(path) == "engine":
            clocks = {node.attr for node in ast.walk(parsed(path)) if isinstance(node, ast.Attribute)} & CLOCKS
            known = {name.split(".")[0] for name in imported(path)} & NOT_IN_ENGINE
            found += [f"{path.relative_to(ROOT)}: {name}" for name in known | clocks]
    assert sorted(found) == []


def test_the_program_does_not_import_its_tests():
    assert [path for path in SOURCES if any(name.split(".")[0] == "tests" for name in imported(path))] == []


def test_content_folders_hold_no_code():
    assert [
        path for folder in CONTENT for path in (ROOT / folder).rglob("*.py*") if "__pycache__" not in path.parts
    ] == []


@pytest.mark.parametrize("folder", CONTENT)
def test_a_content_folder_says_in_under_a_page_who_reads_it(folder):
    readme = (ROOT / folder / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 60
    named = set(re.findall(r"`(aml/[\w/]+(?:\.py|/))`", readme))
    assert named, "names no module that reads it"
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_files_are_short():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    longer = {str(path.relative_to(ROOT)): number for path, number in lines.items() if number > LINES}
    assert len(longer) <= MAY_EXCEED * len(lines), longer
    assert {name: number for name, number in longer.items() if number > MOST_LINES} == {}


def test_every_module_says_what_it_is_for():
    assert [str(path.relative_to(ROOT)) for path in SOURCES + TESTS if not ast.get_docstring(parsed(path))] == []


def test_nothing_reads_pickles_or_evaluates_text():
    found = []
    for path in SOURCES:
        calls = (node.func for node in ast.walk(parsed(path)) if isinstance(node, ast.Call))
        called = {func.id for func in calls if isinstance(func, ast.Name)}
        pickles = {name.split(".")[0] for name in imported(path)} & {
            "pickle",
            "joblib",
            "cloudpickle",
            "marshal",
            "shelve",
        }
        found += [f"{path.relative_to(ROOT)}: {name}" for name in called & {"eval", "exec"} | pickles]
    assert sorted(found) == []


def test_the_lock_pins_everything_by_hash_and_names_no_host():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.findall(r"^(\S+)==\S+((?: \\\n    --hash=sha256:[0-9a-f]{64})*)$", text, re.MULTILINE)
    pinned = {name.lower().replace("_", "-") for name, hashes in entries if hashes}
    assert len(pinned) == len(re.findall(r"^[^#\s]", text, re.MULTILINE))
    assert "://" not in text
    assert "index-url" not in text
    assert pinned >= _asked_for()


def _asked_for() -> set[str]:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(name for extra in project["optional-dependencies"].values() for name in extra)]
    return {re.split(r"[<>=\[; ]", name)[0].lower().replace("_", "-") for name in asked}


def test_a_command_that_needs_no_kernels_starts_without_them():
    code = "import sys, aml.cli; sys.exit(any(m in sys.modules for m in ('numba', 'sklearn', 'polars', 'sqlalchemy')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
