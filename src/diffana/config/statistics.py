"""Sections on the statistical model: parameters, uncertainties, fits."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from diffana.config.sections import Expression, Name, OneOrMany, Range, Section


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
        lower, upper = self.bounds
        if not lower < upper:
            raise ValueError(f"Bounds [{lower:g}, {upper:g}] are not increasing")
        if not lower <= self.nominal <= upper:
            raise ValueError(
                f"Nominal {self.nominal:g} lies outside Bounds [{lower:g}, {upper:g}]"
            )
        return self


class RelativeYield(Section):
    """A relative change of the yield."""

    normalization: float = Field(
        gt=-1, description="Relative change: 0.05 is 5 % more events."
    )


class OtherSample(Section):
    """A variation simulated in events of its own."""

    sample_path: OneOrMany[str] = Field(
        description="Part of the path(s) of its file(s), or a population of the "
        "Generator."
    )
    tree: str | None = Field(
        default=None, description="Tree inside a ROOT file; that of the sample if none."
    )


class OtherWeight(Section):
    """A variation of the weight of each event."""

    weight: Expression = Field(description="Weight of an event under the variation.")


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


class OtherFeatures(Section):
    """A variation of the features of each event."""

    transform: TransformSection = Field(description="How the features change.")


class Symmetrized(Section):
    """The mirror image of the other variation about the nominal template."""

    symmetrize: Literal[True] = Field(description="Always true.")


_VARIATIONS = {
    "SamplePath": "OtherSample",
    "Weight": "OtherWeight",
    "Transform": "OtherFeatures",
    "Symmetrize": "Symmetrized",
}


def _kind_of_variation(value: Any) -> str | None:
    if isinstance(value, Section):
        return type(value).__name__
    if not isinstance(value, dict):
        return None
    return next((kind for key, kind in _VARIATIONS.items() if key in value), None)


UpVariation = Annotated[
    Annotated[OtherSample, Tag("OtherSample")]
    | Annotated[OtherWeight, Tag("OtherWeight")]
    | Annotated[OtherFeatures, Tag("OtherFeatures")],
    Discriminator(
        _kind_of_variation,
        custom_error_type="variation",
        custom_error_message="needs one of the keys SamplePath, Weight, Transform",
    ),
]
DownVariation = Annotated[
    Annotated[OtherSample, Tag("OtherSample")]
    | Annotated[OtherWeight, Tag("OtherWeight")]
    | Annotated[OtherFeatures, Tag("OtherFeatures")]
    | Annotated[Symmetrized, Tag("Symmetrized")],
    Discriminator(
        _kind_of_variation,
        custom_error_type="variation",
        custom_error_message="needs one of the keys SamplePath, Weight, Transform, "
        "Symmetrize",
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
    up: UpVariation = Field(description="The events with the parameter at +1.")
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
    max_steps: PositiveInt = Field(
        default=200, description="Steps after which a fit counts as failed."
    )
