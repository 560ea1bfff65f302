"""Commands that learn an analysis from a configuration file."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from diffana.cli.failures import BadInput, statistics
from diffana.cli.output import Writable, dumps, write


if TYPE_CHECKING:
    from diffana.config import AnalysisConfig, Config, HistogramConfig, Mistake


_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("config", type=_FILE)
def validate(config: Path) -> None:
    """Check the configuration file CONFIG and print every mistake in it."""
    from diffana.cli import landscape, nsbi, sweep

    for other in (landscape, nsbi, sweep):
        if other.describes(config):
            click.echo(other.described(config))
            return
    click.echo(_summary(config, _load_analysis(config)))


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


@click.command()
@click.argument("config", type=_FILE)
@click.option(
    "--output-file", type=Writable(), help="File for the workspace instead of stdout."
)
def workspace(config: Path, output_file: Path | None) -> None:
    """Build the pyhf workspace of CONFIG, whose regions bin fixed variables.

    Templates are histograms of all events. Regions that bin a trained Observable get
    their workspace from `diffana train`.
    """
    settings = _load_analysis(config)
    with statistics():
        from diffana import workflow

        built = workflow.build_workspace(settings)
    for remark in built.remarks:
        click.echo(f"Note: {remark}.", err=True)
    if output_file is None:
        click.echo(dumps(built.document))
    else:
        write(output_file, built.document)


COMMANDS = (validate, schema, train, evaluate, workspace)


def _load(path: Path) -> "Config":
    from diffana import config as configuration

    try:
        return configuration.load(path)
    except configuration.ConfigError as error:
        raise BadInput(listed(path, error.mistakes)) from error


def _load_analysis(path: Path) -> "AnalysisConfig | HistogramConfig":
    from diffana import config as configuration

    try:
        return configuration.load_analysis(path)
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


def _summary(path: Path, config: "AnalysisConfig | HistogramConfig") -> str:
    from diffana.config import AnalysisConfig, Config

    def counted(items: tuple | None, noun: str) -> str:
        number = len(items or ())
        return f"{number} {noun}{'' if number == 1 else 's'}"

    parts = [
        counted(config.regions, "region"),
        counted(config.samples, "sample"),
        counted(config.norm_factors, "norm factor"),
        counted(config.systematics, "systematic"),
    ]
    if isinstance(config, AnalysisConfig):
        parts.append(counted(config.observables, "trained observable"))
    if isinstance(config, Config):
        losses = " + ".join(loss.type for loss in config.loss)
        use = f"trains {losses} for {config.train.epochs} epochs"
    elif isinstance(config, AnalysisConfig):
        use = "describes no training, for want of the sections Loss and Train"
    else:
        use = "reads its templates from histograms, on which nothing can be trained"
    replaced = [
        f"the Filter of sample {sample.name!r} takes the place of that of its regions"
        for sample in config.samples
        if sample.filter is not None
        and isinstance(config, AnalysisConfig)
        and any(one.filter for one in config.regions)
    ]
    return "\n".join([f"{path} is valid: {', '.join(parts)}; {use}", *replaced])
