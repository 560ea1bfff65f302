"""A published workspace, its patches and its measurement as a likelihood."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jsonpatch
import numpy as np
import pyhf
from jaxtyping import Array, Float
from pyhf import exceptions

from diffana.errors import SpecificationError
from diffana.histfactory import HistFactory, from_workspace
from diffana.likelihood import Parameters


_LONGEST_REASON = 200


class Published(NamedTuple):
    """A workspace that is ready for inference.

    Attributes:
        model: its likelihood.
        data: observed counts, then auxiliary measurements.
        specification: the workspace in pyhf's form, patches applied.
        measurement: name of the measurement in use.
        measurements: names of all measurements.
        origin: where the workspace came from, for messages.
    """

    model: HistFactory
    data: Float[Array, " data"]
    specification: Mapping[str, Any]
    measurement: str
    measurements: tuple[str, ...]
    origin: str

    @property
    def parameters(self) -> Parameters:
        """Names, starting values and bounds; nothing is compiled for them."""
        return self.model.layout.parameters

    @property
    def squares(self) -> Mapping[str, str]:
        """Quantities that are squares of parameters: none."""
        return {}

    @property
    def poi(self) -> str:
        """Name of the parameter of interest.

        Raises:
            SpecificationError: if the measurement has none.
        """
        poi = self.parameters.poi
        if poi is None:
            raise SpecificationError(
                f"{self.origin}: measurement {self.measurement!r} has no parameter of "
                "interest"
            )
        return poi


def publish(
    content: Any,
    *,
    origin: str,
    patches: Sequence[tuple[str, Any, str | None]] = (),
    measurement: str | None = None,
) -> Published:
    """Likelihood and data of a parsed workspace.

    Args:
        content: the JSON document.
        origin: where it came from, for messages.
        patches: for each patch where it came from, its JSON document, and the name of
            the patch where the document is a patch set. They are applied in order. A
            patch set is compared with the digests of `content` first.
        measurement: name of the measurement; the first one if left out.

    Raises:
        SpecificationError: in one line that names the place.
    """
    if not isinstance(content, dict):
        raise SpecificationError(f"{origin}: not a workspace: not a JSON object")
    # Digests are those of the workspace without any patch.
    several = [_operations(content, *patch) for patch in patches]
    specification = copy.deepcopy(content) if patches else content
    for (where, *_), operations in zip(patches, several, strict=True):
        for number, operation in enumerate(operations):
            specification = _applied(
                specification, operation, measurement, f"{where}: operation {number}"
            )
    index = _measurement_index(specification, origin, measurement)
    try:
        model, data = from_workspace(specification, _name(specification, index))
    except SpecificationError as error:
        raise SpecificationError(f"{origin}: {_reason(error)}") from error
    except exceptions.SchemaNotFound as error:
        version = specification.get("version")
        raise SpecificationError(
            f"{origin}: version {version!r} of the specification is not known"
        ) from error
    _check_numbers(specification, model, origin)
    measurements = tuple(one["name"] for one in specification["measurements"])
    return Published(
        model, data, specification, measurements[index], measurements, origin
    )


def _measurement_index(
    content: Mapping[str, Any], origin: str, measurement: str | None
) -> int:
    if measurement is None:
        return 0
    try:
        names = [one["name"] for one in content["measurements"]]
    except (KeyError, TypeError) as error:
        raise SpecificationError(
            f"{origin}: not a workspace: no list of named measurements"
        ) from error
    if measurement not in names:
        raise SpecificationError(
            f"{origin}: no measurement {measurement!r}; there are {_listed(names)}"
        )
    return names.index(measurement)


def _name(content: Mapping[str, Any], index: int) -> str | None:
    """Name of a measurement; None where pyhf will say what is wrong."""
    try:
        return content["measurements"][index]["name"]
    except (KeyError, IndexError, TypeError):
        return None


def _operations(
    content: Mapping[str, Any], origin: str, patch: Any, name: str | None
) -> Sequence[Any]:
    """Operations of a JSON patch, or of the patch `name` of a patch set."""
    if isinstance(patch, list):
        if name is not None:
            raise SpecificationError(f"{origin}: a single patch and not a patch set")
        return patch
    if not (isinstance(patch, dict) and "patches" in patch):
        raise SpecificationError(f"{origin}: neither a JSON patch nor a patch set")
    try:
        patches = pyhf.PatchSet(patch)
    except exceptions.InvalidSpecification as error:
        raise SpecificationError(f"{origin}: {_schema_reason(error)}") from error
    except (exceptions.InvalidPatchSet, exceptions.SchemaNotFound) as error:
        raise SpecificationError(f"{origin}: {_short(error)}") from error
    names = [one.name for one in patches]
    if name is None or name not in names:
        unknown = "a patch set" if name is None else f"no patch {name!r}"
        raise SpecificationError(
            f"{origin}: {unknown}; choose one as FILE:NAME, where NAME is one of "
            f"{_listed(names)}"
        )
    try:
        patches.verify(content)
    except exceptions.PatchSetVerificationError as error:
        raise SpecificationError(
            f"{origin}: made for another workspace: {error}"
        ) from error
    return patches.patches[names.index(name)].patch


def _applied(
    specification: Any, operation: Any, measurement: str | None, where: str
) -> Any:
    """The workspace after one operation.

    Operations of patch sets address the workspace. Those that `pyhf cls --patch` takes
    address the model, whose channels are those of the workspace and whose parameters
    are those of the measurement.
    """
    try:
        addressed = dict(operation)
        for key in ("path", "from"):
            if str(addressed.get(key, "")).startswith("/parameters"):
                index = _measurement_index(specification, where, measurement)
                addressed[key] = f"/measurements/{index}/config{addressed[key]}"
        patch = jsonpatch.JsonPatch([addressed])
        return patch.apply(specification, in_place=True)
    except (
        jsonpatch.JsonPatchException,
        jsonpatch.JsonPointerException,
        TypeError,
        ValueError,
    ) as error:
        raise SpecificationError(f"{where} does not apply: {_short(error)}") from error


def _check_numbers(
    specification: Mapping[str, Any], model: HistFactory, origin: str
) -> None:
    observed = {one["name"]: one["data"] for one in specification["observations"]}
    for channel in model.layout.channels:
        counts, n_bins = observed[channel.name], channel.stop - channel.start
        where = f"{origin}: channel {channel.name!r}"
        if len(counts) != n_bins:
            raise SpecificationError(
                f"{where}: {n_bins} bins, but {len(counts)} observed counts"
            )
        for position, count in enumerate(counts):
            if not (math.isfinite(count) and count >= 0):
                raise SpecificationError(
                    f"{where}: bin {position}: the observed count is {count}"
                )
    if not np.all(np.isfinite(model.templates.nominal)):
        place, value = next(_not_finite(specification["channels"], "channels"))
        raise SpecificationError(f"{origin}: {place} is {value}")


def _not_finite(node: Any, place: str) -> Iterator[tuple[str, float]]:
    if isinstance(node, float) and not math.isfinite(node):
        yield place, node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _not_finite(value, f"{place}.{key}")
    elif isinstance(node, list):
        for position, value in enumerate(node):
            yield from _not_finite(value, f"{place}[{position}]")


def _reason(error: SpecificationError) -> str:
    cause = error.__cause__
    if isinstance(cause, exceptions.InvalidSpecification):
        return _schema_reason(cause)
    return _short(cause if cause is not None and str(cause) else error)


def _schema_reason(error: exceptions.InvalidSpecification) -> str:
    place = f"{error.path}: " if error.path else ""
    return f"{place}{_short(error.parent.message)}"


def _short(reason: object) -> str:
    words = " ".join(str(reason).split())
    if len(words) <= _LONGEST_REASON:
        return words
    return words[: _LONGEST_REASON - 1] + "…"


def _listed(names: Sequence[str]) -> str:
    shown = names if len(names) <= 8 else [*names[:7], f"{len(names) - 7} more"]
    return ", ".join(shown)
