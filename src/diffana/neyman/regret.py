"""Lengths of confidence sets over true values, and what one belt costs against another.

A focused belt is short where its focus is and pays for it elsewhere. The price is the
ratio of its expected length to that of another belt, at every true value.
"""

from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float
from scipy import special

from diffana.errors import DataError


@final
class Lengths(NamedTuple):
    """Lengths of the sets of toys, at each true value.

    Attributes:
        mu: true values.
        mean: expected length, in the unit of mu.
        mean_error: its standard deviation.
        median: the smallest length that at least half of the toys do not exceed.
        median_error: its standard deviation.
        probabilities: of the quantiles, in (0, 1).
        quantiles: the smallest lengths that these fractions do not exceed.
        quantile_errors: their standard deviations.
    """

    mu: Float[np.ndarray, " point"]
    mean: Float[np.ndarray, " point"]
    mean_error: Float[np.ndarray, " point"]
    median: Float[np.ndarray, " point"]
    median_error: Float[np.ndarray, " point"]
    probabilities: tuple[float, ...]
    quantiles: Float[np.ndarray, "quantile point"]
    quantile_errors: Float[np.ndarray, "quantile point"]


@final
class Extreme(NamedTuple):
    """Largest or smallest value of a curve.

    Attributes:
        mu: where it is.
        value: the value; the extreme of a fluctuating curve is on average too extreme.
        error: its standard deviation, of this point by itself.
    """

    mu: float
    value: float
    error: float


@final
class Ratio(NamedTuple):
    """Ratio of two lengths at each true value.

    Attributes:
        mu: true values.
        value: the ratio, below 1 where the first belt is better; nan where the
            length of the second is 0.
        error: its standard deviation, from the same toys in both lengths.
    """

    mu: Float[np.ndarray, " point"]
    value: Float[np.ndarray, " point"]
    error: Float[np.ndarray, " point"]

    @property
    def largest(self) -> Extreme:
        """The worst point of the first belt."""
        return self._at(int(np.nanargmax(self.value)))

    @property
    def smallest(self) -> Extreme:
        """The best point of the first belt."""
        return self._at(int(np.nanargmin(self.value)))

    def _at(self, point: int) -> Extreme:
        return Extreme(
            float(self.mu[point]), float(self.value[point]), float(self.error[point])
        )


@final
class Regret(NamedTuple):
    """What a belt costs against a reference, at each true value.

    Attributes:
        mean: ratio of expected lengths.
        median: ratio of median lengths.
    """

    mean: Ratio
    median: Ratio


def set_lengths(
    mu: Float[np.ndarray, " point"],
    length: Float[np.ndarray, "point toy"],
    *,
    weight: Float[np.ndarray, "point toy"] | None = None,
    probabilities: tuple[float, ...] = (0.16, 0.84),
) -> Lengths:
    """Mean, median and quantiles of the lengths of confidence sets.

    Errors of quantiles are those of order statistics (Maritz and Jarrett, J. Am. Stat.
    Assoc. 73 (1978) 194): the limit of infinitely many bootstrap samples, without
    random numbers.

    Args:
        mu: true values.
        length: of the set of each toy made at each true value; empty sets have 0.
        weight: importance weights of the toys, >= 0, equal by default. Probabilities of
            a quadrature over data give exact means; errors mean nothing then.
        probabilities: of the quantiles, in (0, 1).

    Raises:
        DataError: if a length or a weight is negative or not finite, a point has no
            weight, or their shapes do not match.

    Example:
        >>> found = set_lengths(mu, lengths_of(belt, toys))
        >>> found.median, found.median_error
    """
    weight = _checked(mu, length, weight)
    mean, error = _mean(length, weight)
    rows = [
        [_quantile(*row, probability) for row in zip(length, weight, strict=True)]
        for probability in (0.5, *probabilities)
    ]
    quantiles = np.array(rows).reshape(len(rows), len(mu), 2)
    return Lengths(
        mu=mu,
        mean=mean,
        mean_error=error,
        median=quantiles[0, :, 0],
        median_error=quantiles[0, :, 1],
        probabilities=probabilities,
        quantiles=quantiles[1:, :, 0],
        quantile_errors=quantiles[1:, :, 1],
    )


