"""Exact belts of a Gaussian measurement x ~ N(mu, 1) with mu in [0, 10], without toys.

The statistic is linear in x within narrow cells, so that the probability of a set of x
is a sum over cells of their probability and the fraction of each that is accepted. By
the identity of Ghosh and Pratt, the expected length of the set of mu at a true value is
the integral over tested values of the probability to accept them.
"""

import numpy as np
from scipy.special import logsumexp, ndtr


MU = np.linspace(0.0, 10.0, 101)
EDGES = np.linspace(-7.0, 17.0, 1201)
LEVELS = {0.6827: 0.6826894921, 0.9545: 0.9544997361}


def trapezoid(mu):
    """Weights of the trapezoidal rule on equidistant points."""
    width = np.full(len(mu), mu[1] - mu[0])
    width[[0, -1]] *= 0.5
    return width


def log_likelihood(x, mu=MU):
    """[x, mu]"""
    return -0.5 * (x[:, None] - mu) ** 2


def likelihood_ratio(tested):
    """The statistic at the edges of the cells: [edge, tested]."""
    nearest = np.clip(EDGES, MU[0], MU[-1])[:, None]
    return (EDGES[:, None] - tested) ** 2 - (EDGES[:, None] - nearest) ** 2


def focused(log_weight, tested, nodes=MU):
    """The focused statistic at the edges of the cells: [edge, tested]."""
    denominator = logsumexp(log_likelihood(EDGES, nodes) + log_weight, axis=1)
    return (EDGES[:, None] - tested) ** 2 + 2 * denominator[:, None]


def accepted_fraction(statistic, critical):
    """Fraction of each cell below the critical value: [cell, tested]."""
    low = np.minimum(statistic[:-1], statistic[1:])
    high = np.maximum(statistic[:-1], statistic[1:])
    return np.clip((critical - low) / np.maximum(high - low, 1e-12), 0.0, 1.0)


def cell_probability(mu):
    """[mu, cell]"""
    return np.diff(ndtr(EDGES - mu[:, None]), axis=1)


def critical_values(statistic, tested, level):
    """Quantile of the statistic at its own tested value, by bisection: [tested]."""
    probability = cell_probability(tested).T
    low, high = np.full((2, len(tested)), [[-60.0], [60.0]])
    for _ in range(45):
        middle = 0.5 * (low + high)
        below = (probability * accepted_fraction(statistic, middle)).sum(0) < level
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return 0.5 * (low + high)


def cell_lengths(statistic, level, tested=MU):
    """Expected length of the set in each cell of x: [cell]."""
    critical = critical_values(statistic, tested, level)
    return accepted_fraction(statistic, critical) @ trapezoid(tested)


def expected_length(statistic, level, true, tested=MU):
    """[true]"""
    return cell_probability(true) @ cell_lengths(statistic, level, tested)


def half_normal(width):
    """ln of the probabilities of a half-normal focus on the grid."""
    log_weight = -0.5 * (MU / width) ** 2 + np.log(trapezoid(MU))
    return log_weight - logsumexp(log_weight)


def insured(log_weight, share):
    """A focus mixed with a uniform one."""
    uniform = trapezoid(MU) / trapezoid(MU).sum()
    return np.log((1 - share) * np.exp(log_weight) + share * uniform)
