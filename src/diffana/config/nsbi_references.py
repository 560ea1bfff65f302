"""Checks across the sections of an unbinned measurement, on the document as written.

What such a document has in common with an analysis is checked as in `references`.
"""

from typing import Any

from diffana.config import references
from diffana.config.mistakes import Location
from diffana.config.references import (
    Entry,
    Found,
    entries,
    mapping,
    names,
    texts,
    unknown,
)


_OF_INTERFERENCE = ("Signal", "Total", "Background")


def check(document: dict[str, Any]) -> Found:
    """Mistakes in how the sections of a document refer to one another."""
    for location, message in references.check(_as_analysis(document)):
        # There is nothing to be binned; see `_without_effect` and `_interference`.
        is_strength = location == ("General", "POI") and _is_strength(document)
        if location[-1:] != ("Variable",) and not is_strength:
            yield _as_written(location), message
    yield from _features(document)
    yield from _reference(document)
    yield from _through(document)
    yield from _interference(document)
    yield from _morphing(document)
    yield from _couplings(document)
    yield from _fixed(document)
    yield from _without_effect(document)


def _as_analysis(document: dict[str, Any]) -> dict[str, Any]:
    """The document as that of an analysis with one region that bins an observable."""
    region = document.get("Region")
    factors = list(entries(document, "NormFactors"))
    general = mapping(document, "General")
    return {
        # Without bins there are fewer parameters that can be fixed; see `_fixed`.
        "General": {key: general[key] for key in general if key != "Fixed"},
        **{key: document.get(key) for key in ("Generator", "Systematics")},
        "Samples": document.get("Samples"),
        "Regions": [{**region, "Observable": "x"}] if isinstance(region, dict) else [],
        "Observables": [{"Name": "x"}] if isinstance(region, dict) else [],
        "NormFactors": [
            *(factor.content for factor in factors),
            # The others that General.POI and General.Fixed may name.
            *({"Name": name} for _, name in _amplitudes(document)),
        ],
    }


def _as_written(location: Location) -> Location:
    return ("Region", *location[2:]) if location[:1] == ("Regions",) else location


def _amplitudes(document: dict[str, Any]) -> list[tuple[Location, str]]:
    """Names of parameters that are no norm factors, each with its location."""
    found: list[tuple[Location, Any]] = []
    interference = mapping(document, "Interference")
    if interference:
        amplitude = interference.get("Amplitude", "sqrt_mu")
        found += [(("Interference", "Amplitude"), amplitude)]
    for entry in entries(mapping(document, "Morphing"), "Couplings", ("Morphing",)):
        found += [((*entry.location, "Name"), entry.content.get("Name"))]
    return [(where, name) for where, name in found if isinstance(name, str)]


def _simulated(document: dict[str, Any]) -> list[str]:
    return [
        entry.content["Name"]
        for entry in entries(document, "Samples")
        if isinstance(entry.content.get("Name"), str)
        and entry.content.get("Data") is not True
    ]


def _features(document: dict[str, Any]) -> Found:
    seen: dict[str, Location] = {}
    for location, name in texts(Entry((), document), "Features"):
        if name in seen:
            yield location, f"{name!r} is listed twice"
        seen[name] = location
    kind = mapping(document, "Generator").get("Type")
    if not isinstance(kind, str) or kind not in references.GENERATED:
        return
    _, columns = references.GENERATED[kind]
    for name, location in seen.items():
        if name.isidentifier() and name not in columns:
            yield location, unknown("generated column", name, columns)


def _reference(document: dict[str, Any]) -> Found:
    known = _simulated(document)
    seen: set[str] = set()
    for location, name in texts(Entry((), document), "Reference"):
        if name not in known:
            yield location, unknown("sample", name, known)
        elif name in seen:
            yield location, f"{name!r} is listed twice"
        seen.add(name)


def _through(document: dict[str, Any]) -> Found:
    known = _simulated(document)
    reference = [name for _, name in texts(Entry((), document), "Reference")]
    steps: dict[str, str] = {}
    places: dict[str, Location] = {}
    for entry in entries(document, "Samples"):
        name, through = entry.content.get("Name"), entry.content.get("Through")
        place = (*entry.location, "Through")
        if not isinstance(through, str):
            continue
        if entry.content.get("Data") is True:
            yield place, "observed data have no ratio"
        elif through not in known:
            yield place, unknown("sample", through, known)
        elif name in reference:
            yield (
                place,
                f"{name!r} is in the Reference, whose samples are compared with the "
                "first of them",
            )
        elif isinstance(name, str):
            steps[name], places[name] = through, place
    told: set[str] = set()
    for name in steps:
        chain = [name]
        while chain[-1] in steps and steps[chain[-1]] not in chain:
            chain.append(steps[chain[-1]])
        end = steps.get(chain[-1])
        if end is None or end in told:
            continue
        cycle = [*chain[chain.index(end) :], end]
        told.update(cycle)
        yield places[end], f"leads back to itself: {' through '.join(cycle)}"


