"""How far a likelihood is from the Gaussian of its Fisher information."""

from typing import Literal, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar

from diffana.infer import nominal
from diffana.losses.ingredients import Fisher, Needs
from diffana.losses.loss import AbstractLoss


@final
class Gaussianity(AbstractLoss):
    """Mean squared difference between a likelihood and its Gaussian approximation.

    With Δ(θ) = ln L(θ) - ln L(θ₀) on the Asimov data of θ₀ and the Fisher information I
    there, the mean over points θ of

        [exp Δ(θ) - exp(-½ (θ - θ₀)ᵀ I (θ - θ₀))]²       of = "likelihood",
        [Δ(θ) + ½ (θ - θ₀)ᵀ I (θ - θ₀)]²                 of = "log_likelihood".

    It is zero for a Gaussian likelihood. The points are drawn from the Gaussian with
    covariance I⁻¹ within the bounds of the parameters, beyond which no fit goes: fixed
    standard-normal numbers in pairs ±z, times the Cholesky factor of the covariance,
    less those that end beyond a bound, as at a negative γ. Equal seeds give equal
    values, and the points follow the templates; one that crosses a bound changes the
    mean by one part in the number of points, which is not in the derivative.

    Where an expected yield is negative, L is zero for the form "likelihood", and the
    form "log_likelihood" is undefined, as its result says. The latter is dominated by
    the rare points at which L nearly vanishes. The former becomes small with many
    parameters, as the Gaussian itself does at most points.

    Attributes:
        poi: true value of the parameter of interest.
        n_points: how many points, even and > 0.
        seed: of the points.
        of: what is compared.

    Source: Simpson, PhD thesis (2023), section 7.5; the form "log_likelihood" is that
    of the package relaxed, which drops undefined points.
    """

    poi: float = eqx.field(static=True, default=1.0)
    n_points: int = eqx.field(static=True, default=256)
    seed: int = eqx.field(static=True, default=0)
    of: Literal["likelihood", "log_likelihood"] = eqx.field(
        static=True, default="likelihood"
    )

    def __check_init__(self):
        if self.n_points <= 0 or self.n_points % 2:
            raise ValueError(f"n_points {self.n_points} is not even and positive")
        if self.of not in ("likelihood", "log_likelihood"):
            raise ValueError(f"{self.of!r} is neither likelihood nor log_likelihood")

    @property
    def needs(self) -> Needs:
        """The information at the true parameters; no fit."""
        return Needs(fisher=(self.poi,))

    def value(self, likelihood, scores, found) -> Scalar:
        """The mean squared difference; nan if no point is within the bounds."""
        fisher = found.fisher[self.poi]
        parameters = likelihood.parameters
        centre = nominal(likelihood, self.poi)
        data = likelihood.expected_data(centre)
        lowest = likelihood.twice_nll(centre, data)

        def log_ratio(params: Float[Array, " par"]) -> Scalar:
            return -0.5 * (likelihood.twice_nll(params, data) - lowest)

        def compare(shift: Float[Array, " par"]) -> tuple[Scalar, Bool[Array, ""]]:
            point = centre + shift
            within = (parameters.lower <= point) & (point <= parameters.upper)
            inside = usable = jnp.all(within)
            if self.of == "likelihood":
                tried = jax.lax.stop_gradient(jnp.where(inside, point, centre))
                usable = inside & jnp.isfinite(log_ratio(tried))
            # Other points must not meet a derivative: zero times nan is nan.
            model = log_ratio(jnp.where(usable, point, centre))
            gaussian = -0.5 * (shift @ fisher.information @ shift)
            if self.of == "likelihood":
                model = jnp.where(usable, jnp.exp(model), 0.0)
                gaussian = jnp.exp(gaussian)
            return jnp.where(inside, (model - gaussian) ** 2, 0.0), inside

        squares, inside = jax.vmap(compare)(self._shifts(parameters.fixed, fisher))
        # With an undefined centre no point is usable, but the loss is not a number.
        n_inside = jnp.where(jnp.isfinite(lowest), jnp.sum(inside), jnp.nan)
        return jnp.sum(squares) / n_inside

    def _shifts(
        self, fixed: Bool[Array, " par"], fisher: Fisher
    ) -> Float[Array, "point par"]:
        """Distances of the points from the centre."""
        key = jax.random.key(self.seed)
        half = jax.random.normal(key, (self.n_points // 2, fixed.size), float)
        held = jnp.diag(jnp.where(fixed, 1.0, 0.0))
        factor = jnp.linalg.cholesky(fisher.covariance + held)
        factor = jnp.where(fixed[:, None], 0.0, factor)
        return jnp.concatenate([half, -half]) @ factor.T
