"""What training and diagnosis of an unbinned measurement have in common."""

from pathlib import Path
from typing import NamedTuple

from diffana import config as configuration, runs
from diffana.assemble import nsbi as assembly
from diffana.config import NsbiConfig
from diffana.errors import RunError


class Prepared(NamedTuple):
    """Events of a configuration, and what is learned from them.

    Attributes:
        config: the configuration.
        simulated: its simulated events.
        plan: the ratios and the components of the likelihood.
    """

    config: NsbiConfig
    simulated: assembly.Simulation
    plan: assembly.Plan

    @property
    def bank(self) -> assembly.Weighted:
        """Reference events that took no part in the training."""
        pieces = self.plan.reference_pieces
        return assembly.mixture(self.simulated.parts["test"], pieces)


def prepare(config: NsbiConfig) -> Prepared:
    """Read or generate the events of `config`.

    Raises:
        DataError: naming file, column and sample of what is wrong.
        SpecificationError: if the likelihood cannot be built.
    """
    simulated = assembly.simulation(config)
    plan = assembly.plan(config, simulated)
    # What does not fit together is found now, before anything is trained.
    assembly.check_model(config, plan, simulated)
    return Prepared(config, simulated, plan)


def config_of(folder: Path) -> NsbiConfig:
    """The configuration of a finished run, with every default spelled out.

    Raises:
        RunError: if there is no such run, it has not finished, it is of another kind,
            or its configuration is damaged.
    """
    run = runs.open_finished(folder)
    try:
        if not configuration.is_nsbi(run.config):
            raise RunError(f"{folder} is no run of `diffana nsbi train`")
        return configuration.load_nsbi(run.config)
    except configuration.ConfigError as error:
        raise RunError(f"{run.config} is not valid: {error.mistakes[0]}") from error
