"""deploy/: what is generated is what the catalogue of metrics says, and the files fit their schemas and tools."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from aml.metrics import BY_NAME
from aml.operate.__main__ import files
from aml.operate.alarms import ALARMS

DEPLOY = Path(__file__).parents[2] / "deploy"
RUNBOOK = (DEPLOY / "RUNBOOK.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(files()))
def test_what_is_committed_is_what_the_command_makes(name):
    assert (DEPLOY / name).read_text(encoding="utf-8") == files()[name], "run: python -m aml.operate"


@pytest.mark.parametrize("name", sorted(files()))
def test_every_metric_that_is_asked_for_exists(name):
    asked = set(re.findall(r"\baml_[a-z_]+", files()[name]))
    assert asked
    suffixes = ("", "_bucket", "_sum", "_count")
    known = {f"{metric}{suffix}" for metric in BY_NAME for suffix in suffixes}
    assert asked - known == set()


@pytest.mark.parametrize("alarm", ALARMS, ids=lambda alarm: alarm.name)
def test_every_alarm_has_its_paragraph(alarm):
    assert alarm.name in RUNBOOK


def test_the_compose_file_is_one():
    # The package's own command needs a newer click than Faust allows; its schema does not.
    found = importlib.util.find_spec("check_jsonschema")
    assert found is not None and found.origin is not None
    schemas = Path(found.origin).parent / "builtin_schemas" / "vendor"
    schema = json.loads((schemas / "compose-spec.json").read_text(encoding="utf-8"))
    compose = YAML(typ="safe").load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    assert [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(compose)] == []


@pytest.mark.thorough
def test_prometheus_takes_rules_and_configuration():
    tool = shutil.which("promtool")
    assert tool is not None, "promtool is missing: apt-get install --no-install-recommends prometheus"
    for words in (("check", "rules", "alarms.yml"), ("check", "config", "--syntax-only", "prometheus.yml")):
        *command, file = words
        where = DEPLOY / "prometheus" / file
        done = subprocess.run([tool, *command, str(where)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
