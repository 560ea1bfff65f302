"""Commands on confidence belts from pseudo-experiments."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from diffana.cli.failures import BadInput, statistics
from diffana.cli.output import Report, Writable, progress
from diffana.cli.published import on_workspace
from diffana.cli.sources import JsonFile, Source


if TYPE_CHECKING:
    from diffana.published import Published
    from diffana.stored import Measurement
    from diffana.workflow.farm import Farm


_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)


class Levels(click.ParamType):
    """Confidence levels, separated by commas."""

    name = "levels"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        """The levels, increasing."""
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(sorted({float(part) for part in value.split(",")}))
        except ValueError:
            found = ()
        if not found or not all(0 < level < 1 for level in found):
            raise BadInput(f"{value!r} are no confidence levels between 0 and 1")
        return found


class BeltGroup(click.Group):
    """Commands on belts; anything else is a workspace to make a belt for."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """`belt` unless another command is named."""
        if args and args[0] in self.commands:
            return super().resolve_command(ctx, args)
        return "belt", self.commands["belt"], args

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Options before the workspace belong to `belt`, too."""
        asks = any(one in ("-h", "--help") for one in args[:1])
        if args and args[0] not in self.commands and not asks:
            args = ["belt", *args]
        return super().parse_args(ctx, args)


@click.group(cls=BeltGroup, subcommand_metavar="WORKSPACE | COMMAND [ARGS]...")
def neyman() -> None:
    """Confidence sets with guaranteed coverage, from pseudo-experiments.

    `diffana neyman WORKSPACE --out FOLDER` makes a belt; the commands below use it.
    `diffana neyman belt --help` lists the options.
    """


@neyman.command()
@on_workspace
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the belt; if it exists unfinished, the belt in it goes on.",
)
@click.option(
    "--statistic",
    type=click.Choice(["fts", "lrs"]),
    help="Focused statistic, or likelihood ratio (Feldman-Cousins).  [default: fts "
    "with a focus, else lrs]",
)
@click.option(
    "--focus",
    metavar="FUNCTION",
    help="normal(mean,sd), halfnormal(sd), uniform(lower,upper), "
    "insured(FUNCTION,fraction), or a sum such as 0.7*normal(0,1)+0.3*normal(3,1).",
)
@click.option(
    "--truncate/--no-truncate",
    default=True,
    show_default=True,
    help="Whether normal functions end at the bounds of the parameter of interest.",
)
@click.option(
    "--levels",
    type=Levels(),
    default="0.6827,0.9545",
    show_default=True,
    help="Confidence levels.",
)
@click.option(
    "--nuisance",
    type=click.Choice(["profile", "marginal", "mixed", "laplace"]),
    default="profile",
    show_default=True,
    help="Nuisance parameters: profiled, averaged over their constraints, profiled "
    "above and averaged below, or that approximately.",
)
@click.option(
    "--scheme",
    type=click.Choice(["plugin", "conditional", "average"]),
    default="plugin",
    show_default=True,
    help="Toys with fitted nuisance parameters, all over a region of them (for the "
    "worst case), or drawn from their constraints (coverage on average only).",
)
@click.option(
    "--method",
    type=click.Choice(["empirical", "quantile", "p-value", "universal"]),
    help="Order statistics at separate values, regression of quantiles or of p-values, "
    "or the bound that needs no toys.  [default: empirical; quantile for conditional]",
)
@click.option(
    "--guard/--no-guard",
    default=True,
    show_default=True,
    help="Whether regressions are corrected with toys kept back.",
)
@click.option(
    "--range",
    "tested",
    type=(float, float),
    metavar="LOW HIGH",
    help="Tested values.  [default: eight standard deviations, within the bounds]",
)
@click.option(
    "--grid",
    "n_grid",
    type=click.IntRange(6),
    default=201,
    show_default=True,
    help="How many values are tested.",
)
@click.option(
    "--points",
    "n_points",
    type=click.IntRange(2),
    default=51,
    show_default=True,
    help="Values with toys of their own, for the method empirical.",
)
@click.option(
    "--toys",
    "n_toys",
    type=click.IntRange(100),
    default=100_000,
    show_default=True,
    help="Pseudo-experiments in all.",
)
@click.option(
    "--nodes",
    "n_nodes",
    type=click.IntRange(3),
    default=13,
    show_default=True,
    help="Fits per profile.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of the pseudo-experiments.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Processes on this machine that share them, of one core each.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Dask scheduler whose processes share the pseudo-experiments.",
)
def belt(
    published: "Callable[[], Published | Measurement]",
    *,
    report: Report,
    out: Path,
    statistic: str | None,
    focus: str | None,
    method: str | None,
    tested: tuple[float, float] | None,
    workers: int | None,
    scheduler: str | None,
    levels: tuple[float, ...],
    guard: bool,
    n_points: int,
    n_toys: int,
    seed: int,
    **construction: Any,
) -> None:
    """Make a confidence belt for WORKSPACE, or for a run with a learned likelihood.

    The same command goes on with what is not finished.
    """
    if workers is not None and scheduler is not None:
        raise BadInput("--workers and --scheduler exclude one another")
    workspace = published()
    from diffana.assemble.neyman import Description
    from diffana.neyman import Settings
    from diffana.workflow import farm
    from diffana.workflow.neyman import figures, making, tables

    chosen: Any = statistic or ("lrs" if focus is None else "fts")
    lower, upper = (None, None) if tested is None else tested
    usual = "quantile" if construction["scheme"] == "conditional" else "empirical"
    description = Description(
        statistic=chosen,
        focus=focus,
        lower=lower,
        upper=upper,
        seed=seed,
        **construction,
    )
    settings = Settings(
        levels=levels,
        method=method or usual,  # pyright: ignore[reportArgumentType]
        n_toys=n_toys,
        n_points=n_points,
        guard=guard,
        seed=seed,
    )

    def crew() -> "contextlib.AbstractContextManager[Farm | None]":
        if workers is None and scheduler is None:
            return contextlib.nullcontext()
        return farm.opened(scheduler=scheduler, n_workers=workers)

    document = making.make(
        workspace,
        description,
        settings,
        out,
        crew=crew,
        progress=lambda total: progress("toys", total),
        warn=lambda line: click.echo(line, err=True),
    )
    figures.belt(out, document)
    report(document, lambda: tables.belt(document))


