"""Writes what Prometheus and Grafana read into deploy/, or into the folder given: `python -m aml.operate [FOLDER]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from aml.operate.alarms import rules
from aml.operate.dashboards import boards, dashboard

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
_HEAD: Final = "# Made from aml/operate/alarms.py by `python -m aml.operate`: edit that.\n"


def files() -> dict[str, str]:
    """Text by path below deploy/. Raises AmlError where content is missing."""
    told = {"prometheus/alarms.yml": _HEAD + "\n".join(_yaml({"groups": rules()})) + "\n"}
    for name, panels in boards().items():
        text = json.dumps(dashboard(name, panels), ensure_ascii=False, indent=1)
        told[f"grafana/dashboards/{name}.json"] = text + "\n"
    return told


def _yaml(value: dict[str, Any], indent: str = "") -> list[str]:
    """Lines of YAML, for tables, lists of tables and texts: the part of it that is needed here."""
    lines: list[str] = []
    for key, inner in value.items():
        if isinstance(inner, list):
            lines.append(f"{indent}{key}:")
            for item in inner:
                first, *rest = _yaml(item, indent + "    ")
                lines += [f"{indent}  - {first.strip()}", *rest]
        elif isinstance(inner, dict):
            lines += [f"{indent}{key}:", *_yaml(inner, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {_quoted(str(inner))}")
    return lines


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'" if '"' in text else f'"{text}"'


def main() -> None:
    """Write the files."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else DEPLOY
    for name, text in files().items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
