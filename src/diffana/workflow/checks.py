"""Refusals: of what a workspace does not have, and of fits without certificate."""

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import PyTree

from diffana.errors import RESULTS, FitError, SpecificationError
from diffana.fit import FitResult
from diffana.published import Published


if TYPE_CHECKING:
    from diffana.stored import Measurement


def check_value(workspace: "Published | Measurement", name: str, value: float) -> None:
    """Refuse a parameter that does not exist, or a value outside its bounds.

    Raises:
        SpecificationError: naming the parameter.
    """
    index = position(workspace, name)
    parameters = workspace.parameters
    lower = float(np.asarray(parameters.lower)[index])
    upper = float(np.asarray(parameters.upper)[index])
    if not lower <= value <= upper:
        raise SpecificationError(
            f"{workspace.origin}: parameter {name!r}: {value:g} is outside its bounds "
            f"{lower:g} and {upper:g}"
        )


def check_tested(workspace: "Published | Measurement", poi_test: float) -> None:
    """Refuse a signal strength for which there is no upper-limit test.

    Raises:
        SpecificationError: if there is no parameter of interest, or `poi_test` is
            negative or outside its bounds.
    """
    check_value(workspace, workspace.poi, poi_test)
    if poi_test < 0:
        raise SpecificationError(
            f"the tested {workspace.poi} = {poi_test:g} is negative"
        )
    check_value(workspace, workspace.poi, 0.0)


def check_free(
    workspace: "Published | Measurement", name: str, held: Mapping[str, object]
) -> None:
    """Refuse a parameter that does not exist, or is held.

    Raises:
        SpecificationError: naming the parameter.
    """
    index = position(workspace, name)
    if name in held or bool(workspace.model.parameters.fixed[index]):
        raise SpecificationError(f"{workspace.origin}: parameter {name!r} is held")


def position(workspace: "Published | Measurement", name: str) -> int:
    """Position of the parameter `name`.

    Raises:
        SpecificationError: if there is none, with names that resemble it.
    """
    names = workspace.parameters.names
    if name in names:
        return names.index(name)
    components = [one for one in names if one.startswith(f"{name}[")]
    similar = components or difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"; did you mean {', '.join(similar[:3])}?" if similar else ""
    raise SpecificationError(f"{workspace.origin}: no parameter {name!r}{hint}")


def check_fits(fits: Mapping[str, FitResult]) -> None:
    """Refuse fits that are not certified.

    Raises:
        FitError: naming the first of them, and why.
    """
    for name, fit in fits.items():
        check_result(name, fit.result)


def check_result(name: str, result: RESULTS) -> None:
    """Refuse a result that is not certified.

    Raises:
        FitError: naming it, and why.
    """
    if bool(result != RESULTS.successful):
        raise FitError(f"{name} is not certified: {RESULTS[result]}")


def check_numbers(values: Mapping[str, PyTree]) -> None:
    """Refuse results of certified fits that are not numbers all the same.

    Raises:
        FitError: naming the first of them.
    """
    for name, value in values.items():
        if not all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(value)):
            raise FitError(f"{name} is not a finite number although the fits succeeded")
