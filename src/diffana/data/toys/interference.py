"""Signal and background amplitudes that interfere, next to a process that does not."""

import math
from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Scalar

from diffana.data.toys.normal import Normal
from diffana.numerics import as_float


# Signal alone, signal and background with their interference at μ = 1, background
# alone, and what interferes with neither.
COMPONENTS = ("S", "SBI", "B", "NI")

_SIGNAL_COVARIANCE = ((0.72, 0.18, 0.06), (0.18, 0.64, 0.10), (0.06, 0.10, 0.81))
_NI_COVARIANCE = ((1.35, -0.15, 0.12), (-0.15, 1.10, 0.22), (0.12, 0.22, 1.25))
_NI_MEAN = (-0.6, -0.4, 0.1)
_DIRECTION = (0.792593924, 0.566138517, 0.226455407)
# Three tenths of the distance of the mean of NI from the origin, along a unit vector.
_SHIFT = tuple(0.3 * math.hypot(*_NI_MEAN) * d for d in _DIRECTION)


def _signal() -> Normal:
    return Normal((1.5, 1.1, 0.7), np.array(_SIGNAL_COVARIANCE))


def _background() -> Normal:
    return Normal(
        (1.2225921266, 0.9018515191, 0.6207406076), 1.25 * np.array(_SIGNAL_COVARIANCE)
    )


def _noninterfering() -> Normal:
    return Normal(_NI_MEAN, np.array(_NI_COVARIANCE))


