"""The command that asks whether a finished run can be trusted."""

from pathlib import Path

import click

from diffana.cli.failures import statistics
from diffana.cli.output import Report, Writable


_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("run", type=_PATH)
@click.option(
    "--sibling",
    "siblings",
    multiple=True,
    type=_PATH,
    help="Run with another seed; those beside RUN without it. Can be repeated.",
)
@click.option(
    "--resamples",
    type=click.IntRange(min=10),
    default=100,
    show_default=True,
    help="How often events are drawn again for the spread of results.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON on a terminal, too.")
@click.option(
    "--output-file", type=Writable(), help="File for the JSON instead of stdout."
)
def check(
    run: Path,
    *,
    siblings: tuple[Path, ...],
    resamples: int,
    as_json: bool,
    output_file: Path | None,
) -> None:
    """Check whether the finished run RUN can be trusted.

    Compares training, validation and test events, the result on independent halves and
    for other seeds; looks at simulated statistics, systematic variations, nuisance
    parameters and fits. The answers are stored in RUN, too. Ends with exit code 1 if
    one of them is a warning.
    """
    with statistics():
        from diffana.workflow import safety
        from diffana.workflow.safety.table import table

        checks = safety.check_run(
            run,
            siblings=siblings or None,
            n_resamples=resamples,
            warn=lambda line: click.echo(line, err=True),
        )
        report = Report(as_json, output_file)
        report(safety.document(checks), lambda: table(checks))
    if any(one.verdict == "warn" for one in checks):
        click.get_current_context().exit(1)


COMMANDS = (check,)
