"""Critical values by quantile regression: one fit to toys of all parameters."""

from collections.abc import Callable
from typing import final

import equinox as eqx
import numpy as np
from jaxtyping import ArrayLike, Float
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import ndtr

from diffana.neyman.order_statistic import (
    AbstractCriticalValues,
    checked_levels,
    order_statistic,
    within,
)
from diffana.neyman.splines import CubicSplines, quantile_knots


Baseline = Callable[[Float[np.ndarray, " point"]], Float[np.ndarray, "level point"]]
"""Approximate critical values as a function of the parameter."""

BANDWIDTHS = (0.3, 0.1, 0.03, 0.01)
"""Widths of the smoothing, one fit after the other, over the spread of residuals."""


@final
class QuantileRegression(AbstractCriticalValues):
    """Critical values as splines of the parameter, and of nuisance parameters.

    The lowest level is b_0 + σ s_0, every other one that below it plus
    σ softplus(s_l + o_l): levels cannot cross. Here s_l are splines of mu plus linear
    and squared terms in nuisance parameters, b the baseline, and o_l such that s = 0
    is the baseline.

    Attributes:
        levels: confidence levels, strictly increasing, in (0, 1).
        splines: of the parameter.
        coefficients: of each spline, then of features, their squares, and their
            products with the parameter.
        scale: spread σ of the statistic in the toys.
        baseline: approximate critical values.
        feature_mean: mean of each feature over the toys.
        feature_spread: its standard deviation.
        edge_values: critical values at the lower end of the range, if they are known
            from toys of their own.
    """

    levels: Float[np.ndarray, " level"]
    splines: CubicSplines
    coefficients: Float[np.ndarray, "level column"]
    scale: float
    baseline: Baseline
    feature_mean: Float[np.ndarray, " feature"]
    feature_spread: Float[np.ndarray, " feature"]
    edge_values: Float[np.ndarray, " level"] | None

    def __call__(
        self,
        mu: Float[ArrayLike, " point"],
        features: Float[ArrayLike, "point feature"] | None = None,
    ) -> Float[np.ndarray, "level point"]:
        """Critical values at `mu`.

        Args:
            mu: parameter, inside the range of the knots.
            features: nuisance parameters at each point; needed if the toys had any.

        Raises:
            ValueError: if `mu` is outside by more than rounding, or features are
                missing or unexpected.
        """
        lower, upper = self.splines.knots[[0, -1]]
        at = within(mu, lower, upper)
        if (features is None) != (self.feature_mean.size == 0):
            raise ValueError(f"{self.feature_mean.size} features are needed")
        design = self._design(at, features)
        found = _heads(self.coefficients @ design.T, *self._offsets(at))[0]
        critical = self.scale * found
        if self.edge_values is not None:
            critical = np.where(at == lower, self.edge_values[:, None], critical)
        return critical

    def _design(
        self,
        at: Float[np.ndarray, " point"],
        features: Float[ArrayLike, "point feature"] | None,
    ) -> Float[np.ndarray, "point column"]:
        design = self.splines(at)
        if features is None:
            return design
        lower, upper = self.splines.knots[[0, -1]]
        standard = (np.asarray(features, float) - self.feature_mean) / (
            self.feature_spread
        )
        position = (2 * at - lower - upper) / (upper - lower)
        return np.concatenate(
            [design, standard, standard**2, standard * position[:, None]], axis=1
        )

    def _offsets(
        self, at: Float[np.ndarray, " point"]
    ) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, "gap point"]]:
        """The baseline of the lowest level, and what the gaps above it add."""
        base = np.asarray(self.baseline(at), float) / self.scale
        if base.shape != (self.levels.size, at.size) or not np.isfinite(base).all():
            raise ValueError("the baseline needs a finite value per level and point")
        return base[0], _inverse_softplus(np.maximum(np.diff(base, axis=0), _GAP))