def regret(
    mu: Float[np.ndarray, " point"],
    length: Float[np.ndarray, "point toy"],
    reference: Float[np.ndarray, "point toy"],
    *,
    weight: Float[np.ndarray, "point toy"] | None = None,
) -> Regret:
    """Ratio of the lengths of one belt to those of a reference on the same toys.

    Errors use that the lengths of both belts fluctuate together. For the means this is
    the error of a ratio estimator; for the medians the correlation of two sample
    medians is that of the indicators of lying below them.

    Args:
        mu: true values.
        length: of the set of each toy in the belt under study.
        reference: of the set of the same toy in the other belt, often the
            likelihood-ratio belt.
        weight: importance weights of the toys as in `set_lengths`.

    Raises:
        DataError: as `set_lengths`.

    Example:
        >>> found = regret(mu, focused, unfocused)
        >>> found.mean.largest
        Extreme(mu=8.0, value=3.15, error=0.01)
    """
    weight = _checked(mu, length, weight)
    _checked(mu, reference, weight)
    return Regret(
        Ratio(mu, *_ratio_of_means(length, reference, weight)),
        Ratio(mu, *_ratio_of_medians(length, reference, weight)),
    )


def _ratio_of_means(
    length: Float[np.ndarray, "point toy"],
    reference: Float[np.ndarray, "point toy"],
    weight: Float[np.ndarray, "point toy"],
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    below = (weight * reference).sum(1)
    below = np.where(below > 0, below, np.nan)
    ratio = (weight * length).sum(1) / below
    _, error = _mean(length - ratio[:, None] * reference, weight)
    return ratio, error / below


def _ratio_of_medians(
    length: Float[np.ndarray, "point toy"],
    reference: Float[np.ndarray, "point toy"],
    weight: Float[np.ndarray, "point toy"],
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    found = []
    for first, second, row in zip(length, reference, weight, strict=True):
        above, above_error = _quantile(first, row, 0.5)
        below, below_error = _quantile(second, row, 0.5)
        if below == 0:
            found.append((np.nan, np.nan))
            continue
        ratio = above / below
        correlation = _correlation(first <= above, second <= below, row)
        variance = (
            above_error**2
            + (ratio * below_error) ** 2
            - 2 * correlation * above_error * ratio * below_error
        )
        # Rounding makes the variance of two equal lengths slightly negative.
        found.append((ratio, np.sqrt(max(variance, 0.0)) / below))
    values, errors = np.array(found).reshape(-1, 2).T
    return values, errors


def _mean(
    length: Float[np.ndarray, "point toy"], weight: Float[np.ndarray, "point toy"]
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """Mean and its standard deviation; rows of `weight` add up to 1."""
    mean = (weight * length).sum(1)
    squared = (weight**2 * (length - mean[:, None]) ** 2).sum(1)
    # n / (n - 1) for equal weights.
    unbiased = 1 / np.maximum(1 - (weight**2).sum(1), np.finfo(float).tiny)
    return mean, np.sqrt(squared * unbiased)


def _quantile(
    length: Float[np.ndarray, " toy"],
    weight: Float[np.ndarray, " toy"],
    probability: float,
) -> tuple[float, float]:
    """A quantile and its standard deviation; `weight` adds up to 1."""
    order = np.argsort(length)
    values, below = length[order], np.cumsum(weight[order])
    # Sums of weights that reach the probability but for rounding count as reaching it.
    place = np.searchsorted(below, probability * (1 - 1e-12))
    value = values[min(place, len(values) - 1)]
    n_effective = 1 / (weight**2).sum()
    shape = n_effective * probability + 0.5, n_effective * (1 - probability) + 0.5
    share = np.diff(special.betainc(*shape, np.minimum(below, 1.0)), prepend=0.0)
    centre = share @ values / share.sum()
    return float(value), float(np.sqrt(share @ (values - centre) ** 2 / share.sum()))


def _correlation(
    first: np.ndarray, second: np.ndarray, weight: Float[np.ndarray, " toy"]
) -> float:
    """Correlation of two indicators, 0 where one of them is constant."""
    one, two, both = weight @ first, weight @ second, weight @ (first & second)
    variance = one * (1 - one) * two * (1 - two)
    return float((both - one * two) / np.sqrt(variance)) if variance > 1e-30 else 0.0


def _checked(
    mu: Float[np.ndarray, " point"],
    length: Float[np.ndarray, "point toy"],
    weight: Float[np.ndarray, "point toy"] | None,
) -> Float[np.ndarray, "point toy"]:
    """Weights that add up to 1 at each point.

    Raises:
        DataError: if lengths or weights cannot be used.
    """
    weight = np.ones_like(length, float) if weight is None else weight
    if length.ndim != 2 or len(length) != len(mu) or length.shape != weight.shape:
        raise DataError(
            f"lengths {length.shape} and weights {weight.shape} are not (point, toy) "
            f"for {len(mu)} true values"
        )
    if not (np.isfinite(length) & (length >= 0)).all():
        raise DataError("a length is negative or not finite")
    total = weight.sum(1, keepdims=True)
    if not ((weight >= 0).all() and (total > 0).all() and np.isfinite(total).all()):
        raise DataError("a weight is negative or not finite, or a point has none")
    return weight / total
