"""The command that scans losses."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from diffana.cli.failures import BadInput, NoResult, statistics
from diffana.cli.output import progress


if TYPE_CHECKING:
    from diffana.config import LandscapeConfig


_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("config", type=_FILE)
@click.option("--out", type=_FILE, required=True, help="Folder; must not exist yet.")
@click.option(
    "--plot",
    "formats",
    type=click.Choice(["none", "pdf", "png", "svg"]),
    multiple=True,
    default=("pdf", "png"),
    show_default=True,
    help="File format of the figures, or none; repeatable.",
)
def landscape(config: Path, out: Path, *, formats: tuple[str, ...]) -> None:
    """Compute the loss landscape that CONFIG describes, with figures.

    CONFIG is a YAML document of its own: a Workspace, an Analysis or a Run, Losses, and
    one or two Axes with what moves along them.
    """
    settings = loaded(config)
    with statistics():
        from rich.console import Console

        from diffana.workflow import landscape as scans, landscape_table

        summary = scans.landscape(
            settings,
            out,
            formats=tuple(dict.fromkeys(one for one in formats if one != "none")),
            progress=progress,
        )
        Console(highlight=False).print(landscape_table.table(summary, out))
    if all(one["minimum"] is None for one in summary["losses"].values()):
        raise NoResult("no loss has a value at any point")


COMMANDS = (landscape,)


def loaded(path: Path) -> "LandscapeConfig":
    """The configuration in a file."""
    from diffana import config as configuration
    from diffana.cli.training import listed

    try:
        return configuration.load_landscape(path)
    except configuration.ConfigError as error:
        raise BadInput(listed(path, error.mistakes)) from error


def describes(path: Path) -> bool:
    """Whether a file is meant to describe a landscape."""
    from diffana import config as configuration

    try:
        return configuration.is_landscape(path)
    except configuration.ConfigError:
        # What is wrong is told by the one that reads all of it.
        return False


def described(path: Path) -> str:
    """One line about the valid configuration of a landscape."""
    config = loaded(path)
    points = " x ".join(str(axis.points) for axis in config.axes)
    losses = ", ".join(config.named_losses)
    source = config.run or config.analysis
    if config.workspace is not None:
        source = config.workspace.path
    return f"{path} is valid: {points} points around {source}; losses {losses}"
