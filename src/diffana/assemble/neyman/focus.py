"""Focus functions from texts."""

import ast
from collections.abc import Callable, Mapping

import numpy as np

from diffana.errors import SpecificationError
from diffana.neyman import (
    AbstractFocus,
    HalfNormal,
    Mixture,
    Normal,
    Uniform,
    insured,
)


def focus_of(text: str, bounds: tuple[float, float]) -> AbstractFocus:
    """The focus function that a text describes.

    `normal(mean, sd)`, `halfnormal(sd)` above the lower bound, `uniform(lower, upper)`;
    sums with weights, such as `0.7*normal(0, 1) + 0.3*normal(3, 1)`; and
    `insured(focus, fraction)`, which gives a fraction to all values alike.

    Args:
        text: the description.
        bounds: where normal functions end; infinite for not at all.

    Raises:
        SpecificationError: naming what is wrong with the text.

    Example:
        >>> focus_of("insured(normal(1, 0.5), 0.1)", (0.0, 10.0))
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        return _focus(tree, bounds)
    except SyntaxError as error:
        raise SpecificationError(f"focus {text!r}: not understood") from error
    except ValueError as error:
        raise SpecificationError(f"focus {text!r}: {error}") from error


def _focus(node: ast.expr, bounds: tuple[float, float]) -> AbstractFocus:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mult):
        terms = _terms(node, bounds)
        total = sum(weight for weight, _ in terms)
        if not total > 0:
            raise ValueError("weights add up to nothing")
        weights = np.array([weight / total for weight, _ in terms])
        return Mixture(tuple(focus for _, focus in terms), weights)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        made = _FUNCTIONS.get(node.func.id)
        if made is not None and not node.keywords:
            return made(node.args, bounds)
        known = ", ".join(_FUNCTIONS)
        raise ValueError(f"{ast.unparse(node)} is not one of {known}")
    raise ValueError(f"{ast.unparse(node)} is no focus function")


def _terms(
    node: ast.expr, bounds: tuple[float, float]
) -> list[tuple[float, AbstractFocus]]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _terms(node.left, bounds) + _terms(node.right, bounds)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return [(_number(node.left), _focus(node.right, bounds))]
    return [(1.0, _focus(node, bounds))]


def _number(node: ast.expr) -> float:
    try:
        found = ast.literal_eval(node)
    except ValueError:
        found = None
    if isinstance(found, int | float) and not isinstance(found, bool):
        return float(found)
    raise ValueError(f"{ast.unparse(node)} is not a number")


def _numbers(arguments: list[ast.expr], n: int, name: str) -> list[float]:
    if len(arguments) != n:
        raise ValueError(f"{name} takes {n} numbers, not {len(arguments)}")
    return [_number(one) for one in arguments]


def _normal(arguments: list[ast.expr], bounds: tuple[float, float]) -> AbstractFocus:
    mean, sd = _numbers(arguments, 2, "normal")
    return Normal(mean, sd, *bounds)


def _half_normal(
    arguments: list[ast.expr], bounds: tuple[float, float]
) -> AbstractFocus:
    (sd,) = _numbers(arguments, 1, "halfnormal")
    return HalfNormal(sd, bounds[0] if np.isfinite(bounds[0]) else 0.0)


def _uniform(arguments: list[ast.expr], bounds: tuple[float, float]) -> AbstractFocus:
    return Uniform(*_numbers(arguments, 2, "uniform"))


def _insured(arguments: list[ast.expr], bounds: tuple[float, float]) -> AbstractFocus:
    if not 1 <= len(arguments) <= 2:
        raise ValueError("insured takes a focus and a fraction")
    if not np.isfinite(bounds).all():
        raise ValueError("insured needs a parameter with two bounds, and truncation")
    inner = _focus(arguments[0], bounds)
    fraction = _number(arguments[1]) if len(arguments) == 2 else 0.1
    return insured(inner, fraction, lower=bounds[0], upper=bounds[1])


_FUNCTIONS: Mapping[
    str, Callable[[list[ast.expr], tuple[float, float]], AbstractFocus]
] = {
    "normal": _normal,
    "halfnormal": _half_normal,
    "uniform": _uniform,
    "insured": _insured,
}
