"""Sections on what is trained, and on what: regions, histograms, losses, training."""

import itertools
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    model_validator,
)

from diffana.config.sections import (
    LARGEST_COUNT,
    Column,
    Count,
    Expression,
    Many,
    Name,
    OneOrMany,
    Scheduled,
    Section,
    Seed,
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


def _without_default(schema: dict[str, Any]) -> None:
    del schema["default"]


class RegionSection(Section):
    """A selection of events and the histogram that is filled with them."""

    name: Name = Field(description="Name of the region.")
    observable: Name | None = Field(
        default=None, description="Trained observable that is binned."
    )
    variable: Column | None = Field(
        default=None, description="Column or expression that is binned."
    )
    binning: Edges = Field(
        description="Bin edges, strictly increasing, in the unit of what is binned; "
        "the outputs of a network lie between 0 and 1."
    )
    trainable_binning: bool = Field(
        default=False, description="Whether the inner edges are trained."
    )
    flow: bool = Field(
        default=False,
        json_schema_extra=_without_default,
        description="Whether the outer bins take in everything beyond them, so that "
        "no yield is lost. True without it for an Observable, false for a Variable.",
    )
    filter: Expression | None = Field(
        default=None,
        description="Events in the region: a fixed, sharp selection. The Filter of a "
        "sample or a variation takes its place.",
    )
    region_path: str | None = Field(
        default=None,
        description="Part of the path of the files that hold the events of the region, "
        "put in place of {RegionPath} in General.InputPath.",
    )
    cuts: Many[CutSection] | None = Field(
        default=None, description="Further cuts, smooth in training."
    )

    @model_validator(mode="before")
    @classmethod
    def _flow_of_an_observable(cls, section: Any) -> Any:
        if isinstance(section, dict) and "Flow" not in section:
            return {**section, "Flow": section.get("Observable") is not None}
        return section

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
    chunk_size: Count = Field(
        default=65_536, description="Events that are held in memory at a time."
    )


class SoftmaxHistogram(Section):
    """Each event is shared among the bins by a network with one output per bin."""

    type: Literal["softmax"]
    temperature: Scheduled = Field(
        default=1.0,
        description="Temperature of the softmax; the hard histogram is the limit 0.",
    )
    chunk_size: Count = Field(
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
    """Expected discovery p-value on Asimov data with the signal."""

    type: Literal["p0"]
    weight: PositiveFloat = Field(default=1.0, description="Factor in the sum.")
    poi_signal: PositiveFloat = Field(
        default=1.0, description="Value of the parameter of interest in the data."
    )
    log: bool = Field(default=True, description="Use its natural logarithm.")


class SigmaMuLoss(Section):
    """Expected uncertainty of the parameter of interest (Cramér-Rao bound)."""

    type: Literal["sigma_mu"]
    weight: PositiveFloat = Field(default=1.0, description="Factor in the sum.")
    poi: float = Field(
        default=1.0,
        description="True value of the parameter of interest in the Asimov data.",
    )
    log: bool = Field(default=True, description="Use its natural logarithm.")


class SignificanceLoss(Section):
    """Expected discovery significance Z on the same data as `p0`, negated."""

    type: Literal["significance"]
    weight: PositiveFloat = Field(default=1.0, description="Factor in the sum.")
    poi_signal: PositiveFloat = Field(
        default=1.0, description="Value of the parameter of interest in the data."
    )


class FisherLoss(Section):
    """A function of the covariance, which is the inverse Fisher information."""

    type: Literal["fisher"]
    weight: PositiveFloat = Field(default=1.0, description="Factor in the sum.")
    form: Literal["log_generalised_variance", "generalised_variance", "trace"] = Field(
        default="log_generalised_variance",
        description="The determinant of the covariance, its logarithm, or the sum of "
        "the variances, each in the unit of its parameter squared.",
    )
    poi: float = Field(
        default=1.0,
        description="True value of the parameter of interest in the Asimov data.",
    )
    parameters: OneOrMany[Name] | None = Field(
        default=None,
        description="Parameters whose variance counts, the others being profiled; all "
        "without it. With one parameter, `trace` is a diagonal element.",
    )


class UpperLimitLoss(Section):
    """Expected upper limit on the parameter of interest under background only."""

    type: Literal["upper_limit"]
    weight: PositiveFloat = Field(default=1.0, description="Factor in the sum.")
    level: PositiveFloat = Field(
        default=0.05, lt=1, description="CLs at the limit: 0.05 for 95 % confidence."
    )
    n_sigma: float = Field(
        default=0.0,
        ge=-5,
        le=5,
        description="Background data that are assumed, in standard deviations up from "
        "the median.",
    )
    log: bool = Field(default=False, description="Use its natural logarithm.")


class IntervalLengthLoss(Section):
    """Length of the profile-likelihood interval of the parameter of interest."""

    type: Literal["interval_length"]
    weight: PositiveFloat = Field(default=1.0, description="Factor in the sum.")
    poi: float = Field(
        default=1.0,
        description="True value of the parameter of interest in the Asimov data.",
    )
    level: PositiveFloat = Field(
        default=1.0,
        description="Height of -2 ln L above its minimum at the edges: 1 for 68.3 %.",
    )
    log: bool = Field(default=False, description="Use its natural logarithm.")


def _even(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd; the points come in pairs")
    return number


class GaussianityLoss(Section):
    """Mean squared difference between the likelihood and a Gaussian.

    The Gaussian has the Fisher information of the likelihood.
    """

    type: Literal["gaussianity"]
    weight: PositiveFloat = Field(default=1.0, description="Factor in the sum.")
    poi: float = Field(
        default=1.0,
        description="True value of the parameter of interest in the Asimov data.",
    )
    points: Annotated[Count, AfterValidator(_even)] = Field(
        default=256,
        description="Points at which they are compared, an even number.",
    )
    seed: Seed = Field(
        default=0, description="Of the points, which are the same in every update."
    )
    of: Literal["likelihood", "log_likelihood"] = Field(
        default="likelihood",
        description="What is compared. The logarithm is undefined where an expected "
        "yield is negative; the likelihood is zero there.",
    )


class ConstraintLoss(Section):
    """Over- and under-constraint of nuisance parameters.

    The sum of (1 - uncertainty over width of the constraint) squared.
    """

    type: Literal["constraint"]
    weight: PositiveFloat = Field(default=1.0, description="Factor in the sum.")
    poi: float = Field(
        default=1.0,
        description="True value of the parameter of interest in the Asimov data.",
    )
    parameters: OneOrMany[Name] | None = Field(
        default=None, description="Parameters that count; all constrained ones without."
    )


class PullsLoss(Section):
    """Squared pulls of nuisance parameters in a fit with a wrong signal strength.

    The fit holds the parameter of interest at PoiTest on the Asimov data of PoiTrue.
    """

    type: Literal["pulls"]
    weight: PositiveFloat = Field(default=1.0, description="Factor in the sum.")
    poi_true: float = Field(
        default=1.0, description="Value of the parameter of interest in the data."
    )
    poi_test: float = Field(
        default=0.0, description="Value of the parameter of interest in the fit."
    )
    parameters: OneOrMany[Name] | None = Field(
        default=None, description="Parameters that count; all constrained ones without."
    )

    @model_validator(mode="after")
    def _wrong(self) -> Self:
        if self.poi_true == self.poi_test:
            raise ValueError("needs PoiTrue and PoiTest to differ: no pulls without")
        return self


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
    | UpperLimitLoss
    | IntervalLengthLoss
    | GaussianityLoss
    | ConstraintLoss
    | PullsLoss
    | AsimovSignificanceLoss
    | EmptyBinsLoss
    | BceLoss
    | BceAugmentedLoss,
    Field(discriminator="type"),
]


_CLIP_NORM = Field(
    default=None,
    description="Largest Euclidean norm of a gradient; longer ones are shortened to "
    "it.",
)


class AdamOptimizer(Section):
    """Adam."""

    type: Literal["adam"]
    learning_rate: Scheduled = Field(default=1e-3, description="Step size.")
    clip_norm: PositiveFloat | None = _CLIP_NORM


class AdamWOptimizer(Section):
    """Adam with decoupled weight decay."""

    type: Literal["adamw"]
    learning_rate: Scheduled = Field(default=1e-3, description="Step size.")
    weight_decay: NonNegativeFloat = Field(
        default=1e-4, description="Shrinkage of the parameters per unit step size."
    )
    clip_norm: PositiveFloat | None = _CLIP_NORM


class SgdOptimizer(Section):
    """Stochastic gradient descent."""

    type: Literal["sgd"]
    learning_rate: Scheduled = Field(description="Step size.")
    momentum: NonNegativeFloat = Field(
        default=0.0, lt=1, description="Share of the previous step that is kept."
    )
    clip_norm: PositiveFloat | None = _CLIP_NORM


OptimizerSection = Annotated[
    AdamOptimizer | AdamWOptimizer | SgdOptimizer, Field(discriminator="type")
]


class TrainSection(Section):
    """The training."""

    epochs: Count = Field(description="Passes over the training events.")
    batch_size: Count = Field(
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
    max_failed_steps: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] = Field(
        default=10,
        description="Updates in a row whose fit may fail before training stops with "
        "an error.",
    )
