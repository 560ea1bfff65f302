"""Sections on simulated events: where they come from and how they are divided."""

import string
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    model_validator,
)

from diffana.config.sections import (
    Column,
    Count,
    Expression,
    Many,
    Name,
    OneOrMany,
    Section,
    Seed,
)


# A layer of a million units is more than memory holds, once two of them follow.
Width = Annotated[int, Field(gt=0, le=10**6)]
PATH_FIELDS = ("RegionPath", "SamplePath", "VariationPath")


def _known_fields(template: str) -> str:
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(template)]
    except ValueError as error:
        raise ValueError(f"{template!r} is no path template: {error}") from error
    unknown = [field for field in fields if field not in (None, *PATH_FIELDS)]
    if unknown:
        known = ", ".join(f"{{{field}}}" for field in PATH_FIELDS)
        raise ValueError(
            f"{template!r} has the unknown field {{{unknown[0]}}}; known are {known}"
        )
    return template


class FixedParameter(Section):
    """A parameter that fits do not vary."""

    name: Name = Field(description="Name of the parameter.")
    value: float = Field(description="Value at which it is held.")


class GeneralSection(Section):
    """What the analysis is called, what it measures and where its files are."""

    measurement: Name = Field(description="Name of the measurement.")
    poi: Name | None = Field(
        default=None,
        alias="POI",
        description="Parameter of interest: the Name of a NormFactor. Training needs "
        "one.",
    )
    input_path: Annotated[str, AfterValidator(_known_fields)] | None = Field(
        default=None,
        description="Path of the input files, relative to the working directory; "
        "{SamplePath} stands for the SamplePath of a sample or a variation, "
        "{RegionPath} for the RegionPath of a region or a variation, {VariationPath} "
        "for the VariationPath of a variation or of this section. *, ? and [...] match "
        "the names of several files, which are read in the order of their names. "
        "Without it, a Generator is needed.",
    )
    variation_path: str | None = Field(
        default=None,
        description="Part of the path of the nominal files, and of variations without "
        "a VariationPath of their own; nothing without it.",
    )
    histogram_folder: str | None = Field(
        default=None,
        description="Where cabinetry keeps its histograms. Accepted and not used: "
        "histograms are made of the events each time.",
    )
    seed: Seed = Field(
        default=0,
        description="Seed of everything random: generated events, the split, initial "
        "weights of networks, batches.",
    )
    fixed: Many[FixedParameter] | None = Field(
        default=None, description="Parameters that all fits hold fixed."
    )


class WorkspaceSection(Section):
    """A published pyhf workspace that the regions of this configuration join.

    Its channels stay as they are, with all their samples, modifiers, observed counts
    and the settings of its measurement, except those that have the name of a region:
    these are filled with events.
    """

    path: str = Field(description="JSON file, relative to the working directory.")
    measurement: Name | None = Field(
        default=None, description="Name of its measurement; the first one without it."
    )
    patches: OneOrMany[str] | None = Field(
        default=None,
        description="JSON patches to apply, in this order; FILE:NAME is one patch of a "
        "patch set.",
    )


class BlobsGenerator(Section):
    """Gaussian blobs in two dimensions, columns `x` and `y`.

    The populations, which samples name by their SamplePath, are `signal`,
    `background`, and its systematic variations `background_up`, `background_down`.
    """

    type: Literal["blobs"]
    events_per_blob: Count = Field(
        default=10_000, description="Simulated events in each population."
    )

    @property
    def n_events(self) -> int:
        """Simulated events in each population."""
        return self.events_per_blob


class _ExactGenerator(Section):
    events_per_sample: Count = Field(
        default=10_000, description="Simulated events in each population."
    )

    @property
    def n_events(self) -> int:
        """Simulated events in each population."""
        return self.events_per_sample


class InterferenceGenerator(_ExactGenerator):
    """A signal that interferes with its background, columns `x`, `y` and `z`.

    The populations are `S`, `SBI`, `B` and `NI`, as in `diffana.data.toys`, the
    systematic variations `NI_up` and `NI_down`, and `pool`, whose events are S, SBI or
    B by their weights `weight_S`, `weight_SBI` and `weight_B`.
    """

    type: Literal["interference"]


