"""Sections on the statistical model: parameters, uncertainties, fits."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    Tag,
    field_validator,
    model_validator,
)

from diffana.config.sections import (
    Column,
    Count,
    Expression,
    Name,
    OneOrMany,
    Range,
    Section,
)


def check_bounds(nominal: float, bounds: tuple[float, float]) -> None:
    """Refuse bounds that hold nothing, or not the nominal value.

    Raises:
        ValueError: saying which.
    """
    lower, upper = bounds
    if not lower < upper:
        raise ValueError(f"Bounds [{lower:g}, {upper:g}] are not increasing")
    if not lower <= nominal <= upper:
        raise ValueError(
            f"Nominal {nominal:g} lies outside Bounds [{lower:g}, {upper:g}]"
        )


class NormFactorSection(Section):
    """An unconstrained factor on the yield of samples."""

    name: Name = Field(description="Name of the parameter.")
    samples: OneOrMany[Name] | None = Field(
        default=None, description="Samples it scales; all but data without it."
    )
    regions: OneOrMany[Name] | None = Field(
        default=None, description="Regions it acts in; all without it."
    )
    nominal: float = Field(default=1.0, description="Value a fit starts from.")
    bounds: Range = Field(
        default=(0.0, 10.0), description="Smallest and largest value of a fit."
    )

    @model_validator(mode="after")
    def _nominal_within_bounds(self) -> Self:
        check_bounds(self.nominal, self.bounds)
        return self


class RelativeYield(Section):
    """A relative change of the yield."""

    normalization: float = Field(
        gt=-1, description="Relative change: 0.05 is 5 % more events."
    )


class TauEnergyScale(Section):
    """Scaled energy of the hadronic tau; features that depend on it are recomputed."""

    type: Literal["tau_energy_scale"]
    factor: PositiveFloat = Field(description="Factor on the tau's transverse energy.")


class JetEnergyScale(Section):
    """Scaled energy of all jets; features that depend on it are recomputed."""

    type: Literal["jet_energy_scale"]
    factor: PositiveFloat = Field(description="Factor on a jet's transverse energy.")


class SoftMet(Section):
    """Noise on the missing transverse momentum; features are recomputed."""

    type: Literal["soft_met"]
    sigma: NonNegativeFloat = Field(
        description="Standard deviation of the noise in each component, in GeV."
    )


TransformSection = Annotated[
    TauEnergyScale | JetEnergyScale | SoftMet, Field(discriminator="type")
]


class Variation(Section):
    """Events as they are under a variation; what is not given stays as it is.

    A variation with a path or a tree of its own was simulated apart from the nominal
    events. Otherwise it is made of these events: by other weights, another selection,
    another variable or transformed features.
    """

    sample_path: OneOrMany[str] | None = Field(
        default=None,
        description="Part of the path(s) of its file(s), in place of that of the "
        "sample, or a population of the Generator.",
    )
    region_path: str | None = Field(
        default=None,
        description="Part of the path of its file(s), in place of that of the region.",
    )
    variation_path: str | None = Field(
        default=None,
        description="Part of the path of its file(s), in place of "
        "General.VariationPath.",
    )
    tree: str | None = Field(
        default=None, description="Tree in a ROOT file, in place of that of the sample."
    )
    filter: Expression | None = Field(
        default=None,
        description="Selection in place of the Filter of the sample or the region.",
    )
    weight: Expression | None = Field(
        default=None,
        description="Weight of an event, in place of the Weight of the sample.",
    )
    variable: Column | None = Field(
        default=None,
        description="Column or expression that is binned in place of the Variable of "
        "a region.",
    )
    transform: TransformSection | None = Field(
        default=None, description="How the features of each event change."
    )
    symmetrize: Literal[False] = Field(
        default=False, description="Always false; see the other form of Down."
    )

    @field_validator("symmetrize", mode="before")
    @classmethod
    def _up_is_no_mirror_image(cls, value: Any) -> Any:
        if value is True:
            raise ValueError("only Down can be the mirror image of the other variation")
        return value


class Symmetrized(Section):
    """The mirror image of the other variation about the nominal template."""

    symmetrize: Literal[True] = Field(description="Always true.")


def _kind_of_variation(value: Any) -> str | None:
    if isinstance(value, Section):
        return type(value).__name__
    if not isinstance(value, dict):
        return None
    if value.get("Symmetrize") is not True:
        return "Variation"
    return "Symmetrized" if len(value) == 1 else None


DownVariation = Annotated[
    Annotated[Variation, Tag("Variation")] | Annotated[Symmetrized, Tag("Symmetrized")],
    Discriminator(
        _kind_of_variation,
        custom_error_type="variation",
        custom_error_message="should hold the keys of a variation, or Symmetrize: true "
        "alone, beside which they would have no effect",
    ),
]


class _Systematic(Section):
    name: Name = Field(description="Name of the uncertainty.")
    samples: OneOrMany[Name] | None = Field(
        default=None, description="Samples it acts on; all but data without it."
    )
    regions: OneOrMany[Name] | None = Field(
        default=None, description="Regions it acts in; all without it."
    )
    modifier_name: Name | None = Field(
        default=None,
        description="Name of the parameter, the Name of the section without it. "
        "Uncertainties with the same parameter vary together.",
    )
    smoothing: None = Field(
        default=None, description="Not supported; templates stay as the events are."
    )

    @field_validator("smoothing", mode="before")
    @classmethod
    def _not_smoothed(cls, value: Any) -> Any:
        if value is not None:
            raise ValueError(
                "templates are not smoothed here; leave Smoothing out, which changes "
                "the result"
            )
        return value

    @property
    def parameter(self) -> str:
        """Name of the nuisance parameter."""
        return self.modifier_name or self.name


class NormalizationSystematic(_Systematic):
    """An uncertainty on the yield alone (`normsys`)."""

    type: Literal["Normalization"]
    up: RelativeYield = Field(description="Effect of the parameter at +1.")
    down: RelativeYield = Field(description="Effect of the parameter at -1.")


class NormPlusShapeSystematic(_Systematic):
    """An uncertainty on yield and shape (`normsys` and `histosys`)."""

    type: Literal["NormPlusShape"]
    up: Variation = Field(description="The events with the parameter at +1.")
    down: DownVariation = Field(description="The events with the parameter at -1.")


SystematicSection = Annotated[
    NormalizationSystematic | NormPlusShapeSystematic, Field(discriminator="type")
]


class InterpolationSection(Section):
    """How templates are interpolated between the nominal and its variations."""

    histo_sys: Literal["code0", "code2", "code4p"] = Field(
        default="code4p", description="Interpolation of shapes."
    )
    norm_sys: Literal["code1", "code4"] = Field(
        default="code4", description="Interpolation of yields."
    )


class FitSection(Section):
    """The profile fits."""

    interpolation: InterpolationSection = Field(
        default=InterpolationSection(),
        description="Interpolation of systematic variations.",
    )
    max_steps: Count = Field(
        default=200, description="Steps after which a fit counts as failed."
    )
