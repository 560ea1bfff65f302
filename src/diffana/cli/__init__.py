"""The command line: parse, delegate, print.

Packages that take seconds to import are imported inside the commands that need them.
"""

import click

from diffana import __version__
from diffana.cli import (
    checking,
    comparison,
    landscape,
    neyman,
    nsbi,
    published,
    report,
    sweep,
    training,
)
from diffana.cli.failures import Commands


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="diffana %(version)s")
def main() -> None:
    """End-to-end optimisation of particle-physics analyses."""


for command in (
    *training.COMMANDS,
    *checking.COMMANDS,
    *comparison.COMMANDS,
    *report.COMMANDS,
    *sweep.COMMANDS,
    *landscape.COMMANDS,
    *nsbi.COMMANDS,
    *neyman.COMMANDS,
    *published.COMMANDS,
):
    main.add_command(command)
