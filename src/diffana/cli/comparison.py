"""The command that puts finished runs side by side."""

from pathlib import Path

import click

from diffana.cli.failures import statistics
from diffana.cli.output import Report, Writable, dumps


@click.command()
@click.argument(
    "folders",
    metavar="RUN...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for figure and JSON; must not exist yet.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON on a terminal, too.")
@click.option(
    "--output-file", type=Writable(), help="File for the JSON instead of stdout."
)
def compare(
    folders: tuple[Path, ...],
    *,
    out: Path | None,
    as_json: bool,
    output_file: Path | None,
) -> None:
    """Compare the finished run folders RUN.

    Runs that differ only in their seeds are one row: median and range of the results on
    test events, cost and convergence of the training. Rows are named by what differs.
    """
    with statistics():
        from diffana.workflow import comparison_report
        from diffana.workflow.comparison import compare as compared

        comparison = compared(folders)
        document = comparison.document()
        if out is not None:
            comparison_report.save(comparison, out, dumps(document) + "\n")
        report = Report(as_json, output_file)
        report(document, lambda: comparison_report.tables(comparison))


COMMANDS = (compare,)
