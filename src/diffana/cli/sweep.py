"""The command that trains seeds x settings."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from diffana.cli.failures import BadInput, NoResult, statistics
from diffana.cli.output import dumps


if TYPE_CHECKING:
    from diffana.config import Sweep


_FILE = click.Path(path_type=Path)


class Interrupted(click.ClickException):
    """Stopped by Ctrl-C."""

    exit_code = 130


@click.command()
@click.argument("config", type=_FILE)
@click.option(
    "--out",
    type=_FILE,
    required=True,
    help="Folder of the sweep; if it exists, the sweep in it goes on.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Dask scheduler to use, such as tcp://node7:8786, instead of processes on "
    "this machine.",
)
@click.option(
    "--workers",
    "n_workers",
    type=click.IntRange(1),
    help="Processes on this machine, of one core each.  [default: number of cores]",
)
def sweep(
    config: Path, *, out: Path, scheduler: str | None, n_workers: int | None
) -> None:
    """Train all seeds and settings that CONFIG describes, and compare them.

    CONFIG is a YAML document of its own: a Base configuration, Seeds, and Settings or a
    Grid of values to change. The same command goes on with what is not finished: runs
    with results are skipped, interrupted ones resumed, failed ones tried again.
    """
    if scheduler is not None and n_workers is not None:
        raise BadInput("--workers and --scheduler exclude one another")
    plan = loaded(config)
    with statistics():
        from rich.console import Console

        from diffana.workflow import sweep as sweeps

        try:
            summary = sweeps.sweep(
                plan,
                out,
                scheduler=scheduler,
                n_workers=n_workers,
                console=Console(highlight=False),
                dumps=dumps,
            )
        except KeyboardInterrupt as interrupt:
            raise Interrupted(
                f"interrupted: {sweeps.n_finished(plan, out)} of {len(plan.runs)} runs "
                "have finished; the same command goes on"
            ) from interrupt
    if summary.failed:
        raise NoResult(
            f"{len(summary.failed)} of {len(plan.runs)} runs have no result: "
            f"{', '.join(summary.failed)}; see {out / 'failures.json'}"
        )


COMMANDS = (sweep,)


def loaded(path: Path) -> "Sweep":
    """The sweep in a file."""
    from diffana import config as configuration
    from diffana.cli.training import listed

    try:
        return configuration.load_sweep(path)
    except configuration.ConfigError as error:
        raise BadInput(listed(path, error.mistakes)) from error


def describes(path: Path) -> bool:
    """Whether a file is meant to describe a sweep."""
    from diffana import config as configuration

    try:
        return configuration.is_sweep(path)
    except configuration.ConfigError:
        # What is wrong is told by the one that reads all of it.
        return False


def described(path: Path) -> str:
    """One line about a valid sweep."""
    plan = loaded(path)
    settings = list(dict.fromkeys(one.setting for one in plan.runs))
    return (
        f"{path} is valid: {len(plan.runs)} runs of {plan.config.base}; "
        f"{len(plan.config.seed_values)} seeds of {'; '.join(settings)}"
    )