def fit_quantiles(
    mu: Float[ArrayLike, " toy"],
    statistic: Float[ArrayLike, " toy"],
    levels: Float[ArrayLike, " level"],
    *,
    bounds: tuple[float, float] | None = None,
    n_knots: int = 12,
    baseline: Baseline | None = None,
    features: Float[ArrayLike, "toy feature"] | None = None,
    edge_values: Float[ArrayLike, " level"] | None = None,
    penalised: bool = True,
) -> QuantileRegression:
    """Critical values from toys whose parameters are spread over a range.

    Minimises the pinball loss, whose minimum is the quantile, after convolution with a
    normal distribution that is narrowed step by step. The splines are as smooth as
    minimises the loss expected of other toys. The result converges to critical values
    with the coverage wanted, but is not guaranteed to cover with finitely many toys;
    see `leaf_guard` for a guarantee.

    Args:
        mu: parameter that each toy is drawn from.
        statistic: test of that parameter with the toy; finite.
        levels: confidence levels, strictly increasing, in (0, 1).
        bounds: lowest and highest parameter at which critical values are wanted; must
            enclose all toys, and are their lowest and highest one by default.
        n_knots: knots of the splines, both ends included, with equally many toys
            between them.
        baseline: approximate critical values, such as those of a normal
            approximation; what is left to the splines varies less.
        features: nuisance parameters that each toy is drawn from, if critical values
            shall depend on them.
        edge_values: critical values exactly at the lower end of the range, from toys
            of their own. Statistics of a bounded parameter have a point mass there.
        penalised: whether splines are smoothed; fluctuations then matter little even
            with more knots than needed.

    Raises:
        ValueError: if shapes do not fit, a number is not finite, or there are fewer
            toys than coefficients.

    Source: Koenker and Bassett, Econometrica 46 (1978) 33; smoothing as Fernandes,
    Guerre, Horta, J. Bus. Econ. Stat. 39 (2021) 338; the expected loss as Takeuchi,
    Suri-Kagaku 153 (1976) 12; critical values of tests in this way as Dalmasso et al.,
    arXiv:2107.03920.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> mu = rng.uniform(0.0, 1.0, 20_000)
        >>> critical = fit_quantiles(mu, rng.chisquare(1, mu.size), [0.6827, 0.9545])
        >>> critical([0.5]).shape
        (2, 1)
    """
    at, found = np.asarray(mu, float), np.asarray(statistic, float)
    wanted = checked_levels(levels)
    columns = np.asarray(
        np.empty((at.size, 0)) if features is None else features, float
    )
    if at.ndim != 1 or found.shape != at.shape or columns.shape[:1] != at.shape:
        raise ValueError("every toy needs a parameter, a statistic and its features")
    if not all(np.isfinite(part).all() for part in (at, found, columns)):
        raise ValueError("parameters, statistics and features of toys must be finite")
    splines = CubicSplines(quantile_knots(at, n_knots, bounds))
    edge = None if edge_values is None else np.asarray(edge_values, float)
    if edge is not None and (edge.shape != wanted.shape or (np.diff(edge) < 0).any()):
        raise ValueError("every level needs an edge value, not decreasing with it")
    n_columns = splines.n_splines + 3 * columns.shape[1]
    if at.size < n_columns:
        raise ValueError(f"{at.size} toys for {n_columns} coefficients of each level")
    if baseline is None:
        baseline = Constant(order_statistic(found, wanted))
    spread = columns.std(axis=0)
    start = QuantileRegression(
        levels=wanted,
        splines=splines,
        coefficients=np.zeros((wanted.size, n_columns)),
        scale=_spread(found),
        baseline=baseline,
        feature_mean=columns.mean(axis=0),
        feature_spread=np.where(spread > 0, spread, 1.0),
        edge_values=edge,
    )
    design = start._design(at, None if features is None else columns)
    lowest, gap_offsets = start._offsets(at)
    coefficients = _minimum(
        _Smoothed(design, found / start.scale, wanted, lowest, gap_offsets),
        splines.roughness() if penalised else None,
    )
    return eqx.tree_at(lambda fit: fit.coefficients, start, coefficients)


