"""Logistic regression of the class of an event on its log ratio."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import expit


_MAX_STEPS = 100


class Line(NamedTuple):
    """Log odds of the numerator as a straight line: intercept + slope · log ratio.

    A log ratio that is right has intercept 0 and slope 1.

    Attributes:
        intercept: of the line; nan without a minimum.
        slope: of the line; nan likewise.
        covariance: of intercept and slope.
        found: whether the cross-entropy has a minimum. It has none if the classes do
            not overlap, and may have none if weights are negative.
    """

    intercept: float
    slope: float
    covariance: Float[np.ndarray, "two two"]
    found: bool

    @property
    def uncertainty(self) -> Float[np.ndarray, " two"]:
        """Standard errors of intercept and slope."""
        return np.sqrt(np.diagonal(self.covariance))


def fit_line(
    log_ratio_numerator: Float[np.ndarray, " event"],
    share_numerator: Float[np.ndarray, " event"],
    log_ratio_denominator: Float[np.ndarray, " other"],
    share_denominator: Float[np.ndarray, " other"],
) -> Line:
    """The line of least binary cross-entropy, both classes weighing the same.

    The covariance is A⁻¹ B A⁻¹ with the second derivative A of the cross-entropy and
    the variance B of its first derivative. Each class is normalised to its own sum of
    weights, hence only the spread around the mean of the class is in B.

    Args:
        log_ratio_numerator: estimated log ratios; finite, not all the same.
        share_numerator: weights over their sum, any sign.
        log_ratio_denominator: the same for the denominator.
        share_denominator: likewise.

    Source: Platt, Advances in Large Margin Classifiers (1999) 61, for the line; White,
    Econometrica 50 (1982) 1, for the covariance.

    Example:
        >>> t, share = np.array([-2.0, 0.0, 2.0]), np.array([0.1, 0.2, 0.7])
        >>> line = fit_line(t, share, t, share[::-1])
        >>> round(line.intercept, 12) + 0.0, round(line.slope, 6)
        (0.0, 0.972955)
    """
    log_ratio = np.concatenate([log_ratio_numerator, log_ratio_denominator])
    share = np.concatenate([share_numerator, share_denominator]) / 2
    is_numerator = np.arange(len(log_ratio)) < len(log_ratio_numerator)
    middle, scale = log_ratio.mean(), log_ratio.std()
    design = np.stack([np.ones_like(log_ratio), (log_ratio - middle) / scale], axis=1)
    point = _minimum(design, share, is_numerator)
    if point is None:
        return Line(np.nan, np.nan, np.full((2, 2), np.nan), found=False)
    # From the standardised log ratio back to the log ratio.
    back = np.array([[1.0, -middle / scale], [0.0, 1 / scale]])
    intercept, slope = back @ point
    covariance = back @ _covariance(design, share, is_numerator, point) @ back.T
    return Line(float(intercept), float(slope), covariance, found=True)


def _minimum(
    design: Float[np.ndarray, "event two"],
    share: Float[np.ndarray, " event"],
    is_numerator: np.ndarray,
) -> Float[np.ndarray, " two"] | None:
    """Newton's method with halved steps; None if it does not end in a minimum."""

    def loss(point: np.ndarray) -> float:
        logit = design @ point
        return float(share @ (np.logaddexp(0.0, logit) - is_numerator * logit))

    point, height = np.zeros(2), np.log(2.0)
    for _ in range(_MAX_STEPS):
        score = expit(design @ point)
        gradient = (share * (score - is_numerator)) @ design
        curvature = (share * score * (1 - score) * design.T) @ design
        # Relative to the 1/4 of a score of one half; below, the classes do not overlap.
        if np.linalg.eigvalsh(curvature)[0] < 1e-10:
            return None
        step = np.linalg.solve(curvature, gradient)
        if gradient @ step < 1e-20:
            return point - step
        while (found := loss(point - step)) > height and gradient @ step > 1e-20:
            step = step / 2
        point, height = point - step, found
    return None


def _covariance(
    design: Float[np.ndarray, "event two"],
    share: Float[np.ndarray, " event"],
    is_numerator: np.ndarray,
    point: Float[np.ndarray, " two"],
) -> Float[np.ndarray, "two two"]:
    score = expit(design @ point)
    curvature = (share * score * (1 - score) * design.T) @ design
    pull = (score - is_numerator)[:, None] * design
    variance = np.zeros((2, 2))
    for side in (is_numerator, ~is_numerator):
        within = share[side]
        mean = within @ pull[side] / within.sum()
        parts = within[:, None] * (pull[side] - mean)
        variance += parts.T @ parts
    inverse = np.linalg.inv(curvature)
    return inverse @ variance @ inverse
