"""Pinball loss of splines whose levels cannot cross, and its minimum.

The loss is convolved with a normal distribution that is narrowed step by step.
"""

import equinox as eqx
import numpy as np
from jaxtyping import Float
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import ndtr


_BANDWIDTHS = (0.3, 0.1, 0.03, 0.01)
"""Widths of the smoothing, one fit after the other, over the spread of residuals."""

_CHOOSE = 0.03
"""Width at which smoothness is chosen: the curvature is noisy at smaller ones."""


class SmoothedPinball(eqx.Module):
    """Pinball loss after convolution with a normal distribution, all in units of σ."""

    design: Float[np.ndarray, "toy column"]
    statistic: Float[np.ndarray, " toy"]
    levels: Float[np.ndarray, " level"]
    lowest: Float[np.ndarray, " toy"]
    gap_offsets: Float[np.ndarray, "gap toy"]

    def residuals(self, coefficients):
        """Statistic minus critical values, and the slope of each head."""
        found, slope = critical_and_slope(
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


def minimum(
    loss: SmoothedPinball, roughness: Float[np.ndarray, "spline spline"] | None
) -> Float[np.ndarray, "level column"]:
    """Coefficients of least loss."""
    shape = loss.levels.size, loss.design.shape[1]
    coefficients = np.zeros(shape)
    penalty = np.zeros((coefficients.size, coefficients.size))
    for relative in _BANDWIDTHS:
        bandwidth = relative * spread(loss.residuals(coefficients)[0][0])
        if relative == _CHOOSE and roughness is not None:
            penalty = _penalty(loss, coefficients, bandwidth, roughness)
        coefficients = _lowest(loss, coefficients, bandwidth, penalty)
    return coefficients


def _lowest(
    loss: SmoothedPinball,
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
    loss: SmoothedPinball,
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


def critical_and_slope(
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


def spread(values: Float[np.ndarray, " toy"]) -> float:
    """Width of a normal distribution with the same quartiles, or the like of it."""
    low, high = np.quantile(values, [0.25, 0.75])
    width = (high - low) / 1.349
    # More than half of the values may be equal, at a bound.
    return float(width if width > 0 else values.std() or 1.0)
