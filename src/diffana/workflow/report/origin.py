"""The sections on trust and repetition: safety checks, how to reproduce."""

import json
import shlex
from collections.abc import Sequence

from diffana.workflow.report.document import (
    Block,
    Folded,
    Heading,
    Missing,
    Section,
    Source,
    Table,
    Text,
    Warned,
)
from diffana.workflow.report.material import Material
from diffana.workflow.safety import Check


_MARKS = {"pass": "pass", "warn": "warn"}


def safety(checks: Sequence[Check] | Missing) -> Section:
    """What an analyser should know before trusting a learned observable."""
    title = "Safety checks"
    if isinstance(checks, Missing):
        return Section("checks", title, [checks])
    if not checks:
        return Section("checks", title, [Missing("No check was made.")])
    table = Table(
        "Checks of the selected model",
        ("Check", "verdict", "why"),
        [(check.name, check.verdict, check.summary) for check in checks],
        left=3,
        marked=tuple(
            (i, _MARKS[check.verdict])
            for i, check in enumerate(checks)
            if check.verdict in _MARKS
        ),
    )
    numbers = [
        Folded(f"Numbers: {check.name}", [Source(json.dumps(check.numbers, indent=1))])
        for check in checks
        if check.numbers
    ]
    return Section("checks", title, [table, *numbers])


def reproduction(material: Material) -> Section:
    """Command, versions, commit, seed, device and configuration."""
    provenance = material.provenance
    device = provenance["device"]
    resumed = provenance.get("resumed", [])
    rows = [
        ("Started", str(provenance.get("started", "not recorded"))),
        ("Resumed", f"{len(resumed)} times" if resumed else "never"),
        ("Seed", str(material.finished.seed)),
        ("Commit", _commit(provenance.get("git"))),
        ("Machine", str(provenance.get("platform", "not recorded"))),
        ("Device", f"{device['platform']}, {device['kind']}"),
        ("Double precision", "on" if provenance.get("x64") else "off"),
        *((name, version) for name, version in provenance["versions"].items()),
    ]
    blocks: list[Block] = [
        Text("The training was started with"),
        Source(shlex.join(provenance["argv"])),
        Text("which the configuration below repeats, as does"),
        Source("diffana train config.yaml --out NEW_FOLDER"),
    ]
    git = provenance.get("git")
    if git and git.get("dirty"):
        blocks.append(
            Warned("The working tree had changes that the commit does not hold.")
        )
    blocks += [
        Table("", ("", ""), rows, left=2),
        Heading("Configuration"),
        Folded(
            "config.yaml, with every default spelled out",
            [Source(material.run.config.read_text("utf-8"))],
        ),
    ]
    return Section("reproduce", "How to reproduce", blocks)


def _commit(git: dict | None) -> str:
    if not git:
        return "not in a git working tree"
    return git["commit"]
