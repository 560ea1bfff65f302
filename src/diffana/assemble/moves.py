"""Likelihoods of a landscape: what moves along its axes, and what it moves in."""

import abc
import functools as ft
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from diffana.analysis import Analysis
from diffana.data.events import Events
from diffana.histfactory import HistFactory
from diffana.histogram import AbstractCut, FixedEdges, HeldCut, KeepAbove, KeepBelow
from diffana.landscape import Point
from diffana.likelihood import AbstractLikelihood
from diffana.losses import Scores
from diffana.train import scores


class AbstractMove(eqx.Module):
    """Something in an analysis that an axis moves."""

    axis: eqx.AbstractVar[str]

    @abc.abstractmethod
    def __call__(self, analysis: Analysis, value: Scalar) -> Analysis:
        """The analysis at a value of the axis."""


@final
class Template(eqx.Module):
    """Numbers of a template array that an axis moves.

    Attributes:
        direction: what is added to them where the axis is at 1.
        array: name of the array in `Templates`.
        start: position of the first of them.
        axis: name of the axis.
    """

    direction: Float[Array, " entry"]
    array: str = eqx.field(static=True)
    start: int = eqx.field(static=True)
    axis: str = eqx.field(static=True)

    def __call__(self, model: HistFactory, value: Scalar) -> HistFactory:
        """The likelihood at a value of the axis."""

        def where(model: HistFactory) -> Array:
            return getattr(model.templates, self.array)

        stop = self.start + self.direction.size
        moved = where(model).at[self.start : stop].add(value * self.direction)
        return eqx.tree_at(where, model, moved)


@final
class Threshold(AbstractMove):
    """The threshold of cut number `cut` of region number `region`."""

    region: int = eqx.field(static=True)
    cut: int = eqx.field(static=True)
    axis: str = eqx.field(static=True)

    def __call__(self, analysis: Analysis, value: Scalar) -> Analysis:
        """The analysis with the threshold at `value`."""

        def where(analysis: Analysis) -> Array:
            return simple(analysis.regions[self.region].cuts.cuts[self.cut]).threshold

        return eqx.tree_at(where, analysis, value)


@final
class Edge(AbstractMove):
    """Edge number `edge` of region number `region`."""

    region: int = eqx.field(static=True)
    edge: int = eqx.field(static=True)
    axis: str = eqx.field(static=True)

    def __call__(self, analysis: Analysis, value: Scalar) -> Analysis:
        """The analysis with the edge at `value`, in order or not."""
        edges = analysis.regions[self.region].edges().at[self.edge].set(value)
        return eqx.tree_at(
            lambda a: a.regions[self.region].edges, analysis, FixedEdges(edges)
        )


@final
class Line(AbstractMove):
    """A straight line: `direction` holds what is added at 1, and None elsewhere."""

    direction: Analysis
    axis: str = eqx.field(static=True)

    def __call__(self, analysis: Analysis, value: Scalar) -> Analysis:
        """The analysis at a point of the line."""
        return jax.tree.map(
            lambda step, leaf: (
                leaf if step is None else leaf + value.astype(leaf.dtype) * step
            ),
            self.direction,
            analysis,
            is_leaf=lambda node: node is None,
        )


@final
class OfWorkspace(eqx.Module):
    """Likelihoods of a landscape: a workspace with moved templates.

    Attributes:
        model: the published likelihood.
        moves: what moves.
    """

    model: HistFactory
    moves: tuple[Template, ...]

    def __call__(self, point: Point) -> tuple[AbstractLikelihood, tuple[Scores, ...]]:
        """The likelihood at a point of the grid."""
        moved = ft.reduce(
            lambda model, move: move(model, point[move.axis]), self.moves, self.model
        )
        return moved, ()


@final
class OfAnalysis(eqx.Module):
    """Likelihoods of a landscape: what a moved analysis makes of events.

    Attributes:
        analysis: what is moved.
        events: one population per region, sample and variation.
        moves: what moves; lines come first, so that cuts and edges of their own stay
            where their axes put them.
        signal: names of the samples that count as signal.
        is_hard: whether cuts and bins are sharp, once moved.
    """

    analysis: Analysis
    events: tuple[Events, ...]
    moves: tuple[AbstractMove, ...]
    signal: tuple[str, ...] = eqx.field(static=True)
    is_hard: bool = eqx.field(static=True)

    def __call__(self, point: Point) -> tuple[AbstractLikelihood, tuple[Scores, ...]]:
        """The likelihood and the scores at a point of the grid."""
        moved = ft.reduce(
            lambda analysis, move: move(analysis, point[move.axis]),
            self.moves,
            self.analysis,
        )
        moved = moved.hard if self.is_hard else moved
        outputs = moved.forward(self.events)
        # Histograms of edges out of order hold finite numbers that mean nothing.
        in_order = [jnp.all(jnp.diff(region.edges()) > 0) for region in moved.regions]
        possible = jnp.all(jnp.stack(in_order))
        likelihood = eqx.tree_at(
            lambda model: model.templates.nominal,
            outputs.likelihood,
            jnp.where(possible, outputs.likelihood.templates.nominal, jnp.nan),
        )
        return likelihood, scores(outputs.logits, self.events, self.signal)


def simple(cut: AbstractCut) -> KeepAbove | KeepBelow:
    """The cut with a threshold that a cut of a region is, be it trained or held."""
    inner = cut.cut if isinstance(cut, HeldCut) else cut
    if not isinstance(inner, KeepAbove | KeepBelow):
        raise TypeError(f"{type(inner).__name__} has no threshold")
    return inner
