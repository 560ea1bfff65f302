"""How the shape of a component follows its nuisance parameters.

A morph gives ln g(x|α), the logarithm of a component's density at the nuisance
parameters α divided by its nominal one, up to the normalisation, from a few numbers per
event: the *terms*. It holds no events itself. Derivatives are in closed form, since
automatic ones cost a pass for every nuisance parameter.
"""

import abc
import itertools
from collections.abc import Callable, Sequence
from math import comb
from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, Scalar

from diffana.errors import DataError


def _as_tree(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function as a tree without leaves; modules are trees already."""
    if isinstance(function, eqx.Module):
        return function  # pyright: ignore[reportReturnType]
    return jtu.Partial(function)


class Slopes(NamedTuple):
    """ln g with its first derivatives.

    Attributes:
        value: ln g of each event.
        first: derivative with respect to each nuisance parameter of the morph.
    """

    value: Float[Array, " event"]
    first: Float[Array, "event nuisance"]


class AbstractMorph(eqx.Module):
    """A morph in one or more nuisance parameters."""

    parameters: eqx.AbstractVar[tuple[str, ...]]

    @abc.abstractmethod
    def log_factor(
        self, alpha: Float[Array, " nuisance"], terms: Float[Array, "event *term"]
    ) -> Float[Array, " event"]:
        """Value of ln g for each event; 0 at α = 0."""

    @abc.abstractmethod
    def slopes(
        self, alpha: Float[Array, " nuisance"], terms: Float[Array, "event *term"]
    ) -> Slopes:
        """Value of ln g for each event with its first derivatives."""

    @abc.abstractmethod
    def bend(
        self,
        alpha: Float[Array, " nuisance"],
        terms: Float[Array, "event *term"],
        weight: Float[Array, " event"],
    ) -> Float[Array, "nuisance nuisance"]:
        """Second derivative of Σ weight · ln g, a sum over the events."""


@final
class PolyExp(AbstractMorph):
    """Product over nuisance parameters of a factor that is exponential outside ±1.

    Inside it is the polynomial of degree six with matching value and two derivatives,
    which is code4 of HistFactory, event by event. The terms of an event are ln u and
    ln d, the logarithms of the density ratios at α = ±1, of shape (2, nuisance), or
    (3, nuisance) with a lift, see `lifts`.

    Attributes:
        parameters: names of the nuisance parameters.

    Source: ATLAS, arXiv:2412.01600, section 4; Cranmer et al., CERN-OPEN-2012-016.

    Example:
        >>> terms = jnp.log(jnp.array([[[1.1], [0.9]]]))
        >>> PolyExp(("alpha",)).log_factor(jnp.ones(1), terms).round(6).tolist()
        [0.09531]
    """

    parameters: tuple[str, ...] = eqx.field(static=True)

    def log_factor(
        self,
        alpha: Float[Array, " nuisance"],
        terms: Float[Array, "event kind nuisance"],
    ) -> Float[Array, " event"]:
        """Value of ln g for each event; nan where a factor is not positive."""
        (factor,) = _factors(alpha, terms, n_derivatives=0)
        return jnp.sum(jnp.log(factor), axis=1)

    def slopes(
        self,
        alpha: Float[Array, " nuisance"],
        terms: Float[Array, "event kind nuisance"],
    ) -> Slopes:
        """Value of ln g for each event with its first derivatives."""
        factor, first = _factors(alpha, terms, n_derivatives=1)
        return Slopes(jnp.sum(jnp.log(factor), axis=1), first / factor)

    def bend(
        self,
        alpha: Float[Array, " nuisance"],
        terms: Float[Array, "event kind nuisance"],
        weight: Float[Array, " event"],
    ) -> Float[Array, "nuisance nuisance"]:
        """Second derivative of Σ weight · ln g: diagonal."""
        factor, first, second = _factors(alpha, terms, n_derivatives=2)
        return jnp.diag(weight @ (second / factor - (first / factor) ** 2))


@final
class LogPolynomial(AbstractMorph):
    """ln g is a polynomial in the nuisance parameters, so that g is always positive.

    The terms of an event are the coefficients of the monomials. Correlated effects of
    several nuisance parameters are mixed monomials.

    Attributes:
        parameters: names of the nuisance parameters.
        powers: power of each nuisance parameter in each monomial; not all 0.

    Source: with learned coefficients Schöfbeck, arXiv:2505.05544; with one quadratic
    polynomial per nuisance parameter Brehmer et al., arXiv:1907.10621.

    Example:
        >>> shift = LogPolynomial(("alpha",), powers=((1,), (2,)))
        >>> shift.log_factor(jnp.array([2.0]), jnp.array([[0.5, -0.1]])).tolist()
        [0.6]
    """

    parameters: tuple[str, ...] = eqx.field(static=True)
    powers: tuple[tuple[int, ...], ...] = eqx.field(static=True)

    def __check_init__(self):
        for row in self.powers:
            if len(row) != len(self.parameters) or min(row) < 0 or max(row) == 0:
                raise ValueError(
                    f"monomial {row}: one power for each of {self.parameters}, not "
                    "all 0"
                )

    @classmethod
    def quadratic(cls, parameters: Sequence[str]) -> "LogPolynomial":
        """Without mixed monomials; the terms are those of `log_quadratic_terms`."""
        eye = np.eye(len(parameters), dtype=int)
        powers = np.concatenate([eye, 2 * eye])
        return cls(tuple(parameters), tuple(map(tuple, powers.tolist())))

    def log_factor(
        self, alpha: Float[Array, " nuisance"], terms: Float[Array, "event monomial"]
    ) -> Float[Array, " event"]:
        """Value of ln g for each event."""
        return terms @ self._monomials(alpha)

    def slopes(
        self, alpha: Float[Array, " nuisance"], terms: Float[Array, "event monomial"]
    ) -> Slopes:
        """Value of ln g for each event with its first derivatives."""
        slope = jax.jacfwd(self._monomials)(alpha)
        return Slopes(self.log_factor(alpha, terms), terms @ slope)

    def bend(
        self,
        alpha: Float[Array, " nuisance"],
        terms: Float[Array, "event monomial"],
        weight: Float[Array, " event"],
    ) -> Float[Array, "nuisance nuisance"]:
        """Second derivative of Σ weight · ln g."""
        second = jax.jacfwd(jax.jacfwd(self._monomials))(alpha)
        return jnp.tensordot(weight @ terms, second, axes=1)

    def _monomials(self, alpha: Float[Array, " nuisance"]) -> Float[Array, " monomial"]:
        # Integer powers by multiplication: 0**0 is 1, with derivatives.
        return jnp.stack(
            [
                jnp.prod(jnp.stack([alpha[i] ** n for i, n in enumerate(row) if n]))
                for row in self.powers
            ]
        )


@final
class FromFeatures(AbstractMorph):
    """ln g is a function of the features of an event, evaluated whenever it is needed.

    The terms of an event are its features, so that a network in many nuisance
    parameters, or a density that is known, needs no other storage. Derivatives are
    automatic, and cost a pass for each parameter.

    Attributes:
        log_ratio: ln g as a function of the nuisance parameters and the features of one
            event.
        parameters: names of the nuisance parameters.

    Example:
        >>> shift = FromFeatures(lambda a, x: a[0] * x[0] - a[0] ** 2 / 2, ("alpha",))
        >>> shift.log_factor(jnp.array([1.0]), jnp.array([[2.0]])).tolist()
        [1.5]
    """

    log_ratio: Callable[
        [Float[Array, " nuisance"], Float[Array, " feature"]], Scalar
    ] = eqx.field(converter=_as_tree)
    parameters: tuple[str, ...] = eqx.field(static=True)

    def log_factor(
        self, alpha: Float[Array, " nuisance"], terms: Float[Array, "event feature"]
    ) -> Float[Array, " event"]:
        """Value of ln g for each event."""
        return jax.vmap(self.log_ratio, in_axes=(None, 0))(alpha, terms)

    def slopes(
        self, alpha: Float[Array, " nuisance"], terms: Float[Array, "event feature"]
    ) -> Slopes:
        """Value of ln g for each event with its first derivatives."""
        both = jax.vmap(jax.value_and_grad(self.log_ratio), in_axes=(None, 0))
        return Slopes(*both(alpha, terms))

    def bend(
        self,
        alpha: Float[Array, " nuisance"],
        terms: Float[Array, "event feature"],
        weight: Float[Array, " event"],
    ) -> Float[Array, "nuisance nuisance"]:
        """Second derivative of Σ weight · ln g."""
        return jax.hessian(lambda at: weight @ self.log_factor(at, terms))(alpha)


def log_quadratic_terms(
    log_up: Float[Array, "event nuisance"], log_down: Float[Array, "event nuisance"]
) -> Float[Array, "event monomial"]:
    """Terms of `LogPolynomial.quadratic` through the density ratios at α = ±1.

    Args:
        log_up: ln of the density at α = 1 over the nominal one.
        log_down: the same at α = -1.
    """
    linear, square = 0.5 * (log_up - log_down), 0.5 * (log_up + log_down)
    return jnp.concatenate([linear, square], axis=1)


def lifts(
    log_up: Float[np.ndarray, "event nuisance"],
    log_down: Float[np.ndarray, "event nuisance"],
    *,
    smallest: float = 0.05,
) -> Float[np.ndarray, "event nuisance"]:
    """What keeps the polynomial of `PolyExp` positive where it would not be.

    Between α = -1 and 1 the polynomial becomes negative where the density ratios at the
    two ends are too far apart, such as u > 25 with d = 1/u. There λ α² (1 - α²)³ is
    added, which keeps the value and the slope at 0 and the value and two derivatives at
    both ends. The result is certified: the Bernstein coefficients of the lifted
    polynomial on short intervals, which are below it, are all positive.

    Args:
        log_up: ln of the density at α = 1 over the nominal one.
        log_down: the same at α = -1.
        smallest: a lift is given where the polynomial comes closer to 0 than this times
            the smallest of u, d and 1, in (0, 1).

    Raises:
        DataError: where the two ends are so far apart that rounding spoils the
            certificate, from a factor of about 10⁷ on.

    Returns:
        λ ≥ 0, exactly 0 where nothing is amiss: usually everywhere, and then the third
        row of terms can be left out.

    Example:
        >>> lifts(np.log([[1.2, 50.0]]), np.log([[0.9, 0.02]])).round(2).tolist()
    """
    shape = np.shape(log_up)
    ends = np.stack([np.ravel(log_up), np.ravel(log_down)]).astype(float)
    lift = np.zeros(ends.shape[1])
    # Cheap and safe for nearly all: below a ratio of 20 nothing is ever negative.
    suspect = np.flatnonzero(np.max(np.abs(ends), axis=0) > np.log(5.0))
    for part in np.array_split(suspect, max(1, len(suspect) // 256)):
        if part.size:
            lift[part] = _lift(ends[:, part], smallest)
    return lift.reshape(shape)


def _lift(
    ends: Float[np.ndarray, "end entry"], smallest: float
) -> Float[np.ndarray, " entry"]:
    """Smallest lift for which all Bernstein coefficients are at the floor or above."""
    coefficients = np.asarray(_polynomial(*jnp.asarray(ends)))
    degree8 = np.concatenate([coefficients, np.zeros((2, ends.shape[1]))])
    raising = np.array([0, 0, 1, 0, -3, 0, 3, 0, -1.0])
    bernstein = _bernstein(8)
    base = np.tensordot(bernstein, degree8, axes=1).reshape(-1, ends.shape[1])
    per_unit = (bernstein @ raising).reshape(-1, 1)
    # Three coefficients next to each end and two next to 0 vanish, but for rounding.
    per_unit[np.abs(per_unit) < 1e-22] = 0.0
    floor = smallest * np.exp(np.minimum(ends.min(axis=0), 0.0))
    missing = np.maximum(floor - base, 0.0)
    # Where the lift itself vanishes the polynomial is 1, u or d, above the floor.
    ratio = missing / np.where(per_unit > 0, per_unit, np.inf)
    needed = np.max(np.where(per_unit > 0, ratio, 0.0), axis=0)
    lifted = base + needed * per_unit
    if not np.all(lifted > 0):
        worst = ends[:, np.argmin(lifted.min(axis=0))]
        raise DataError(
            "density ratios e^{:.3g} at +1 and e^{:.3g} at -1 are too far apart for a "
            "polynomial; a log-polynomial morph has no such limit".format(*worst)
        )
    return needed


def _bernstein(degree: int) -> Float[np.ndarray, "interval coefficient power"]:
    """Matrices from power to Bernstein coefficients on intervals that tile [-1, 1]."""
    # Shorter and shorter towards 0, where the steepest polynomials dive.
    halves = 2.0 ** -np.arange(24.0, -1.0, -1.0)
    ahead = [np.linspace(*pair, 17)[1:] for pair in itertools.pairwise(halves)]
    positive = np.concatenate([halves[:1], *ahead])
    edges = np.concatenate([-positive[::-1], [0.0], positive])
    powers = np.arange(degree + 1)
    to_bernstein = np.array(
        [
            [comb(i, k) / comb(degree, k) if k <= i else 0.0 for k in powers]
            for i in powers
        ]
    )
    matrices = []
    for low, high in itertools.pairwise(edges.tolist()):
        width = high - low
        # (low + width t)^n in powers of t.
        shifted = np.array(
            [
                [
                    comb(n, k) * low ** (n - k) * width**k if k <= n else 0.0
                    for n in powers
                ]
                for k in powers
            ]
        )
        matrices.append(to_bernstein @ shifted)
    return np.array(matrices)


def polynomial_parts(
    terms: Float[Array, "event kind nuisance"],
) -> Float[Array, "part event"]:
    """What the polynomial of `PolyExp` in one parameter is linear in, for each event.

    1, u, u ln u, u ln²u, the same three of d, and the lift.
    """
    log_up, log_down = terms[:, 0, 0], terms[:, 1, 0]
    lift = terms[:, 2, 0] if terms.shape[1] == 3 else jnp.zeros_like(log_up)
    return jnp.concatenate([_parts(log_up, log_down), lift[None]])


def polynomial_inside(
    alpha: Float[Array, ""], parts: Float[Array, " part"], order: int
) -> Float[Array, ""]:
    """The polynomial of `PolyExp` or a derivative of it, for α between -1 and 1.

    Args:
        alpha: the nuisance parameter.
        parts: what `polynomial_parts` gives, or means of it.
        order: of the derivative, up to 2.
    """
    polynomial = _monomials(alpha[None], order)[0] @ _by_power() @ parts[:7]
    return polynomial + _raising(alpha[None], order)[0] * parts[7]


def _polynomial(
    log_up: Float[Array, " entry"], log_down: Float[Array, " entry"]
) -> Float[Array, "power entry"]:
    """Coefficients of the polynomial inside ±1, from power 0 to 6."""
    return jnp.asarray(_by_power()) @ _parts(log_up, log_down)


def _parts(
    log_up: Float[Array, " entry"], log_down: Float[Array, " entry"]
) -> Float[Array, "part entry"]:
    up, down = jnp.exp(log_up), jnp.exp(log_down)
    return jnp.stack(
        [
            jnp.ones_like(up),
            up,
            up * log_up,
            up * log_up**2,
            down,
            down * log_down,
            down * log_down**2,
        ]
    )


def _by_power() -> Float[np.ndarray, "power part"]:
    """Coefficients of α^n as linear functions of 1, u, u ln u, u ln²u and those of d.

    Value, slope and bend are matched at both ends, in the even and in the odd part.
    """
    one, u, ul, ull, d, dl, dll = np.eye(7)
    even, odd = 0.5 * (u + d) - one, 0.5 * (u - d)
    even_slope, odd_slope = 0.5 * (ul + dl), 0.5 * (ul - dl)
    even_bend, odd_bend = 0.5 * (ull + dll), 0.5 * (ull - dll)
    return np.stack(
        [
            one,
            (15 * odd - 7 * odd_slope + odd_bend) / 8,
            (24 * even - 9 * even_slope + even_bend) / 8,
            (-5 * odd + 5 * odd_slope - odd_bend) / 4,
            (-12 * even + 7 * even_slope - even_bend) / 4,
            (3 * odd - 3 * odd_slope + odd_bend) / 8,
            (8 * even - 5 * even_slope + even_bend) / 8,
        ]
    )


def _factors(
    alpha: Float[Array, " nuisance"],
    terms: Float[Array, "event kind nuisance"],
    *,
    n_derivatives: int,
) -> list[Float[Array, "event nuisance"]]:
    """The factor of each nuisance parameter and its first derivatives.

    Inside ±1 and outside they are linear functions of the same seven numbers per entry,
    with coefficients that depend on α alone.
    """
    log_up, log_down = terms[:, 0], terms[:, 1]
    above, below = alpha >= 1, alpha <= -1
    up = jnp.exp(jnp.where(above, alpha, 1.0)[None] * log_up)
    down = jnp.exp(jnp.where(below, -alpha, 1.0)[None] * log_down)
    parts = (up, up * log_up, up * log_up**2, down, down * log_down, down * log_down**2)
    inside = jnp.where(above | below, 0.0, alpha)
    found = []
    for order in range(n_derivatives + 1):
        polynomial = _monomials(inside, order) @ _by_power()
        unit = jnp.eye(7)
        sign = (-1.0) ** order
        rows = jnp.where(
            above[:, None],
            unit[None, 1 + order],
            jnp.where(below[:, None], sign * unit[None, 4 + order], polynomial),
        )
        factor = rows[None, :, 0]
        for part, row in zip(parts, rows.T[1:], strict=True):
            factor = factor + row[None] * part
        if terms.shape[1] == 3:
            raising = jnp.where(above | below, 0.0, _raising(inside, order))
            factor = factor + terms[:, 2] * raising[None]
        found.append(factor)
    return found


def _monomials(
    alpha: Float[Array, " nuisance"], order: int
) -> Float[Array, "nuisance power"]:
    """Derivative of α^0 ... α^6 of an order up to two."""
    columns = []
    for n in range(7):
        scale = float(np.prod([n - i for i in range(order)])) if order else 1.0
        power = n - order
        columns.append(scale * alpha**power if power >= 0 else jnp.zeros_like(alpha))
    return jnp.stack(columns, axis=1)


def _raising(alpha: Float[Array, " nuisance"], order: int) -> Float[Array, " nuisance"]:
    """Derivative of α² (1 - α²)³."""
    function = lambda a: a**2 * (1 - a**2) ** 3
    for _ in range(order):
        function = jax.grad(function)
    return jax.vmap(function)(alpha)
