"""p-values of a test for all parameters at once, by classification of toys."""

from typing import final

import equinox as eqx
import numpy as np
from jaxtyping import ArrayLike, Float
from scipy.interpolate import BSpline
from scipy.optimize import minimize
from scipy.special import expit

from diffana.neyman.order_statistic import AbstractCriticalValues, checked_levels
from diffana.neyman.quantile_regression import (
    Baseline,
    QuantileRegression,
    fit_quantiles,
)
from diffana.neyman.splines import CubicSplines, quantile_knots


_ENOUGH = 20_000
_GROUPS = 256
_QUARTILES = (0.25, 0.5, 0.75)

_STIFFNESS = 0.3
"""Penalty of squared steps between neighbouring coefficients, over the number of toys.

Of three values a factor of ten apart, the one with least error of coverage in Gaussian
measurements with focus functions of 1 and 5 resolutions.
"""


@final
class PValueRegression(eqx.Module):
    """P(statistic >= C) of data drawn at mu, as a smooth function of mu and C.

    logit p = g(mu) - Σ_j softplus(a_j(mu)) M_j(z) with functions M_j that do not
    decrease, so that p decreases with C. Here g and a_j are cubic splines of the
    parameter, and z = (C - median) / (interquartile range) at mu.

    Attributes:
        splines: of the parameter.
        knots: of the statistic z.
        coefficients: of g, then of each a_j.
        quartiles: quartiles of the statistic as functions of the parameter.
        baseline: approximate critical values, whose lowest level was subtracted from
            the statistic before.
    """

    splines: CubicSplines
    knots: Float[np.ndarray, " knot"]
    coefficients: Float[np.ndarray, "function spline"]
    quartiles: QuantileRegression
    baseline: Baseline | None

    def p_value(
        self, mu: Float[ArrayLike, " point"], statistic: Float[ArrayLike, " point"]
    ) -> Float[np.ndarray, " point"]:
        """Probability of a statistic at least as large, each with its own parameter.

        Raises:
            ValueError: if `mu` is outside the range of the toys.
        """
        at = np.atleast_1d(np.asarray(mu, float))
        centre, width = self.centre_and_width(at)
        heads = self.splines(at) @ self.coefficients.T
        unit = (np.atleast_1d(np.asarray(statistic, float)) - centre) / width
        return expit(_logit(heads, _increasing(unit, self.knots)))

    def centre_and_width(
        self, mu: Float[np.ndarray, " point"]
    ) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
        """Median and interquartile range of the statistic at each parameter."""
        centre, width = _centre_and_width(self.quartiles, mu)
        return centre if self.baseline is None else centre + self.baseline(mu)[0], width

    def critical_values(
        self, levels: Float[ArrayLike, " level"]
    ) -> "PValueCriticalValues":
        """Critical values at any confidence levels, where the p-value is 1 - CL."""
        return PValueCriticalValues(checked_levels(levels), self)


@final
class PValueCriticalValues(AbstractCriticalValues):
    """Critical values from p-values.

    Attributes:
        levels: confidence levels, strictly increasing, in (0, 1).
        regression: p-values.
    """

    levels: Float[np.ndarray, " level"]
    regression: PValueRegression

    def __call__(
        self, mu: Float[ArrayLike, " point"]
    ) -> Float[np.ndarray, "level point"]:
        """Statistic at which the p-value is 1 - CL.

        Raises:
            ValueError: if `mu` is outside the range of the toys.
        """
        fit, at = self.regression, np.atleast_1d(np.asarray(mu, float))
        centre, width = fit.centre_and_width(at)
        knots, middles = fit.knots, 0.5 * (fit.knots[1:] + fit.knots[:-1])
        heads = fit.splines(at) @ fit.coefficients.T
        at_knots = _logit(heads[:, None], _increasing(knots, knots))
        at_middles = _logit(heads[:, None], _increasing(middles, knots))
        outer_slope = np.logaddexp(0.0, heads[:, 1])
        wanted = np.log1p(-self.levels) - np.log(self.levels)
        unit = [
            _where(logit, at_knots, at_middles, outer_slope, knots) for logit in wanted
        ]
        # Levels can differ by less than rounding.
        return centre + width * np.maximum.accumulate(np.stack(unit), axis=0)


