"""Log-likelihoods of toys on a grid of the parameter of interest."""

from typing import final

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Int
from scipy import special

from diffana.errors import DataError


@final
class ToyTable(eqx.Module):
    """Log-likelihoods of toys on a grid, and what true values the toys stand for.

    Attributes:
        mu: the grid, increasing.
        points: places in the grid of the true values, which are those tested as well.
        log_likelihood: of each toy at each value of the grid, up to a constant for each
            toy; the first axis is the true value that it was made at, or has length 1
            where all share their toys.
        weight: probability of each toy under each true value, rows add up to 1.
    """

    mu: Float[np.ndarray | Array, " grid"]
    points: Int[np.ndarray | Array, " point"]
    log_likelihood: Float[np.ndarray | Array, "source toy grid"]
    weight: Float[np.ndarray | Array, "point toy"]

    @classmethod
    def own(
        cls,
        mu: Float[np.ndarray, " grid"],
        points: Int[np.ndarray, " point"],
        log_likelihood: Float[np.ndarray, "point toy grid"],
    ) -> "ToyTable":
        """Toys that were made at each true value.

        Example:
            >>> ToyTable.own(mu, np.arange(0, 101, 5), log_likelihood)
        """
        n_points, n_toys, _ = log_likelihood.shape
        weight = np.full((n_points, n_toys), 1 / n_toys)
        return cls(mu, points, log_likelihood, weight)

    @classmethod
    def shared(
        cls,
        mu: Float[np.ndarray, " grid"],
        points: Int[np.ndarray, " point"],
        log_likelihood: Float[np.ndarray, "toy grid"],
        weight: Float[np.ndarray, "point toy"],
    ) -> "ToyTable":
        """Data sets that stand for all true values, each with importance weights.

        They are toys drawn from a mixture, see `mixture_weight`, or nodes of a
        quadrature over data with their probabilities.

        Args:
            mu: the grid.
            points: places of the true values in it.
            log_likelihood: of each data set at each value of the grid.
            weight: of each data set under each true value, in any unit.
        """
        total = weight.sum(1, keepdims=True)
        return cls(mu, points, log_likelihood[None], weight / total)

    def __check_init__(self):
        n_sources, n_toys, n_grid = self.log_likelihood.shape
        n_points = len(self.points)
        if n_grid != len(self.mu) or self.weight.shape != (n_points, n_toys):
            raise DataError(
                f"toys: log-likelihoods {self.log_likelihood.shape} and weights "
                f"{self.weight.shape} do not belong to a grid of {len(self.mu)} with "
                f"{n_points} true values"
            )
        if n_sources not in (1, n_points):
            raise DataError(f"toys: made at {n_sources} of {n_points} true values")
        if not ((self.weight >= 0).all() and np.allclose(self.weight.sum(1), 1)):
            raise DataError("toys: weights are negative, or there are none at a point")

    def batch(self, toys: Int[np.ndarray, " batch"]) -> "ToyTable":
        """Some of the toys, the same places at each true value."""
        weight = self.weight[:, toys]
        return ToyTable(
            self.mu,
            self.points,
            self.log_likelihood[:, toys],
            weight / weight.sum(1, keepdims=True),
        )


def mixture_weight(
    log_likelihood: Float[np.ndarray, "toy grid"], points: Int[np.ndarray, " point"]
) -> Float[np.ndarray, "point toy"]:
    """Importance weights of toys that were made at all true values in equal numbers.

    The density of a toy in the mixture is the mean of its likelihoods, so that no
    weight exceeds the number of true values. It needs a likelihood without nuisance
    parameters: profiled or marginalised ones are not densities of the toys.

    Returns:
        Weights whose rows add up to 1.

    Example:
        >>> weight = mixture_weight(log_likelihood, points)
        >>> toys = ToyTable.shared(mu, points, log_likelihood, weight)
    """
    ratio = special.softmax(log_likelihood[:, points], axis=1).T
    return ratio / ratio.sum(1, keepdims=True)
