"""Whether the reweighted denominator has the features of the numerator."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Int
from scipy.special import chdtrc

from diffana.errors import DataError
from diffana.nsbi.diagnostics._events import Sample, closure
from diffana.nsbi.diagnostics.gate import Gate, verdict
from diffana.nsbi.diagnostics.reliability import equal_mass_bins


NAME = "feature closure"


class ChiSquare(NamedTuple):
    """A comparison of two normalised weighted histograms.

    Attributes:
        chi2: sum of squared deviations over their variances; nan without bins.
        ndf: degrees of freedom; 0 if there is nothing to compare.
        p_value: probability of a larger `chi2` if both come from one distribution; nan
            without degrees of freedom.
    """

    chi2: float
    ndf: int
    p_value: float


def feature_closure_gate(
    numerator_features: Float[ArrayLike, "event feature"],
    numerator_weight: Float[ArrayLike, " event"],
    denominator_features: Float[ArrayLike, "other feature"],
    denominator_weight: Float[ArrayLike, " other"],
    log_ratio: Float[ArrayLike, " other"],
    *,
    numerator_log_ratio: Float[ArrayLike, " event"] | None = None,
    columns: Sequence[str] = (),
    n_bins: int = 10,
    minimum: float = 25.0,
    threshold: float = 0.01,
) -> Gate:
    """Whether each feature is distributed alike in numerator and weighted denominator.

    The denominator is weighted with the ratio r. If the log ratios of the numerator
    are given, both samples are weighted to the density that they have in common,
    p_n p_d/(p_n + p_d): the denominator with r/(1 + r), the numerator with 1/(1 + r).
    These weights are at most 1, while a few events of large r may carry most of the
    weight otherwise. Shapes are compared: a factor on r changes nothing.

    The normalised histograms a and c of both samples, in bins of about equal content,
    are compared with the covariance of their difference, the sum over the events of
    both of p_i² (e_i - f)(e_i - f)ᵀ, where e_i is the unit vector of the bin of event
    i, p_i its share of the weight of its sample, and f the mean of a and c. It holds
    for weights that depend on the feature and have any sign.
    The smallest p-value of F features, times F, has to be at least `threshold`: a right
    ratio fails in at most this fraction of all cases, however the features are
    correlated (Bonferroni). Without the log ratios of the numerator this holds only if
    the standard deviation of the log ratio is below about 1.

    Args:
        numerator_features: of events of the numerator, any units; finite.
        numerator_weight: of these events, any unit and sign.
        denominator_features: the same for the denominator. Events in both samples make
            the test less sensitive than it says.
        denominator_weight: likewise.
        log_ratio: of the events of the denominator.
        numerator_log_ratio: of the events of the numerator; best given.
        columns: names of the features; "column 0", ... by default.
        n_bins: bins of each feature.
        minimum: effective events that a bin needs in either sample, or, if that does
            not leave two bins, in both together; bins with fewer are merged with their
            neighbours.
        threshold: least p-value after the correction for the number of features, which
            is the rate of false alarms.

    Raises:
        DataError: if a sample has no event, a weight or a feature is not finite, the
            sum of the weights of a sample is not positive, or the columns differ.

    Example:
        >>> x = np.linspace(0.0, 1.0, 1000)[:, None]
        >>> ones, zeros = np.ones(1000), np.zeros(1000)
        >>> feature_closure_gate(x, ones, x, ones, zeros).verdict
        'pass'
    """
    found = closure(
        NAME,
        threshold,
        (numerator_features, numerator_weight),
        (denominator_features, denominator_weight),
        log_ratio,
        numerator_log_ratio,
    )
    if isinstance(found, Gate):
        return found
    names = _names(columns, found.numerator.values.shape[1])
    compared = {
        name: two_sample_chi2(
            *(Sample(one.values[:, index], one.share) for one in found),
            n_bins=n_bins,
            minimum=minimum,
        )
        for index, name in enumerate(names)
    }
    return _gate(compared, threshold)


def _names(columns: Sequence[str], n_features: int) -> Sequence[str]:
    if len(columns) not in (0, n_features):
        raise DataError(f"{NAME}: {len(columns)} names for {n_features} features")
    return columns or [f"column {index}" for index in range(n_features)]


def _gate(found: dict[str, ChiSquare], threshold: float) -> Gate:
    tested = {name: one for name, one in found.items() if one.ndf}
    numbers = {"features": {name: one._asdict() for name, one in found.items()}}
    if not tested:
        reason = "no feature has two bins with enough effective events"
        return Gate(NAME, "not checked", reason, numbers, threshold)
    worst = min(tested, key=lambda name: tested[name].p_value)
    p_value = min(len(tested) * tested[worst].p_value, 1.0)
    one = tested[worst]
    return Gate(
        NAME,
        verdict(p_value >= threshold),
        f"worst of {len(tested)} features is {worst!r}: χ² = {one.chi2:.1f} for "
        f"{one.ndf} degrees of freedom, p = {p_value:.2g} after correction, at least "
        f"{threshold:g} needed",
        {"p_value": p_value, "worst": worst, **numbers},
        threshold,
    )


def two_sample_chi2(
    first: Sample, second: Sample, *, n_bins: int, minimum: float
) -> ChiSquare:
    """Whether two independent weighted samples of one variable agree in shape.

    Args:
        first: values and shares of one sample.
        second: of the other one.
        n_bins: bins of about equal content of both.
        minimum: as in `feature_closure_gate`.
    """
    values = np.concatenate([first.values, second.values])
    mass = np.concatenate(
        [np.abs(one.share) / np.sum(np.abs(one.share)) for one in (first, second)]
    )
    at, n_found = equal_mass_bins(values, mass, n_bins)
    bins = np.split(at, [len(first.values)])
    pairs = list(zip(bins, (first.share, second.share), strict=True))
    sumw = np.stack([np.bincount(b, share, n_found) for b, share in pairs])
    sumw2 = np.stack([np.bincount(b, share**2, n_found) for b, share in pairs])
    starts = _starts(sumw, sumw2, minimum)
    if len(starts) < 2 and min(first.effective_size, second.effective_size) >= minimum:
        # Samples that hardly meet have no bins in common, and are still different.
        starts = _starts(
            sumw.sum(axis=0, keepdims=True), sumw2.sum(axis=0, keepdims=True), minimum
        )
    if len(starts) < 2:
        return ChiSquare(np.nan, 0, np.nan)
    sumw, sumw2 = (np.add.reduceat(one, starts, axis=1) for one in (sumw, sumw2))
    # The last bin is what the others leave of the total.
    difference = (sumw[0] - sumw[1])[:-1]
    covariance = _covariance(sumw.mean(axis=0), sumw2.sum(axis=0))[:-1, :-1]
    chi2 = float(difference @ np.linalg.solve(covariance, difference))
    ndf = len(difference)
    return ChiSquare(chi2, ndf, float(chdtrc(ndf, chi2)))


def _covariance(
    fraction: Float[np.ndarray, " bin"], sumw2: Float[np.ndarray, " bin"]
) -> Float[np.ndarray, "bin bin"]:
    """Covariance of histograms that are normalised to their own sums of weights, 1."""
    cross = np.outer(sumw2, fraction)
    among = sumw2.sum() * np.outer(fraction, fraction)
    return np.diag(sumw2) - cross - cross.T + among


def _starts(
    sumw: Float[np.ndarray, "sample bin"],
    sumw2: Float[np.ndarray, "sample bin"],
    minimum: float,
) -> Int[np.ndarray, " merged"]:
    """First bins of the groups of bins with enough effective events in every sample."""
    starts, begin = [], 0
    for end in range(1, sumw.shape[1] + 1):
        total, spread = (sums[:, begin:end].sum(axis=1) for sums in (sumw, sumw2))
        if np.all(total > 0) and np.all(total**2 >= minimum * spread):
            starts.append(begin)
            begin = end
    # Bins left over at the end join the last group.
    return np.array(starts, int)
