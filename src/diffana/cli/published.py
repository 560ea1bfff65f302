"""Commands on published workspaces."""

import contextlib
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from diffana.cli.failures import BadInput, NoResult, statistics
from diffana.cli.output import Report, Writable, progress
from diffana.cli.sources import Assignment, JsonFile, Patch, PatchFile, Source


if TYPE_CHECKING:
    from diffana.published import Published
    from diffana.stored import Measurement
    from diffana.workflow.farm import Farm

    Crew = Callable[[], contextlib.AbstractContextManager[Farm | None]]


def on_workspace(command: Callable[..., None]) -> Callable[..., None]:
    """Arguments and options that all commands on workspaces share.

    The command receives a function that builds the workspace, and its `Report`.
    """
    return _with_workspace(command, few_fits=False)


def _with_few_fits(command: Callable[..., None]) -> Callable[..., None]:
    """`on_workspace` for a command whose fits take less time than compiling them."""
    return _with_workspace(command, few_fits=True)


def _with_workspace(
    command: Callable[..., None], *, few_fits: bool
) -> Callable[..., None]:
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
        is_unbinned = _is_unbinned(workspace)
        if is_unbinned and (patches or measurement is not None):
            raise BadInput(
                f"{workspace.origin}: an unbinned likelihood has no patches and no "
                "measurements to choose from"
            )

        def published() -> "Published | Measurement":
            if is_unbinned:
                return _unbinned(workspace)
            from diffana.published import publish

            read = publish(
                workspace.content,
                origin=workspace.origin,
                patches=patches,
                measurement=measurement,
            )
            if measurement is None and len(read.measurements) > 1:
                names = ", ".join(read.measurements)
                click.echo(
                    f"{read.origin}: measurement {read.measurement} of {names}",
                    err=True,
                )
            return read

        brief = few_fits and options.get("calctype") != "toybased" and not is_unbinned
        with statistics(brief=brief):
            command(published, report=Report(as_json, output_file), **options)

    return wrapped


def _is_unbinned(source: Source) -> bool:
    content = source.content
    kind = content.get("format") if isinstance(content, dict) else None
    return isinstance(kind, str) and kind.startswith("diffana unbinned")


def _unbinned(source: Source) -> "Measurement":
    from diffana import stored

    if source.origin == "standard input":
        raise BadInput("standard input: the events of the likelihood are beside a file")
    read = stored.read(Path(source.origin))
    if not read.observed:
        click.echo(
            f"{read.origin}: no observed events; the expected ones at the starting "
            "values take their place",
            err=True,
        )
    return read


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


