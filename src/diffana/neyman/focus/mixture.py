"""Mixtures of focus functions, and the one that insures a focus."""

from collections.abc import Sequence
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Scalar

from diffana.neyman.focus._invariants import check
from diffana.neyman.focus.abstract import AbstractDensity, AbstractFocus
from diffana.neyman.focus.densities import Uniform
from diffana.numerics import as_float


@final
class Mixture(AbstractFocus):
    """Several focus functions at once.

    Attributes:
        components: one or more.
        weights: probability of each up to a common factor, >= 0, not all 0.

    Raises:
        ValueError: if there are no components or the weights are not as said.
    """

    components: tuple[AbstractFocus, ...] = eqx.field(converter=tuple)
    weights: Float[Array, " component"] = eqx.field(converter=as_float)

    def __check_init__(self):
        """Refuse what is no probability distribution."""
        if not self.components or self.weights.shape != (len(self.components),):
            raise ValueError(
                f"mixture of {len(self.components)} components with weights of shape "
                f"{self.weights.shape}"
            )
        message = "weights of a mixture: {} is negative or not finite"
        check(self.weights, lambda w: np.isfinite(w) & (w >= 0), message)
        total = self.weights.sum()
        check(total, lambda w: w > 0, "weights of a mixture add up to {}")

    @property
    def support(self) -> tuple[Scalar, Scalar]:
        """Lowest and highest end of the components, whatever their weights."""
        lower, upper = zip(*(part.support for part in self.components), strict=True)
        return jnp.min(jnp.stack(lower)), jnp.max(jnp.stack(upper))

    def log_density(self, mu: Float[Array, " point"]) -> Float[Array, " point"]:
        """Logarithm of the density; see `AbstractDensity`.

        Raises:
            TypeError: if a component has no density.
        """
        logs = []
        for part in self.components:
            if not isinstance(part, AbstractDensity | Mixture):
                raise TypeError(f"{type(part).__name__} has probability, not density")
            logs.append(part.log_density(mu))
        return self._mixed(logs)

    def log_weights(
        self,
        grid_points: Float[Array, " point"],
        log_quadrature: Float[Array, " point"],
    ) -> Float[Array, " point"]:
        """See `AbstractFocus.log_weights`."""
        parts = self.components
        return self._mixed([p.log_weights(grid_points, log_quadrature) for p in parts])

    def bulk(self, tail: float) -> tuple[float, float]:
        """See `AbstractFocus.bulk`; of all components that have a weight."""
        weights = np.asarray(self.weights).tolist()
        lower, upper = zip(
            *(p.bulk(tail) for p, w in zip(self.components, weights, strict=True) if w),
            strict=True,
        )
        return min(lower), max(upper)

    def _mixed(self, logs: Sequence[Float[Array, " point"]]) -> Float[Array, " point"]:
        stacked = jnp.stack([*logs])
        share = (self.weights / self.weights.sum())[:, None]
        # The largest term with a weight is taken out, so that the sum cannot underflow;
        # it cancels, so it needs no derivative.
        top = jnp.max(jnp.where(share > 0, stacked, -jnp.inf), 0, keepdims=True)
        top = jax.lax.stop_gradient(jnp.where(jnp.isfinite(top), top, 0.0))
        # A component without weight may be larger by any factor, and its derivative
        # with respect to the weight matters; up to where the exponential overflows.
        apart = jnp.where(stacked - top > 700.0, 700.0, stacked - top)
        total = (share * jnp.exp(apart)).sum(0)
        log = jnp.log(jnp.where(total > 0, total, 1.0))
        return jnp.where(total > 0, log + top[0], -jnp.inf)


def insured(
    focus: AbstractFocus,
    epsilon: ArrayLike = 0.1,
    *,
    lower: ArrayLike,
    upper: ArrayLike,
) -> Mixture:
    """The focus with a share of its probability spread evenly over a range.

    A focus without probability somewhere gives long intervals for true values there; a
    tenth of the probability bounds the loss at little cost where the focus is.

    Args:
        focus: where precision is wanted most.
        epsilon: share that is spread, between 0 and 1.
        lower: lower end of the range, in units of the parameter; finite.
        upper: upper end of the range, > `lower`; finite.

    Raises:
        ValueError: if an argument is not as said.

    Example:
        >>> insured(HalfNormal(1.0), lower=0.0, upper=10.0).weights.tolist()
        [0.9, 0.1]
    """
    share = as_float(epsilon)
    message = "share of the insurance: {} is not between 0 and 1"
    check(share, lambda x: (x >= 0) & (x <= 1), message)
    return Mixture((focus, Uniform(lower, upper)), jnp.stack([1 - share, share]))
