"""A Gaussian measurement with toys, beside its closed form."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtr

from diffana.neyman import FTS, Normal
from diffana.neyman.curves import Curves
from diffana.neyman.gaussian import Pratt
from diffana.neyman.grid import Grid
from diffana.neyman.order_statistic import order_statistic
from diffana.neyman.regions import lengths
from diffana.neyman.regret import set_lengths
from experiments.neyman_exact.belts import LEVELS


FOCUS = Normal(0.0, 1.0)
CLOSED_FORM = Pratt(mean=0.0, sd=1.0)
TRUE = (0.0, 1.0, 2.0, 3.0, 5.0)
GRID = Grid.between(-12.0, 12.0, 241)


@jax.jit
def statistics(x):
    """Focused statistic of measurements on the grid, by a sum over it."""
    curve = -0.5 * (x[:, None] - GRID.points[None]) ** 2
    return FTS(FOCUS)(Curves(curve, curve, jnp.zeros(x.shape)), GRID)


def gaussian_toys(n_toys, n_lengths, seed=0):
    """Critical values, what they cover, and lengths of sets, from toys alone."""
    rng = np.random.default_rng(seed)
    mu = np.asarray(GRID.points)
    critical = np.empty((len(LEVELS), mu.size))
    for place, one in enumerate(mu):
        x = one + rng.standard_normal(n_toys)
        values = np.asarray(statistics(jnp.asarray(x)))[:, place]
        critical[:, place] = order_statistic(values, LEVELS)
    median, error = np.empty((2, len(LEVELS), len(TRUE)))
    for column, true in enumerate(TRUE):
        x = true + rng.standard_normal(n_lengths)
        values = np.asarray(statistics(jnp.asarray(x)))
        for row, level in enumerate(critical):
            found = set_lengths(np.array([true]), lengths(mu, values, level)[None])
            median[row, column] = found.median[0]
            error[row, column] = found.median_error[0]
    closed = np.array([CLOSED_FORM.median_length(TRUE, level) for level in LEVELS])
    return {
        "mu": mu,
        "critical": critical,
        "closed critical": np.stack(
            [CLOSED_FORM.acceptance(mu, level).critical for level in LEVELS]
        ),
        "covered": np.stack([covered(mu, row) for row in critical]),
        "median": median,
        "median error": error,
        "closed median": closed,
    }


def covered(mu, critical):
    """Probability to accept the truth with given critical values, exactly.

    The statistic is a square of the distance of x from a shifted centre, so that the
    accepted x are an interval around it.
    """
    centre = mu
    square = 2 * (critical + mu**2 + np.log(2.0))
    reach = np.sqrt(np.maximum(square, 0.0))
    return ndtr(centre + reach) - ndtr(centre - reach)
