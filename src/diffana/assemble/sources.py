"""Sources of a configuration: which files hold which events, and what they become.

A source is a set of events that are the same row by row: the nominal events of a sample
with everything that is made of them by other weights, selections or features. Events
simulated apart, in other files or another tree, are a source of their own.
"""

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from diffana.assemble.joining import workspace_files
from diffana.config import (
    AnalysisConfig,
    NormPlusShapeSystematic,
    RegionSection,
    SampleSection,
    TransformSection,
    Variation,
)
from diffana.errors import DataError


class Member(NamedTuple):
    """What a source becomes in one region under one variation.

    Attributes:
        region: the region.
        variation: "nominal", "<systematic>/up" or "<systematic>/down".
        filter: expression that selects the events; None for all of them.
        weight: expression for the weight of an event; None for 1.
        variable: column or expression that the region bins; None where an observable
            is binned.
        transform: how the features change; None if they stay.
    """

    region: RegionSection
    variation: str
    filter: str | None
    weight: str | None
    variable: str | None
    transform: TransformSection | None


class Source(NamedTuple):
    """Events that are the same row by row, and what they become.

    Attributes:
        sample: the sample that they belong to.
        name: as `Events.source`.
        paths: files, read one after the other, or populations of a generator.
        tree: the tree in each of the files; None where there is only one.
        members: what the events become, nominal ones first.
    """

    sample: SampleSection
    name: str
    paths: tuple[str, ...]
    tree: str | None
    members: tuple[Member, ...]

    @property
    def weight(self) -> str | None:
        """Expression whose sum over the preselected events `Yield` refers to."""
        return self.members[0].weight


def sources(config: AnalysisConfig) -> tuple[Source, ...]:
    """The sources of all samples, observed data included, in a fixed order.

    Raises:
        DataError: naming a pattern that matches no file, or a file that a sample would
            read twice.
    """
    return tuple(
        source for sample in config.samples for source in _of_sample(config, sample)
    )


def input_files(config: AnalysisConfig) -> tuple[Path, ...]:
    """Files that the configuration reads, each once.

    Raises:
        DataError: as `sources`.
    """
    if config.general.input_path is None:
        return workspace_files(config)
    paths = [path for source in sources(config) for path in source.paths]
    return (*workspace_files(config), *map(Path, dict.fromkeys(paths)))


def feature_columns(config: AnalysisConfig) -> tuple[str, ...]:
    """Columns that observables, binned variables and cuts look at, in a fixed order."""
    wanted: list[str] = []
    for observable in config.observables or ():
        wanted += observable.inputs
    for region in config.regions:
        wanted += [region.variable] if region.variable else []
        wanted += [cut.variable for cut in region.cuts or ()]
    return tuple(dict.fromkeys(wanted))


def columns_in(config: AnalysisConfig, region: RegionSection) -> frozenset[str]:
    """Those of `feature_columns` that `region` looks at."""
    inputs = [
        name
        for observable in config.observables or ()
        if observable.name == region.observable
        for name in observable.inputs
    ]
    cuts = [cut.variable for cut in region.cuts or ()]
    return frozenset([*inputs, *cuts, *filter(None, [region.variable])])


def regions_of(
    config: AnalysisConfig, sample: SampleSection
) -> tuple[RegionSection, ...]:
    """Regions in which `sample` appears."""
    return tuple(
        region
        for region in config.regions
        if sample.regions is None or region.name in sample.regions
    )


def shape_systematics(
    config: AnalysisConfig, sample: SampleSection
) -> tuple[NormPlusShapeSystematic, ...]:
    """Systematics on the shape of `sample`."""
    return tuple(
        systematic
        for systematic in config.systematics or ()
        if isinstance(systematic, NormPlusShapeSystematic)
        and not sample.data
        and (systematic.samples is None or sample.name in systematic.samples)
    )


class _Place(NamedTuple):
    """Where events are: patterns of paths, not yet matched, and the tree."""

    patterns: tuple[str, ...]
    tree: str | None
    region_path: str | None


_AS_IT_IS = Variation()


def _of_sample(config: AnalysisConfig, sample: SampleSection) -> Iterator[Source]:
    by_place: dict[_Place, list[Member]] = {}
    for name, variation, region in _variations(config, sample):
        place = _place(config, sample, variation, region)
        by_place.setdefault(place, []).append(_member(sample, name, variation, region))
    for place, members in by_place.items():
        name = f"{sample.name}/{members[0].variation}"
        if place.region_path is not None:
            name = f"{name}/{place.region_path}"
        yield Source(
            sample, name, _paths(config, sample, place), place.tree, tuple(members)
        )


def _variations(
    config: AnalysisConfig, sample: SampleSection
) -> Iterator[tuple[str, Variation, RegionSection]]:
    """Name, variation and region of all events that are needed, nominal ones first."""
    regions = regions_of(config, sample)
    yield from (("nominal", _AS_IT_IS, region) for region in regions)
    for systematic in shape_systematics(config, sample):
        for side, variation in (("up", systematic.up), ("down", systematic.down)):
            if isinstance(variation, Variation):
                yield from (
                    (f"{systematic.name}/{side}", variation, region)
                    for region in regions
                    if systematic.regions is None or region.name in systematic.regions
                )


def _member(
    sample: SampleSection, name: str, variation: Variation, region: RegionSection
) -> Member:
    """What cabinetry's rules of precedence make of the settings."""
    return Member(
        region=region,
        variation=name,
        filter=variation.filter or sample.filter or region.filter,
        weight=variation.weight or sample.weight,
        variable=(variation.variable or region.variable) if region.variable else None,
        transform=variation.transform,
    )


def _place(
    config: AnalysisConfig,
    sample: SampleSection,
    variation: Variation,
    region: RegionSection,
) -> _Place:
    names = variation.sample_path or sample.sample_path or (sample.name,)
    tree = variation.tree or sample.tree
    template = config.general.input_path
    if template is None:
        return _Place(names, tree, None)
    region_path = None
    if "{RegionPath}" in template:
        region_path = variation.region_path or region.region_path or ""
        template = template.replace("{RegionPath}", region_path)
    varied = variation.variation_path or config.general.variation_path or ""
    template = template.replace("{VariationPath}", varied)
    patterns = (template.replace("{SamplePath}", name) for name in names)
    return _Place(tuple(dict.fromkeys(patterns)), tree, region_path)


def _paths(
    config: AnalysisConfig, sample: SampleSection, place: _Place
) -> tuple[str, ...]:
    if config.general.input_path is None:
        return place.patterns
    found: dict[str, str] = {}
    for pattern in place.patterns:
        for path in _matching(pattern):
            if path in found:
                raise DataError(
                    f"sample {sample.name!r}: {path} is matched by {found[path]!r} and "
                    f"by {pattern!r}, and would be read twice"
                )
            found[path] = pattern
    return tuple(found)


def _matching(pattern: str) -> list[str]:
    """Files that a pattern matches, in the order of their names."""
    # A name with brackets is not taken for a pattern where there is such a file.
    if not glob.has_magic(pattern) or Path(pattern).exists():
        return [pattern]
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 (a whole path)
    if not found:
        raise DataError(f"{pattern}: no file matches this pattern")
    return found
