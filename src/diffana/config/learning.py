"""Sections on what is trained, and on what: regions, histograms, losses, training."""

import itertools
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from diffana.config.sections import (
    Column,
    Expression,
    Many,
    Name,
    OneOrMany,
    Scheduled,
    Section,
)


def _increasing(edges: tuple[float, ...]) -> tuple[float, ...]:
    for lower, upper in itertools.pairwise(edges):
        if not lower < upper:
            raise ValueError(
                f"bin edges are not strictly increasing: {lower:g}, {upper:g}"
            )
    return edges


Edges = Annotated[
    tuple[float, ...],
    Field(strict=False, min_length=2),
    AfterValidator(_increasing),
]


class CutSection(Section):
    """A requirement on a column: smooth in training, sharp in results."""

    variable: Column = Field(description="Column that is cut on.")
    above: float | None = Field(
        default=None, description="Keep events above this value, in its unit."
    )
    below: float | None = Field(
        default=None, description="Keep events below this value, in its unit."
    )
    slope: Scheduled = Field(
        default=10.0,
        description="Steepness of the smooth cut, in inverse units of the column; the "
        "sharp cut is the limit of large values.",
    )
    trainable: bool = Field(
        default=True, description="Whether the value of the cut is trained."
    )

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError("needs either Above or Below, and not both")
        return self


class RegionSection(Section):
    """A selection of events and the histogram that is filled with them."""

    name: Name = Field(description="Name of the region.")
    observable: Name | None = Field(
        default=None, description="Trained observable that is binned."
    )
    variable: Column | None = Field(default=None, description="Column that is binned.")
    binning: Edges = Field(
        description="Bin edges, strictly increasing, in the unit of what is binned; "
        "the outputs of a network lie between 0 and 1."
    )
    trainable_binning: bool = Field(
        default=False, description="Whether the inner edges are trained."
    )
    flow: bool = Field(
        default=True,
        description="Whether the outer bins take in everything beyond them, so that "
        "no yield is lost.",
    )
    filter: Expression | None = Field(
        default=None, description="Events in the region: a fixed, sharp selection."
    )
    cuts: Many[CutSection] | None = Field(
        default=None, description="Further cuts, smooth in training."
    )

    @model_validator(mode="after")
    def _one_summary(self) -> Self:
        if (self.observable is None) == (self.variable is None):
            raise ValueError("needs either Observable or Variable, and not both")
        if self.trainable_binning and len(self.binning) < 3:
            raise ValueError("TrainableBinning needs two bins or more")
        return self


class BkdeHistogram(Section):
    """Binned kernel density estimate: each event is smeared by a Gaussian."""

    type: Literal["bKDE"]
    bandwidth: Scheduled = Field(
        description="Width of the Gaussian, in the unit of what is binned."
    )
    chunk_size: PositiveInt = Field(
        default=65_536, description="Events that are held in memory at a time."
    )


class SoftmaxHistogram(Section):
    """Each event is shared among the bins by a network with one output per bin."""

    type: Literal["softmax"]
    temperature: Scheduled = Field(
        default=1.0,
        description="Temperature of the softmax; the hard histogram is the limit 0.",
    )
    chunk_size: PositiveInt = Field(
        default=65_536, description="Events that are held in memory at a time."
    )


HistogramSection = Annotated[
    BkdeHistogram | SoftmaxHistogram, Field(discriminator="type")
]


class ClsLoss(Section):
    """Expected CLs on background-only Asimov data."""

    type: Literal["cls"]
    weight: PositiveFloat = Field(default=1.0, description="Factor in the sum.")
    poi_test: PositiveFloat = Field(
        default=1.0, description="Tested value of the parameter of interest."
    )
    log: bool = Field(default=True, description="Use its natural logarithm.")


class P0Loss(Section):
    """Expected discovery p-value on Asimov data with the nominal signal."""

    type: Literal["p0"]
    weight: PositiveFloat = Field(default=1.0, description="Factor in the sum.")
    log: bool = Field(default=True, description="Use its natural logarithm.")


