"""Commands that learn unbinned likelihoods, and ask whether they can be trusted."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from diffana.cli.failures import BadInput, statistics
from diffana.cli.output import Report, Writable, progress


if TYPE_CHECKING:
    from diffana.config import NsbiConfig


_FILE = click.Path(path_type=Path)


@click.group()
def nsbi() -> None:
    """Unbinned likelihoods from learned density ratios."""


@nsbi.command()
@click.argument("config", type=_FILE)
@click.option(
    "--out", type=_FILE, required=True, help="Run folder; must not exist yet."
)
@click.option("--resume", is_flag=True, help="Go on with the interrupted run in --out.")
def train(config: Path, out: Path, *, resume: bool) -> None:
    """Learn the density ratios that CONFIG describes, and write the likelihood.

    `diffana fit`, `scan`, `limit` and `significance` accept the run folder in place of
    a workspace.
    """
    settings = loaded(config)
    with statistics():
        from rich.console import Console

        from diffana.workflow.nsbi import training

        console = Console(highlight=False)
        training.train(settings, out, resume=resume, console=console)


@nsbi.command()
@click.argument("run", type=_FILE)
@click.option(
    "--bins",
    type=click.IntRange(2),
    multiple=True,
    default=(8,),
    show_default=True,
    help="Bins of the optimal observables; repeatable.",
)
@click.option(
    "--points",
    type=click.IntRange(3),
    default=21,
    show_default=True,
    help="Tested values of the parameter of interest.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON on a terminal, too.")
@click.option(
    "--output-file", type=Writable(), help="File for the JSON instead of stdout."
)
def compare(
    run: Path,
    *,
    bins: tuple[int, ...],
    points: int,
    as_json: bool,
    output_file: Path | None,
) -> None:
    """Compare RUN without bins with optimal observables and histograms in bins.

    The numbers are stored in RUN, too, and its figures get one of all test statistics.
    """
    with statistics():
        from diffana.workflow.nsbi import comparison, tables

        result = comparison.compare(
            run,
            bins=bins,
            n_points=points,
            warn=lambda line: click.echo(line, err=True),
        )
        Report(as_json, output_file)(result, lambda: tables.comparison(result))


@nsbi.command()
@click.argument("run", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="JSON on a terminal, too.")
@click.option(
    "--output-file", type=Writable(), help="File for the JSON instead of stdout."
)
def diagnose(run: Path, *, as_json: bool, output_file: Path | None) -> None:
    """Ask whether the likelihood in the run folder RUN can be trusted.

    Every density ratio has to be normalised, calibrated, and to make its denominator
    look like its numerator, on events that took no part in the training; where exact
    densities are known, the likelihood has to be the exact one. Answers and figures are
    put into RUN, too. Ends with exit code 1 if one of them is `fail`.
    """
    with statistics():
        from diffana.workflow.nsbi import diagnosis, tables

        with progress("ratios", 100) as advance:
            judged = diagnosis.diagnose(
                run,
                warn=lambda line: click.echo(line, err=True),
                on_ratio=lambda number, total: advance(100 * number // total),
            )
        report = Report(as_json, output_file)
        report(diagnosis.document(judged), lambda: tables.gates(judged))
    if any(one.gate.verdict == "fail" for one in judged):
        click.get_current_context().exit(1)


@nsbi.command()
def schema() -> None:
    """Print the JSON Schema of such configuration files, for editors."""
    import json

    from diffana import config

    click.echo(json.dumps(config.nsbi_json_schema(), indent=2))


COMMANDS = (nsbi,)


def loaded(path: Path) -> "NsbiConfig":
    """The configuration in a file."""
    from diffana import config as configuration
    from diffana.cli.training import listed

    try:
        return configuration.load_nsbi(path)
    except configuration.ConfigError as error:
        raise BadInput(listed(path, error.mistakes)) from error


def describes(path: Path) -> bool:
    """Whether a file is meant to describe an unbinned measurement."""
    from diffana import config as configuration

    try:
        return configuration.is_nsbi(path)
    except configuration.ConfigError:
        # What is wrong is told by the one that reads all of it.
        return False


def described(path: Path) -> str:
    """One line about a valid configuration."""
    config = loaded(path)
    n_systematics = len(config.systematics or ())
    return (
        f"{path} is valid: {len(config.samples)} samples, reference "
        f"{' + '.join(config.reference)}, {n_systematics} systematic"
        f"{'' if n_systematics == 1 else 's'}; trains {config.ratios.members} networks "
        f"for each density ratio, on {len(config.features)} features"
    )