class SmearedGenerator(_ExactGenerator):
    """Two normal distributions as a detector sees them, columns `x0` to `x4`.

    The populations are `S` and `B`, and both with `_response_up`, `_resolution_up`,
    `_theory_up` and the same with `_down`. The column `b_over_s` is the ratio of the
    intensities of B and S, to select on.
    """

    type: Literal["smeared"]


GeneratorSection = Annotated[
    BlobsGenerator | InterferenceGenerator | SmearedGenerator,
    Field(discriminator="type"),
]


class InputSection(Section):
    """How the input is read, and how undefined features are recognised and replaced."""

    missing_value: float | None = Field(
        default=None, description="Number that marks a feature as undefined."
    )
    fill_value: float = Field(
        default=0.0,
        description="Number an undefined feature is replaced by, in the unit of the "
        "feature, where a network, a cut or an open bin looks at it. An undefined "
        "Variable is in no bin with finite edges.",
    )
    chunk_size: Count | None = Field(
        default=None,
        description="Events in memory at a time, about, each counted in every region "
        "and variation that it is used for, as by Train.BatchSize, which must not be "
        "larger. They are kept on the disk meanwhile, beside or in the run folder. "
        "Without it, all events are in memory.",
    )


class SplitSection(Section):
    """Which fraction of the simulated events serves which purpose.

    Weights are scaled up so that each part describes the target luminosity.
    """

    train: PositiveFloat = Field(
        default=0.5, lt=1, description="Fraction for the gradient steps."
    )
    validation: PositiveFloat = Field(
        default=0.25, lt=1, description="Fraction that selects the best model."
    )
    test: PositiveFloat = Field(
        default=0.25, lt=1, description="Fraction that final results come from."
    )

    @model_validator(mode="after")
    def _sum_to_one_at_most(self) -> Self:
        total = self.train + self.validation + self.test
        # Decimal fractions such as 0.7 + 0.2 + 0.1 may exceed one by rounding.
        if total > 1 + 1e-9:
            raise ValueError(f"the fractions add up to {total:g}, which is more than 1")
        return self


class SampleSection(Section):
    """One process, or the observed data."""

    name: Name = Field(description="Name of the sample.")
    sample_path: OneOrMany[str] | None = Field(
        default=None,
        description="Part of the path(s) of its file(s), put in place of {SamplePath} "
        "in General.InputPath; or a population of the Generator.",
    )
    tree: str | None = Field(
        default=None,
        description="Tree inside a ROOT file, which can be left out if it is the only "
        "one.",
    )
    preselection: Expression | None = Field(
        default=None,
        description="Events of the files that belong to the sample, before and besides "
        "any Filter.",
    )
    weight: Expression | None = Field(
        default=None, description="Weight of an event; 1 without it."
    )
    filter: Expression | None = Field(
        default=None,
        description="Selection of the sample in every region. It takes the place of "
        "the Filter of a region.",
    )
    regions: OneOrMany[Name] | None = Field(
        default=None, description="Regions the sample appears in; all without it."
    )
    yield_: NonNegativeFloat | None = Field(
        default=None,
        alias="Yield",
        description="Events of the sample at the target luminosity, after its "
        "Preselection and before any Filter: weights are scaled to add up to it. "
        "Weights count as they are without it.",
    )
    disable_staterror: bool = Field(
        default=False,
        description="Leave out the uncertainty due to the number of simulated events.",
    )
    data: bool = Field(default=False, description="The sample is observed data.")

    @model_validator(mode="after")
    def _data_is_counted(self) -> Self:
        if self.data and self.yield_ is not None:
            raise ValueError("observed data are counted and cannot have a Yield")
        return self


class MlpObservable(Section):
    """A fully connected network that maps the features of an event to a summary."""

    name: Name = Field(description="Name of the observable, for Regions.")
    type: Literal["MLP"]
    inputs: Many[Column] = Field(description="Columns that the network sees.")
    hidden: Annotated[tuple[Width, ...], Field(strict=False)] = Field(
        default=(128, 128), description="Width of each hidden layer."
    )
    activation: Literal["relu", "tanh", "gelu", "silu", "softplus"] = Field(
        default="relu", description="Activation function of the hidden layers."
    )
    standardize: bool = Field(
        default=True,
        description="Scale each input to mean 0 and width 1 in the training events.",
    )
    precision: Literal["float32", "float64"] = Field(
        default="float32",
        description="Floating-point type of the network. Statistics are float64.",
    )


# A union of one today; `Type` keeps files valid when there are more.
ObservableSection = MlpObservable