class SigmaMuLoss(Section):
    """Expected uncertainty of the parameter of interest (Cramér-Rao bound)."""

    type: Literal["sigma_mu"]
    weight: PositiveFloat = Field(default=1.0, description="Factor in the sum.")
    log: bool = Field(default=True, description="Use its natural logarithm.")


class SignificanceLoss(Section):
    """Expected discovery significance Z on the same data as `p0`, negated."""

    type: Literal["significance"]
    weight: PositiveFloat = Field(default=1.0, description="Factor in the sum.")


class FisherLoss(Section):
    """Logarithm of the generalised variance, -ln det of the Fisher information."""

    type: Literal["fisher"]
    weight: PositiveFloat = Field(default=1.0, description="Factor in the sum.")
    parameters: OneOrMany[Name] | None = Field(
        default=None,
        description="Parameters whose variance counts, the others being profiled; all "
        "without it.",
    )


class AsimovSignificanceLoss(Section):
    """Expected counting significance without systematic uncertainties, negated."""

    type: Literal["asimov_significance"]
    weight: PositiveFloat = Field(default=1.0, description="Factor in the sum.")


class EmptyBinsLoss(Section):
    """Penalty on bins whose background rests on too few simulated events."""

    type: Literal["empty_bins"]
    weight: PositiveFloat = Field(default=1.0, description="Factor in the sum.")
    threshold: PositiveFloat = Field(
        default=0.3,
        description="Relative statistical uncertainty of the background of a bin that "
        "costs nothing.",
    )


class BceLoss(Section):
    """Binary cross-entropy of signal against nominal background."""

    type: Literal["bce"]
    weight: PositiveFloat = Field(default=1.0, description="Factor in the sum.")


class BceAugmentedLoss(Section):
    """Binary cross-entropy of signal against background in all its variations."""

    type: Literal["bce_augmented"]
    weight: PositiveFloat = Field(default=1.0, description="Factor in the sum.")


LossSection = Annotated[
    ClsLoss
    | P0Loss
    | SignificanceLoss
    | SigmaMuLoss
    | FisherLoss
    | AsimovSignificanceLoss
    | EmptyBinsLoss
    | BceLoss
    | BceAugmentedLoss,
    Field(discriminator="type"),
]


class AdamOptimizer(Section):
    """Adam."""

    type: Literal["adam"]
    learning_rate: Scheduled = Field(default=1e-3, description="Step size.")


class AdamWOptimizer(Section):
    """Adam with decoupled weight decay."""

    type: Literal["adamw"]
    learning_rate: Scheduled = Field(default=1e-3, description="Step size.")
    weight_decay: NonNegativeFloat = Field(
        default=1e-4, description="Shrinkage of the parameters per unit step size."
    )


class SgdOptimizer(Section):
    """Stochastic gradient descent."""

    type: Literal["sgd"]
    learning_rate: Scheduled = Field(description="Step size.")
    momentum: NonNegativeFloat = Field(
        default=0.0, lt=1, description="Share of the previous step that is kept."
    )


OptimizerSection = Annotated[
    AdamOptimizer | AdamWOptimizer | SgdOptimizer, Field(discriminator="type")
]


class TrainSection(Section):
    """The training."""

    epochs: PositiveInt = Field(description="Passes over the training events.")
    batch_size: PositiveInt = Field(
        description="Simulated events per update, over all samples and variations."
    )
    optimizer: OptimizerSection = Field(
        default=AdamOptimizer.model_validate({"Type": "adam"}),
        description="How a gradient becomes a step.",
    )
    selection: Literal[
        "loss", "cls", "p0", "sigma_mu", "fisher", "asimov_significance"
    ] = Field(
        default="loss",
        description="Metric, smaller is better, that selects the best model on "
        "validation events with sharp cuts and histograms; `loss` is the loss itself.",
    )
    max_failed_steps: NonNegativeInt = Field(
        default=10,
        description="Updates in a row whose fit may fail before training stops with "
        "an error.",
    )
