"""The only door to pyhf: specifications come in and go out here."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import jsonpatch
import numpy as np
import pyhf
from jaxtyping import Array, ArrayLike, Float
from pyhf import exceptions

from diffana.errors import SpecificationError

from ._compiler import compile_model
from .layout import Modifier, ParameterSet, Row
from .model import HistFactory
from .templates import Templates


def from_workspace(
    workspace: Mapping[str, Any],
    measurement: str | None = None,
    patches: Sequence[Any] = (),
    modifier_settings: Mapping[str, Mapping[str, str]] | None = None,
) -> tuple[HistFactory, Float[Array, " data"]]:
    """Likelihood and observed data of a pyhf workspace.

    Args:
        workspace: a workspace as read from JSON, or a `pyhf.Workspace`.
        measurement: name of the measurement; the first one if left out.
        patches: JSON patches of the model specification, each a list of operations or
            an entry of a `pyhf.PatchSet`, applied in order.
        modifier_settings: interpolation codes in pyhf's form,
            `{"histosys": {"interpcode": "code0"}, "normsys": {"interpcode": "code1"}}`;
            left out, pyhf's defaults `code4p` and `code4`.

    Returns:
        The likelihood, and its data: observed counts, then auxiliary measurements.

    Raises:
        SpecificationError: if pyhf refuses the workspace, or it contains something that
            cannot be represented.

    Example:
        >>> workspace = {
        ...     "version": "1.0.0",
        ...     "channels": [{"name": "SR", "samples": [
        ...         {"name": "signal", "data": [5.0], "modifiers": [
        ...             {"name": "mu", "type": "normfactor", "data": None}]}]}],
        ...     "observations": [{"name": "SR", "data": [7.0]}],
        ...     "measurements": [
        ...         {"name": "m", "config": {"poi": "mu", "parameters": []}}],
        ... }
        >>> model, data = from_workspace(workspace)
        >>> model.parameters.names, data.tolist()
        (('mu',), [7.0])
    """
    settings = {}
    if modifier_settings is not None:
        codes = {kind: dict(code) for kind, code in modifier_settings.items()}
        settings["modifier_settings"] = codes
    try:
        parsed = pyhf.Workspace(dict(workspace))
        # What is not patched has just been validated, which takes longer than the rest.
        model = parsed.model(
            measurement_name=measurement,
            patches=list(patches),
            validate=bool(patches),
            **settings,
        )
    except (
        exceptions.InvalidMeasurement,
        exceptions.InvalidModel,
        exceptions.InvalidModifier,
        exceptions.InvalidNameReuse,
        exceptions.InvalidSpecification,
        exceptions.Unsupported,
        jsonpatch.JsonPatchException,
        jsonpatch.JsonPointerException,
        # What pyhf raises without words: an interpolation code or a shared `staterror`
        # it does not accept, and a `lumi` without configuration.
        AssertionError,
        TypeError,
    ) as error:
        raise SpecificationError(f"pyhf refuses the workspace: {error!r}") from error
    for channel in model.config.channels:
        if channel not in parsed.observations:
            raise SpecificationError(f"channel {channel!r}: no observation")
    return from_model(model), jnp.asarray(parsed.data(model), float)


def from_model(model: pyhf.Model) -> HistFactory:
    """Likelihood equal to that of a pyhf model.

    Raises:
        SpecificationError: naming the part that cannot be represented.

    Example:
        >>> import pyhf
        >>> model = from_model(pyhf.simplemodels.uncorrelated_background(
        ...     signal=[5.0], bkg=[50.0], bkg_uncertainty=[5.0]))
        >>> model.parameters.names
        ('mu', 'uncorr_bkguncrt[0]')
    """
    layout, templates = compile_model(model)
    return HistFactory(templates, layout)


def to_spec(model: HistFactory) -> dict[str, Any]:
    """Model specification, in pyhf's form, of the current templates.

    Channels and samples come out in the order of `Layout.rows`, parameters with the
    attributes that the measurement gave.

    Raises:
        SpecificationError: naming a template that is not finite, or a width that pyhf
            cannot hold.

    Example:
        >>> import pyhf
        >>> model = from_model(pyhf.simplemodels.uncorrelated_background(
        ...     signal=[5.0], bkg=[50.0], bkg_uncertainty=[5.0]))
        >>> pyhf.Model(to_spec(model)).config.suggested_init()
        [1.0, 1.0]
    """
    layout = model.layout
    samples: dict[str, list[dict[str, Any]]] = {
        name: [] for name, *_ in layout.channels
    }
    for row in layout.rows:
        samples[row.channel].append(_sample_spec(model.templates, row))
    return {
        "channels": [
            {"name": channel, "samples": entries}
            for channel, entries in samples.items()
        ],
        "parameters": [
            parameter
            for parameter_set in layout.parameter_sets
            if len(parameter := _parameter_spec(model, parameter_set)) > 1
        ],
    }


def to_workspace(
    model: HistFactory,
    data: Float[ArrayLike, " data"],
    measurement: str = "measurement",
) -> dict[str, Any]:
    """Workspace, in pyhf's form, of the current templates and of `data`.

    pyhf evaluates it to the same likelihood, given the interpolation codes of
    `modifier_settings`, which a workspace cannot hold.

    Args:
        model: the likelihood.
        data: counts of all bins, then auxiliary measurements. The latter are written
            where they differ from those that follow from the templates.
        measurement: name of the only measurement.

    Raises:
        SpecificationError: naming a template or a datum that is not finite.

    Example:
        >>> import pyhf
        >>> model = from_model(pyhf.simplemodels.uncorrelated_background(
        ...     signal=[5.0], bkg=[50.0], bkg_uncertainty=[5.0]))
        >>> asimov = model.expected_data(model.parameters.inits)
        >>> pyhf.Workspace(to_workspace(model, asimov)).observations
        {'singlechannel': [55.0]}
    """
    spec, layout = to_spec(model), model.layout
    counts, auxdata = np.split(np.asarray(data, float), [layout.n_bins])
    nominal = np.asarray(model.auxdata)
    parameters = {parameter["name"]: parameter for parameter in spec["parameters"]}
    for parameter_set in layout.parameter_sets:
        measured, name = parameter_set.auxiliary, parameter_set.name
        if not np.array_equal(auxdata[measured], nominal[measured]):
            parameters.setdefault(name, {"name": name})["auxdata"] = _numbers(
                auxdata[measured], f"parameter {name!r}: auxiliary measurement"
            )
    observations = [
        {
            "name": name,
            "data": _numbers(counts[start:stop], f"channel {name!r}: data"),
        }
        for name, start, stop in layout.channels
    ]
    config = {
        "poi": layout.parameters.poi or "",
        "parameters": list(parameters.values()),
    }
    return {
        "version": "1.0.0",
        "channels": spec["channels"],
        "observations": observations,
        "measurements": [{"name": measurement, "config": config}],
    }


def modifier_settings(model: HistFactory) -> dict[str, dict[str, str]]:
    """Interpolation codes of `model`, in the form of pyhf's argument of this name.

    Example:
        >>> import pyhf
        >>> modifier_settings(from_model(pyhf.simplemodels.uncorrelated_background(
        ...     signal=[5.0], bkg=[50.0], bkg_uncertainty=[5.0])))["histosys"]
        {'interpcode': 'code4p'}
    """
    return {
        "histosys": {"interpcode": model.layout.histosys_code.__name__},
        "normsys": {"interpcode": model.layout.normsys_code.__name__},
    }


def _sample_spec(templates: Templates, row: Row) -> dict[str, Any]:
    where = f"channel {row.channel!r}, sample {row.sample!r}"
    return {
        "name": row.sample,
        "data": _numbers(templates.nominal[row.start : row.stop], f"{where}: yield"),
        "modifiers": [
            {
                "name": modifier.name,
                "type": modifier.type,
                "data": _modifier_data(templates, modifier, where),
            }
            for modifier in row.modifiers
        ],
    }


def _modifier_data(templates: Templates, modifier: Modifier, where: str) -> Any:
    entries = slice(modifier.start, modifier.stop)
    where = f"{where}, {modifier.type} {modifier.name!r}"
    match modifier.type:
        case "histosys":
            return {
                "lo_data": _numbers(templates.histosys_lo[entries], where),
                "hi_data": _numbers(templates.histosys_hi[entries], where),
            }
        case "normsys":
            (lo,) = _numbers(templates.normsys_lo[entries], where)
            (hi,) = _numbers(templates.normsys_hi[entries], where)
            return {"lo": lo, "hi": hi}
        case "shapesys":
            return _numbers(templates.shapesys[entries], where)
        case "staterror":
            return _numbers(templates.staterror[entries], where)
        case _:
            return None


def _parameter_spec(model: HistFactory, parameter_set: ParameterSet) -> dict[str, Any]:
    layout, templates = model.layout, model.templates
    parameters, components = layout.parameters, parameter_set.components
    where = f"parameter {parameter_set.name!r}"
    auxiliary = np.arange(layout.n_aux)[parameter_set.auxiliary]
    gaussian = np.isin(layout.gaussian_aux, auxiliary)
    poisson = np.isin(layout.poisson_aux, auxiliary)
    bounds = np.stack([parameters.lower[components], parameters.upper[components]], 1)
    attributes = {
        "inits": _numbers(parameters.inits[components], where),
        "bounds": [_numbers(pair, where) for pair in bounds],
        "fixed": bool(np.all(parameters.fixed[components])),
        "auxdata": _numbers(templates.auxdata[parameter_set.auxiliary], where),
        "sigmas": _numbers(templates.sigma[gaussian], where),
        "factors": _numbers(templates.factor[poisson], where),
    }
    given = {key: attributes[key] for key in parameter_set.given}
    free_width = gaussian & ~np.asarray(layout.sigma_derived)
    if "sigmas" not in given and np.any(np.asarray(templates.sigma)[free_width] != 1):
        raise SpecificationError(f"{where}: pyhf knows no other width than 1")
    return {"name": parameter_set.name, **given}


def _numbers(values: Float[ArrayLike, " item"], where: str) -> list[float]:
    values = np.asarray(values, float)
    if not np.all(np.isfinite(values)):
        position = int(np.argmin(np.isfinite(values)))
        raise SpecificationError(f"{where}: entry {position} is {values[position]}")
    return values.tolist()
