"""Whether two weighted histograms come from the same distribution.

The tests are chi-square tests with the Monte-Carlo variances of weighted events, which
may be negative. Neighbouring bins are merged until each holds enough effective events
for a Gaussian error, so that a histogram of few events is compared in few bins.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import chdtrc

from diffana.histogram.exchange import Histogram


MINIMUM_COUNT = 10.0


class Agreement(NamedTuple):
    """A comparison of two histograms.

    Attributes:
        chi2: sum of squared deviations over their variances, >= 0; nan if there are too
            few events to compare anything.
        ndf: degrees of freedom; 0 if there is nothing to compare.
        p_value: probability of a larger `chi2` if both come from one distribution; nan
            without degrees of freedom.
    """

    chi2: float
    ndf: int
    p_value: float

    def __add__(self, other: "Agreement") -> "Agreement":  # pyright: ignore[reportIncompatibleMethodOverride]
        """Both comparisons together, if they are independent."""
        parts = [one for one in (self, other) if one.ndf]
        return _agreement(
            sum((one.chi2 for one in parts), 0.0), sum(one.ndf for one in parts)
        )


def shape_agreement(
    first: Histogram, second: Histogram, *, minimum: float = MINIMUM_COUNT
) -> Agreement:
    """Whether two samples of equally distributed weighted events agree in shape.

    The normalised histograms x_k = h_k/W_k of total W_k are compared with the
    covariance P D Pᵀ of their difference, where P = 1 − f·1ᵀ takes out the common
    fluctuation of normalised bins, f is the pooled shape, and D = (a_1 + a_2) v the
    diagonal of the pooled variances: a_k = V_k/W_k², with V_k the total of sumw2, and
    v the mean of sumw2_k/V_k, each weighted by 1/a_k. For events of unit weight this is
    Pearson's test of homogeneity.

    Args:
        first: histogram of one sample.
        second: histogram of an independent sample in the same bins. Its events carry
            weights from the same distribution, up to a common factor.
        minimum: effective events that a bin needs in either histogram; bins with
            fewer are merged with their neighbours.

    Returns:
        The comparison, with a degree of freedom less than there are merged bins.

    Source: N. D. Gagunashvili, arXiv:physics/0605123, for the test of weighted
    histograms; here with the full covariance instead of its diagonal, which is right
    also where the mean weight differs between the bins.

    Example:
        >>> h = Histogram(edges=[0, 1, 2], sumw=[30.0, 70.0], sumw2=[30.0, 70.0])
        >>> g = Histogram(edges=[0, 1, 2], sumw=[50.0, 50.0], sumw2=[50.0, 50.0])
        >>> shape_agreement(h, g).ndf, round(shape_agreement(h, g).chi2, 4)
        (1, 8.3333)
    """
    sumw, sumw2 = _merged(first, second, minimum)
    if sumw.shape[1] < 2:
        return _agreement(0.0, 0)
    total = sumw.sum(axis=1, keepdims=True)
    spread = sumw2.sum(axis=1, keepdims=True)
    share, precision = sumw / total, total**2 / spread
    precision = precision / precision.sum()
    pooled = np.sum(precision * share, axis=0)
    variance = np.sum(precision * sumw2 / spread, axis=0) * np.sum(spread / total**2)
    difference = share[0] - share[1]
    # The least over the common fluctuation is the square with the inverse of P D Pᵀ.
    overlap = np.sum(difference * pooled / variance)
    chi2 = np.sum(difference**2 / variance) - overlap**2 / np.sum(pooled**2 / variance)
    return _agreement(float(max(chi2, 0.0)), len(difference) - 1)


def yield_agreement(
    first: Histogram, second: Histogram, *, minimum: float = MINIMUM_COUNT
) -> Agreement:
    """Whether two independent samples agree in shape and yield.

    Args:
        first: histogram of one sample.
        second: histogram of an independent sample in the same bins, whose weights may
            be distributed in another way.
        minimum: as for `shape_agreement`.

    Returns:
        Σ (h_1 − h_2)²/(sumw2_1 + sumw2_2) over merged bins, each a degree of freedom.

    Example:
        >>> h = Histogram(edges=[0, 1, 2], sumw=[30.0, 70.0], sumw2=[30.0, 70.0])
        >>> g = Histogram(edges=[0, 1, 2], sumw=[40.0, 80.0], sumw2=[20.0, 30.0])
        >>> yield_agreement(h, g).chi2, yield_agreement(h, g).ndf
        (3.0, 2)
    """
    sumw, sumw2 = _merged(first, second, minimum)
    chi2 = np.sum((sumw[0] - sumw[1]) ** 2 / sumw2.sum(axis=0))
    return _agreement(float(chi2), sumw.shape[1])


def _agreement(chi2: float, ndf: int) -> Agreement:
    if not ndf:
        return Agreement(np.nan, 0, np.nan)
    return Agreement(chi2, ndf, float(chdtrc(ndf, chi2)))


def _merged(
    first: Histogram, second: Histogram, minimum: float
) -> tuple[Float[np.ndarray, "two bin"], Float[np.ndarray, "two bin"]]:
    """Both histograms in merged bins: sums of weights and of squared weights."""
    sumw = np.stack([np.asarray(one.values(), float) for one in (first, second)])
    sumw2 = np.stack([np.asarray(one.variances(), float) for one in (first, second)])
    starts = _starts(sumw, sumw2, minimum)
    if not len(starts):
        return sumw[:, :0], sumw2[:, :0]
    return np.add.reduceat(sumw, starts, axis=1), np.add.reduceat(sumw2, starts, axis=1)


def _starts(
    sumw: Float[np.ndarray, "two bin"],
    sumw2: Float[np.ndarray, "two bin"],
    minimum: float,
) -> Int[np.ndarray, " merged"]:
    """First bins of the groups of bins with enough effective events."""
    starts, begin = [], 0
    for end in range(1, sumw.shape[1] + 1):
        total, spread = (sums[:, begin:end].sum(axis=1) for sums in (sumw, sumw2))
        if np.all(total > 0) and np.all(total**2 >= minimum * spread):
            starts.append(begin)
            begin = end
    # Bins left over at the end join the last group.
    return np.array(starts, int)
