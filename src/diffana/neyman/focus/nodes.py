"""A focus function that is learned: probability at single points."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Scalar

from diffana.neyman.focus._invariants import check
from diffana.neyman.focus.abstract import AbstractFocus
from diffana.numerics import as_float


# Of a grid step: far above the rounding of a grid, far below any real distance.
_ROUNDING = 1e-9


@final
class Nodes(AbstractFocus):
    """Probability at single points, to be learned.

    Attributes:
        mu: the points, in any order; finite.
        log_weight: of each, any real number: its probability is the softmax.

    Raises:
        ValueError: if the shapes disagree or a number is not finite.
    """

    mu: Float[Array, " node"] = eqx.field(converter=as_float)
    log_weight: Float[Array, " node"] = eqx.field(converter=as_float)

    def __check_init__(self):
        """Refuse what is no probability."""
        if self.mu.ndim != 1 or self.mu.shape != self.log_weight.shape:
            raise ValueError(
                f"{self.mu.shape} nodes with weights of shape {self.log_weight.shape}"
            )
        for name in ("mu", "log_weight"):
            message = f"{name} of the nodes: {{}} is not finite"
            check(getattr(self, name), np.isfinite, message)

    @property
    def support(self) -> tuple[Scalar, Scalar]:
        """Lowest and highest node."""
        return jnp.min(self.mu), jnp.max(self.mu)

    def log_weights(
        self,
        grid_points: Float[Array, " point"],
        log_quadrature: Float[Array, " point"],
    ) -> Float[Array, " point"]:
        """Logarithm of the probability on each grid point, -∞ where there is none.

        A node between two points is shared linearly, which keeps the mean; one on a
        point is all there; one outside the grid is lost, so that the probabilities add
        up to less than 1.

        Args:
            grid_points: increasing values of the parameter, two or more.
            log_quadrature: of no use here, since probability needs no integral.
        """
        n_points = grid_points.shape[0]
        left = jnp.searchsorted(grid_points, self.mu, side="right") - 1
        left = jnp.clip(left, 0, n_points - 2)
        step = grid_points[left + 1] - grid_points[left]
        share = (self.mu - grid_points[left]) / step
        # Rounding of a node that is meant to be the last point must not lose it.
        on_grid = (share > -_ROUNDING) & (share < 1 + _ROUNDING)
        share = jnp.clip(share, 0, 1)
        probability = jnp.where(on_grid, jax.nn.softmax(self.log_weight), 0.0)
        total = (
            jnp.zeros(n_points)
            .at[left]
            .add(probability * (1 - share))
            .at[left + 1]
            .add(probability * share)
        )
        log = jnp.log(jnp.where(total > 0, total, 1.0))
        return jnp.where(total > 0, log, -jnp.inf)

    def bulk(self, tail: float) -> tuple[float, float]:
        """Lowest and highest node, whatever `tail`."""
        return float(jnp.min(self.mu)), float(jnp.max(self.mu))
