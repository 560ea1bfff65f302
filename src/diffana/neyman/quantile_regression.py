"""Critical values by quantile regression: one fit to toys of all parameters."""

from collections.abc import Callable
from typing import final

import equinox as eqx
import numpy as np
from jaxtyping import ArrayLike, Float

from diffana.neyman.order_statistic import (
    AbstractCriticalValues,
    checked_levels,
    order_statistic,
    within,
)
from diffana.neyman.pinball import (
    SmoothedPinball,
    critical_and_slope,
    minimum,
    spread,
)
from diffana.neyman.splines import CubicSplines, quantile_knots


Baseline = Callable[[Float[np.ndarray, " point"]], Float[np.ndarray, "level point"]]
"""Approximate critical values as a function of the parameter."""


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
        found = critical_and_slope(self.coefficients @ design.T, *self._offsets(at))[0]
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
    deviation = columns.std(axis=0)
    start = QuantileRegression(
        levels=wanted,
        splines=splines,
        coefficients=np.zeros((wanted.size, n_columns)),
        scale=spread(found),
        baseline=baseline,
        feature_mean=columns.mean(axis=0),
        feature_spread=np.where(deviation > 0, deviation, 1.0),
        edge_values=edge,
    )
    design = start._design(at, None if features is None else columns)
    lowest, gap_offsets = start._offsets(at)
    coefficients = minimum(
        SmoothedPinball(design, found / start.scale, wanted, lowest, gap_offsets),
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


_GAP = 1e-3
"""Least gap between levels of a baseline, in units of the scale."""


def _inverse_softplus(values):
    return values + np.log(-np.expm1(-values))
