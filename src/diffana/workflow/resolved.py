"""The configuration that a run folder holds."""

from diffana import config as configuration, runs
from diffana.errors import RunError


def resolved_config(run: runs.Run) -> configuration.Config:
    """The configuration of a run, with every default spelled out.

    Raises:
        RunError: if the file is damaged, with the first mistake in it.
    """
    try:
        return configuration.load(run.config)
    except configuration.ConfigError as error:
        raise RunError(f"{run.config} is not valid: {error.mistakes[0]}") from error
