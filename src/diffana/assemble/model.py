"""The statistical model of a configuration, with templates still to be filled."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxtyping import Array, Float

from diffana.assemble import joining
from diffana.assemble.sources import regions_of
from diffana.config import (
    AnalysisConfig,
    Config,
    NormalizationSystematic,
    NormFactorSection,
    RegionSection,
    SampleSection,
)
from diffana.errors import SpecificationError
from diffana.histfactory import HistFactory, from_workspace
from diffana.published import Published


class Structure(NamedTuple):
    """A likelihood before events fill its regions.

    Attributes:
        model: its structure, with the templates of published channels.
        data: observed counts of published channels and 0 for the regions, then the
            auxiliary measurements.
        published_channels: channels that no event fills.
    """

    model: HistFactory
    data: Float[Array, " data"]
    published_channels: tuple[str, ...]


def structure(config: AnalysisConfig) -> Structure:
    """The likelihood with templates still to be filled.

    Raises:
        SpecificationError: if the statistical model cannot be built, or the
            configuration names a parameter that it does not have.
    """
    codes = config.fit.interpolation
    spec = specification(config)
    model, data = from_workspace(
        spec,
        modifier_settings={
            "histosys": {"interpcode": codes.histo_sys},
            "normsys": {"interpcode": codes.norm_sys},
        },
    )
    _check_names(config, model)
    regions = {region.name for region in config.regions}
    channels = tuple(c.name for c in model.layout.channels if c.name not in regions)
    return Structure(model, data, channels)


def specification(config: AnalysisConfig) -> dict[str, Any]:
    """A pyhf workspace with the structure of the likelihood.

    The templates of the regions are placeholders. Published channels are complete.

    Raises:
        SpecificationError: naming the region, sample or parameter that does not fit.
    """
    published = joining.published(config)
    channels: list[Mapping[str, Any]] = [
        _channel(config, region, published) for region in config.regions
    ]
    observations: list[Mapping[str, Any]] = [
        {"name": region.name, "data": [0.0] * (len(region.binning) - 1)}
        for region in config.regions
    ]
    settings: Sequence[Mapping[str, Any]] = ()
    if published is not None:
        joining.check(config, published)
        kept = joining.kept_channels(config, published)
        channels = [*kept.channels, *channels]
        observations = [*kept.observations, *observations]
        settings = kept.parameters
    return {
        "version": "1.0.0",
        "channels": channels,
        "observations": observations,
        "measurements": [
            {
                "name": config.general.measurement,
                "config": {
                    # An empty name says that there is none.
                    "poi": config.general.poi or "",
                    "parameters": _parameters(config, settings),
                },
            }
        ],
    }


def applies(wanted: tuple[str, ...] | None, name: str) -> bool:
    """Whether `name` is among the wanted ones, which are all if none are named."""
    return wanted is None or name in wanted


def _channel(
    config: AnalysisConfig, region: RegionSection, published: Published | None
) -> dict[str, Any]:
    samples = []
    for sample in config.samples:
        if sample.data or region not in regions_of(config, sample):
            continue
        modifiers = _modifiers(config, region, sample)
        if published is not None:
            modifiers += joining.inherited_modifiers(
                published, region.name, sample.name, modifiers
            )
        placeholder = [1.0] * (len(region.binning) - 1)
        samples.append(
            {"name": sample.name, "data": placeholder, "modifiers": modifiers}
        )
    if not samples:
        raise SpecificationError(f"region {region.name!r}: no sample appears in it")
    return {"name": region.name, "samples": samples}


def _parameters(
    config: AnalysisConfig, published: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Settings of the parameters, published ones first."""
    settings = {one["name"]: dict(one) for one in published}
    for factor in config.norm_factors:
        settings.setdefault(
            factor.name,
            {
                "name": factor.name,
                "inits": [factor.nominal],
                "bounds": [list(factor.bounds)],
            },
        )
        if factor.name == config.general.poi and isinstance(config, Config):
            _check_bounds(factor, settings[factor.name])
    for held in config.general.fixed or ():
        target = settings.setdefault(held.name, {"name": held.name})
        target |= {"inits": [held.value], "fixed": True}
    return list(settings.values())


def _check_bounds(poi: NormFactorSection, setting: Mapping[str, Any]) -> None:
    ((lower, upper),) = setting.get("bounds", [poi.bounds])
    if not lower <= 0 < 1 <= upper:
        raise SpecificationError(
            f"norm factor {poi.name!r}: Bounds [{lower:g}, {upper:g}] of the parameter "
            "of interest have to contain 0 and 1, which expected results compare"
        )


def parameter_names(model: HistFactory) -> set[str]:
    """Names by which a configuration may call parameters: whole sets or components."""
    return {one.name for one in model.layout.parameter_sets} | set(
        model.parameters.names
    )


def _check_names(config: AnalysisConfig, model: HistFactory) -> None:
    """Refuse names of parameters that could not be checked without the model."""
    known = parameter_names(model)
    named = [("General.Fixed", held.name) for held in config.general.fixed or ()]
    for loss in config.loss if isinstance(config, Config) else ():
        named += [
            ("Loss.Parameters", n) for n in getattr(loss, "parameters", None) or ()
        ]
    for place, name in named:
        if name not in known:
            raise SpecificationError(f"{place}: the model has no parameter {name!r}")


def _modifiers(
    config: AnalysisConfig, region: RegionSection, sample: SampleSection
) -> list[dict[str, Any]]:
    n_bins = len(region.binning) - 1
    found: list[dict[str, Any]] = [
        {"name": factor.name, "type": "normfactor", "data": None}
        for factor in config.norm_factors
        if applies(factor.samples, sample.name) and applies(factor.regions, region.name)
    ]
    acting = [
        systematic
        for systematic in config.systematics or ()
        if applies(systematic.samples, sample.name)
        and applies(systematic.regions, region.name)
    ]
    by_parameter: dict[str, str] = {}
    for systematic in acting:
        other = by_parameter.setdefault(systematic.parameter, systematic.name)
        if other != systematic.name:
            raise SpecificationError(
                f"region {region.name!r}, sample {sample.name!r}: the systematics "
                f"{other!r} and {systematic.name!r} change it by the same parameter "
                f"{systematic.parameter!r}; give one of them another ModifierName"
            )
    for systematic in acting:
        if isinstance(systematic, NormalizationSystematic):
            hi, lo = systematic.up.normalization, systematic.down.normalization
            norm, shape = {"hi": 1 + hi, "lo": 1 + lo}, None
        else:
            flat = [1.0] * n_bins
            norm, shape = {"hi": 1.0, "lo": 1.0}, {"hi_data": flat, "lo_data": flat}
        name = systematic.parameter
        found.append({"name": name, "type": "normsys", "data": norm})
        if shape is not None:
            found.append({"name": name, "type": "histosys", "data": shape})
    if not sample.disable_staterror:
        found.append(
            {
                "name": f"staterror_{region.name}",
                "type": "staterror",
                "data": [0.1] * n_bins,
            }
        )
    return found
