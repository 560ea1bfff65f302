"""Four measurements whose data can be counted through, with their probabilities.

Nothing here is random: a quantile is a sum of probabilities, so that belts, lengths and
coverage are exact, apart from cells of a Gaussian measurement, which are narrow.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special, stats

from diffana.neyman import HalfNormal, Normal
from diffana.neyman.curves import Curves
from diffana.neyman.grid import Grid


TAU, RATE = 1.0, 3.0
BACKGROUND = 3.0
# Counts from 0 up to one less.
N_ON, N_OFF = 90, 19


class Problem(NamedTuple):
    """Log-likelihoods of all data, and their probabilities.

    Attributes:
        title: for figures.
        focus: a natural choice.
        insured: range over which an insurance is spread.
        mu: tested values.
        true: places in `mu` of the true values that are looked at.
        log_likelihood: [data, mu], up to a constant of each datum; nuisance parameters
            are profiled.
        highest: its supremum over the parameter space: [data].
        probability: of the data at each tested value: [mu, data].
    """

    title: str
    focus: object
    insured: tuple[float, float]
    mu: np.ndarray
    true: np.ndarray
    log_likelihood: np.ndarray
    highest: np.ndarray
    probability: np.ndarray

    @property
    def grid(self):
        """The tested values for the library."""
        return Grid(jnp.asarray(self.mu))

    def statistic(self, statistic):
        """Values of a test statistic: [data, mu]."""
        curve = jnp.asarray(self.log_likelihood)
        return np.asarray(_statistic(statistic, curve, self.highest, self.grid))

    def coarser(self, mu_step, data_step):
        """The same with fewer tested values, and with cells of data added up."""
        n_data = len(self.highest) // data_step * data_step
        probability = self.probability[::mu_step, :n_data]
        probability = probability.reshape(len(probability), -1, data_step).sum(2)
        middle = np.arange(data_step // 2, n_data, data_step)
        return self._replace(
            mu=self.mu[::mu_step],
            true=np.unique(self.true // mu_step),
            log_likelihood=self.log_likelihood[middle, ::mu_step],
            highest=self.highest[middle],
            probability=probability,
        )


@jax.jit
def _statistic(statistic, curve, highest, grid):
    return statistic(Curves(curve, curve, highest), grid)


def between(mu, lower, upper):
    """Places of the values from one to another."""
    return np.flatnonzero((mu >= lower - 1e-9) & (mu <= upper + 1e-9))


def gaussian_cells(mu, lower, upper, cell):
    """Middles of cells of x ~ N(mu, 1), and their probabilities."""
    edges = np.linspace(lower, upper, round((upper - lower) / cell) + 1)
    probability = np.diff(special.ndtr(edges[None] - mu[:, None]), axis=1)
    return 0.5 * (edges[1:] + edges[:-1]), probability


def gaussian(cell):
    """Of x ~ N(mu, 1), where mu is any number."""
    mu = np.linspace(-12, 12, 241)
    x, probability = gaussian_cells(mu, -18, 18, cell)
    return Problem(
        title="Gaussian",
        focus=Normal(0.0, 1.0),
        insured=(-5.0, 5.0),
        mu=mu,
        true=between(mu, -5, 5),
        log_likelihood=-0.5 * (x[:, None] - mu) ** 2,
        highest=np.zeros(x.size),
        probability=probability,
    )


def bounded(cell):
    """Of x ~ N(mu, 1), 0 <= mu <= 10."""
    mu = np.linspace(0, 10, 101)
    x, probability = gaussian_cells(mu, -7, 17, cell)
    return Problem(
        title=r"Gaussian, $\mu\geq 0$",
        focus=HalfNormal(1.0),
        insured=(0.0, 10.0),
        mu=mu,
        true=between(mu, 0, 8),
        log_likelihood=-0.5 * (x[:, None] - mu) ** 2,
        highest=-0.5 * (x - np.clip(x, 0, 10)) ** 2,
        probability=probability,
    )


def poisson():
    """Of n ~ Poisson(mu + 3), 0 <= mu <= 40."""
    mu = np.linspace(0, 40, 4001)
    n = np.arange(116.0)
    best = np.clip(n - BACKGROUND, 0, 40) + BACKGROUND
    rate = mu + BACKGROUND
    return Problem(
        title=f"Poisson, $b$ = {BACKGROUND:g}",
        focus=Normal(0.0, 2.0, lower=0.0, upper=40.0),
        insured=(0.0, 12.0),
        mu=mu,
        true=between(mu, 0, 12),
        log_likelihood=n[:, None] * np.log(rate) - rate,
        highest=n * np.log(best) - best,
        probability=stats.poisson.pmf(n, rate[:, None]),
    )


def on_off():
    """Of n ~ Poisson(mu + nu), m ~ Poisson(nu), 0 <= mu <= 40; true nu is 3."""
    mu = np.linspace(0, 40, 801)
    n, m = (one.ravel().astype(float) for one in np.meshgrid(range(N_ON), range(N_OFF)))
    curve = profile(n[:, None], m[:, None], mu)
    # Where the best fit is inside, both counts are fitted exactly.
    inside = special.xlogy(n, n) - n + special.xlogy(m, m) - m
    best = n - m / TAU
    ends = np.where(best < 0, curve[:, 0], curve[:, -1])
    probability = stats.poisson.pmf(n, mu[:, None] + RATE)
    return Problem(
        title=r"On/off, $\nu$ = 3",
        focus=Normal(0.0, 2.0, lower=0.0, upper=40.0),
        insured=(0.0, 12.0),
        mu=mu,
        true=between(mu, 0, 12),
        log_likelihood=curve,
        highest=np.where((best >= 0) & (best <= 40), inside, ends),
        probability=probability * stats.poisson.pmf(m, TAU * RATE),
    )


def profile(n, m, mu):
    """Logarithm of L at the best background for given mu, in closed form."""
    half = n + m - (1 + TAU) * mu
    root = np.sqrt(half**2 + 4 * (1 + TAU) * m * mu)
    nu = (half + root) / (2 * (1 + TAU))
    # A rate of 0 is allowed where nothing is counted.
    return special.xlogy(n, mu + nu) - mu - nu + special.xlogy(m, TAU * nu) - TAU * nu
