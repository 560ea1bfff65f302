"""Finished runs made from one another, for tests that only read them."""

import json
import shutil

import yaml


CHECKS = [
    {
        "name": "independent halves",
        "verdict": "pass",
        "summary": "Both halves agree within 0.4 of their spread.",
        "numbers": {"difference": 0.4},
    },
    {
        "name": "simulated statistics",
        "verdict": "warn",
        "summary": "Bin 1 of SR has 4 effective events of <signal>.",
        "numbers": {"effective": [4.0, 96.0]},
    },
    {
        "name": "dependence on the seed",
        "verdict": "not checked",
        "summary": "There is only one seed.",
        "numbers": {},
    },
]


def copied(run, folder, *, seed=None, loss=None, factor=1.0):
    """A copy of a run that claims another seed, loss and CLs."""
    shutil.copytree(run, folder)
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    if seed is not None:
        config["General"]["Seed"] = seed
    if loss is not None:
        config["Loss"] = [{"Type": loss}]
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    path = folder / "results.json"
    results = json.loads(path.read_text())
    for who in ("diffana", "pyhf"):
        results[who]["CLs_exp"] = [factor * value for value in results[who]["CLs_exp"]]
    path.write_text(json.dumps(results))
    return folder
