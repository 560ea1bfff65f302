import os
import subprocess
import sys

import jax
import pytest
from rich.console import Console

import tiny
from diffana import workflow


# One loss without fits compiles fast; the metrics of each epoch fit all the same.
TRAINED = {
    "Observables": [
        {
            "Name": "summary",
            "Type": "MLP",
            "Inputs": ["x", "y"],
            "Hidden": [8],
            "Activation": "tanh",
        }
    ],
    "Regions": [
        {
            "Name": "SR",
            "Observable": "summary",
            "Binning": [0.0, 0.5, 1.0],
            "TrainableBinning": True,
            "Cuts": [{"Variable": "y", "Above": -2.5, "Slope": 4.0}],
        }
    ],
    "Histogram": {
        "Type": "bKDE",
        "Bandwidth": {"Type": "exponential", "Start": 0.3, "End": 0.1},
    },
    "Loss": {"Type": "sigma_mu"},
    "Train": {
        "Epochs": 4,
        "BatchSize": 400,
        "Optimizer": {"Type": "adam", "LearningRate": 0.02},
    },
}


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """Programs compiled once for all processes of these tests."""
    folder = tmp_path_factory.mktemp("compiled")
    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
        # The programs run a few times only: compilation is what costs.
        "jax_disable_most_optimizations": True,
    }
    before = {name: jax.config.values[name] for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    yield {name.upper(): str(value) for name, value in settings.items()}
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(scope="session")
def settings(tmp_path_factory):
    """A configuration that trains in seconds, as a file."""
    folder = tmp_path_factory.mktemp("settings")
    return tiny.written(tiny.document(**TRAINED), folder / "tiny.yaml")


MAIN = "from diffana.cli import main; main()"


class Launcher:
    """Starts the command line in a process of its own, which can be killed."""

    def __init__(self, environment):
        self.environment = {**os.environ, **environment, "JAX_PLATFORMS": "cpu"}

    def __call__(self, *argv):
        return subprocess.Popen(
            [sys.executable, "-c", MAIN, *map(str, argv)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture(scope="session")
def launch(compiled):
    return Launcher(compiled)


@pytest.fixture(scope="session")
def finished(compiled, settings, tmp_path_factory):
    """The folder of a run that was never interrupted, and what was printed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with (folder.parent / "output").open("w") as output:
        console = Console(file=output, width=100, highlight=False)
        config = tiny.parsed(tiny.document(**TRAINED))
        workflow.train(config, folder, resume=False, console=console)
    return folder
