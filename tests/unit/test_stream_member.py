"""Members take the lowest free number and keep it from others; fail-points kill where they are told to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from aml.domain.errors import AmlError
from aml.stream.member import claim

ROOT = Path(__file__).parents[2]


def test_members_take_the_lowest_free_number(tmp_path):
    first, second = claim(tmp_path, "intake"), claim(tmp_path, "intake")
    other = claim(tmp_path, "worker")
    assert [m.name for m in (first, second, other)] == ["intake-0", "intake-1", "worker-0"]
    assert len({m.id for m in (first, second, other)}) == 3
    first.release()
    assert claim(tmp_path, "intake").id == first.id


def test_a_member_that_dies_leaves_its_number(tmp_path):
    code = "import sys, time; from pathlib import Path; from aml.stream.member import claim; "
    code += "print(claim(Path(sys.argv[1]), 'intake').id, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        held = process.stdout.readline().decode().strip()
        assert claim(tmp_path, "intake").name == "intake-1"
        process.kill()
    assert claim(tmp_path, "intake").id == held


@pytest.mark.parametrize("name", ["", "a b", "../x"])
def test_a_name_must_fit(tmp_path, name):
    with pytest.raises(AmlError, match="make a name"):
        claim(tmp_path, "intake", name)


def test_a_name_that_is_taken_is_refused(tmp_path):
    assert claim(tmp_path, "intake", "east").name == "intake-east"
    with pytest.raises(AmlError, match=r"east.*runs already"):
        claim(tmp_path, "intake", "east")


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AmlError, match="AML_STATE"):
        claim(tmp_path / "file", "intake")


@pytest.mark.parametrize(("asked", "passed"), [("", 4), ("other", 4), ("here", 0), ("here:1", 0), ("here:3", 2)])
def test_a_fail_point_kills_at_its_time(asked, passed):
    code = "from aml.stream.failpoints import reached\nfor n in range(4):\n reached('here'); print(n, flush=True)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"AML_FAIL_POINT": asked}, capture_output=True)
    assert done.stdout.split() == [str(n).encode() for n in range(passed)]
    assert done.returncode == (0 if passed == 4 else -9)