def _interference(document: dict[str, Any]) -> Found:
    section, known = mapping(document, "Interference"), _simulated(document)
    if section and document.get("Morphing") is not None:
        yield ("Interference",), "cannot be combined with Morphing"
    seen: dict[str, str] = {}
    for key in _OF_INTERFERENCE:
        name = section.get(key)
        if not isinstance(name, str):
            continue
        if name not in known:
            yield ("Interference", key), unknown("sample", name, known)
        elif name in seen:
            yield ("Interference", key), f"{name!r} is the {seen[name]} too"
        seen.setdefault(name, key)
    if _is_strength(document):
        strength = section.get("Strength", "mu")
        amplitude = section.get("Amplitude", "sqrt_mu")
        yield (
            ("General", "POI"),
            f"{strength!r} acts through its square root: the parameter is "
            f"{amplitude!r}",
        )


def _is_strength(document: dict[str, Any]) -> bool:
    """Whether the POI is μ where √μ is the parameter."""
    section, poi = mapping(document, "Interference"), mapping(document, "General")
    return bool(section) and poi.get("POI") == section.get("Strength", "mu")


def _morphing(document: dict[str, Any]) -> Found:
    section, known = mapping(document, "Morphing"), _simulated(document)
    n_couplings = len(entries(section, "Couplings"))
    powers = section.get("Powers")
    rows = powers if isinstance(powers, list) else []
    for index, row in enumerate(rows):
        if isinstance(row, list) and len(row) != n_couplings:
            yield (
                ("Morphing", "Powers", index),
                f"has {len(row)} powers for {n_couplings} couplings",
            )
    points = mapping(section, "Points")
    for name, point in points.items():
        place = ("Morphing", "Points", name)
        if name not in known:
            yield place, unknown("sample", str(name), known)
        elif isinstance(point, list) and len(point) != n_couplings:
            yield place, f"has {len(point)} values for {n_couplings} couplings"
    if rows and points and len(points) < len(rows):
        yield (
            ("Morphing", "Points"),
            f"{len(rows)} monomials need as many samples, not {len(points)}",
        )


def _couplings(document: dict[str, Any]) -> Found:
    """Names that would stand for two parameters."""
    taken = dict.fromkeys(names(document, "NormFactors"), "a norm factor")
    for entry in entries(document, "Systematics"):
        name = entry.content.get("ModifierName") or entry.content.get("Name")
        if isinstance(name, str):
            taken.setdefault(name, "a systematic")
    for location, name in _amplitudes(document):
        if name in taken:
            yield location, f"{name!r} is the name of {taken[name]}, too"
        taken.setdefault(name, "a coupling")
    strength = mapping(document, "Interference").get("Strength", "mu")
    if mapping(document, "Interference") and strength in taken:
        yield (
            ("Interference", "Strength"),
            f"{strength!r} is the name of {taken[strength]}, too",
        )


def _fixed(document: dict[str, Any]) -> Found:
    general = mapping(document, "General")
    systematics = [
        entry.content.get("ModifierName") or entry.content.get("Name")
        for entry in entries(document, "Systematics")
    ]
    known = [name for _, name in _amplitudes(document)]
    known += names(document, "NormFactors")
    known += [name for name in systematics if isinstance(name, str)]
    held: set[str] = set()
    for entry in entries(general, "Fixed", ("General",)):
        for location, name in texts(entry, "Name"):
            if name == general.get("POI"):
                yield location, "the parameter of interest cannot be fixed"
            elif name not in known:
                yield location, unknown("parameter", name, known)
            elif name in held:
                yield location, f"{name!r} is fixed twice"
            held.add(name)


def _without_effect(document: dict[str, Any]) -> Found:
    if mapping(document, "Input").get("ChunkSize") is not None:
        yield ("Input", "ChunkSize"), "has no effect: all events are in memory"
    for entry in entries(document, "Samples"):
        if entry.content.get("DisableStaterror") is True:
            yield (
                (*entry.location, "DisableStaterror"),
                "has no effect: there are no bins",
            )
    for entry in entries(document, "Systematics"):
        for side in ("Up", "Down"):
            if mapping(entry.content, side).get("Variable") is not None:
                yield (
                    (*entry.location, side, "Variable"),
                    "has no effect: there are no bins",
                )
    fresh = mapping(document, "Ratios").get("FreshEvents") is True
    if fresh and document.get("Generator") is None:
        yield ("Ratios", "FreshEvents"), "needs a Generator"
