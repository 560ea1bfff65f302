"""Optimal observables: one number per event that tells nearby intensities apart.

The intensity of a `Channel` is known at every event, so that the best summary of an
event for one purpose can be written down: the derivative of ln λ for a small step of
the parameters, the logarithm of a ratio of intensities for two values far apart. For
another purpose, another tested value for example, it is another observable.
"""

import abc
from collections.abc import Callable
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffana.infer import fisher_information
from diffana.likelihood import AbstractLikelihood
from diffana.nsbi.channel import Channel
from diffana.nsbi.norms import divided, jet
from diffana.nsbi.rows import Rows, Terms, source_of


Params = Float[Array, " par"]


class AbstractOptimalObservable(eqx.Module):
    """A function of the intensity at an event."""

    @abc.abstractmethod
    def __call__(
        self, channel: Channel, names: tuple[str, ...], rows: Rows
    ) -> Float[Array, "chunk event"]:
        """Value of every row.

        Args:
            channel: the intensity.
            names: name of each parameter.
            rows: the events; those without terms have those of the bank.

        Returns:
            The values; nan where an event with weight has an intensity that is not
            positive, and 0 for rows of weight 0.
        """


@final
class Score(AbstractOptimalObservable):
    """Derivative of ln λ(x|θ) along a direction in the space of the parameters.

    The best observable for small steps. Without the derivative of the total yield,
    which all events have in common and no binning of equal expectation depends on.

    Attributes:
        at: θ.
        direction: how the parameters move, of any length.

    Source: Atwood, Soni, Phys. Rev. D 45 (1992) 2405; Diehl, Nachtmann, Z. Phys. C 62
    (1994) 397.
    """

    at: Params
    direction: Params

    def __call__(
        self, channel: Channel, names: tuple[str, ...], rows: Rows
    ) -> Float[Array, "chunk event"]:
        """The derivative for every row."""
        amplitude = _amplitudes(channel, names, self.at, order=1)
        slope = amplitude.first @ self.direction

        def score(terms: Terms) -> Float[Array, " event"]:
            log_intensity = lambda at, size: _log_intensity(
                channel, names, at, size, terms
            )
            start, motion = (self.at, amplitude.value), (self.direction, slope)
            return jax.jvp(log_intensity, start, motion)[1]

        return _of_rows(score, channel, rows)


@final
class LogIntensityRatio(AbstractOptimalObservable):
    """ln λ(x|θ₁)/λ(x|θ₀).

    Every test of θ₁ against θ₀ can be made with it alone, at no loss (Neyman and
    Pearson). With θ₁ = θ₀ it is 0 for all events, and of no use.

    Attributes:
        numerator: θ₁.
        denominator: θ₀.
    """

    numerator: Params
    denominator: Params

    def __call__(
        self, channel: Channel, names: tuple[str, ...], rows: Rows
    ) -> Float[Array, "chunk event"]:
        """The logarithm for every row."""
        sizes = [
            _amplitudes(channel, names, at, order=0).value
            for at in (self.numerator, self.denominator)
        ]

        def log_ratio(terms: Terms) -> Float[Array, " event"]:
            ends = zip((self.numerator, self.denominator), sizes, strict=True)
            above, below = (
                _log_intensity(channel, names, at, size, terms) for at, size in ends
            )
            return above - below

        return _of_rows(log_ratio, channel, rows)


def poi_score(likelihood: AbstractLikelihood, at: Params) -> Score:
    """Score in the parameter of interest, with the others held.

    Args:
        likelihood: a likelihood with a parameter of interest.
        at: parameters at which the score is taken.
    """
    index = likelihood.parameters.poi_index
    return Score(at, jnp.zeros_like(at).at[index].set(1.0))


@eqx.filter_jit
def profiled_score(likelihood: AbstractLikelihood, at: Params) -> Score:
    """Score along the profile: the nuisance parameters follow that of interest.

    The efficient score, s_μ - I_μα I_αα⁻¹ s_α with the Fisher information I. Of it a
    nuisance parameter cannot mimic a small change of the parameter of interest.

    Args:
        likelihood: a likelihood with a parameter of interest. Parameters that it holds
            do not move.
        at: parameters at which the score is taken.

    Source: for the efficient score e.g. van der Vaart, Asymptotic Statistics,
    section 25.4.
    """
    index = likelihood.parameters.poi_index
    information = fisher_information(likelihood, at)
    moves = ~likelihood.parameters.fixed.at[index].set(True)
    both = moves[:, None] & moves[None, :]
    others = jnp.where(both, information, jnp.diag(jnp.where(moves, 0.0, 1.0)))
    follow = jnp.linalg.solve(others, jnp.where(moves, information[:, index], 0.0))
    return Score(at, (-follow).at[index].set(1.0))


def _amplitudes(channel: Channel, names: tuple[str, ...], at: Params, order: int):
    """Yield over norm of every component, with derivatives."""
    yields = jet(lambda params: channel.yields(names, params), at, order)
    return divided(yields, channel.log_norms(names, at, order=order))


def _log_intensity(
    channel: Channel,
    names: tuple[str, ...],
    at: Params,
    amplitude: Float[Array, " component"],
    terms: Terms,
) -> Float[Array, " event"]:
    """Logarithm of the intensity of each event; nan where it is not positive."""
    scaled, scale = channel.densities(names, at, terms)
    intensity = scaled @ amplitude
    positive = intensity > 0
    return (
        jnp.where(positive, jnp.log(jnp.where(positive, intensity, 1.0)), jnp.nan)
        + scale
    )


def _of_rows(
    function: Callable[[Terms], Float[Array, " event"]], channel: Channel, rows: Rows
) -> Float[Array, "chunk event"]:
    """A function of the terms for every row of weight, 0 for the others."""

    def append(carry, weight, terms):
        number, found = carry
        value = jnp.where(weight == 0, 0.0, function(terms))
        return number + 1, found.at[number].set(value)

    source = source_of(channel.bank) if rows.source is None else rows.source
    start = jnp.zeros((), int), jnp.zeros_like(rows.weight)
    return source.scan(append, start, rows.weight)[1]