def _where(
    logit: float,
    at_knots: Float[np.ndarray, "point knot"],
    at_middles: Float[np.ndarray, "point interval"],
    outer_slope: Float[np.ndarray, " point"],
    knots: Float[np.ndarray, " knot"],
) -> Float[np.ndarray, " point"]:
    """The z of a logit, a parabola between knots and a straight line outside."""
    n_above = (at_knots >= logit).sum(axis=1)
    interval = np.clip(n_above - 1, 0, knots.size - 2)
    each = np.arange(len(at_knots))
    first, last = at_knots[each, interval], at_knots[each, interval + 1]
    middle = at_middles[each, interval]
    half_bend = 2 * (first - 2 * middle + last)
    fall = 3 * first - 4 * middle + last
    down = first - logit
    root = np.sqrt(np.maximum(fall**2 - 4 * half_bend * down, 0.0))
    share = 2 * down / np.maximum(fall + root, np.finfo(float).tiny)
    inside = knots[interval] + np.clip(share, 0.0, 1.0) * np.diff(knots)[interval]
    before = knots[0] + (at_knots[:, 0] - logit) / outer_slope
    behind = knots[-1] + (at_knots[:, -1] - logit) / outer_slope
    return np.where(
        n_above == 0, before, np.where(n_above == knots.size, behind, inside)
    )


