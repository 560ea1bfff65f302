"""Commands that learn an analysis from a configuration file."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from diffana.cli.failures import BadInput, statistics


if TYPE_CHECKING:
    from diffana.config import Config, Mistake


_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("config", type=_FILE)
def validate(config: Path) -> None:
    """Check the configuration file CONFIG and print every mistake in it."""
    from diffana.cli import landscape

    if landscape.describes(config):
        click.echo(landscape.described(config))
    else:
        click.echo(_summary(config, _load(config)))


@click.command()
def schema() -> None:
    """Print the JSON Schema of configuration files, for editors."""
    from diffana import config

    click.echo(json.dumps(config.json_schema(), indent=2))


@click.command()
@click.argument("config", type=_FILE)
@click.option(
    "--out", type=_FILE, required=True, help="Run folder; must not exist yet."
)
@click.option("--resume", is_flag=True, help="Go on with the interrupted run in --out.")
def train(config: Path, out: Path, *, resume: bool) -> None:
    """Train what the configuration file CONFIG describes."""
    settings = _load(config)
    with statistics(), _mistakes():
        from rich.console import Console

        from diffana import workflow

        workflow.train(settings, out, resume=resume, console=Console(highlight=False))


@click.command()
@click.argument("run", type=_FILE)
def evaluate(run: Path) -> None:
    """Compute the final results of the run folder RUN."""
    with statistics(), _mistakes():
        from rich.console import Console

        from diffana import workflow

        workflow.evaluate(run, console=Console(highlight=False))


COMMANDS = (validate, schema, train, evaluate)


def _load(path: Path) -> "Config":
    from diffana import config as configuration

    try:
        return configuration.load(path)
    except configuration.ConfigError as error:
        raise BadInput(listed(path, error.mistakes)) from error


@contextlib.contextmanager
def _mistakes() -> Iterator[None]:
    from diffana.config import ConfigError

    try:
        yield
    except ConfigError as error:
        raise BadInput(str(error)) from error


def listed(path: Path, mistakes: "list[Mistake]") -> str:
    """The mistakes in a configuration file, as an error names them."""
    match mistakes:
        case [only]:
            return f"{path}: {only}"
        case _:
            lines = (f"  {mistake}" for mistake in mistakes)
            return "\n".join([f"{path} has {len(mistakes)} mistakes:", *lines])


def _summary(path: Path, config: "Config") -> str:
    def counted(items: tuple | None, noun: str) -> str:
        number = len(items or ())
        return f"{number} {noun}{'' if number == 1 else 's'}"

    parts = (
        counted(config.regions, "region"),
        counted(config.samples, "sample"),
        counted(config.norm_factors, "norm factor"),
        counted(config.systematics, "systematic"),
        counted(config.observables, "trained observable"),
    )
    losses = " + ".join(loss.type for loss in config.loss)
    return (
        f"{path} is valid: {', '.join(parts)}; "
        f"trains {losses} for {config.train.epochs} epochs"
    )
