"""Coverage of confidence sets as a smooth function of the true value, with errors.

A penalised spline in the logit of the probability that the set of a toy contains the
true value, fitted to toys whose true values are spread over a range.
"""

from typing import final

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Float
from scipy import interpolate, linalg, sparse, special

from diffana.errors import DataError, FitError
from diffana.neyman.coverage import Band, check_between


_STEPS = 100
_CELLS = 1000


@final
class LogisticCoverage(eqx.Module):
    """Probability that the set contains mu, as a smooth function of mu.

    Attributes:
        knots: of the cubic B-splines.
        coefficient: of each B-spline in the logit of the probability.
        covariance: of the coefficients, that of the penalty included.
        degrees: effective number of parameters, between 2 and the number of B-splines.
    """

    knots: Float[np.ndarray, " knot"]
    coefficient: Float[np.ndarray, " spline"]
    covariance: Float[np.ndarray, "spline spline"]
    degrees: float

    def __call__(self, mu: Float[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
        """Coverage at true values; outside the range of the fit an extrapolation."""
        return special.expit(_basis(self.knots, mu) @ self.coefficient)

    def band(
        self, mu: Float[np.ndarray, " point"], *, confidence: float = 0.95
    ) -> Band:
        """Confidence band for each point by itself.

        Errors are propagated to the logit (delta method) and its edges transformed, so
        that they stay within 0 and 1. The covariance is that of the Bayesian posterior
        with the penalty as prior, whose bands contain the truth with the stated
        probability on average over mu, smoothing bias included (Nychka, J. Am. Stat.
        Assoc. 83 (1988) 1134; Marra and Wood, Scand. J. Stat. 39 (2012) 53).
        """
        check_between(confidence=confidence)
        return self._band(mu, float(special.ndtri(0.5 + confidence / 2)))

    def simultaneous(
        self,
        mu: Float[np.ndarray, " point"],
        *,
        confidence: float = 0.95,
        n_draws: int = 10_000,
        seed: int = 0,
    ) -> Band:
        """Confidence band for all points together.

        As wide in standard deviations as the largest |deviation| over the points in a
        fraction `confidence` of draws from the covariance of the coefficients. Bias by
        smoothing, averaged out in `band`, is not in it where the curve bends most: a
        band of 95 % contains a smooth wave in 92 to 97 % of trials, but an excess of
        0.1 that decays over 7 % of the range in 60 to 90 % only. Where coverage
        changes fast, at a bound of mu, rely on `binomial_coverage`.

        Args:
            mu: true values, dense enough for the curve to be followed.
            confidence: in (0, 1).
            n_draws: number of draws; 10 000 give the width to 0.5 %.
            seed: of the draws.
        """
        check_between(confidence=confidence)
        basis = _basis(self.knots, mu)
        spread = np.linalg.cholesky(self.covariance)
        draws = np.random.default_rng(seed).standard_normal(
            (n_draws, len(self.coefficient))
        )
        deviation = basis @ (spread @ draws.T) / self._error(basis)[:, None]
        width = np.quantile(np.abs(deviation).max(axis=0), confidence)
        return self._band(mu, float(width))

    def _error(self, basis: sparse.csr_array) -> Float[np.ndarray, " point"]:
        """Standard deviation of the logit."""
        dense = basis.toarray()
        return np.sqrt(np.einsum("ij,jk,ik->i", dense, self.covariance, dense))

    def _band(self, mu: Float[np.ndarray, " point"], width: float) -> Band:
        basis = _basis(self.knots, mu)
        logit, error = basis @ self.coefficient, self._error(basis)
        return Band(
            special.expit(logit - width * error), special.expit(logit + width * error)
        )


def logistic_coverage(
    mu: Float[np.ndarray, " toy"],
    covered: Bool[np.ndarray, " toy"],
    *,
    n_splines: int = 30,
) -> LogisticCoverage:
    """Coverage as a function of mu from toys whose true values are spread over a range.

    Cubic B-splines with equidistant knots in the logit of the probability, and a
    penalty on the integrated squared second derivative, fitted by Newton's method. The
    curve is the mean over penalties, weighted with their marginal likelihood in
    Laplace's approximation (REML) and a prior uniform in 1 / sqrt(penalty), the size
    that the penalty expects of the second derivative. The single most likely penalty is
    often infinite for few toys, and errors without its uncertainty are then too small.

    A feature narrower than the range / `n_splines` is smoothed away; the binomial
    coverage at a grid, `binomial_coverage`, has no such bias.

    Args:
        mu: true value of each toy.
        covered: whether the set of each contains it.
        n_splines: number of B-splines, >= 5.

    Raises:
        DataError: if all toys are covered or none is, or a true value is not finite.
        ValueError: if there are too few splines.

    Source: Wood, J. R. Stat. Soc. B 73 (2011) 3, equation 4 with one penalty.

    Example:
        >>> curve = logistic_coverage(mu, statistic <= critical(mu)[0])
        >>> grid = np.linspace(0, 10, 101)
        >>> band = curve.simultaneous(grid)
        >>> largest_deviation(curve(grid), band, 0.6827)
    """
    if n_splines < 5:
        raise ValueError(f"{n_splines} splines: a cubic curve needs at least 5")
    if not np.isfinite(mu).all():
        raise DataError("coverage: a true value is not finite")
    if covered.all() or not covered.any():
        raise DataError("coverage: all toys are covered or none, the logit is infinite")
    at, n_covered, n_toys = _counted(mu, covered)
    inner = np.linspace(mu.min(), mu.max(), n_splines - 2)
    knots = np.concatenate([[inner[0]] * 3, inner, [inner[-1]] * 3])
    fits = _PenalisedFits(
        _basis(knots, at), n_covered, n_toys, _roughness(knots, n_splines)
    )
    return _averaged(knots, fits)


def _averaged(knots: Float[np.ndarray, " knot"], fits: "_PenalisedFits"):
    """Mean over penalties, from an all but free curve to a straight line."""
    scan = np.arange(-12.0, 16.0, 0.5)
    coefficients = np.array([fits.at(log_penalty) for log_penalty in scan])
    # Half the logarithm for the prior, uniform in 1 / sqrt(penalty).
    log_posterior = [
        -fits.criterion(*row) - 0.5 * row[1]
        for row in zip(coefficients, scan, strict=True)
    ]
    share = special.softmax(log_posterior)
    mean = share @ coefficients
    shift = coefficients - mean
    covariance = (shift.T * share) @ shift
    degrees = 0.0
    for each, coefficient, log_penalty in zip(share, coefficients, scan, strict=True):
        information = fits.information(coefficient)
        total = information + np.exp(log_penalty) * fits.roughness
        covariance += each * np.linalg.inv(total)
        degrees += each * np.trace(np.linalg.solve(total, information))
    return LogisticCoverage(
        knots=knots,
        coefficient=mean,
        covariance=0.5 * (covariance + covariance.T),
        degrees=float(degrees),
    )


class _PenalisedFits:
    """Fits of one data set with different penalties, each started at the last one."""

    def __init__(
        self,
        basis: sparse.csr_array,
        n_covered: Float[np.ndarray, " value"],
        n_toys: Float[np.ndarray, " value"],
        roughness: Float[np.ndarray, "spline spline"],
    ):
        self.basis, self.n_covered, self.n_toys = basis, n_covered, n_toys
        fraction = n_covered.sum() / n_toys.sum()
        # Penalties are counted in units in which both terms are of one size, so that
        # their range depends on neither the number of toys nor the unit of mu.
        weighted = sparse.diags_array(n_toys * fraction * (1 - fraction)) @ basis
        self.scale = float((basis.T @ weighted).trace() / np.trace(roughness))
        self.roughness = roughness * self.scale
        self.start = np.full(len(roughness), special.logit(fraction))

    def at(self, log_penalty: float) -> Float[np.ndarray, " spline"]:
        """Coefficients of the fit with a penalty.

        Raises:
            FitError: if Newton's method does not converge.
        """
        penalty = np.exp(log_penalty) * self.roughness
        found, value = self.start, self._penalised(self.start, penalty)
        for _ in range(_STEPS):
            excess = self.n_covered - self.n_toys * special.expit(self.basis @ found)
            gradient = self.basis.T @ excess - penalty @ found
            total = self.information(found) + penalty
            step = linalg.solve(total, gradient, assume_a="pos")
            if gradient @ step < 1e-12:
                self.start = found
                return found
            # Newton's method can overshoot where probabilities are near 0 or 1.
            while self._penalised(found + step, penalty) < value - 1e-9 * abs(value):
                step = 0.5 * step
            found = found + step
            value = self._penalised(found, penalty)
        raise FitError(
            f"coverage: no convergence with a penalty of e^{log_penalty:.3g}"
        )

    def information(
        self, coefficient: Float[np.ndarray, " spline"]
    ) -> Float[np.ndarray, "spline spline"]:
        """Fisher information X'WX of the unpenalised coefficients."""
        probability = special.expit(self.basis @ coefficient)
        weight = self.n_toys * probability * (1 - probability)
        return (self.basis.T @ (sparse.diags_array(weight) @ self.basis)).toarray()

    def criterion(
        self, coefficient: Float[np.ndarray, " spline"], log_penalty: float
    ) -> float:
        """Minus the logarithm of the marginal likelihood, up to a constant."""
        penalty = np.exp(log_penalty) * self.roughness
        total = self.information(coefficient) + penalty
        # Straight lines are not penalised.
        rank = len(coefficient) - 2
        return float(
            -self._penalised(coefficient, penalty)
            + 0.5 * np.log(linalg.eigvalsh(total)).sum()
            - 0.5 * rank * log_penalty
        )

    def _penalised(
        self,
        coefficient: Float[np.ndarray, " spline"],
        penalty: Float[np.ndarray, "spline spline"],
    ) -> float:
        """Logarithm of the likelihood minus half the penalty."""
        logit = self.basis @ coefficient
        log_likelihood = self.n_covered @ logit - self.n_toys @ np.logaddexp(0.0, logit)
        return float(log_likelihood - 0.5 * coefficient @ penalty @ coefficient)


def _counted(
    mu: Float[np.ndarray, " toy"], covered: Bool[np.ndarray, " toy"]
) -> tuple[
    Float[np.ndarray, " value"],
    Float[np.ndarray, " value"],
    Float[np.ndarray, " value"],
]:
    """Different true values, and the covered and all toys of each."""
    at, place = np.unique(mu, return_inverse=True)
    if at.size > _CELLS:
        # A cell is a small part of the distance of knots; the fit no longer takes
        # longer with more toys.
        cell = np.linspace(at[0], at[-1], _CELLS + 1)[1:-1]
        place = np.unique(np.digitize(mu, cell), return_inverse=True)[1]
        at = np.bincount(place, weights=mu) / np.bincount(place)
    n_toys = np.bincount(place).astype(float)
    return at, np.bincount(place, weights=covered), n_toys


def _basis(
    knots: Float[np.ndarray, " knot"], mu: Float[np.ndarray, " point"]
) -> sparse.csr_array:
    return sparse.csr_array(
        interpolate.BSpline.design_matrix(mu, knots, 3, extrapolate=True)
    )


def _roughness(
    knots: Float[np.ndarray, " knot"], n_splines: int
) -> Float[np.ndarray, "spline spline"]:
    """Integrals of products of second derivatives of the splines."""
    second = interpolate.BSpline(knots, np.eye(n_splines), 3).derivative(2)
    # The integrand is a quadratic polynomial between knots: two nodes are exact.
    inner = np.unique(knots)
    half = 0.5 * np.diff(inner)
    middle = 0.5 * (inner[1:] + inner[:-1])
    offset = half / np.sqrt(3)
    below, above = second(middle - offset), second(middle + offset)
    return (below.T * half) @ below + (above.T * half) @ above
