"""A small run of the interference problem, trained in seconds."""

from pathlib import Path

import yaml
from click.testing import CliRunner

from diffana.cli import main


CONFIG = Path(__file__).parents[2] / "configs" / "nsbi_interference.yaml"


def document(**ratios):
    """The configuration of the interference problem with few events and epochs."""
    content = yaml.safe_load(CONFIG.read_text())
    content["Generator"]["EventsPerSample"] = 4000
    # So many expected events that the likelihood is nearly parabolic.
    for sample in content["Samples"]:
        sample["Yield"] *= 50
    content["Split"] = {"Train": 0.5, "Validation": 0.2, "Test": 0.3}
    content["Ratios"] = {
        "Hidden": [8],
        "Members": 2,
        "FreshEvents": False,
        "Epochs": 20,
        "BatchSize": 100,
        "Optimizer": {"Type": "adam", "LearningRate": 0.01},
        **ratios,
    }
    return content


def trained(folder, **ratios):
    """The run folder below `folder`."""
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(document(**ratios)))
    run = folder / "run"
    done = CliRunner().invoke(main, ["nsbi", "train", str(config), "--out", str(run)])
    assert done.exit_code == 0, done.output
    return run
