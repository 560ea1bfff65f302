"""The differentiable program from simulated events to a HistFactory likelihood."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffana.data import Events
from diffana.data.events import PopulationName
from diffana.errors import DataError
from diffana.histfactory import HistFactory, Layout, Templates
from diffana.histogram import (
    AbstractEdges,
    AbstractHistogrammer,
    Histogram,
    Selection,
)
from diffana.numerics import safe_sqrt
from diffana.observable import MLP, AbstractObservable
from diffana.trainable import HELD


NOMINAL = "nominal"


@final
class Summary(eqx.Module):
    """An observable, and which columns of the events it looks at.

    Attributes:
        observable: function of one event.
        columns: positions of its inputs among the features of an event.
    """

    observable: AbstractObservable
    columns: tuple[int, ...] = eqx.field(static=True)

    def __call__(
        self, features: Float[Array, "event feature"]
    ) -> Float[Array, "event *output"]:
        """Value of the observable for each event."""
        return jax.vmap(self.observable)(self._inputs(features))

    @property
    def has_logit(self) -> bool:
        """Whether the observable is a classifier with one output."""
        return isinstance(self.observable, MLP) and self.observable.n_outputs is None

    def logit(self, features: Float[Array, "event feature"]) -> Float[Array, " event"]:
        """Logarithm of the odds of signal for each event.

        Raises:
            ValueError: if the observable is no classifier with a single output.
        """
        if not (isinstance(self.observable, MLP) and self.has_logit):
            raise ValueError("only a network with one output has odds of signal")
        return jax.vmap(self.observable.logit)(self._inputs(features))

    def _inputs(
        self, features: Float[Array, "event feature"]
    ) -> Float[Array, "event input"]:
        return features[:, jnp.array(self.columns)]


@final
class Region(eqx.Module):
    """How the events of one region become a histogram.

    Attributes:
        edges: bin edges, in the unit of the summary.
        histogrammer: estimator of the yield per bin.
        cuts: selection on the features, on top of the weights.
        name: name of the region, a channel of the likelihood.
        summary: name of what is histogrammed.
        is_hard: whether cuts are sharp, as in results, or soft, as in training.
    """

    edges: AbstractEdges
    histogrammer: AbstractHistogrammer
    cuts: Selection
    name: str = eqx.field(static=True)
    summary: str = eqx.field(static=True)
    is_hard: bool = eqx.field(static=True, default=False)

    @property
    def hard(self) -> "Region":
        """The region with sharp cuts and bins."""
        return Region(
            edges=self.edges,
            histogrammer=self.histogrammer.hard,
            cuts=self.cuts,
            name=self.name,
            summary=self.summary,
            is_hard=True,
        )

    def __call__(
        self, values: Float[Array, "event *output"], events: Events
    ) -> Histogram:
        """Histogram of `events`, whose summaries are `values`."""
        cut = self.cuts.hard if self.is_hard else self.cuts.soft
        kept = jax.vmap(cut)(jnp.asarray(events.features)).astype(float)
        return self.histogrammer(
            values,
            jnp.asarray(events.weight, float) * kept,
            self.edges(),
            sumw2_scale=events.sumw2_scale,
        )


class Shape(NamedTuple):
    """A systematic variation of a sample that is simulated, in one region.

    Its effect on the yield goes into a `normsys` and its effect on the shape, at the
    nominal yield, into a `histosys` of the same parameter, as cabinetry does.

    Attributes:
        region: the region.
        sample: the sample.
        systematic: events are expected under the variations `<systematic>/up` and,
            unless `symmetrize`, `<systematic>/down`.
        parameter: nuisance parameter of both modifiers.
        symmetrize: whether the downward variation mirrors the upward one.
    """

    region: str
    sample: str
    systematic: str
    parameter: str
    symmetrize: bool = False


@final
class Outputs(eqx.Module):
    """What an analysis makes of events.

    Attributes:
        likelihood: the statistical model with the current templates.
        logits: logarithm of the odds of signal for each population of events whose
            region is summarised by a classifier, in the order of the events; None for
            the others, and for all where only sums over the events were kept.
        histograms: histogram of each population, in the order of the events.
    """

    likelihood: HistFactory
    logits: tuple[Float[Array, " event"] | None, ...]
    histograms: tuple[Histogram, ...]


@final
class Analysis(eqx.Module):
    """Events to likelihood: observables, cuts, histograms, templates.

    `model` supplies the structure and the templates of everything that no event fills:
    a published likelihood in which one region is learned is the ordinary case.

    Attributes:
        summaries: observables by name; regions may share one.
        regions: the regions that events fill.
        model: the likelihood whose templates are replaced. Not trained.
        shapes: variations that fill `normsys` and `histosys` modifiers.
    """

    summaries: Mapping[str, Summary]
    regions: tuple[Region, ...]
    model: HistFactory = eqx.field(metadata=HELD)
    shapes: tuple[Shape, ...] = eqx.field(static=True, default=())

    def __check_init__(self):
        for region in self.regions:
            if region.summary not in self.summaries:
                raise ValueError(
                    f"region {region.name!r} histograms {region.summary!r}, but there "
                    f"are {', '.join(self.summaries)}"
                )
            bins = self.model.layout.bins(region.name)
            filled, expected = len(region.edges()) - 1, bins.stop - bins.start
            if filled != expected:
                raise ValueError(
                    f"region {region.name!r} has {filled} bins, but its channel in the "
                    f"likelihood has {expected}"
                )

    @property
    def hard(self) -> "Analysis":
        """The analysis with sharp cuts and histograms, which results come from."""
        return Analysis(
            summaries=self.summaries,
            regions=tuple(region.hard for region in self.regions),
            model=self.model,
            shapes=self.shapes,
        )

    def __call__(self, events: Sequence[Events]) -> HistFactory:
        """The likelihood with the templates of `events`; a differentiable function.

        Args:
            events: one population per region, sample and variation.

        Raises:
            DataError: if a population that a modifier needs is missing.
        """
        return self.forward(events).likelihood

    def forward(self, events: Sequence[Events]) -> Outputs:
        """The likelihood, with the classifier outputs and histograms behind it."""
        histograms, logits = self.histograms_and_logits(events)
        by_name = {
            one.name: histogram
            for one, histogram in zip(events, histograms, strict=True)
        }
        return Outputs(self.likelihood(by_name), logits, histograms)

    def likelihood(self, histograms: Mapping[PopulationName, Histogram]) -> HistFactory:
        """The likelihood with given templates, such as sums over parts of a sample.

        Args:
            histograms: one per region, sample and variation.

        Raises:
            DataError: if a population that a modifier needs is missing.
        """
        templates = _fill(self.model, histograms, self.shapes)
        return eqx.tree_at(lambda m: m.templates, self.model, templates)

    def histograms(self, events: Sequence[Events]) -> tuple[Histogram, ...]:
        """Histogram of each population, simulated or observed, in their order."""
        return self.histograms_and_logits(events)[0]

    def histograms_and_logits(
        self, events: Sequence[Events]
    ) -> tuple[tuple[Histogram, ...], tuple[Array | None, ...]]:
        """What `Outputs` holds beside the likelihood.

        Raises:
            DataError: if a population is of a region that the analysis has not.
        """
        regions = {region.name: region for region in self.regions}
        unknown = [one for one in events if one.region not in regions]
        if unknown:
            raise DataError(f"{unknown[0]}: the analysis has no such region")
        values, logits = self._summarise(events, regions)
        histograms = tuple(
            regions[one.region](value, one)
            for one, value in zip(events, values, strict=True)
        )
        return histograms, logits

    def _summarise(
        self, events: Sequence[Events], regions: Mapping[str, Region]
    ) -> tuple[list[Array], tuple[Array | None, ...]]:
        """Value of the summary for each population, and its logit if it has one.

        Each observable sees all its events at once: one large matrix product costs
        less than several small ones.
        """
        values: list[Array] = [jnp.zeros(0)] * len(events)
        logits: list[Array | None] = [None] * len(events)
        for name, summary in self.summaries.items():
            mine = [
                i for i, e in enumerate(events) if regions[e.region].summary == name
            ]
            if not mine:
                continue
            features = jnp.concatenate([jnp.asarray(events[i].features) for i in mine])
            ends = [0]
            for i in mine:
                ends.append(ends[-1] + len(events[i]))
            if summary.has_logit:
                logit = summary.logit(features).astype(float)
                value = jax.nn.sigmoid(logit)
            else:
                logit, value = None, summary(features)
            for i, start, stop in zip(mine, ends[:-1], ends[1:], strict=True):
                values[i] = value[start:stop]
                logits[i] = None if logit is None else logit[start:stop]
        return values, tuple(logits)


def _fill(
    model: HistFactory,
    histograms: Mapping[PopulationName, Histogram],
    shapes: Sequence[Shape],
) -> Templates:
    """The templates of `model` with those that `histograms` supply in their place."""
    layout, filled = model.layout, model.templates
    for (region, sample, variation), histogram in histograms.items():
        if variation == NOMINAL:
            filled = _fill_nominal(filled, layout, region, sample, histogram)
    for shape in shapes:
        filled = _fill_shape(filled, layout, shape, histograms)
    return filled


def _fill_nominal(
    templates: Templates,
    layout: Layout,
    region: str,
    sample: str,
    histogram: Histogram,
) -> Templates:
    cells = layout.cells(region, sample)
    templates = eqx.tree_at(
        lambda t: t.nominal, templates, templates.nominal.at[cells].set(histogram.sumw)
    )
    row = layout.row(region, sample)
    if not any(modifier.type == "staterror" for modifier in row.modifiers):
        return templates
    entries = layout.staterror(region, sample)
    uncertainty = safe_sqrt(histogram.sumw2)
    return eqx.tree_at(
        lambda t: t.staterror,
        templates,
        templates.staterror.at[entries].set(uncertainty),
    )


def _fill_shape(
    templates: Templates,
    layout: Layout,
    shape: Shape,
    histograms: Mapping[PopulationName, Histogram],
) -> Templates:
    def yields(variation: str) -> Float[Array, " bin"]:
        name = PopulationName(shape.region, shape.sample, variation)
        if name not in histograms:
            raise DataError(
                f"region {shape.region!r}, sample {shape.sample!r}: no events of the "
                f"variation {variation!r}"
            )
        return histograms[name].sumw

    nominal = yields(NOMINAL)
    norm_hi, hi = _norm_and_shape(yields(f"{shape.systematic}/up"), nominal)
    if shape.symmetrize:
        norm_lo, lo = 2 - norm_hi, 2 * nominal - hi
    else:
        norm_lo, lo = _norm_and_shape(yields(f"{shape.systematic}/down"), nominal)
    where = (shape.region, shape.sample, shape.parameter)
    norm, entries = layout.normsys(*where), layout.histosys(*where)
    return eqx.tree_at(
        lambda t: (t.normsys_lo, t.normsys_hi, t.histosys_lo, t.histosys_hi),
        templates,
        (
            templates.normsys_lo.at[norm].set(norm_lo),
            templates.normsys_hi.at[norm].set(norm_hi),
            templates.histosys_lo.at[entries].set(lo),
            templates.histosys_hi.at[entries].set(hi),
        ),
    )


def _norm_and_shape(
    varied: Float[Array, " bin"], nominal: Float[Array, " bin"]
) -> tuple[Float[Array, ""], Float[Array, " bin"]]:
    """Relative yield of a variation, and its template at the nominal yield."""
    norm = jnp.sum(varied) / jnp.sum(nominal)
    return norm, varied / norm
