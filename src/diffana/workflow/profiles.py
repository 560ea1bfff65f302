"""Rankings and scans of published workspaces, as the commands report them."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffana import infer
from diffana.errors import RESULTS, FitError, SpecificationError
from diffana.fit import FitResult
from diffana.published import Published
from diffana.workflow.checks import check_numbers, check_result, check_value, position
from diffana.workflow.published import by_name, entries


if TYPE_CHECKING:
    from diffana.stored import Measurement


_REACH = 3.0
_N_POINTS = {1: 41, 2: 21}


def ranking(
    workspace: "Published | Measurement", *, refit: bool = False
) -> dict[str, Any]:
    """Parameters by their impact on the parameter of interest, the largest first.

    Args:
        workspace: the workspace.
        refit: whether impacts come from fits with the parameter held.

    Returns:
        Dictionaries by parameter name, all in the order of `labels`; nan where there is
        no pull or impact because the parameter has no constraint or is held. Where the
        parameter of interest is at a bound (`poi_at_bound`) it does not move, and all
        impacts from the covariance are zero.

    Raises:
        SpecificationError: if there is no parameter of interest.
        FitError: if a fit is not certified.
    """
    poi = workspace.poi
    found = infer.ranking(workspace.model, workspace.data, refit=refit, throw=False)
    check_result("the fit", found.fit.result)
    check_result("a fit with a parameter held", found.result)
    index, order = position(workspace, poi), np.asarray(found.order)
    names = [found.names[i] for i in order]
    columns = ("bestfit", "uncertainty", "pull", "constraint")
    impacts = ("prefit_up", "prefit_down", "postfit_up", "postfit_down")
    return {
        "poi": poi,
        "poi_bestfit": float(found.fit.bestfit[index]),
        "poi_at_bound": bool(found.fit.at_bound[index]),
        "labels": names,
        **{
            column: by_name(names, np.asarray(getattr(found, column))[order])
            for column in (*columns, *impacts)
        },
    }


def scan(
    workspace: "Published | Measurement",
    parameters: Sequence[str] = (),
    *,
    ranges: Sequence[tuple[float, float]] = (),
    points: int | None = None,
) -> dict[str, Any]:
    """Profile of twice_nll along one or two parameters.

    Args:
        workspace: the workspace.
        parameters: one or two names; the parameter of interest if left out. The square
            of a parameter, where there is one, is as good.
        ranges: for each parameter where the scan begins and ends; by default three
            standard deviations on either side, within the bounds.
        points: number of values of each parameter.

    Returns:
        The grid; nan at points whose fit is not certified, which `failures` names.

    Raises:
        SpecificationError: if a name is unknown or twice there, there are more than
            two, or a range is empty or outside the bounds.
        FitError: if the free fit is not certified or not the lowest, or none of the
            others is certified.
    """
    names = list(parameters) or [workspace.poi]
    squared = [name for name in names if name in workspace.squares]
    if squared:
        return _scan_of_squares(workspace, names, ranges=ranges, points=points)
    if len(names) > 2 or len(set(names)) < len(names):
        raise SpecificationError(
            f"a scan has one or two parameters, not {', '.join(names)}"
        )
    for name in names:
        position(workspace, name)
    if ranges and len(ranges) != len(names):
        raise SpecificationError(
            f"{len(names)} parameters to scan, but {len(ranges)} ranges"
        )
    for name, (low, high) in zip(names, ranges, strict=False):
        check_value(workspace, name, low)
        check_value(workspace, name, high)
        if not low < high:
            raise SpecificationError(
                f"range of {name!r}: {low:g} is not below {high:g}"
            )
    ends = list(ranges) or _around_the_best_fit(workspace, names)
    n_points = _N_POINTS[len(names)] if points is None else points
    values = {
        name: jnp.linspace(*end, n_points)
        for name, end in zip(names, ends, strict=True)
    }
    return _scanned(workspace, values, values)


def _scan_of_squares(
    workspace: "Published | Measurement",
    names: Sequence[str],
    *,
    ranges: Sequence[tuple[float, float]],
    points: int | None,
) -> dict[str, Any]:
    """A scan in which some quantities are squares of parameters."""
    if len(ranges) != len(names):
        raise SpecificationError(
            f"a scan of {', '.join(names)} needs a range for each of them"
        )
    n_points = _N_POINTS[len(names)] if points is None else points
    values, shown = {}, {}
    for name, (low, high) in zip(names, ranges, strict=True):
        parameter = workspace.squares.get(name)
        if not (low < high and (parameter is None or low >= 0)):
            raise SpecificationError(
                f"range of {name!r}: {low:g} and {high:g} are no range of it"
            )
        for end in (low, high):
            if parameter is None:
                check_value(workspace, name, end)
            else:
                check_value(workspace, parameter, math.sqrt(end))
        shown[name] = jnp.linspace(low, high, n_points)
        values[parameter or name] = jnp.sqrt(shown[name]) if parameter else shown[name]
    return _scanned(workspace, values, shown)


def _scanned(
    workspace: "Published | Measurement",
    values: Mapping[str, Float[Array, " point"]],
    shown: Mapping[str, Float[Array, " point"]],
) -> dict[str, Any]:
    """The document of a scan; `shown` are the values under the names to be told."""
    names = list(shown)
    found = infer.scan(workspace.model, workspace.data, values, throw=False)
    check_result("the free fit", found.free.result)
    if any(bool(end == RESULTS.missed_minimum) for end in entries(found.result)):
        check_result("the free fit", RESULTS.missed_minimum)
    places = np.stack(np.meshgrid(*shown.values(), indexing="ij"), -1)
    failures = {}
    for place, result in zip(
        places.reshape(-1, len(names)), entries(found.result), strict=True
    ):
        if bool(result != RESULTS.successful):
            at = ", ".join(f"{n} = {v:g}" for n, v in zip(names, place, strict=True))
            failures[at] = f"the fit at {at} is not certified: {RESULTS[result]}"
    if len(failures) == found.delta_twice_nll.size:
        raise FitError(next(iter(failures.values())))
    return {
        "best_twice_nll": float(found.free.best_twice_nll),
        "bestfit": _picked(workspace, names, found.free),
        "values": {name: np.asarray(row).tolist() for name, row in shown.items()},
        "delta_twice_nll": np.asarray(found.delta_twice_nll).tolist(),
        "failures": failures,
    }


def _picked(
    workspace: "Published | Measurement", names: Sequence[str], fit: FitResult
) -> Mapping[str, float]:
    squares = workspace.squares
    found = {}
    for name in names:
        best = float(fit.bestfit[position(workspace, squares.get(name, name))])
        found[name] = best**2 if name in squares else best
    return found


def _around_the_best_fit(
    workspace: "Published | Measurement", names: Sequence[str]
) -> list[tuple[float, float]]:
    model, data = workspace.model, workspace.data
    found = infer.estimate(model, data, throw=False)
    check_result("the free fit", found.result)
    information = infer.fisher_information(model, found.bestfit, data)
    ends = []
    for name in names:
        index = position(workspace, name)
        # A parameter at its bound has no uncertainty, but the profile has a curvature.
        free = found.fit.free.at[index].set(True)
        sigma = float(infer.uncertainty(infer.covariance(information, free))[index])
        best = float(found.bestfit[index])
        lower = float(model.parameters.lower[index])
        upper = float(model.parameters.upper[index])
        low, high = lower, upper
        if math.isfinite(sigma) and sigma > 0:
            low = max(lower, best - _REACH * sigma)
            high = min(upper, best + _REACH * sigma)
        check_numbers({f"the range of {name}": (low, high)})
        ends.append((low, high))
    return ends
