"""Whether the classes occur as often as the log ratio says."""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float
from scipy.special import expit

from diffana.nsbi.calibration.line import fit_line
from diffana.nsbi.diagnostics._events import Sample, log_ratio_sample, not_finite
from diffana.nsbi.diagnostics.gate import Gate, verdict


NAME = "calibration"
# Mean of |x| of a standard normal x.
_MEAN_DISTANCE = np.sqrt(2 / np.pi)


class Reliability(NamedTuple):
    """Predicted and observed fraction of the numerator in bins of the score.

    Both classes weigh the same. A bin in which the weights do not have a positive sum
    has nan.

    Attributes:
        predicted: mean score r/(1 + r) in each bin.
        observed: fraction of the numerator in each bin.
        error: standard error of the observed fraction.
        share: of the weight of both classes in each bin, 1 in total.
    """

    predicted: Float[np.ndarray, " bin"]
    observed: Float[np.ndarray, " bin"]
    error: Float[np.ndarray, " bin"]
    share: Float[np.ndarray, " bin"]

    @property
    def expected_error(self) -> float:
        """Expected calibration error: mean |predicted - observed| over the weight."""
        distance = np.abs(self.predicted - self.observed)
        return float(np.nansum(self.share * distance))

    @property
    def expected_noise(self) -> float:
        """The expected calibration error that a right log ratio has on average."""
        return float(np.nansum(self.share * self.error) * _MEAN_DISTANCE)


def reliability(
    log_ratio_numerator: Float[ArrayLike, " event"],
    weight_numerator: Float[ArrayLike, " event"],
    log_ratio_denominator: Float[ArrayLike, " other"],
    weight_denominator: Float[ArrayLike, " other"],
    *,
    n_bins: int = 20,
) -> Reliability:
    """Reliability curve of a log ratio in bins of equal weight.

    Args:
        log_ratio_numerator: of events of the numerator; finite.
        weight_numerator: of these events, any unit and sign.
        log_ratio_denominator: the same for the denominator.
        weight_denominator: likewise.
        n_bins: number of bins; there are fewer if log ratios coincide.

    Raises:
        DataError: if a class has no event, a weight is not finite, or the sum of the
            weights of a class is not positive.

    Source: Guo et al., arXiv:1706.04599, for the curve and the expected calibration
    error, here in bins of equal weight.
    """
    return _curve(
        _class(log_ratio_numerator, weight_numerator, "numerator"),
        _class(log_ratio_denominator, weight_denominator, "denominator"),
        n_bins,
    )


def calibration_gate(
    log_ratio_numerator: Float[ArrayLike, " event"],
    weight_numerator: Float[ArrayLike, " event"],
    log_ratio_denominator: Float[ArrayLike, " other"],
    weight_denominator: Float[ArrayLike, " other"],
    *,
    threshold: float = 3.0,
    n_bins: int = 20,
) -> Gate:
    """Whether the log odds of the classes are the log ratio.

    Of their straight-line fit, intercept + slope · log ratio, the intercept has to be
    0 and the slope 1 within `threshold` standard errors each. At a threshold of 3 a
    right ratio fails in at most 0.54 % of all cases.

    Args:
        log_ratio_numerator: of events of the numerator that took no part in training.
        weight_numerator: of these events, any unit and sign.
        log_ratio_denominator: the same for the denominator, from independent events.
        weight_denominator: likewise; each class is normalised on its own.
        threshold: largest |pull| of intercept and slope.
        n_bins: bins of the expected calibration error, which is among the numbers with
            what a right ratio would have (`expected_noise`).

    Raises:
        DataError: as `reliability`.

    Example:
        >>> t, weight = np.array([-2.0, 0.0, 2.0]), np.array([10.0, 20.0, 70.0])
        >>> calibration_gate(t, weight, t, weight[::-1], n_bins=3).verdict
        'pass'
    """
    numerator = _class(log_ratio_numerator, weight_numerator, "numerator")
    denominator = _class(log_ratio_denominator, weight_denominator, "denominator")
    if (failed := not_finite(NAME, threshold, numerator, denominator)) is not None:
        return failed
    if np.ptp(np.concatenate([numerator.values, denominator.values])) == 0:
        return _not_checked("the log ratio is the same in all events", threshold)
    line = fit_line(*numerator, *denominator)
    if not line.found:
        return _not_checked("the classes do not overlap in the log ratio", threshold)
    errors = line.uncertainty
    pulls = np.array([line.intercept, line.slope - 1]) / errors
    curve = _curve(numerator, denominator, n_bins)
    return Gate(
        NAME,
        verdict(bool(np.all(np.abs(pulls) < threshold))),
        f"log odds = ({line.intercept:.3g} ± {errors[0]:.2g}) + "
        f"({line.slope:.4g} ± {errors[1]:.2g}) log ratio: pulls {pulls[0]:.2f} and "
        f"{pulls[1]:.2f}, at most {threshold:g} allowed",
        {
            "intercept": line.intercept,
            "intercept_error": float(errors[0]),
            "slope": line.slope,
            "slope_error": float(errors[1]),
            "intercept_pull": float(pulls[0]),
            "slope_pull": float(pulls[1]),
            "expected_error": curve.expected_error,
            "expected_noise": curve.expected_noise,
        },
        threshold,
    )


def _class(
    log_ratio: Float[ArrayLike, " event"], weight: Float[ArrayLike, " event"], name: str
) -> Sample:
    return log_ratio_sample(log_ratio, weight, f"{NAME}, {name}")


def _not_checked(reason: str, threshold: float) -> Gate:
    return Gate(NAME, "not checked", reason, {}, threshold)


def _curve(numerator: Sample, denominator: Sample, n_bins: int) -> Reliability:
    values = np.concatenate([numerator.values, denominator.values])
    share = np.concatenate([numerator.share, denominator.share]) / 2
    is_numerator = np.arange(len(values)) < len(numerator.values)
    at, n_found = equal_mass_bins(values, share, n_bins)

    def total(part: np.ndarray) -> Float[np.ndarray, " bin"]:
        return np.bincount(at, part, n_found)

    of_numerator, of_both = total(share * is_numerator), total(share)
    variance_numerator = total(share**2 * is_numerator)
    variance_denominator = total(share**2 * ~is_numerator)
    filled = np.where(of_both > 0, of_both, np.nan)
    observed = of_numerator / filled
    variance = (
        1 - observed
    ) ** 2 * variance_numerator + observed**2 * variance_denominator
    return Reliability(
        predicted=total(share * expit(values)) / filled,
        observed=observed,
        error=np.sqrt(variance) / filled,
        share=of_both,
    )


def equal_mass_bins(
    values: Float[np.ndarray, " event"], share: Float[np.ndarray, " event"], n_bins: int
) -> tuple[np.ndarray, int]:
    """Bin of each value, and the number of bins, which have about equal |share|.

    Args:
        values: finite.
        share: of each value, any sign.
        n_bins: at most as many bins; fewer where values coincide.

    Example:
        >>> equal_mass_bins(np.array([5.0, 1.0, 3.0, 9.0]), np.ones(4), 2)
        (array([1, 0, 0, 1]), 2)
    """
    order = np.argsort(values, kind="stable")
    mass = np.abs(share[order])
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    levels = np.arange(1, n_bins) / n_bins
    edges = np.unique(np.interp(levels, middle, values[order]))
    at = np.searchsorted(edges, values, side="right")
    # An edge at the smallest value leaves nothing below.
    _, at = np.unique(at, return_inverse=True)
    return at, int(at.max()) + 1