def _on_folder(command: Any) -> Any:
    for option in (
        click.option(
            "--output-file",
            type=Writable(),
            help="File for the JSON instead of stdout.",
        ),
        click.option(
            "--json", "as_json", is_flag=True, help="JSON on a terminal, too."
        ),
    ):
        command = option(command)
    return command


@neyman.command()
@click.argument("folder", type=_FOLDER)
@click.option(
    "--data",
    type=JsonFile(),
    help="Other data: a workspace, its observations, or counts by channel.",
)
@_on_folder
def interval(
    folder: Path, *, data: Source | None, as_json: bool, output_file: Path | None
) -> None:
    """Confidence sets of the observed data with the belt in FOLDER.

    They are stored in FOLDER, too, unless the data are others than the workspace's.
    """
    with statistics():
        from diffana.runs import Run
        from diffana.workflow.neyman import figures, intervals, tables

        content, origin = (None, "") if data is None else (data.content, data.origin)
        document = intervals.interval(folder, content, origin)
        if data is None:
            Run(folder).write_json("interval.json", document)
            figures.interval(folder, document)
        for one in document["sets"]:
            if any(one["hits_edge"]):
                click.echo(
                    f"the set at level {one['level']:g} reaches an end of the tested "
                    "range",
                    err=True,
                )
        Report(as_json, output_file)(document, lambda: tables.interval(document))


@neyman.command()
@click.argument("folder", type=_FOLDER)
@click.option(
    "--points",
    type=click.IntRange(1),
    default=21,
    show_default=True,
    help="True values of the parameter of interest.",
)
@click.option(
    "--toys",
    type=click.IntRange(10),
    default=2000,
    show_default=True,
    help="Pseudo-experiments at each of them.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Their seed."
)
@_on_folder
def coverage(
    folder: Path,
    *,
    points: int,
    toys: int,
    seed: int,
    as_json: bool,
    output_file: Path | None,
) -> None:
    """How often the sets of the belt in FOLDER contain the true value.

    Pseudo-experiments are made as those of the belt were, with other random numbers.
    Ends with exit code 1 if the coverage is below the level somewhere, beyond what
    their number explains.
    """
    with statistics():
        from diffana.runs import Run
        from diffana.workflow.neyman import figures, studies, tables

        with progress("toys", points * toys) as advance:
            document = studies.coverage(
                folder, n_points=points, n_toys=toys, seed=seed, on_toys=advance
            )
        Run(folder).write_json("coverage.json", document)
        figures.coverage(folder, document)
        Report(as_json, output_file)(document, lambda: tables.coverage(document))
    if not all(one["covers"] for one in document["levels"]):
        click.get_current_context().exit(1)


@neyman.command()
@click.argument("folders", type=_FOLDER, nargs=-1, required=True)
@click.option(
    "--points",
    type=click.IntRange(2),
    default=11,
    show_default=True,
    help="True values of the parameter of interest.",
)
@click.option(
    "--toys",
    type=click.IntRange(10),
    default=1000,
    show_default=True,
    help="Pseudo-experiments at each of them.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=2, show_default=True, help="Their seed."
)
@click.option(
    "--plot", type=Writable(".pdf", ".png", ".svg"), help="File for the figure."
)
@_on_folder
def compare(
    folders: tuple[Path, ...],
    *,
    points: int,
    toys: int,
    seed: int,
    plot: Path | None,
    as_json: bool,
    output_file: Path | None,
) -> None:
    """Compare the lengths of the sets of belts, with the last one as reference.

    All belts see the same pseudo-experiments. Beside every gain stands what it costs at
    other true values.
    """
    if len(folders) < 2:
        raise BadInput("a comparison needs two belts")
    with statistics():
        from diffana.workflow.neyman import figures, studies, tables

        with progress("toys", len(folders) * points * toys) as advance:
            document = studies.compare(
                folders, n_points=points, n_toys=toys, seed=seed, on_toys=advance
            )
        if plot is not None:
            figures.compare(plot, document)
        Report(as_json, output_file)(document, lambda: tables.compare(document))


COMMANDS = (neyman,)
