"""A published workspace that the regions of a configuration join."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffana import documents
from diffana.config import AnalysisConfig, LandscapeConfig, NormFactorSection
from diffana.errors import SpecificationError
from diffana.published import Published, publish


class Kept(NamedTuple):
    """What stays of a published workspace, in pyhf's form.

    Attributes:
        channels: those that no region replaces.
        observations: their observed counts.
        parameters: settings of its measurement.
    """

    channels: list[Mapping[str, Any]]
    observations: list[Mapping[str, Any]]
    parameters: list[Mapping[str, Any]]


def published(config: AnalysisConfig | LandscapeConfig) -> Published | None:
    """The workspace of the configuration, patches applied; None if it names none.

    Raises:
        SpecificationError: in one line that names the place.
    """
    section = config.workspace
    if section is None:
        return None
    patches = []
    try:
        content = documents.read(section.path)
        for argument in section.patches or ():
            path, name = documents.file_and_name(argument)
            patches.append((argument, documents.read(path), name))
    except documents.DocumentError as error:
        raise SpecificationError(f"Workspace: {error}") from error
    return publish(
        content,
        origin=section.path,
        patches=patches,
        measurement=section.measurement,
    )


def workspace_files(config: AnalysisConfig | LandscapeConfig) -> tuple[Path, ...]:
    """Files of the published workspace, each once."""
    section = config.workspace
    if section is None:
        return ()
    patches = [documents.file_and_name(one)[0] for one in section.patches or ()]
    return tuple(Path(path) for path in dict.fromkeys([section.path, *patches]))


def check(config: AnalysisConfig, published: Published) -> None:
    """Refuse a configuration that contradicts the workspace it joins.

    Raises:
        SpecificationError: naming the contradiction.
    """
    if published.poi != config.general.poi:
        raise SpecificationError(
            f"General.POI is {config.general.poi!r}, but the parameter of interest of "
            f"{published.origin} is {published.poi!r}"
        )
    for factor in config.norm_factors:
        _check_factor(factor, published)
    regions = {region.name for region in config.regions}
    for channel, sample, modifier, _ in _modifiers(published):
        name = str(modifier["name"])
        region = name.removeprefix("staterror_")
        if region != name and region in regions and channel not in regions:
            raise SpecificationError(
                f"{published.origin}: channel {channel!r}, sample {sample!r}: "
                f"{modifier['type']} {name!r} has the name of the statistical "
                f"uncertainty of region {region!r}"
            )


def kept_channels(config: AnalysisConfig, published: Published) -> Kept:
    """What no region of the configuration replaces.

    Raises:
        SpecificationError: if a published sample of a replaced channel has no events.
    """
    spec = published.specification
    replaced = {region.name: region for region in config.regions}
    simulated = [sample for sample in config.samples if not sample.data]
    for channel in spec["channels"]:
        if channel["name"] not in replaced:
            continue
        filled = {
            sample.name
            for sample in simulated
            if sample.regions is None or channel["name"] in sample.regions
        }
        for sample in channel["samples"]:
            if sample["name"] not in filled:
                raise SpecificationError(
                    f"region {channel['name']!r}: the published sample "
                    f"{sample['name']!r} needs events: add it to Samples"
                )
    (measurement,) = (
        one for one in spec["measurements"] if one["name"] == published.measurement
    )
    return Kept(
        [one for one in spec["channels"] if one["name"] not in replaced],
        [one for one in spec["observations"] if one["name"] not in replaced],
        measurement["config"]["parameters"],
    )


def inherited_modifiers(
    published: Published,
    region: str,
    sample: str,
    own: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """What a published sample hands on to the events that take its place.

    Factors on the whole sample stay as they are. Of a published shape the effect on the
    yield stays, as a `normsys`; its bins are no longer there. A parameter that the
    configuration itself describes for this sample is not taken over, nor is the
    statistical uncertainty, which the events bring along.

    Args:
        published: the workspace.
        region: name of the region; nothing is inherited unless a channel has it.
        sample: name of the sample.
        own: modifiers that the configuration describes.

    Raises:
        SpecificationError: naming a modifier with one parameter for each bin.
    """
    described = {modifier["name"] for modifier in own}
    factors: dict[str, dict[str, Any]] = {}
    variations: dict[str, list[float]] = {}
    for channel, name, modifier, nominal in _modifiers(published):
        if (channel, name) != (region, sample) or modifier["name"] in described:
            continue
        match modifier["type"]:
            case "normfactor" | "lumi":
                factors[modifier["name"]] = dict(modifier)
            case "normsys":
                effect = [modifier["data"]["lo"], modifier["data"]["hi"]]
                _multiply(variations, modifier["name"], effect)
            case "histosys":
                sides = modifier["data"]["lo_data"], modifier["data"]["hi_data"]
                if not nominal > 0:
                    raise SpecificationError(
                        f"region {region!r}, sample {sample!r}: the published yield is "
                        f"{nominal:g}, so that histosys {modifier['name']!r} has no "
                        "relative effect on it"
                    )
                effect = [float(np.sum(side)) / nominal for side in sides]
                _multiply(variations, modifier["name"], effect)
            case "staterror":
                pass
            case kind:
                raise SpecificationError(
                    f"region {region!r}, sample {sample!r}: the published {kind} "
                    f"{modifier['name']!r} has a parameter for each published bin; "
                    "remove it with a patch, or give the region another name"
                )
    return [
        *factors.values(),
        *(
            {"name": name, "type": "normsys", "data": {"lo": lo, "hi": hi}}
            for name, (lo, hi) in variations.items()
        ),
    ]


def _multiply(
    variations: dict[str, list[float]], name: str, effect: Sequence[float]
) -> None:
    before = variations.get(name, [1.0, 1.0])
    variations[name] = [a * b for a, b in zip(before, effect, strict=True)]


def _check_factor(factor: NormFactorSection, published: Published) -> None:
    parameters = published.model.parameters
    if factor.name not in parameters.names:
        return
    at = parameters.index(factor.name)
    nominal = float(parameters.inits[at])
    bounds = float(parameters.lower[at]), float(parameters.upper[at])
    # What is written out with every default says no more than what left them out.
    fields = type(factor).model_fields
    if factor.nominal not in (nominal, fields["nominal"].default) or (
        factor.bounds not in (bounds, fields["bounds"].default)
    ):
        raise SpecificationError(
            f"norm factor {factor.name!r}: {published.origin} has Nominal {nominal:g} "
            f"and Bounds [{bounds[0]:g}, {bounds[1]:g}]; leave both out, or patch the "
            "workspace"
        )


def _modifiers(
    published: Published,
) -> Iterator[tuple[str, str, Mapping[str, Any], float]]:
    """Channel, sample, modifier and yield of the sample, of everything published."""
    for channel in published.specification["channels"]:
        for sample in channel["samples"]:
            for modifier in sample["modifiers"]:
                yield (
                    channel["name"],
                    sample["name"],
                    modifier,
                    float(np.sum(sample["data"])),
                )
