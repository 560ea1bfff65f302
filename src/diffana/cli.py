"""The command line: parse, delegate, print.

Packages that take seconds to import are imported inside the commands that need them.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import click

from diffana import __version__, config as configuration


_FILE = click.Path(path_type=Path)


class BadInput(click.ClickException):
    """Input that its author can mend; printed without a traceback."""

    exit_code = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="diffana %(version)s")
def main() -> None:
    """End-to-end optimisation of particle-physics analyses."""


@main.command()
@click.argument("config", type=_FILE)
def validate(config: Path) -> None:
    """Check the configuration file CONFIG and print every mistake in it."""
    click.echo(_summary(config, _load(config)))


@main.command()
def schema() -> None:
    """Print the JSON Schema of configuration files, for editors."""
    click.echo(json.dumps(configuration.json_schema(), indent=2))


@main.command()
@click.argument("config", type=_FILE)
@click.option(
    "--out", type=_FILE, required=True, help="Run folder; must not exist yet."
)
@click.option("--resume", is_flag=True, help="Go on with the interrupted run in --out.")
def train(config: Path, out: Path, *, resume: bool) -> None:
    """Train what the configuration file CONFIG describes."""
    settings = _load(config)
    with _statistics():
        from rich.console import Console

        from diffana import workflow

        workflow.train(settings, out, resume=resume, console=Console(highlight=False))


@main.command()
@click.argument("run", type=_FILE)
def evaluate(run: Path) -> None:
    """Compute the final results of the run folder RUN."""
    with _statistics():
        from rich.console import Console

        from diffana import workflow

        workflow.evaluate(run, console=Console(highlight=False))


def _load(path: Path) -> configuration.Config:
    try:
        return configuration.load(path)
    except configuration.ConfigError as error:
        raise BadInput(_listed(path, error.mistakes)) from error


def _listed(path: Path, mistakes: list[configuration.Mistake]) -> str:
    match mistakes:
        case [only]:
            return f"{path}: {only}"
        case _:
            lines = (f"  {mistake}" for mistake in mistakes)
            return "\n".join([f"{path} has {len(mistakes)} mistakes:", *lines])


def _summary(path: Path, config: configuration.Config) -> str:
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


@contextlib.contextmanager
def _statistics() -> Iterator[None]:
    """float64 for everything inside, and one line for what the user can mend."""
    import jax

    from diffana.errors import DiffanaError

    jax.config.update("jax_enable_x64", True)  # noqa: FBT003
    try:
        yield
    except (DiffanaError, configuration.ConfigError) as error:
        raise BadInput(str(error)) from error