@final
class Constant(eqx.Module):
    """A baseline that does not depend on the parameter.

    Attributes:
        values: of each level.
    """

    values: Float[np.ndarray, " level"]

    def __call__(
        self, mu: Float[np.ndarray, " point"]
    ) -> Float[np.ndarray, "level point"]:
        """The same values at every `mu`."""
        return np.repeat(self.values[:, None], mu.size, axis=1)


_CHOOSE = 0.03
"""Width at which smoothness is chosen: the curvature is noisy at smaller ones."""

_GAP = 1e-3
"""Least gap between levels of a baseline, in units of the scale."""


class _Smoothed(eqx.Module):
    """Pinball loss after convolution with a normal distribution, all in units of σ."""

    design: Float[np.ndarray, "toy column"]
    statistic: Float[np.ndarray, " toy"]
    levels: Float[np.ndarray, " level"]
    lowest: Float[np.ndarray, " toy"]
    gap_offsets: Float[np.ndarray, "gap toy"]

    def residuals(self, coefficients):
        """Statistic minus critical values, and the slope of each head."""
        found, slope = _heads(
            coefficients @ self.design.T, self.lowest, self.gap_offsets
        )
        return self.statistic - found, slope

    def __call__(self, coefficients, bandwidth):
        """Mean loss, and its gradient."""
        residual, slope = self.residuals(coefficients)
        unit = residual / bandwidth
        down = (1 - self.levels)[:, None] - ndtr(unit)
        normal = np.exp(-0.5 * unit**2).sum() * (bandwidth / np.sqrt(2 * np.pi))
        loss = normal - np.vdot(residual, down)
        gradient = (_from_above(down) * slope) @ self.design
        n_toys = len(self.statistic)
        return loss / n_toys, gradient / n_toys

    def curvature(self, coefficients, bandwidth):
        """Gauss-Newton approximation of the Hessian matrix."""
        residual, slope = self.residuals(coefficients)
        unit = residual / bandwidth
        density = np.exp(-0.5 * unit**2) / (bandwidth * np.sqrt(2 * np.pi))
        above = _from_above(density)
        return self._matrix(lambda i, j: slope[i] * slope[j] * above[max(i, j)])

    def noise(self, coefficients, bandwidth):
        """Second moments of the gradients of toys."""
        residual, slope = self.residuals(coefficients)
        down = (1 - self.levels)[:, None] - ndtr(residual / bandwidth)
        head = _from_above(down) * slope
        return self._matrix(lambda i, j: head[i] * head[j])

    def _matrix(self, weight):
        """Mean over toys of weight(i, j) times the products of columns."""
        n_toys, n_columns = self.design.shape
        n_levels = self.levels.size
        matrix = np.empty((n_levels, n_columns, n_levels, n_columns))
        for i in range(n_levels):
            for j in range(i + 1):
                block = self.design.T @ (weight(i, j)[:, None] * self.design) / n_toys
                matrix[i, :, j], matrix[j, :, i] = block, block.T
        return matrix.reshape(n_levels * n_columns, -1)


def _minimum(
    loss: _Smoothed, roughness: Float[np.ndarray, "spline spline"] | None
) -> Float[np.ndarray, "level column"]:
    """Coefficients of least loss."""
    shape = loss.levels.size, loss.design.shape[1]
    coefficients = np.zeros(shape)
    penalty = np.zeros((coefficients.size, coefficients.size))
    for relative in BANDWIDTHS:
        bandwidth = relative * _spread(loss.residuals(coefficients)[0][0])
        if relative == _CHOOSE and roughness is not None:
            penalty = _penalty(loss, coefficients, bandwidth, roughness)
        coefficients = _lowest(loss, coefficients, bandwidth, penalty)
    return coefficients


