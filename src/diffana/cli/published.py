"""Commands on published workspaces."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from diffana.cli.failures import BadInput, statistics
from diffana.cli.output import Report, Writable
from diffana.cli.sources import Assignment, JsonFile, Patch, PatchFile, Source


if TYPE_CHECKING:
    from diffana.workflow.workspaces import Published


def _on_workspace(command: Callable[..., None]) -> Callable[..., None]:
    """Arguments and options that all commands on workspaces share.

    The command receives a function that builds the workspace, and its `Report`.
    """

    @click.argument("workspace", type=JsonFile(), default="-")
    @click.option(
        "-p",
        "--patch",
        "patches",
        type=PatchFile(),
        multiple=True,
        help="JSON patch, or patch of a patch set, to apply; repeatable.",
    )
    @click.option("--measurement", help="Name of the measurement; else the first one.")
    @click.option("--json", "as_json", is_flag=True, help="JSON on a terminal, too.")
    @click.option(
        "--output-file", type=Writable(), help="File for the JSON instead of stdout."
    )
    @functools.wraps(command)
    def wrapped(
        *,
        workspace: Source,
        patches: tuple[Patch, ...],
        measurement: str | None,
        as_json: bool,
        output_file: Path | None,
        **options: Any,
    ) -> None:
        def published() -> "Published":
            from diffana.workflow.workspaces import publish

            return publish(
                workspace.content,
                origin=workspace.origin,
                patches=patches,
                measurement=measurement,
            )

        with statistics():
            command(published, report=Report(as_json, output_file), **options)

    return wrapped


_poi_test = click.option(
    "--poi-test",
    "--test-poi",
    type=float,
    default=1.0,
    show_default=True,
    help="Tested value of the parameter of interest.",
)
_test_stat = click.option(
    "--test-stat",
    type=click.Choice(["q", "qtilde"]),
    default="qtilde",
    show_default=True,
    help="Test statistic; qtilde knows that the signal cannot be negative.",
)


@click.command()
@_on_workspace
@click.option(
    "--fix",
    type=Assignment(),
    multiple=True,
    help="Hold a parameter at a value; repeatable.",
)
def fit(
    published: "Callable[[], Published]",
    *,
    report: Report,
    fix: tuple[tuple[str, float], ...],
) -> None:
    """Fit the parameters of WORKSPACE to its data."""
    from diffana.workflow import published as results

    fixed = dict(fix)
    if len(fixed) < len(fix):
        raise BadInput("a parameter is given to --fix twice")
    result = results.fit(published(), fixed=fixed)
    report(result, lambda: _tables().fit(result))


@click.command()
@_on_workspace
@_poi_test
@_test_stat
def cls(
    published: "Callable[[], Published]",
    *,
    report: Report,
    poi_test: float,
    test_stat: str,
) -> None:
    """Compute CLs of a signal strength, observed and expected."""
    from diffana.workflow import published as results

    workspace = published()
    result = results.cls(workspace, poi_test=poi_test, bounded=test_stat == "qtilde")
    report(result, lambda: _tables().cls(result, poi=workspace.poi, poi_test=poi_test))


@click.command()
@_on_workspace
def significance(published: "Callable[[], Published]", *, report: Report) -> None:
    """Compute the discovery significance, observed and expected."""
    from diffana.workflow import published as results

    result = results.significance(published())
    report(result, lambda: _tables().significance(result))


@click.command()
@_on_workspace
@_poi_test
@_test_stat
@click.option(
    "--optimizer",
    type=click.Choice(["scipy", "minuit"]),
    default="scipy",
    show_default=True,
    help="Minimiser of pyhf.",
)
def crosscheck(
    published: "Callable[[], Published]",
    *,
    report: Report,
    poi_test: float,
    test_stat: str,
    optimizer: Literal["scipy", "minuit"],
) -> None:
    """Compute fit and CLs here and with pyhf, and compare."""
    from diffana.workflow.crosscheck import crosscheck as compare

    workspace = published()
    result = compare(
        workspace,
        poi_test=poi_test,
        bounded=test_stat == "qtilde",
        optimizer=optimizer,
    )
    poi = workspace.model.parameters.poi
    report(result, lambda: _tables().crosscheck(result, poi=poi))


COMMANDS = (fit, cls, significance, crosscheck)


def _tables() -> Any:
    from diffana.workflow import workspace_tables

    return workspace_tables
