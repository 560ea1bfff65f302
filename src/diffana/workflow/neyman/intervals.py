"""`diffana neyman interval`: the confidence sets of observed data."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from diffana.errors import SpecificationError
from diffana.neyman import Belt, Region, invert, locations
from diffana.published import Published
from diffana.workflow.neyman import records
from diffana.workflow.neyman.records import Record


def interval(folder: Path, observed: Any = None, origin: str = "") -> dict[str, Any]:
    """Confidence sets of the data in the workspace of a belt, or of others.

    Args:
        folder: the belt.
        observed: parsed JSON with other data: a workspace, its list of observations, or
            counts by channel.
        origin: where they came from, for messages.

    Raises:
        RunError: if there is no belt.
        SpecificationError: if the data do not fit the model.
        FitError: if a fit to the data is not certified.
    """
    record = records.read(folder)
    workspace = records.opened(record.source)
    belt = record.belt()
    data = workspace.data if observed is None else _data(workspace, observed, origin)
    found = belt.statistic(data)
    sets = [invert(belt.tested, found, one) for one in belt.critical_values]
    one = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], data)
    (best,) = locations(belt.construction.likelihood, one).poi_hat
    document = {
        **{key: record.document[key] for key in _LABELS if key in record.document},
        "data": origin or workspace.origin,
        "poi_hat": float(best),
        "sets": [
            {"level": level, **described(region)}
            for level, region in zip(record.document["levels"], sets, strict=True)
        ],
        "mu": belt.tested.tolist(),
        "statistic_obs": found.tolist(),
        "critical": record.document["critical"],
    }
    p_values = _p_values(record, belt, found)
    if p_values is not None:
        document["p_value"] = p_values.tolist()
    return document


_LABELS = ("poi", "statistic", "focus", "truncate", "nuisance", "scheme", "guarantee")


def described(region: Region) -> dict[str, Any]:
    """A confidence set as a document."""
    lower, upper = region.hull if not region.empty else (np.nan, np.nan)
    return {
        "segments": [list(segment) for segment in region.segments],
        "hull": [lower, upper],
        "length": region.length,
        "empty": region.empty,
        "hits_edge": list(region.hits_edge),
    }


def _p_values(
    record: Record, belt: Belt, found: Float[np.ndarray, " tested"]
) -> Float[np.ndarray, " tested"] | None:
    """Fraction of toys, and the data among them, that are at least as extreme.

    Only where every tested value with toys has enough of them; between such values the
    p-value is interpolated.
    """
    at, statistic = record.toys()
    if record.document["scheme"] not in ("direct", "plugin") or not at.size:
        return None
    points, counts = np.unique(at, return_counts=True)
    if counts.min() < _FEWEST:
        return None
    order = np.argsort(at, kind="stable")
    groups = np.split(statistic[order], np.cumsum(counts)[:-1])
    values = [
        (1 + np.count_nonzero(group >= found[point - belt.first] - _TIE))
        / (1 + group.size)
        for point, group in zip(points, groups, strict=True)
    ]
    return np.interp(np.arange(belt.first, belt.last + 1), points, values)


_FEWEST = 100
# Equal data may differ by this in their statistic.
_TIE = 1e-5


def _data(workspace: Any, observed: Any, origin: str) -> PyTree:
    """A data set in the form of the model."""
    if not isinstance(workspace, Published):
        raise SpecificationError(
            f"{origin}: other data can be given for workspaces only"
        )
    match observed:
        case {"observations": [*entries]}:
            counts = _by_channel(entries, origin)
        case [*entries]:
            counts = _by_channel(entries, origin)
        case {**counts}:
            pass
        case _:
            raise SpecificationError(f"{origin}: no observations")
    layout = workspace.model.layout
    parts = []
    for channel in layout.channels:
        n_bins = channel.stop - channel.start
        if channel.name not in counts:
            raise SpecificationError(f"{origin}: no counts of channel {channel.name!r}")
        try:
            values = np.asarray(counts[channel.name], float)
        except (TypeError, ValueError):
            values = np.array([np.nan])
        if values.shape != (n_bins,) or not (np.isfinite(values) & (values >= 0)).all():
            raise SpecificationError(
                f"{origin}: channel {channel.name!r} needs {n_bins} counts >= 0"
            )
        parts.append(values)
    known = {channel.name for channel in layout.channels}
    for name in counts:
        if name not in known:
            raise SpecificationError(f"{origin}: there is no channel {name!r}")
    auxdata = np.asarray(workspace.model.auxdata)
    return jnp.asarray(np.concatenate([*parts, auxdata]))


def _by_channel(entries: list[Any], origin: str) -> dict[str, Any]:
    try:
        return {entry["name"]: entry["data"] for entry in entries}
    except (KeyError, TypeError) as error:
        raise SpecificationError(
            f"{origin}: observations need a name and data each"
        ) from error
