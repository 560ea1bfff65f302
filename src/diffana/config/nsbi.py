"""The configuration of an unbinned measurement, a YAML document of its own."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    model_validator,
)

from diffana.config import document, mistakes, nsbi_references, reading
from diffana.config.inputs import (
    GeneralSection,
    GeneratorSection,
    InputSection,
    SampleSection,
    SplitSection,
    Width,
)
from diffana.config.learning import AdamOptimizer, OptimizerSection
from diffana.config.sections import (
    Column,
    Count,
    Expression,
    Many,
    Name,
    OneOrMany,
    Range,
    Section,
)
from diffana.config.statistics import (
    NormalizationSystematic,
    NormFactorSection,
    NormPlusShapeSystematic,
    check_bounds,
)


def _names_a_folder(name: str) -> str:
    if not re.fullmatch(r"\w[\w .+-]*", name):
        raise ValueError(
            f"{name!r} cannot name a folder: take letters, digits, spaces and _ . + -, "
            "with a letter or a digit first"
        )
    return name


RegionName = Annotated[str, AfterValidator(_names_a_folder)]


class NsbiRegionSection(Section):
    """A selection of events, which enter the likelihood one by one."""

    name: RegionName = Field(
        description="Name of the region: letters, digits, spaces and _ . + -."
    )
    filter: Expression | None = Field(
        default=None,
        description="Events in the region: a fixed, sharp selection. The Filter of a "
        "sample or a variation takes its place.",
    )
    region_path: str | None = Field(
        default=None,
        description="Part of the path of the files, put in place of {RegionPath} in "
        "General.InputPath.",
    )


class NsbiSampleSection(SampleSection):
    """One process, or the observed data.

    Weights may have both signs: the events of either sign are then a component of the
    likelihood of their own.
    """

    through: Name | None = Field(
        default=None,
        description="Sample through which the ratio to the reference is learned: the "
        "ratio to this sample, times that of this sample. Between the same simulated "
        "events under two weights a ratio has hardly any statistical uncertainty.",
    )


class NsbiNormPlusShapeSystematic(NormPlusShapeSystematic):
    """An uncertainty on yield and shape.

    With `Symmetrize`, the logarithm of the shape is mirrored, which stays positive.
    """

    morph: Literal["polyexp", "logquadratic", "parametric"] = Field(
        default="polyexp",
        description="How the density of an event follows the parameter. Through the "
        "ratios learned at +1 and -1, `polyexp` is the interpolation code4, event by "
        "event, and `logquadratic` a quadratic polynomial in the logarithm. Of the "
        "latter, `parametric` learns the coefficients by one network for all "
        "such parameters of a sample.",
    )


NsbiSystematicSection = Annotated[
    NormalizationSystematic | NsbiNormPlusShapeSystematic,
    Field(discriminator="type"),
]


class InterferenceSection(Section):
    """A signal that interferes with its background.

    The expected events are a sum of three samples, which a signal strength scales by
    μ - √μ, √μ and 1 - √μ. The parameter of the likelihood is √μ: with respect to μ, the
    derivative at 0 is infinite.
    """

    signal: Name = Field(description="Sample of the signal without background.")
    total: Name = Field(
        description="Sample of signal and background with their interference, at "
        "strength 1."
    )
    background: Name = Field(description="Sample of the background without signal.")
    strength: Name = Field(default="mu", description="Name of μ, for results.")
    amplitude: Name = Field(
        default="sqrt_mu", description="Name of the parameter √μ, for General.POI."
    )
    nominal: NonNegativeFloat = Field(
        default=1.0, description="Value of √μ that a fit starts from."
    )
    bounds: Range = Field(
        default=(0.0, 3.0), description="Smallest and largest √μ of a fit."
    )

    @model_validator(mode="after")
    def _nominal_within_bounds(self) -> Self:
        check_bounds(self.nominal, self.bounds)
        if self.bounds[0] < 0:
            raise ValueError("Bounds of √μ begin at 0 or above")
        return self


class CouplingSection(Section):
    """A coupling that intensities are polynomials of."""

    name: Name = Field(description="Name of the parameter.")
    nominal: float = Field(default=1.0, description="Value a fit starts from.")
    bounds: Range = Field(
        default=(-10.0, 10.0), description="Smallest and largest value of a fit."
    )

    @model_validator(mode="after")
    def _nominal_within_bounds(self) -> Self:
        check_bounds(self.nominal, self.bounds)
        return self


_Powers = Annotated[
    tuple[Annotated[int, Field(ge=0, le=20)], ...], Field(strict=False, min_length=1)
]
_Point = Annotated[tuple[float, ...], Field(strict=False, min_length=1)]


class MorphingSection(Section):
    """A process that is simulated at some values of its couplings."""

    couplings: OneOrMany[CouplingSection] = Field(description="The couplings.")
    powers: Many[_Powers] = Field(
        description="Monomials that the intensity is a sum of: for each of them the "
        "power of every coupling."
    )
    points: dict[Name, _Point] = Field(
        description="Sample -> values of the couplings at which it was simulated; as "
        "many samples as there are monomials, or more."
    )


class CalibrationSection(Section):
    """A monotone map of the learned log ratio, fitted to validation events."""

    knots: Annotated[int, Field(ge=2, le=1000)] = Field(
        default=8, description="Knots of the spline."
    )


class RatiosSection(Section):
    """How density ratios are learned: an ensemble of networks for each."""

    hidden: Annotated[tuple[Width, ...], Field(strict=False)] = Field(
        default=(64, 64), description="Width of each hidden layer."
    )
    activation: Literal["relu", "tanh", "gelu", "silu", "softplus"] = Field(
        default="silu", description="Activation function of the hidden layers."
    )
    precision: Literal["float32", "float64"] = Field(
        default="float32",
        description="Floating-point type of the networks. Statistics are float64.",
    )
    loss: Literal["bce", "carl", "mlc", "multiclass"] = Field(
        default="bce",
        description="What is minimised: the binary cross-entropy, that of CARL with "
        "square roots of the odds, that of maximum-likelihood classification; or the "
        "categorical cross-entropy of one network for all samples that are compared "
        "with the same one.",
    )
    members: Annotated[int, Field(gt=0, le=1000)] = Field(
        default=2, description="Networks of each ensemble, whose mean is the ratio."
    )
    resampling: Literal["none", "bootstrap", "partition"] = Field(
        default="none",
        description="Training events of each member: all, all with random counts, or "
        "a part of its own.",
    )
    epochs: Count = Field(default=20, description="Passes over the training events.")
    batch_size: Count = Field(
        default=1024, description="Simulated events per update of each member."
    )
    optimizer: OptimizerSection = Field(
        default=AdamOptimizer.model_validate(
            {
                "Type": "adam",
                "LearningRate": {"Type": "exponential", "Start": 3e-3, "End": 3e-5},
                "ClipNorm": 1.0,
            }
        ),
        description="How a gradient becomes a step.",
    )
    patience: Count | None = Field(
        default=None,
        description="Epochs without improvement of any member on validation events "
        "after which a training ends; never without it.",
    )
    calibration: CalibrationSection | None = Field(
        default=CalibrationSection(),
        description="Calibration of each ratio; nothing for none. A `parametric` one "
        "has none.",
    )
    fresh_events: bool = Field(
        default=False,
        description="Generate new training events for every epoch, and others to "
        "select and calibrate with, as many as EventsPerSample says. Of those that are "
        "divided by Split only the part Test is of importance then. Needs a Generator.",
    )


class DiagnosticsSection(Section):
    """When a learned likelihood counts as wrong.

    Thresholds on pulls and p-values are those of all ratios together: where n of them
    are tested, each is by so much harder to fail that all right ones pass as often as
    stated.
    """

    pull: PositiveFloat = Field(
        default=3.0,
        description="Largest pull of the norm and of the calibration of a ratio.",
    )
    effective_size: PositiveFloat = Field(
        default=0.01,
        le=1,
        description="Least effective number of events of the denominator after "
        "weighting with the ratio, as a fraction of their number.",
    )
    saturation: PositiveFloat = Field(
        default=0.01,
        le=1,
        description="Largest share of events whose score is within 1e-6 of 0 or 1.",
    )
    feature_closure: PositiveFloat = Field(
        default=0.01,
        lt=1,
        description="Least p-value of the distributions of the features.",
    )
    classifier_closure: PositiveFloat = Field(
        default=0.05,
        lt=1,
        description="Least p-value of a classifier that looks for differences.",
    )
    spread: PositiveFloat = Field(
        default=0.1,
        description="Largest uncertainty of the mean log ratio of an ensemble.",
    )
    statistics: PositiveFloat = Field(
        default=3.0,
        description="Least effective number of reference events per expected event: "
        "with n, they add about 1/n to the variance of a result.",
    )
    asimov_difference: PositiveFloat = Field(
        default=0.1,
        description="Largest difference of -2 Δ ln L between learned and exact ratios, "
        "where the latter are known.",
    )
    asimov_reach: PositiveFloat = Field(
        default=4.0,
        description="Largest exact -2 Δ ln L at which they are compared: 4 is two "
        "standard deviations.",
    )
    asimov_points: Annotated[int, Field(ge=2, le=1000)] = Field(
        default=41, description="Points of that comparison."
    )


class NsbiFitSection(Section):
    """The profile fits of the diagnosis."""

    max_steps: Count = Field(
        default=200, description="Steps after which a fit counts as failed."
    )


class NsbiConfig(Section):
    """An unbinned measurement: events, density ratios, statistical model.

    Sections and keys that cabinetry has too are spelled and mean the same.
    """

    general: GeneralSection = Field(description="General settings.")
    generator: GeneratorSection | None = Field(
        default=None, description="Generates the events, instead of reading files."
    )
    input: InputSection = Field(
        default=InputSection(), description="Treatment of undefined features."
    )
    split: SplitSection = Field(
        default=SplitSection.model_validate(
            {"Train": 0.5, "Validation": 0.2, "Test": 0.3}
        ),
        description="Division of the simulated events: to train on, to select and "
        "calibrate with, and to make the likelihood of.",
    )
    features: Many[Column] = Field(
        description="Columns or expressions that the networks see."
    )
    region: NsbiRegionSection = Field(description="The region.")
    samples: Many[NsbiSampleSection] = Field(description="Samples (processes).")
    reference: OneOrMany[Name] = Field(
        description="Samples whose sum is the reference that ratios are taken to. It "
        "must have events wherever other samples do. Of weights, their absolute value "
        "counts."
    )
    norm_factors: Many[NormFactorSection] | None = Field(
        default=None, description="Unconstrained factors."
    )
    interference: InterferenceSection | None = Field(
        default=None, description="Samples that are scaled as with interference."
    )
    morphing: MorphingSection | None = Field(
        default=None, description="Samples at several values of couplings."
    )
    systematics: (
        Annotated[tuple[NsbiSystematicSection, ...], Field(strict=False)] | None
    ) = Field(default=None, description="Systematic uncertainties.")
    ratios: RatiosSection = Field(
        default=RatiosSection(), description="How density ratios are learned."
    )
    diagnostics: DiagnosticsSection = Field(
        default=DiagnosticsSection(), description="Thresholds of `nsbi diagnose`."
    )
    fit: NsbiFitSection = Field(
        default=NsbiFitSection(), description="How profile fits are done."
    )

    @model_validator(mode="wrap")
    @classmethod
    def _report_everything(cls, content: Any, validate: Callable[[Any], Self]) -> Self:
        return mistakes.complete(cls, content, validate, nsbi_references.check)

    @property
    def simulated(self) -> tuple[NsbiSampleSection, ...]:
        """Samples that are not observed data."""
        return tuple(sample for sample in self.samples if not sample.data)

    @property
    def squares(self) -> Mapping[str, str]:
        """Quantities that are the square of a parameter, and of which."""
        section = self.interference
        return {} if section is None else {section.strength: section.amplitude}


def parse_nsbi(text: str | bytes) -> NsbiConfig:
    """The configuration of an unbinned measurement written in `text`.

    Args:
        text: a YAML document.

    Raises:
        ConfigError: with every mistake there is.

    Example:
        >>> from diffana.config.mistakes import ConfigError
        >>> try:
        ...     parse_nsbi("Reference: B")
        ... except ConfigError as error:
        ...     print(error.mistakes[0])
        Reference: no sample 'B'; there is none
    """
    return NsbiConfig.model_validate(reading.read(text))


def load_nsbi(path: str | Path) -> NsbiConfig:
    """The configuration of an unbinned measurement in a YAML file.

    Raises:
        ConfigError: with every mistake there is, or the reason why the file cannot be
            read.
    """
    return parse_nsbi(document.content(path))


def is_nsbi(path: str | Path) -> bool:
    """Whether a file, whatever mistakes it has, describes an unbinned measurement.

    Raises:
        ConfigError: if the file cannot be read or is no YAML.
    """
    written = reading.read(document.content(path))
    keys = ("Reference", "Ratios")
    return isinstance(written, dict) and any(key in written for key in keys)


def nsbi_json_schema() -> dict[str, Any]:
    """JSON Schema of the configuration file, for editors that complete and check."""
    schema = NsbiConfig.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