def _calctype(command: Callable[..., None]) -> Callable[..., None]:
    """Options that choose between formulae and pseudo-experiments.

    The command receives a function that opens the processes which share the latter.
    """

    @functools.wraps(command)
    def wrapped(
        *args: Any, workers: int | None, scheduler: str | None, **options: Any
    ) -> None:
        is_shared = workers is not None or scheduler is not None
        if workers is not None and scheduler is not None:
            raise BadInput("--workers and --scheduler exclude one another")
        if is_shared and options["calctype"] != "toybased":
            raise BadInput("--workers and --scheduler need --calctype toybased")

        def crew() -> "contextlib.AbstractContextManager[Farm | None]":
            from diffana.workflow import farm

            if not is_shared:
                return contextlib.nullcontext()
            return farm.opened(scheduler=scheduler, n_workers=workers)

        command(*args, crew=crew, **options)

    for option in (
        click.option(
            "--scheduler",
            metavar="ADDRESS",
            help="Dask scheduler whose processes share the pseudo-experiments.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(1),
            help="Processes on this machine that share them, of one core each.",
        ),
        click.option(
            "--seed",
            type=click.IntRange(0),
            default=0,
            show_default=True,
            help="Seed of the pseudo-experiments.",
        ),
        click.option(
            "--toys",
            type=click.IntRange(1),
            default=2000,
            show_default=True,
            help="Pseudo-experiments under each hypothesis.",
        ),
        click.option(
            "--calctype",
            type=click.Choice(["asymptotics", "toybased"]),
            default="asymptotics",
            show_default=True,
            help="Asymptotic formulae, or pseudo-experiments.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


def _plot(what: str) -> Callable[..., Any]:
    return click.option(
        "--plot",
        type=Writable(".pdf", ".png", ".svg"),
        help=f"{what} as a figure: pdf, png or svg.",
    )


@click.command()
@_with_few_fits
@click.option(
    "--fix",
    type=Assignment(),
    multiple=True,
    help="Hold a parameter at a value; repeatable.",
)
@click.option(
    "--minos",
    metavar="NAME",
    multiple=True,
    help="Take the interval of this parameter from its profile, too; repeatable.",
)
@click.option(
    "--solver",
    type=click.Choice(["newton", "minuit", "jaxopt", "optimistix"]),
    default="newton",
    show_default=True,
    help="Minimiser: the built-in one from several starts, or another from one.",
)
def fit(
    published: "Callable[[], Published | Measurement]",
    *,
    report: Report,
    fix: tuple[tuple[str, float], ...],
    minos: tuple[str, ...],
    solver: Literal["newton", "minuit", "jaxopt", "optimistix"],
) -> None:
    """Fit the parameters of WORKSPACE to its data."""
    from diffana.workflow import published as results

    fixed = dict(fix)
    if len(fixed) < len(fix):
        raise BadInput("a parameter is given to --fix twice")
    result = results.fit(published(), fixed=fixed, minos=minos, solver=solver)
    report(result, lambda: _tables().fit(result))


@click.command()
@_with_few_fits
@_poi_test
@_test_stat
@_calctype
def cls(
    published: "Callable[[], Published | Measurement]",
    *,
    report: Report,
    poi_test: float,
    test_stat: str,
    calctype: str,
    toys: int,
    seed: int,
    crew: "Crew",
) -> None:
    """Compute CLs of a signal strength, observed and expected."""
    from diffana.workflow import published as results

    workspace, bounded = published(), test_stat == "qtilde"
    if calctype == "asymptotics":
        result = results.cls(workspace, poi_test=poi_test, bounded=bounded)
    else:
        with crew() as processes, progress("pseudo-experiments", 2 * toys) as advance:
            result = results.toy_cls(
                workspace,
                poi_test=poi_test,
                bounded=bounded,
                n_toys=toys,
                seed=seed,
                crew=processes,
                on_chunk=advance,
            )
    report(result, lambda: _tables().cls(result, poi=workspace.poi, poi_test=poi_test))


@click.command()
@_with_few_fits
@_calctype
def significance(
    published: "Callable[[], Published | Measurement]",
    *,
    report: Report,
    calctype: str,
    toys: int,
    seed: int,
    crew: "Crew",
) -> None:
    """Compute the discovery significance; expected by asymptotic formulae only."""
    from diffana.workflow import published as results

    workspace = published()
    if calctype == "asymptotics":
        result = results.significance(workspace)
    else:
        with crew() as processes, progress("pseudo-experiments", toys) as advance:
            result = results.toy_significance(
                workspace, n_toys=toys, seed=seed, crew=processes, on_chunk=advance
            )
    report(result, lambda: _tables().significance(result))


@click.command()
@on_workspace
@click.option(
    "--confidence-level",
    "--cl",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
)
@_test_stat
@_plot("Brazil band")
def limit(
    published: "Callable[[], Published | Measurement]",
    *,
    report: Report,
    confidence_level: float,
    test_stat: str,
    plot: Path | None,
) -> None:
    """Compute upper limits on the signal strength, observed and expected."""
    from diffana.workflow import published as results

    workspace, bounded = published(), test_stat == "qtilde"
    result = results.limit(workspace, level=1 - confidence_level, bounded=bounded)
    if plot is not None:
        points = results.brazil(workspace, result, bounded=bounded)
        _figures().limit(plot, result, points)
        result["points"] = points
    report(result, lambda: _tables().limit(result))
    _refuse(result["failures"])


@click.command()
@on_workspace
@click.option(
    "--refit", is_flag=True, help="Impacts from fits, not from the covariance."
)
@click.option(
    "--top",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="How many parameters to plot and to tabulate.",
)
@_plot("Ranking")
def ranking(
    published: "Callable[[], Published | Measurement]",
    *,
    report: Report,
    refit: bool,
    top: int,
    plot: Path | None,
) -> None:
    """Rank the parameters by their impact on the signal strength."""
    from diffana.workflow import profiles

    result = profiles.ranking(published(), refit=refit)
    if result["poi_at_bound"]:
        click.echo(
            f"{result['poi']} is at its bound {result['poi_bestfit']:g} and does not "
            "move with the other parameters",
            err=True,
        )
    if plot is not None:
        _figures().ranking(plot, result, top=top)
    report(result, lambda: _tables().ranking(result, top=top))


@click.command()
@on_workspace
@click.option(
    "--parameter",
    "parameters",
    multiple=True,
    help="Parameter to scan, else that of interest; twice for a plane.",
)
@click.option(
    "--range",
    "ranges",
    type=(float, float),
    multiple=True,
    metavar="LOW HIGH",
    help="Where to scan, once for each parameter; else three standard deviations.",
)
@click.option(
    "--points",
    type=click.IntRange(2),
    help="Values of each parameter.  [default: 41, for a plane 21]",
)
@_plot("Profile")
def scan(
    published: "Callable[[], Published | Measurement]",
    *,
    report: Report,
    parameters: tuple[str, ...],
    ranges: tuple[tuple[float, float], ...],
    points: int | None,
    plot: Path | None,
) -> None:
    """Scan the profile of -2 ln L along one parameter or two."""
    from diffana.workflow import profiles

    result = profiles.scan(published(), parameters, ranges=ranges, points=points)
    if plot is not None:
        _figures().scan(plot, result)
    report(result, lambda: _tables().scan(result))
    _refuse(result["failures"])


@click.command()
@on_workspace
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
    published: "Callable[[], Published | Measurement]",
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


COMMANDS = (fit, cls, limit, significance, ranking, scan, crosscheck)


def _refuse(failures: Mapping[str, str]) -> None:
    """Fail after what could be computed is out."""
    if failures:
        first, *others = failures.values()
        more = f" (and {len(others)} more)" if others else ""
        raise NoResult(f"{first}{more}")


def _tables() -> Any:
    from diffana.workflow import workspace_tables

    return workspace_tables


def _figures() -> Any:
    from diffana.workflow import workspace_figures

    return workspace_figures