def fit_p_values(
    mu: Float[ArrayLike, " toy"],
    statistic: Float[ArrayLike, " toy"],
    *,
    bounds: tuple[float, float] | None = None,
    baseline: Baseline | None = None,
    n_knots: int = 10,
    n_cutoffs: int = 64,
    seed: int = 0,
) -> PValueRegression:
    """p-values at all parameters and levels, from toys of random parameters.

    Each toy is compared with cutoffs C, and whether its statistic is at least C is
    regressed on mu and C. All toys have the same cutoffs after their statistics were
    brought to the same quartiles at every parameter; their spacing is even in logit p.

    Args:
        mu: parameter that each toy is drawn from.
        statistic: test of that parameter with the toy; finite.
        bounds: lowest and highest parameter at which p-values are wanted; must enclose
            all toys, and are their lowest and highest one by default.
        baseline: approximate critical values; the lowest level is subtracted.
        n_knots: knots in the parameter, both ends included.
        n_cutoffs: cutoffs with which every toy is compared.
        seed: of the choice of toys from which quartiles are determined.

    Raises:
        ValueError: as `fit_quantiles`.

    Source: Dalmasso, Masserano, Zhao, Izbicki, Lee, arXiv:2107.03920, section 3.3, for
    p-values as a regression of indicators, there without the constraint that they
    decrease; Foresi and Peracchi, JASA 90 (1995) 451, for logits at fixed cutoffs.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> mu = rng.uniform(0.0, 1.0, 10_000)
        >>> fit = fit_p_values(mu, rng.chisquare(1, mu.size))
        >>> fit.critical_values([0.6827, 0.9545])([0.5]).shape
        (2, 1)
    """
    at, found = np.asarray(mu, float), np.asarray(statistic, float)
    limits = (float(at.min()), float(at.max())) if bounds is None else bounds
    if baseline is not None:
        found = found - baseline(at)[0]
    # Where the quartiles are exactly does not matter; a part of the toys is enough.
    some = np.random.default_rng(seed).permutation(at.size)[:_ENOUGH]
    quartiles = fit_quantiles(
        at[some], found[some], np.array(_QUARTILES), bounds=limits, n_knots=n_knots
    )
    centre, width = _centre_and_width(quartiles, at)
    unit = (found - centre) / width
    splines = CubicSplines(quantile_knots(at, n_knots, limits))
    knots = np.unique(np.quantile(unit, expit(np.linspace(-5.0, 5.0, 12))))
    knots = np.unique([unit.min(), *knots, unit.max()])
    cutoffs = np.unique(np.quantile(unit, expit(np.linspace(-6.0, 6.0, n_cutoffs))))
    counts = _counts(at, unit, cutoffs, splines, knots)

    start = np.zeros((counts.increasing.shape[1] + 1, splines.n_splines))
    start[0] = 4.0
    options = {"maxiter": 2000, "maxfun": 4000, "ftol": 1e-8, "gtol": 1e-7}
    best = minimize(counts, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    return PValueRegression(
        splines, knots, best.x.reshape(start.shape), quartiles, baseline
    )


class _Counts(eqx.Module):
    """Cross entropy of how many statistics are at least the cutoffs.

    Attributes:
        splines: mean over the toys of each group, which have nearly equal parameters.
        increasing: functions of z at each cutoff.
        n_above: toys of each group at or above each cutoff.
        n_toys: of each group.
    """

    splines: Float[np.ndarray, "group spline"]
    increasing: Float[np.ndarray, "cutoff function"]
    n_above: Float[np.ndarray, "group cutoff"]
    n_toys: Float[np.ndarray, "group 1"]

    def __call__(self, flat):
        """Mean over comparisons, and its gradient."""
        coefficients = flat.reshape(-1, self.splines.shape[1])
        heads = self.splines @ coefficients.T
        weights, slope = np.logaddexp(0.0, heads[:, 1:]), expit(heads[:, 1:])
        logit = heads[:, :1] - weights @ self.increasing.T
        n_comparisons = self.n_toys.sum() * len(self.increasing)
        loss = (self.n_toys * np.logaddexp(0.0, logit) - self.n_above * logit).sum()
        residual = self.n_toys * expit(logit) - self.n_above
        inner = -(residual @ self.increasing) * slope
        down = np.concatenate([residual.sum(axis=1, keepdims=True), inner], axis=1)
        # Neighbouring coefficients are equal unless toys say otherwise.
        step = np.diff(coefficients, axis=1)
        stiffness = _STIFFNESS / self.n_toys.sum()
        pull = -np.diff(step, axis=1, prepend=0.0, append=0.0)
        return (
            loss / n_comparisons + 0.5 * stiffness * (step**2).sum(),
            (down.T @ self.splines / n_comparisons + stiffness * pull).ravel(),
        )


def _counts(
    at: Float[np.ndarray, " toy"],
    unit: Float[np.ndarray, " toy"],
    cutoffs: Float[np.ndarray, " cutoff"],
    splines: CubicSplines,
    knots: Float[np.ndarray, " knot"],
) -> _Counts:
    order = np.argsort(at, kind="stable")
    first = np.unique(np.linspace(0, at.size, _GROUPS, endpoint=False).astype(int))
    n_toys = np.diff(first, append=at.size)[:, None].astype(float)
    # Number of cutoffs that a toy is at or above; of each number, how many toys.
    reached = np.searchsorted(cutoffs, unit[order], side="right")
    group = np.repeat(np.arange(first.size), n_toys[:, 0].astype(int))
    shape = first.size, cutoffs.size + 1
    histogram = np.bincount(
        np.ravel_multi_index((group, reached), shape), minlength=shape[0] * shape[1]
    ).reshape(shape)
    n_above = np.cumsum(histogram[:, ::-1], axis=1)[:, ::-1][:, 1:].astype(float)
    mean = np.add.reduceat(splines(at[order]), first, axis=0) / n_toys
    return _Counts(mean, _increasing(cutoffs, knots), n_above, n_toys)


def _logit(heads, increasing):
    """Of the p-value, from the splines of the parameter and functions of z."""
    weights = np.logaddexp(0.0, heads[..., 1:])
    return heads[..., 0] - (weights * increasing).sum(axis=-1)


def _increasing(
    unit: Float[np.ndarray, " point"], knots: Float[np.ndarray, " knot"]
) -> Float[np.ndarray, "point function"]:
    """Functions of z that do not decrease: z itself and integrated B-splines.

    Source: Ramsay, Statistical Science 3 (1988) 425.
    """
    degree = 2
    first, last = knots[:1].repeat(degree), knots[-1:].repeat(degree)
    padded = np.concatenate([first, knots, last])
    inside = np.clip(unit, knots[0], knots[-1])
    local = BSpline.design_matrix(inside, padded, degree).toarray()
    risen = np.cumsum(local[:, ::-1], axis=1)[:, ::-1][:, 1:]
    return np.concatenate([unit[:, None], risen], axis=1)


def _centre_and_width(
    quartiles: QuantileRegression, at: Float[np.ndarray, " point"]
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    lower, middle, upper = quartiles(at)
    return middle, upper - lower
