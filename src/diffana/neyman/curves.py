"""Log-likelihoods of many data sets as functions of the parameter of interest."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Curves(NamedTuple):
    """What a test statistic is computed from, up to a constant per data set.

    Attributes:
        numerator: ln L on the grid, nuisance parameters treated as in the numerator of
            a likelihood ratio; -inf where the data are impossible, nan without
            certified fits.
        denominator: the same as in the denominator, with the same constant.
        highest: largest value of the numerator for any value of the parameter of
            interest within the range of the grid.
    """

    numerator: Float[Array, "toy grid"]
    denominator: Float[Array, "toy grid"]
    highest: Float[Array, " toy"]


def highest(log_likelihood: Float[Array, "toy grid"]) -> Float[Array, " toy"]:
    """Largest value of curves, between the points of the grid, too.

    A parabola through the three points around the highest one is followed to its
    vertex; at an end of the grid the value there counts.
    """
    last = log_likelihood.shape[1] - 1
    at = jnp.argmax(log_likelihood, axis=1)
    middle = jnp.clip(at, 1, last - 1)
    rows = jnp.arange(log_likelihood.shape[0])
    below, centre, above = (
        log_likelihood[rows, middle + shift] for shift in (-1, 0, 1)
    )
    slope, bend = (above - below) / 2, above - 2 * centre + below
    inside = (at == middle) & jnp.isfinite(slope) & (bend < 0)
    safe = jnp.where(inside, bend, -1.0)
    vertex = centre - jnp.where(inside, slope, 0.0) ** 2 / (2 * safe)
    return jnp.where(inside, vertex, log_likelihood[rows, at])
