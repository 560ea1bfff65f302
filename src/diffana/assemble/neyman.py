"""Descriptions of Neyman constructions -> objects."""

import ast
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree
from scipy.special import chdtri, ndtri
from scipy.stats import qmc

from diffana.errors import FitError, SpecificationError
from diffana.histfactory import HistFactory
from diffana.likelihood import AbstractLikelihood
from diffana.neyman import (
    FTS,
    LRS,
    AbstractFocus,
    AbstractNuisance,
    AbstractScheme,
    AbstractStatistic,
    Average,
    Conditional,
    Construction,
    Direct,
    Grid,
    HalfNormal,
    Known,
    Laplace,
    Marginal,
    Mixed,
    Mixture,
    Normal,
    Plugin,
    Profile,
    Uniform,
    conditional_params,
    effective_support,
    has_nuisance,
    insured,
    locations,
)


StatisticName = Literal["lrs", "fts"]
NuisanceName = Literal["profile", "marginal", "mixed", "laplace"]
SchemeName = Literal["plugin", "conditional", "average"]

_N_PRIOR = 128
_FAR = 8.0
_LOST_FOCUS = 1e-4
_MOST_POINTS = 5000


@final
class Description(NamedTuple):
    """A Neyman construction in words and numbers, as it is stored.

    Attributes:
        statistic: `lrs` or `fts`.
        focus: focus function, see `focus_of`; None for `lrs`.
        truncate: whether a focus ends at the bounds of the parameter of interest.
        nuisance: treatment of nuisance parameters.
        scheme: where those of toys come from.
        lower: lowest tested value; None for one that follows from the model.
        upper: highest tested value; None likewise.
        n_grid: tested values.
        n_nodes: fits per profile.
        beta: of the scheme `conditional`, see `neyman.Conditional`.
        seed: of the points of priors.
    """

    statistic: StatisticName = "fts"
    focus: str | None = None
    truncate: bool = True
    nuisance: NuisanceName = "profile"
    scheme: SchemeName = "plugin"
    lower: float | None = None
    upper: float | None = None
    n_grid: int = 201
    n_nodes: int = 13
    beta: float = 0.004
    seed: int = 0


@final
class Constructed(NamedTuple):
    """A construction that is ready for toys.

    Attributes:
        construction: the test.
        scheme: where nuisance parameters of toys come from.
        tested: positions on the grid of the lowest and the highest tested value.
    """

    construction: Construction
    scheme: AbstractScheme
    tested: tuple[int, int]


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


def construct(
    likelihood: AbstractLikelihood, data: PyTree, description: Description
) -> Constructed:
    """Objects from a description.

    Args:
        likelihood: the statistical model.
        data: the observed data set, to which nuisance parameters of toys are fitted.
        description: what is wanted.

    Raises:
        SpecificationError: naming what cannot be done with this model.
        FitError: if a fit to the data is not certified.
    """
    parameters = likelihood.parameters
    poi = parameters.poi_index
    bounds = float(parameters.lower[poi]), float(parameters.upper[poi])
    lower, upper = _tested_range(likelihood, data, description, bounds)
    statistic = _statistic(description, bounds)
    grid, tested = _grid(statistic, lower, upper, bounds, description.n_grid)
    construction = Construction(
        likelihood, statistic, _nuisance(likelihood, description), grid
    )
    try:
        construction.check()
    except ValueError as error:
        raise SpecificationError(str(error)) from error
    scheme = _scheme(likelihood, data, grid, tested, description)
    return Constructed(construction, scheme, tested)


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


def _tested_range(
    likelihood: AbstractLikelihood,
    data: PyTree,
    description: Description,
    bounds: tuple[float, float],
) -> tuple[float, float]:
    """As given, or some standard deviations around the nominal and the fitted value."""
    lower, upper = description.lower, description.upper
    if lower is not None and upper is not None:
        return lower, upper
    parameters = likelihood.parameters
    expected = eqx.filter_jit(type(likelihood).expected_data)(
        likelihood, parameters.inits
    )
    one = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], data)
    (width,) = locations(
        likelihood, jax.tree.map(lambda leaf: leaf[None], expected)
    ).width
    (best,) = locations(likelihood, one).poi_hat
    nominal = float(parameters.inits[parameters.poi_index])
    if not (np.isfinite(width) and np.isfinite(best)):
        raise SpecificationError(
            "the model does not tell over which range to test: give one"
        )
    low = max(bounds[0], min(nominal, best) - _FAR * width)
    high = min(bounds[1], max(nominal, best) + _FAR * width)
    return (low if lower is None else lower), (high if upper is None else upper)


def _statistic(
    description: Description, bounds: tuple[float, float]
) -> AbstractStatistic:
    if description.statistic == "lrs":
        if description.focus is not None:
            raise SpecificationError("the statistic lrs has no focus")
        return LRS()
    if description.focus is None:
        raise SpecificationError("the statistic fts needs a focus, as normal(1,1)")
    ends = bounds if description.truncate else (-np.inf, np.inf)
    return FTS(focus_of(description.focus, ends))


def _grid(
    statistic: AbstractStatistic,
    lower: float,
    upper: float,
    bounds: tuple[float, float],
    n_points: int,
) -> tuple[Grid, tuple[int, int]]:
    """Tested values, and as many more of the same step as the focus needs."""
    if not lower < upper:
        raise SpecificationError(f"no value to test from {lower:g} to {upper:g}")
    step = (upper - lower) / (n_points - 1)
    below = above = 0
    if isinstance(statistic, FTS):
        low, high = effective_support(statistic.focus, _LOST_FOCUS)
        below = max(0, int(np.ceil((lower - low) / step - 1e-9)))
        above = max(0, int(np.ceil((high - upper) / step - 1e-9)))
    if below + above + n_points > _MOST_POINTS:
        raise SpecificationError(
            "the focus is far wider than the tested range: "
            f"{(below + above) / n_points:.0f} times"
        )
    grid = Grid.between(
        lower - below * step, upper + above * step, n_points + below + above
    )
    return grid, (below, below + n_points - 1)


