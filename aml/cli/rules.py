"""`aml rules`: what the rules are, whether their files are sound, and what each one looks for."""

from __future__ import annotations

from typing import Annotated

import typer

from aml.cli import options, render, ruletext
from aml.cli.codes import ExitCode, fail

app = typer.Typer(help="The rules: list, check, explain.", no_args_is_help=True)


@app.command("list")
def list_(profile: options.Profile = options.DEFAULT_PROFILE, json: options.Json = False) -> None:
    """List the rules in force under a profile."""
    from aml.detect.load import load_rules

    rules = load_rules(profile)
    if json:
        names = ("id", "version", "title", "status", "severity", "family", "typology", "sha256")
        render.emit({"profile": profile, "rules": [{name: getattr(rule, name) for name in names} for rule in rules]})
        return
    rows = [
        (rule.id, str(rule.version), rule.family, render.styled(rule.severity), rule.status, rule.title)
        for rule in rules
    ]
    render.table(["rule", "version", "family", "severity", "status", "title"], rows, right=["version"])
    render.show(f"\n{render.plural(len(rows), 'rule')} under the profile {profile}. One in full: aml rules explain ID")


@app.command()
def check(
    write_lock: Annotated[
        bool, typer.Option("--write-lock", help="Write rules.lock anew; refused where a version should have risen.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Check every rule file: form, parameters, inline tests, and that each parameter is tested on both sides."""
    from aml.detect.check import check_rules
    from aml.pipeline.kernels import compile_kernels
    from aml.pipeline.trial import Trials

    compile_kernels(render.say)
    report = check_rules(Trials(), refresh_lock=write_lock)
    if json:
        told = {
            "rules": report.rules,
            "tests": report.tests,
            "mutants": report.mutants,
            "problems": list(report.problems),
        }
        render.emit(told)
    else:
        counted = ((report.rules, "rule"), (report.tests, "inline test"), (report.mutants, "mutant"))
        render.show(", ".join(render.plural(number, what) for number, what in counted))
        render.bullets(report.problems)
    if report.problems:
        fail(f"{render.plural(len(report.problems), 'problem')} in the rule files", ExitCode.CHECK_FAILED)


@app.command()
def explain(
    rule_id: Annotated[str, typer.Argument(metavar="RULE", help="As `aml rules list` shows it.")],
    profile: options.Profile = options.DEFAULT_PROFILE,
    json: options.Json = False,
) -> None:
    """Explain a rule: what it looks for, its parameters and why, what is innocent, and what it cannot see."""
    from aml.detect.exempt import noted
    from aml.detect.load import load_rule
    from aml.detect.needs import told, told_lacking

    rule = load_rule(rule_id, profile)
    if json:
        render.emit(
            {"id": rule.id, "version": rule.version, "sha256": rule.sha256, "profile": profile, "text": rule.text}
        )
        return
    text = ruletext.read_rule_text(rule.text)
    render.heading(text.title)
    render.show(
        f"  {rule.id} version {rule.version} · {rule.family}, {rule.typology} · {rule.severity} · {rule.status}"
    )
    render.show(f"  sha256 {rule.sha256}\n")
    render.paragraph(text.description)
    render.heading("Parameters")
    rows = [(f"  {name}", value, bounds, why) for name, value, bounds, why in rule.described_parameters()]
    render.table(["  name", "value", "may be", "why"], rows)
    if rule.exempt:
        render.heading("Exempt")
        render.bullets(f"{row.subject}: {ruletext.exemption(noted(row))}" for row in rule.exempt)
    if rule.needs:
        render.heading("Cannot do without")
        lacking = f"a record that it would count and that names {told_lacking(rule.needs)} is insufficient: counted"
        render.bullets([f"{told(rule.needs)}; {lacking} by `aml run` and shown by `aml status`"])
    for title, lines in (
        ("Often innocent", text.false_positives),
        ("What it cannot see", text.blind_spots),
        ("Ask", text.triage),
    ):
        if lines:
            render.heading(title)
            render.bullets(lines)