@final
class Interference(eqx.Module):
    """Intensity of events under destructive interference, in three dimensions.

    With the amplitudes √(μ λ_S φ_S) and √(λ_B φ_B) of relative phase ϕ, where φ are
    normal densities, events at x are expected with the intensity

        ν(x) = L [μ λ_S φ_S + λ_B φ_B + 2 cos ϕ √(μ λ_S φ_S λ_B φ_B) + λ_NI φ_NI(α)],

    the last term being a process that does not interfere, and whose mean the nuisance
    parameter α moves. It depends on μ through √μ too: the likelihood has two minima,
    and mixtures of the components of positive density need negative coefficients, see
    `coefficients`.

    Source: exact interference benchmark with a distinct signal, poodemo
    (github.com/rafaellopesdesa/poodemo); the defaults are its constants.

    Attributes:
        signal: density φ_S of the signal without background.
        background: density φ_B of the background without signal.
        noninterfering: density φ_NI at α = 0.
        shift: of the mean of φ_NI at α = 1, in the unit of each feature.
        signal_rate: λ_S, events per unit of exposure at μ = 1; > 0.
        background_rate: λ_B, events per unit of exposure; > 0.
        noninterfering_rate: λ_NI, events per unit of exposure; > 0.
        cos_phase: cos ϕ, between -1 and 1, so that no intensity is negative.
        exposure: L; > 0.

    Example:
        >>> problem = Interference()
        >>> [round(float(n), 6) for n in problem.yields()]
        [5000.0, 47594.142762, 50000.0, 500000.0]
        >>> round(float(problem.intensity(jnp.zeros(3), mu=0.3)), 3)
        19707.361
    """

    signal: Normal = eqx.field(default_factory=_signal)
    background: Normal = eqx.field(default_factory=_background)
    noninterfering: Normal = eqx.field(default_factory=_noninterfering)
    shift: Float[Array, " feature"] = eqx.field(converter=as_float, default=_SHIFT)
    signal_rate: Scalar = eqx.field(converter=as_float, default=100.0)
    background_rate: Scalar = eqx.field(converter=as_float, default=1_000.0)
    noninterfering_rate: Scalar = eqx.field(converter=as_float, default=10_000.0)
    cos_phase: Scalar = eqx.field(converter=as_float, default=-0.24)
    exposure: Scalar = eqx.field(converter=as_float, default=50.0)

    def __check_init__(self):
        shapes = {
            "signal": self.signal.mean.shape,
            "background": self.background.mean.shape,
            "noninterfering": self.noninterfering.mean.shape,
            "shift": self.shift.shape,
        }
        if set(shapes.values()) != {(3,)}:
            raise ValueError(
                f"interference: events have three features, the means {shapes}"
            )

    def log_densities(
        self, features: Float[Array, " feature"], alpha: float | Scalar = 0.0
    ) -> Float[Array, " component"]:
        """Logarithms of the normalised densities of one event, as in `COMPONENTS`.

        Args:
            features: of the event.
            alpha: nuisance parameter, which moves NI; any number.
        """
        return jnp.stack(
            [
                self.signal.log_density(features),
                self.log_rate(features) - jnp.log(self.interfering_rate()),
                self.background.log_density(features),
                self.noninterfering.moved(alpha * self.shift).log_density(features),
            ]
        )

    def yields(self) -> Float[Array, " component"]:
        """Expected events of the `COMPONENTS`, at μ = 1 and at any α."""
        rates = [
            self.signal_rate,
            self.interfering_rate(),
            self.background_rate,
            self.noninterfering_rate,
        ]
        return self.exposure * jnp.stack(rates)

    def coefficients(self, mu: float | Scalar) -> Float[Array, " component"]:
        """What the densities of the `COMPONENTS` are multiplied with, besides yields.

        μ - √μ, √μ, 1 - √μ and 1: the first is negative where 0 < μ < 1, the third
        where μ > 1. The derivative at μ = 0 is infinite.

        Args:
            mu: signal strength, >= 0.

        Example:
            >>> Interference().coefficients(0.25).tolist()
            [-0.25, 0.5, 0.5, 1.0]
        """
        root = jnp.sqrt(as_float(mu))
        return jnp.stack([root**2 - root, root, 1 - root, jnp.ones_like(root)])

    def signal_fraction(
        self, features: Float[Array, " feature"], mu: float | Scalar = 1.0
    ) -> Scalar:
        """Intensity of the signal alone over the incoherent sum with the background.

        Args:
            features: of the event.
            mu: signal strength, >= 0.
        """
        signal, background = self._log_rates(features, mu)
        return jnp.exp(signal - jnp.logaddexp(signal, background))

    def share(
        self, features: Float[Array, " feature"], mu: float | Scalar = 1.0
    ) -> Scalar:
        """Interference of one event over the incoherent sum of both intensities.

        cos ϕ / cosh d, where 2 d is the logarithm of the ratio of the intensities:
        between -|cos ϕ| and |cos ϕ|.

        Args:
            features: of the event.
            mu: signal strength, >= 0.
        """
        signal, background = self._log_rates(features, mu)
        # Overflows nowhere, other than 1 / cosh and its derivatives.
        log_geometric = 0.5 * (signal + background) - jnp.logaddexp(signal, background)
        return 2 * self.cos_phase * jnp.exp(log_geometric)

    def log_rate(
        self, features: Float[Array, " feature"], mu: float | Scalar = 1.0
    ) -> Scalar:
        """Logarithm of the intensity of one event without NI, per unit of exposure.

        Args:
            features: of the event.
            mu: signal strength, >= 0; the derivative at 0 is infinite.
        """
        incoherent = jnp.logaddexp(*self._log_rates(features, mu))
        return incoherent + jnp.log1p(self.share(features, mu))

    def intensity(
        self,
        features: Float[Array, " feature"],
        mu: float | Scalar,
        alpha: float | Scalar = 0.0,
    ) -> Scalar:
        """Expected events per unit of volume at one event, of all processes.

        Args:
            features: of the event.
            mu: signal strength, >= 0; the derivative at 0 is infinite.
            alpha: nuisance parameter; any number.
        """
        return jnp.exp(self.log_intensity(features, mu, alpha))

    def log_intensity(
        self,
        features: Float[Array, " feature"],
        mu: float | Scalar,
        alpha: float | Scalar = 0.0,
    ) -> Scalar:
        """Logarithm of `intensity`, which also holds where that underflows."""
        other = self.noninterfering.moved(alpha * self.shift).log_density(features)
        other = other + jnp.log(self.noninterfering_rate)
        return jnp.log(self.exposure) + jnp.logaddexp(
            self.log_rate(features, mu), other
        )

    def interfering_rate(self, mu: float | Scalar = 1.0) -> Scalar:
        """Integral of the intensity without NI, per unit of exposure.

        The interference needs ∫ √(φ_S φ_B), the coefficient of Bhattacharyya, Bull.
        Calcutta Math. Soc. 35 (1943) 99, which normal densities have in closed form.

        Args:
            mu: signal strength, >= 0.
        """
        signal = jnp.asarray(mu) * self.signal_rate
        interference = jnp.sqrt(signal * self.background_rate) * self._overlap()
        return signal + self.background_rate + 2 * self.cos_phase * interference

    def total(self, mu: float | Scalar) -> Scalar:
        """Expected events of all processes, at any α.

        Args:
            mu: signal strength, >= 0.
        """
        return self.exposure * (self.interfering_rate(mu) + self.noninterfering_rate)

    def grid(
        self, n_per_axis: int = 61, reach: float = 8.0
    ) -> tuple[Float[np.ndarray, "node feature"], Float[np.ndarray, " node"]]:
        """Nodes and weights of the trapezoidal rule over all components, float64.

        With the defaults, integrals of the densities are right to 1e-12 for |α| < 3.

        Args:
            n_per_axis: nodes along each feature, > 1; there are n³ of them.
            reach: distance from the outermost means at α = 0 to the faces of the box,
                in standard deviations of the widest component; > 0.

        Returns:
            The nodes, and the weight of each of them in the sum that is the integral.
        """
        if n_per_axis < 2:
            raise ValueError(f"a grid needs 2 nodes per axis, not {n_per_axis}")
        normals = (self.signal, self.background, self.noninterfering)
        means = np.array([normal.mean for normal in normals])
        spread = np.sqrt([np.diagonal(normal.covariance) for normal in normals]).max(0)
        low, high = means.min(0) - reach * spread, means.max(0) + reach * spread
        axes = np.linspace(low, high, n_per_axis).T
        ends = np.ones(n_per_axis)
        ends[[0, -1]] = 0.5
        weights = [ends * (axis[1] - axis[0]) for axis in axes]
        nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        weight = np.prod(np.meshgrid(*weights, indexing="ij"), axis=0)
        return nodes.reshape(-1, len(axes)), weight.ravel()

    def _log_rates(
        self, features: Float[Array, " feature"], mu: float | Scalar
    ) -> tuple[Scalar, Scalar]:
        """Logarithms of the rates of signal and of background alone at one event."""
        signal = jnp.log(mu * self.signal_rate) + self.signal.log_density(features)
        background = self.background.log_density(features)
        return signal, jnp.log(self.background_rate) + background

    def _overlap(self) -> Scalar:
        """∫ √(φ_S φ_B)."""
        mean = 0.5 * (self.signal.covariance + self.background.covariance)
        distance = self.signal.mean - self.background.mean
        log_dets = [
            jnp.linalg.slogdet(covariance)[1]
            for covariance in (mean, self.signal.covariance, self.background.covariance)
        ]
        log_width = 0.5 * log_dets[0] - 0.25 * (log_dets[1] + log_dets[2])
        nearness = distance @ jnp.linalg.solve(mean, distance) / 8
        return jnp.exp(-nearness - log_width)