def _lowest(
    loss: _Smoothed,
    start: Float[np.ndarray, "level column"],
    bandwidth: float,
    penalty: Float[np.ndarray, "coefficient coefficient"],
) -> Float[np.ndarray, "level column"]:
    """Coefficients of least penalised loss at one bandwidth."""
    matrix = loss.curvature(start, bandwidth)
    # Splines between knots without toys have no curvature of their own.
    ridge = 1e-3 * np.trace(matrix) / len(matrix) * np.eye(len(matrix))
    root = cholesky(matrix + ridge + penalty, lower=True)

    def moved(step):
        change = solve_triangular(root, step, lower=True, trans=1)
        return start + change.reshape(start.shape)

    def whitened(step):
        at = moved(step)
        value, gradient = loss(at, bandwidth)
        pull = penalty @ at.ravel()
        value = value + 0.5 * at.ravel() @ pull
        return value, solve_triangular(root, gradient.ravel() + pull, lower=True)

    options = {"maxiter": 200, "ftol": 1e-9, "gtol": 1e-6}
    nothing = np.zeros(start.size)
    found = minimize(whitened, nothing, jac=True, method="L-BFGS-B", options=options)
    return moved(found.x)


def _penalty(
    loss: _Smoothed,
    coefficients: Float[np.ndarray, "level column"],
    bandwidth: float,
    roughness: Float[np.ndarray, "spline spline"],
) -> Float[np.ndarray, "coefficient coefficient"]:
    """Matrix of the penalty with which the loss of other toys is expected to be least.

    Near the minimum the loss is quadratic with the curvature H, and the gradients of
    toys have the covariance J. With the penalty S the coefficients are those of the
    minimum times (H + S)⁻¹ H, and the expected loss is that at them plus
    tr((H + S)⁻¹ J) / n.
    """
    n_levels, n_columns = coefficients.shape
    curvature = loss.curvature(coefficients, bandwidth)
    noise = loss.noise(coefficients, bandwidth)
    at = coefficients.ravel()
    n_toys = len(loss.statistic)

    def matrix(strength):
        whole = np.zeros((n_levels, n_columns, n_levels, n_columns))
        for level, factor in enumerate(strength):
            n = len(roughness)
            whole[level, :n, level, :n] = factor * roughness
        return whole.reshape(at.size, at.size)

    def expected(strength):
        solved = np.linalg.solve(
            curvature + matrix(strength), np.c_[curvature @ at, noise]
        )
        change = solved[:, 0] - at
        return 0.5 * change @ curvature @ change + np.trace(solved[:, 1:]) / n_toys

    unit = np.trace(curvature) / curvature.shape[0] / np.trace(roughness)
    choices = unit * np.geomspace(1e-4, 1e8, 37)
    strength = np.full(n_levels, choices[0])
    # Levels one after the other, twice, since they influence one another.
    for level in [*range(n_levels)] * 2:
        tried = np.repeat(strength[None], len(choices), axis=0)
        tried[:, level] = choices
        strength = tried[np.argmin([expected(one) for one in tried])]
    return matrix(strength)


def _heads(
    splines: Float[np.ndarray, "level point"],
    lowest: Float[np.ndarray, " point"],
    gap_offsets: Float[np.ndarray, "gap point"],
) -> tuple[Float[np.ndarray, "level point"], Float[np.ndarray, "level point"]]:
    """Critical values of all levels, and d(own contribution) / d(spline)."""
    moved = splines[1:] + gap_offsets
    decay = np.exp(-np.abs(moved))
    softplus = np.maximum(moved, 0.0) + np.log1p(decay)
    slope = np.where(moved > 0, 1.0, decay) / (1 + decay)
    first = (lowest + splines[0])[None]
    found = np.cumsum(np.concatenate([first, softplus]), axis=0)
    return found, np.concatenate([np.ones_like(first), slope])


def _from_above(values: Float[np.ndarray, "level point"]):
    """Sum over this level and all above it."""
    return np.cumsum(values[::-1], axis=0)[::-1]


def _inverse_softplus(values):
    return values + np.log(-np.expm1(-values))


def _spread(values: Float[np.ndarray, " toy"]) -> float:
    """Width of a normal distribution with the same quartiles, or the like of it."""
    low, high = np.quantile(values, [0.25, 0.75])
    width = (high - low) / 1.349
    # More than half of the values may be equal, at a bound.
    return float(width if width > 0 else values.std() or 1.0)