def _nuisance(
    likelihood: AbstractLikelihood, description: Description
) -> AbstractNuisance:
    if not has_nuisance(likelihood):
        return Known(likelihood.parameters.inits)
    n_nodes = description.n_nodes
    match description.nuisance:
        case "profile":
            return Profile(n_nodes)
        case "laplace":
            return Laplace(n_nodes)
        case "marginal":
            return Marginal(jnp.asarray(prior_points(likelihood, description.seed)))
        case "mixed":
            prior = jnp.asarray(prior_points(likelihood, description.seed))
            return Mixed(prior, n_nodes)


def prior_points(
    likelihood: AbstractLikelihood, seed: int, n_points: int = _N_PRIOR
) -> Float[np.ndarray, "point par"]:
    """Points of equal probability of a normal prior of the nuisance parameters.

    Means are the initial values, standard deviations those of the constraints. The
    points are those of a scrambled Sobol' sequence, the bounds cut them.

    Raises:
        SpecificationError: naming a free parameter that has no constraint.
    """
    parameters = likelihood.parameters
    width = constraint_widths(likelihood)
    free = ~np.asarray(parameters.fixed)
    free[parameters.poi_index] = False
    for name, one, is_free in zip(parameters.names, width, free, strict=True):
        if is_free and not np.isfinite(one):
            raise SpecificationError(
                f"parameter {name!r} has no constraint, and so no prior to average "
                "over: use the treatment profile or laplace, and the scheme plugin"
            )
    sobol = qmc.Sobol(int(free.sum()), rng=np.random.default_rng(seed))
    uniform = np.clip(sobol.random(n_points), 1e-12, 1 - 1e-12)
    points = np.tile(np.asarray(parameters.inits), (n_points, 1))
    points[:, free] += ndtri(uniform) * width[free]
    return np.clip(points, np.asarray(parameters.lower), np.asarray(parameters.upper))


def constraint_widths(likelihood: AbstractLikelihood) -> Float[np.ndarray, " par"]:
    """Standard deviation of the constraint of each parameter; nan without."""
    if isinstance(likelihood, HistFactory):
        return np.asarray(likelihood.constraints.width)
    width = np.full(len(likelihood.parameters), np.nan)
    constraints = getattr(likelihood, "constraints", None)
    if constraints is not None:
        for name, one in zip(
            constraints.parameters, np.asarray(constraints.width), strict=True
        ):
            width[likelihood.parameters.index(name)] = one
    return width


def _scheme(
    likelihood: AbstractLikelihood,
    data: PyTree,
    grid: Grid,
    tested: tuple[int, int],
    description: Description,
) -> AbstractScheme:
    parameters = likelihood.parameters
    if description.scheme == "average" and has_nuisance(likelihood):
        prior = prior_points(likelihood, description.seed + 1, 4096)
        return Average(prior, np.asarray(grid.points), parameters.poi_index)
    if not has_nuisance(likelihood):
        every = np.tile(np.asarray(parameters.inits), (grid.points.shape[0], 1))
        every[:, parameters.poi_index] = np.asarray(grid.points)
        return Direct(every)
    fitted = _fitted(likelihood, data, grid, tested)
    if description.scheme == "plugin":
        return Plugin(fitted)
    middle = fitted[(tested[0] + tested[1]) // 2]
    return Conditional(
        fitted,
        _ellipsoid(likelihood, data, middle, description.beta),
        np.asarray(parameters.lower),
        np.asarray(parameters.upper),
        description.beta,
    )


def _fitted(
    likelihood: AbstractLikelihood,
    data: PyTree,
    grid: Grid,
    tested: tuple[int, int],
) -> Float[np.ndarray, "grid par"]:
    """Conditional fits at the tested values, nan elsewhere."""
    points = np.asarray(grid.points)
    chosen = slice(tested[0], tested[1] + 1)
    fitted = np.full((points.size, len(likelihood.parameters)), np.nan)
    fitted[chosen] = conditional_params(likelihood, data, jnp.asarray(points[chosen]))
    missing = np.isnan(fitted[chosen]).any(axis=1)
    if missing.any():
        value = points[chosen][missing][0]
        name = likelihood.parameters.poi
        raise FitError(f"the fit at {name} = {value:g} is not certified")
    return fitted


def _ellipsoid(
    likelihood: AbstractLikelihood,
    data: PyTree,
    params: Float[np.ndarray, " par"],
    beta: float,
) -> Float[np.ndarray, "par direction"]:
    """Matrix from the unit ball to the region of probability 1 - beta."""
    parameters = likelihood.parameters
    free = ~np.asarray(parameters.fixed)
    free[parameters.poi_index] = False
    curvature = np.asarray(_curvature(likelihood, jnp.asarray(params), data))
    own = curvature[np.ix_(free, free)] / 2
    values, vectors = np.linalg.eigh(own)
    if not (values > 0).all():
        raise SpecificationError("a nuisance parameter is not determined by the data")
    n_free = int(free.sum())
    root = np.zeros((free.size, n_free))
    root[free] = np.sqrt(chdtri(n_free, beta)) * vectors / np.sqrt(values)
    return root


@eqx.filter_jit
def _curvature(
    likelihood: AbstractLikelihood, params: Float[Array, " par"], data: Any
) -> Float[Array, "par par"]:
    return likelihood.curvature(params, data)
