"""The losses of a landscape, its axes, and what moves along them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from diffana.analysis import Analysis
from diffana.assemble.joining import published
from diffana.assemble.model import parameter_names
from diffana.assemble.moves import (
    AbstractMove,
    Edge,
    Line,
    OfAnalysis,
    OfWorkspace,
    Template,
    Threshold,
    simple,
)
from diffana.assemble.training import loss
from diffana.config import (
    BceAugmentedLoss,
    BceLoss,
    Config,
    CutMove,
    EdgeMove,
    HistoSysMove,
    LandscapeConfig,
    MoveSection,
    NominalMove,
    NormSysMove,
    RandomMove,
    ShapeSysMove,
    SoftmaxHistogram,
    StatErrorMove,
    TowardsMove,
)
from diffana.data.events import Events
from diffana.errors import SpecificationError
from diffana.histfactory import HistFactory
from diffana.histogram import KeepAbove
from diffana.landscape import filter_normalised
from diffana.losses import AbstractLoss
from diffana.observable import MLP
from diffana.trainable import trainable


Tree = TypeVar("Tree", bound=PyTree)


class _Move(NamedTuple):
    """A move as it is written.

    Attributes:
        section: what moves.
        axis: name of its axis.
        place: where it is written.
    """

    section: MoveSection
    axis: str
    place: str


def landscape_losses(
    config: LandscapeConfig, model: HistFactory, *, has_logits: bool
) -> dict[str, AbstractLoss]:
    """The losses of a landscape by name.

    Args:
        config: the configuration.
        model: the likelihood, for the names of its parameters.
        has_logits: whether a network with one output is there.

    Raises:
        SpecificationError: if a loss names a parameter that there is not, or needs a
            network that there is not.
    """
    known = parameter_names(model)
    for index, named in enumerate(config.named_losses.values()):
        for section in named.loss:
            where = f"Losses[{index}]"
            for name in getattr(section, "parameters", None) or ():
                if name not in known:
                    raise SpecificationError(
                        f"{where}.Parameters: the model has no parameter {name!r}"
                    )
            if isinstance(section, BceLoss | BceAugmentedLoss) and not has_logits:
                raise SpecificationError(
                    f"{where}: {section.type!r} needs a network with one output"
                )
    return {name: loss(named) for name, named in config.named_losses.items()}


def landscape_axes(config: LandscapeConfig) -> dict[str, Float[np.ndarray, " point"]]:
    """Values along each axis of a landscape, by name."""
    return {axis.name: np.linspace(*axis.range, axis.points) for axis in config.axes}


def of_workspace(config: LandscapeConfig) -> OfWorkspace:
    """The likelihoods of a landscape on a workspace.

    Raises:
        SpecificationError: naming the workspace or the move that does not fit.
    """
    found = published(config)
    if found is None:
        raise ValueError("the landscape has no workspace")
    # A loss compares strengths of the signal: without one there is nothing to show.
    _ = found.poi
    moves = tuple(_template(found.model, move) for move in _moves(config))
    return OfWorkspace(found.model, moves)


def of_analysis(
    config: LandscapeConfig,
    settings: Config,
    analysis: Analysis,
    events: Sequence[Events],
    *,
    signal: Sequence[str],
    others: Mapping[str, Analysis],
) -> OfAnalysis:
    """The likelihoods of a landscape around an analysis.

    Args:
        config: configuration of the landscape.
        settings: that of the analysis.
        analysis: what is moved.
        events: populations that fill the likelihood.
        signal: names of the samples that count as signal.
        others: analyses of the runs that something moves towards, by folder.

    Raises:
        SpecificationError: naming the move that does not fit.
    """
    moves = [_built(settings, analysis, move, others) for move in _moves(config)]
    _check_distinct(config, moves)
    return OfAnalysis(
        analysis=_arrays(analysis),
        events=_arrays(tuple(events)),
        moves=tuple(sorted(moves, key=lambda move: not isinstance(move, Line))),
        signal=tuple(signal),
        is_hard=config.hard,
    )


def _moves(config: LandscapeConfig) -> Iterator[_Move]:
    for number, axis in enumerate(config.axes):
        for index, section in enumerate(axis.moves):
            which = f"[{index}]" if len(axis.moves) > 1 else ""
            yield _Move(section, axis.name, f"Axes[{number}].Moves{which}")


def _check_distinct(config: LandscapeConfig, moves: Sequence[AbstractMove]) -> None:
    """Refuse two moves that each say where the same cut or edge is."""
    seen: dict[tuple, str] = {}
    for written, move in zip(_moves(config), moves, strict=True):
        match move:
            case (
                Threshold(region=region, cut=number) | Edge(region=region, edge=number)
            ):
                key = (type(move), region, number)
                if key in seen:
                    raise SpecificationError(
                        f"{written.place}: moves what {seen[key]} moves"
                    )
                seen[key] = written.place
            case _:
                pass


def _arrays(tree: Tree) -> Tree:
    return jax.tree.map(jnp.asarray, tree)


def _template(model: HistFactory, move: _Move) -> Template:
    match move.section:
        case (
            NominalMove() | HistoSysMove() | NormSysMove() | ShapeSysMove()
            | StatErrorMove()
        ):  # fmt: skip
            section = move.section
        case _:
            raise TypeError(f"{type(move.section).__name__} moves no template")
    try:
        array, entries = _entries(model, section)
    except SpecificationError as error:
        raise SpecificationError(f"{move.place}: {error}") from error
    n_entries = entries.stop - entries.start
    if len(section.direction) != n_entries:
        raise SpecificationError(
            f"{move.place}.Direction: {len(section.direction)} numbers, but the "
            f"template has {n_entries}"
        )
    direction = jnp.array(section.direction)
    return Template(direction, array, entries.start, move.axis)


def _entries(
    model: HistFactory,
    section: NominalMove | HistoSysMove | NormSysMove | ShapeSysMove | StatErrorMove,
) -> tuple[str, slice]:
    """Name of a template array, and the slice of it that moves."""
    layout, where = model.layout, (section.channel, section.sample)
    match section:
        case NominalMove():
            return "nominal", layout.cells(*where)
        case HistoSysMove(modifier=name, side=side):
            return f"histosys_{side.lower()}", layout.histosys(*where, name)
        case NormSysMove(modifier=name, side=side):
            entry = layout.normsys(*where, name)
            return f"normsys_{side.lower()}", slice(entry, entry + 1)
        case ShapeSysMove(modifier=name):
            return "shapesys", layout.shapesys(*where, name)
        case StatErrorMove(modifier=name):
            return "staterror", layout.staterror(*where, name)


def _built(
    settings: Config, analysis: Analysis, move: _Move, others: Mapping[str, Analysis]
) -> AbstractMove:
    match move.section:
        case CutMove():
            return _threshold(settings, analysis, move.section, move)
        case EdgeMove():
            return _edge(settings, analysis, move.section, move)
        case RandomMove():
            direction = _random(analysis, move.section, move.place)
            return Line(direction=direction, axis=move.axis)
        case TowardsMove(run=folder):
            direction = _towards(analysis, others[folder])
            return Line(direction=direction, axis=move.axis)
        case _:
            name = type(move.section).__name__
            raise TypeError(f"{name} moves nothing in an analysis")


def _region(settings: Config, name: str, place: str) -> int:
    names = [region.name for region in settings.regions]
    if name not in names:
        raise SpecificationError(
            f"{place}.Region: no region {name!r}; there are {', '.join(names)}"
        )
    return names.index(name)


def _threshold(
    settings: Config, analysis: Analysis, section: CutMove, move: _Move
) -> Threshold:
    region = _region(settings, section.region, move.place)
    cuts = settings.regions[region].cuts or ()
    found = []
    for index, built in enumerate(analysis.regions[region].cuts.cuts):
        side = "Above" if isinstance(simple(built), KeepAbove) else "Below"
        if cuts[index].variable == section.variable and section.side in (None, side):
            found.append(index)
    if len(found) != 1:
        known = ", ".join(cut.variable for cut in cuts) or "nothing"
        advice = "; a Side chooses one" if found else f"; it cuts on {known}"
        raise SpecificationError(
            f"{move.place}: region {section.region!r} has {len(found) or 'no'} such "
            f"cuts on {section.variable!r}{advice}"
        )
    return Threshold(region=region, cut=found[0], axis=move.axis)


def _edge(settings: Config, analysis: Analysis, section: EdgeMove, move: _Move) -> Edge:
    region = _region(settings, section.region, move.place)
    by_network = settings.regions[region].observable is not None
    if by_network and isinstance(settings.histogram, SoftmaxHistogram):
        raise SpecificationError(
            f"{move.place}: a softmax histogram has no edges that could move"
        )
    last = len(analysis.regions[region].edges()) - 2
    if section.index > last:
        inner = f"they are 1 to {last}" if last > 0 else "there is none"
        raise SpecificationError(
            f"{move.place}.Index: {section.index} is not an inner edge; {inner}"
        )
    return Edge(region=region, edge=section.index, axis=move.axis)


def _random(analysis: Analysis, section: RandomMove, place: str) -> Analysis:
    """A direction of the weights of one network or of all."""
    networks = [
        name
        for name, summary in analysis.summaries.items()
        if isinstance(summary.observable, MLP)
    ]
    wanted = networks if section.observable is None else [section.observable]
    if not wanted or not set(wanted) <= set(networks):
        known = ", ".join(networks) or "none"
        raise SpecificationError(
            f"{place}: no network {section.observable or ''!r}; there are {known}"
        )
    nothing = jax.tree.map(lambda _: False, analysis)
    chosen = eqx.tree_at(
        lambda mask: mask.summaries,
        nothing,
        {
            name: jax.tree.map(lambda _, name=name: name in wanted, summary)
            for name, summary in analysis.summaries.items()
        },
    )
    key = jax.random.key(section.seed)
    return eqx.filter(filter_normalised(_arrays(analysis), key), chosen)


def _towards(analysis: Analysis, other: Analysis) -> Analysis:
    """From one analysis to another, which has the same structure.

    Scales of the inputs move too: without them the end would not be the other one.
    """
    moving = eqx.tree_at(
        lambda mask: mask.summaries,
        trainable(analysis),
        jax.tree.map(eqx.is_inexact_array, analysis.summaries),
    )
    start, end = (eqx.filter(_arrays(one), moving) for one in (analysis, other))
    return jax.tree.map(lambda a, b: b - a, start, end)
