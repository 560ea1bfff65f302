"""The command that writes a finished run up as one HTML page."""

from pathlib import Path

import click

from diffana.cli.failures import NoResult, statistics
from diffana.cli.output import Writable


_FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("run", type=_FOLDER)
@click.argument("others", metavar="[OTHER_RUN]...", nargs=-1, type=_FOLDER)
@click.option(
    "--output-file",
    type=Writable(".html"),
    help="File to create instead of report.html in RUN; must not exist yet.",
)
def report(run: Path, others: tuple[Path, ...], *, output_file: Path | None) -> None:
    """Write the report of the finished run folder RUN: one HTML file.

    It compares RUN with every OTHER_RUN and, in a sweep, with its finished runs. The
    file needs no network and no other file. A report in RUN takes the place of the one
    before.

    Without observed data everything in it is on Asimov data.
    """
    with statistics(brief=True):
        from rich.console import Console

        from diffana.workflow import report as write

        console = Console(stderr=True, highlight=False)
        written = write.report(
            run,
            others,
            path=output_file,
            on_step=lambda step: console.print(step) if console.is_terminal else None,
        )
    for warning in written.warnings:
        click.echo(f"Warning: {warning}", err=True)
    click.echo(written.path)
    if written.failures:
        raise NoResult(f"{written.path} lacks results: {'; '.join(written.failures)}")


COMMANDS = (report,)
