"""Checks across sections, on the document as it was written.

They do not need the sections to be valid one by one, so that all mistakes of a file are
reported at once.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from diffana.config.mistakes import Location, hint


Found = Iterator[tuple[Location, str]]

GENERATED = {
    "blobs": (
        ("signal", "background", "background_up", "background_down"),
        ("x", "y"),
    ),
    "interference": (
        ("S", "SBI", "B", "NI", "NI_up", "NI_down", "pool"),
        ("x", "y", "z"),
    ),
    "smeared": (
        tuple(
            component + variation
            for component in ("S", "B")
            for variation in (
                "",
                *(
                    f"_{name}_{side}"
                    for name in ("response", "resolution", "theory")
                    for side in ("up", "down")
                ),
            )
        ),
        ("x0", "x1", "x2", "x3", "x4", "b_over_s"),
    ),
}
"""Populations of each generator, and the columns that all of them have."""

_OF_CONSTRAINTS = ("constraint", "pulls")
_STRENGTHS = ("PoiTest", "PoiSignal", "PoiTrue", "Poi")
_NAMED = ("Observables", "Regions", "Samples", "NormFactors", "Systematics")


class Entry(NamedTuple):
    """A section as it was written, and where."""

    location: Location
    content: dict[str, Any]


def check(document: dict[str, Any]) -> Found:
    """Mistakes in how the sections of a document refer to one another."""
    yield from _duplicate_names(document)
    yield from _unknown_names(document)
    yield from _source_of_events(document)
    yield from _variables(document)
    yield from _parameters(document)
    yield from _data(document)
    yield from _histogram(document)


def check_training(document: dict[str, Any]) -> Found:
    """What a document lacks, or contains, that a training needs or cannot use."""
    yield from _losses(document)
    general = mapping(document, "General")
    if ".root:" in str(general.get("InputPath")):
        yield (
            ("General", "InputPath"),
            "leads to histograms, on which nothing can be trained; `diffana workspace` "
            "builds their likelihood, which regions join by the section Workspace",
        )
    if general and general.get("POI") is None:
        yield ("General", "POI"), "is missing, but training needs it"
    for entry in entries(general, "Fixed", ("General",)):
        for location, name in texts(entry, "Name"):
            if name == general.get("POI"):
                yield location, "the parameter of interest cannot be fixed"
    untrained = "Loss" not in document or "Train" not in document
    regions = entries(document, "Regions")
    if untrained and regions and not any(map(_trains, regions)):
        yield (
            ("Regions",),
            "nothing to train: there is no region with an Observable, with "
            "TrainableBinning or with Cuts",
        )


def check_histograms(document: dict[str, Any]) -> Found:
    """Keys on events in a document whose templates are histograms in files."""
    of_events = ("Tree", "Weight", "Filter", "Preselection", "Yield")
    of_variations = ("Tree", "Weight", "Filter", "Variable", "Transform", "RegionPath")
    for users, keys in (
        (entries(document, "Samples"), of_events),
        (_variations(document), of_variations),
    ):
        for entry in users:
            for key in keys:
                if entry.content.get(key) is not None:
                    yield (
                        (*entry.location, key),
                        "has no effect: General.InputPath leads to histograms",
                    )
            if isinstance(entry.content.get("SamplePath"), list):
                yield (
                    (*entry.location, "SamplePath"),
                    "has to be a single one: General.InputPath leads to histograms",
                )


def _trains(region: Entry) -> bool:
    return bool(
        region.content.get("Observable")
        or region.content.get("TrainableBinning") is True
        or region.content.get("Cuts")
    )


def mapping(document: dict[str, Any], key: str) -> dict[str, Any]:
    """The section under a key; empty if there is none, or something else is there."""
    content = document.get(key)
    return content if isinstance(content, dict) else {}


def entries(content: dict[str, Any], key: str, under: Location = ()) -> list[Entry]:
    """The sections listed under a key, or the only one."""
    items = content.get(key)
    if not isinstance(items, list):
        return [Entry((*under, key), items)] if isinstance(items, dict) else []
    return [
        Entry((*under, key, index), item)
        for index, item in enumerate(items)
        if isinstance(item, dict)
    ]


def texts(entry: Entry, key: str) -> list[tuple[Location, str]]:
    """The text, or the texts of the list, under a key, each with its location."""
    location = (*entry.location, key)
    value = entry.content.get(key)
    if isinstance(value, str):
        return [(location, value)]
    items = enumerate(value) if isinstance(value, list) else ()
    return [((*location, i), item) for i, item in items if isinstance(item, str)]


def names(document: dict[str, Any], key: str) -> list[str]:
    """Each Name in the section `key` once."""
    found = [entry.content.get("Name") for entry in entries(document, key)]
    return list(dict.fromkeys(name for name in found if isinstance(name, str)))


def unknown(kind: str, name: str, known: list[str] | tuple[str, ...]) -> str:
    """What is wrong with a name that does not exist."""
    listed = f"known are {', '.join(known)}" if known else "there is none"
    return f"no {kind} {name!r}{hint(name, known) or '; ' + listed}"


def _duplicate_names(document: dict[str, Any]) -> Found:
    for key in _NAMED:
        first: dict[str, int] = {}
        for index, entry in enumerate(entries(document, key)):
            for location, name in texts(entry, "Name"):
                if name in first:
                    yield location, f"{name!r} is the name of {key}[{first[name]}] too"
                first.setdefault(name, index)


def _unknown_names(document: dict[str, Any]) -> Found:
    for key, field, kind, target in (
        ("Samples", "Regions", "region", "Regions"),
        ("NormFactors", "Samples", "sample", "Samples"),
        ("NormFactors", "Regions", "region", "Regions"),
        ("Systematics", "Samples", "sample", "Samples"),
        ("Systematics", "Regions", "region", "Regions"),
        ("Regions", "Observable", "observable", "Observables"),
    ):
        known = names(document, target)
        for entry in entries(document, key):
            listed = texts(entry, field)
            count = Counter(name for _, name in listed)
            for location, name in listed:
                if name not in known:
                    yield location, unknown(kind, name, known)
                elif count[name] > 1:
                    yield location, f"{name!r} is listed {count[name]} times"
    used = {
        name
        for region in entries(document, "Regions")
        for _, name in texts(region, "Observable")
    }
    for entry in entries(document, "Observables"):
        for location, name in texts(entry, "Name"):
            if name not in used:
                yield location, f"no region bins the observable {name!r}"


def _source_of_events(document: dict[str, Any]) -> Found:
    path = mapping(document, "General").get("InputPath")
    generated = document.get("Generator") is not None
    if generated and path is not None:
        yield ("Generator",), "cannot be combined with General.InputPath"
    elif generated:
        kind = mapping(document, "Generator").get("Type")
        # An unknown one is told by its own section.
        if isinstance(kind, str) and kind in GENERATED:
            yield from _generated(document, *GENERATED[kind])
    elif path is None and mapping(document, "General"):
        yield ("General", "InputPath"), "is missing, and there is no Generator either"
    elif isinstance(path, str):
        yield from _paths(document, path)


def _paths(document: dict[str, Any], template: str) -> Found:
    """Parts of paths that are missing, or that no path has a place for."""
    general = Entry(("General",), mapping(document, "General"))
    variations = _variations(document)
    users = {
        "SamplePath": entries(document, "Samples"),
        "RegionPath": entries(document, "Regions"),
        "VariationPath": [general],
    }
    for key, own in users.items():
        for entry in own + variations:
            given = entry.content.get(key) is not None
            is_needed = key != "VariationPath" and entry not in variations
            place = (*entry.location, key)
            if f"{{{key}}}" not in template and given:
                yield place, f"has no effect: General.InputPath has no {{{key}}}"
            elif f"{{{key}}}" in template and is_needed and not given:
                yield place, "is missing, but General.InputPath needs it"
    for entry in users["SamplePath"]:
        if "{RegionPath}" in template and entry.content.get("Yield") is not None:
            yield (
                (*entry.location, "Yield"),
                "cannot be set where the regions have files of their own",
            )


def _without_path(document: dict[str, Any], message: str) -> Found:
    for entry in entries(document, "Samples"):
        if entry.content.get("SamplePath") is None:
            yield (*entry.location, "SamplePath"), message


def _variations(document: dict[str, Any]) -> list[Entry]:
    return [
        Entry((*entry.location, side), entry.content[side])
        for entry in entries(document, "Systematics")
        for side in ("Up", "Down")
        if isinstance(entry.content.get(side), dict)
    ]


def _generated(
    document: dict[str, Any], populations: tuple[str, ...], columns: tuple[str, ...]
) -> Found:
    """Populations and columns that the generator does not provide."""
    yield from _without_path(document, "is missing: a population of the Generator")
    samples, variations = entries(document, "Samples"), _variations(document)
    for entry in samples + variations:
        for location, name in texts(entry, "SamplePath"):
            if name not in populations:
                yield location, unknown("generated population", name, populations)
    general = Entry(("General",), mapping(document, "General"))
    for entry in [general, *entries(document, "Regions"), *samples, *variations]:
        if entry.content.get("Tree") is not None:
            yield (*entry.location, "Tree"), "generated events have no trees"
        for key in ("RegionPath", "VariationPath"):
            if entry.content.get(key) is not None:
                yield (*entry.location, key), "generated events have no files"
    for entry in variations:
        if entry.content.get("Transform") is not None:
            yield (
                (*entry.location, "Transform"),
                "generated events have no features that this transforms",
            )
    for key, field in (("Observables", "Inputs"), ("Regions", "Variable")):
        for entry in entries(document, key):
            yield from _generated_columns(entry, field, columns)
    for region in entries(document, "Regions"):
        for cut in entries(region.content, "Cuts", region.location):
            yield from _generated_columns(cut, "Variable", columns)


def _generated_columns(entry: Entry, key: str, columns: tuple[str, ...]) -> Found:
    for location, name in texts(entry, key):
        if name not in columns:
            yield location, unknown("generated column", name, columns)


def _variables(document: dict[str, Any]) -> Found:
    """Variables of variations in regions that have no use for them."""
    for systematic in entries(document, "Systematics"):
        wanted = [name for _, name in texts(systematic, "Regions")]
        regions = [
            entry.content
            for entry in entries(document, "Regions")
            if not wanted or entry.content.get("Name") in wanted
        ]
        for side in ("Up", "Down"):
            variation = systematic.content.get(side)
            if not isinstance(variation, dict) or variation.get("Variable") is None:
                continue
            place = (*systematic.location, side, "Variable")
            for region in regions:
                cuts = [cut.content for cut in entries(region, "Cuts")]
                if region.get("Observable") is not None:
                    yield place, f"region {region.get('Name')!r} bins an Observable"
                elif region.get("Variable") in [cut.get("Variable") for cut in cuts]:
                    yield (
                        place,
                        f"region {region.get('Name')!r} cuts on its Variable, too, so "
                        "that it cannot be replaced",
                    )


def _parameters(document: dict[str, Any]) -> Found:
    general = mapping(document, "General")
    factors = names(document, "NormFactors")
    poi = general.get("POI")
    if isinstance(poi, str) and poi not in factors:
        yield ("General", "POI"), unknown("norm factor", poi, factors)
    systematics = [
        entry.content.get("ModifierName") or entry.content.get("Name")
        for entry in entries(document, "Systematics")
    ]
    gammas = [f"staterror_{region}" for region in names(document, "Regions")]
    known = [name for name in factors + systematics + gammas if isinstance(name, str)]
    # The parameters of a published workspace are known once it is read.
    complete = document.get("Workspace") is None
    for entry, name in zip(entries(document, "Systematics"), systematics, strict=True):
        key = "ModifierName" if entry.content.get("ModifierName") else "Name"
        if isinstance(name, str) and name in factors:
            yield (*entry.location, key), f"{name!r} is the name of a norm factor"
    held: set[str] = set()
    for entry in entries(general, "Fixed", ("General",)):
        for location, name in texts(entry, "Name"):
            if complete and name not in known:
                yield location, unknown("parameter", name, known)
            elif name in held:
                yield location, f"{name!r} is fixed twice"
            held.add(name)
    for entry in entries(document, "Loss"):
        for location, name in texts(entry, "Parameters"):
            if complete and name not in known:
                yield location, unknown("parameter", name, known)
            elif name in factors and entry.content.get("Type") in _OF_CONSTRAINTS:
                yield location, f"{name!r} is a norm factor and has no constraint"


def _data(document: dict[str, Any]) -> Found:
    samples = entries(document, "Samples")
    data = [s.content.get("Name") for s in samples if s.content.get("Data") is True]
    if samples and len(data) == len(samples):
        yield ("Samples",), "all samples are observed data; none is simulated"
    for entry in samples:
        if entry.content.get("Data") is True and entry.content.get("Name") in data[1:]:
            yield (*entry.location, "Data"), f"the observed data are {data[0]!r}"
    for key in ("NormFactors", "Systematics"):
        for entry in entries(document, key):
            for location, name in texts(entry, "Samples"):
                if name in data:
                    yield location, f"{name!r} is observed data and has no parameters"


def _histogram(document: dict[str, Any]) -> Found:
    """A softmax histogram takes its bins from the outputs of a network."""
    if mapping(document, "Histogram").get("Type") != "softmax":
        return
    bins: dict[str, int] = {}
    for entry in entries(document, "Regions"):
        if entry.content.get("Variable") is not None:
            yield (
                (*entry.location, "Variable"),
                "a softmax histogram needs an Observable with one output per bin",
            )
        if entry.content.get("TrainableBinning") is True:
            yield (
                (*entry.location, "TrainableBinning"),
                "a softmax histogram has no edges to train",
            )
        edges = entry.content.get("Binning")
        for location, name in texts(entry, "Observable"):
            if isinstance(edges, list) and bins.setdefault(name, len(edges)) != len(
                edges
            ):
                yield (
                    location,
                    f"{name!r} cannot have one output per bin in regions whose numbers "
                    "of bins differ",
                )


def _losses(document: dict[str, Any]) -> Found:
    general, factors = mapping(document, "General"), entries(document, "NormFactors")
    poi = [f.content for f in factors if f.content.get("Name") == general.get("POI")]
    for location, loss in entries(document, "Loss"):
        kind = loss.get("Type")
        if kind in ("bce", "bce_augmented"):
            if not entries(document, "Observables"):
                yield location, f"{kind!r} trains a network; there are no Observables"
            if mapping(document, "Histogram").get("Type") == "softmax":
                yield (
                    location,
                    f"{kind!r} needs a network with one output, a softmax histogram "
                    "one with an output per bin",
                )
            if poi and poi[0].get("Samples") is None:
                yield (
                    location,
                    f"{kind!r} separates the samples of the parameter of interest from "
                    f"the others, but NormFactor {general['POI']!r} scales all samples",
                )
        values = {"PoiTest": 1.0} if kind == "cls" else {}
        values |= {key: loss[key] for key in _STRENGTHS if key in loss}
        for key, value in values.items():
            if poi and _outside(value, poi[0].get("Bounds", [0, 10])):
                yield (
                    (*location, key),
                    f"{value:g} lies outside the Bounds of {general['POI']!r}",
                )


def _outside(value: Any, bounds: Any) -> bool:
    match [value, bounds]:
        case [int() | float(), [int() | float(), int() | float()]]:
            lower, upper = bounds
            return not lower <= value <= upper
        case _:
            return False
