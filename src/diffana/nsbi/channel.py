"""One region of events without bins: its intensity, relative to a reference.

The intensity is the expected density of events in x,

    λ(x|θ) = Σ_j f_j(θ) ν_j G_j(θ) p_j(x|θ),   p_j(x|θ) / p_ref(x) = r_j g_j / Z_j,

with the coefficient f, the nominal yield ν and its systematic factor G, the density
ratio r = p_j / p_ref at nominal, and the morph g of every component j. The reference
p_ref depends on no parameter and drops out of every comparison of parameters.

Z_j(θ) is the mean of r_j g_j over reference events, the *bank*. A product of morphs
does not integrate to one, and a ratio that was learned does so only nearly; left out,
shape uncertainties would be wrong, usually too small.

Source: ATLAS, arXiv:2412.01600, sections 3 and 4; the normalisation is ours.
"""

from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from diffana.nsbi.coefficients import AbstractCoefficients
from diffana.nsbi.components import Component
from diffana.nsbi.norms import (
    Jet,
    Norms,
    divided,
    jet,
    log_norms,
    positions,
    precomputed,
)
from diffana.nsbi.rows import Rows, Terms, source_of


class LogIntensity(NamedTuple):
    """Sum over events of weight · ln of the intensity, with derivatives.

    Attributes:
        value: the sum; inf with the wrong sign, so that -2 ln L is inf, where the
            intensity of an event with weight is not positive.
        gradient: its derivative.
        outer: Σ weight · score scoreᵀ over events of positive weight.
        hessian: its second derivative; zero if it was not asked for.
    """

    value: Scalar
    gradient: Float[Array, " par"]
    outer: Float[Array, "par par"]
    hessian: Float[Array, "par par"]


@final
class Channel(eqx.Module):
    """One region.

    Attributes:
        components: shapes and yields.
        coefficients: what multiplies each of them.
        bank: reference events; the weights are relative, their sum is of no meaning.
            They normalise the shapes, and are what pseudo-data are made of.
        name: of the region.
        norms: what of the normalisation depends on no parameter, if it is already
            computed, else None.
    """

    components: tuple[Component, ...]
    coefficients: AbstractCoefficients
    bank: Rows
    name: str = eqx.field(static=True)
    norms: Norms | None = None

    def __check_init__(self):
        if self.coefficients.n_components != len(self.components):
            raise ValueError(
                f"region {self.name!r}: {len(self.components)} components, but "
                f"{self.coefficients.n_components} coefficients"
            )
        if self.bank.source is None:
            raise ValueError(f"region {self.name!r}: the bank has no terms")

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of all parameters, each once."""
        names = list(self.coefficients.parameters)
        for component in self.components:
            names += component.yield_morph.parameters
            for morph in component.shape_morphs:
                names += morph.parameters
        return tuple(dict.fromkeys(names))

    def settled(self) -> "Channel":
        """The same with what can be known of the normalisation computed in advance."""
        return eqx.tree_at(
            lambda channel: channel.norms,
            self,
            precomputed(self.components, self.bank),
            is_leaf=lambda x: x is None,
        )

    def log_norms(
        self, names: tuple[str, ...], params: Float[Array, " par"], *, order: int
    ) -> Jet:
        """Logarithm of Z of all components with its derivatives, see `norms`."""
        return log_norms(
            self.components, self.bank, self.norms, names, params, order=order
        )

    def yields(
        self, names: tuple[str, ...], params: Float[Array, " par"]
    ) -> Float[Array, " component"]:
        """Expected events of each component, of any sign: f ν G.

        Args:
            names: name of each parameter.
            params: their values.
        """
        values = dict(zip(names, params, strict=True))
        scale = jnp.stack(
            [one.expected * one.yield_morph(values) for one in self.components]
        )
        return self.coefficients(values) * scale

    def expected_weight(
        self, names: tuple[str, ...], params: Float[Array, " par"]
    ) -> Float[Array, "chunk event"]:
        """Expected events for every row of the bank; they add up to the total yield."""
        share = self.yields(names, params) * jnp.exp(
            -self.log_norms(names, params, order=0).value
        )
        total = self.bank.total()

        def append(carry, weight, terms):
            number, found = carry
            scaled, scale = self.densities(names, params, terms)
            density = jnp.exp(scale) * (scaled @ share)
            row = jnp.where(weight == 0, 0.0, weight * density / total)
            return number + 1, found.at[number].set(row)

        start = jnp.zeros((), int), jnp.zeros_like(self.bank.weight)
        return source_of(self.bank).scan(append, start, self.bank.weight)[1]

    def log_intensity(
        self,
        names: tuple[str, ...],
        params: Float[Array, " par"],
        rows: Rows,
        *,
        reference: Scalar,
        order: int,
    ) -> tuple[LogIntensity, Jet]:
        """Σ weight · ln λ over events, and the total yield.

        Args:
            names: name of each parameter.
            params: their values.
            rows: the events; those without terms have those of the bank.
            reference: events expected with the reference density; λ is in units of
                their intensity.
            order: 0 for values alone, 1 for gradient and outer product, 2 for the
                second derivative, too.
        """
        yields = jet(lambda at: self.yields(names, at), params, order)
        norms = self.log_norms(names, params, order=order)
        amplitudes = jax.tree.map(lambda part: part / reference, divided(yields, norms))
        total = jax.tree.map(lambda part: jnp.sum(part, axis=0), yields)
        source = source_of(self.bank) if rows.source is None else rows.source
        n_par, n_comp = len(params), len(self.components)

        def add(carry, weight, terms):
            return jax.tree.map(
                jnp.add,
                carry,
                self._chunk(names, params, amplitudes, weight, terms, order),
            )

        empty = _ChunkSums(
            value=jnp.zeros(()),
            gradient=jnp.zeros(n_par),
            outer=jnp.zeros((n_par, n_par)),
            signed_outer=jnp.zeros((n_par, n_par)),
            shares=jnp.zeros(n_comp),
            cross=jnp.zeros((n_comp, n_par)),
            bend=jnp.zeros((n_par, n_par)),
        )
        sums = source.scan(add, empty, rows.weight)
        mixed = amplitudes.first.T @ sums.cross
        hessian = (
            jnp.tensordot(sums.shares, amplitudes.second, axes=1)
            + mixed
            + mixed.T
            + sums.bend
            - sums.signed_outer
        )
        found = LogIntensity(sums.value, sums.gradient, sums.outer, hessian)
        return found, total

    def log_intensities(
        self,
        names: tuple[str, ...],
        params: Float[Array, " par"],
        *,
        reference: Scalar,
    ) -> Float[Array, "chunk event"]:
        """Values of ln λ of each event of the bank; -inf where λ is not positive.

        Arguments are those of `log_intensity`.
        """
        log_norms = self.log_norms(names, params, order=0).value
        amplitudes = self.yields(names, params) * jnp.exp(-log_norms) / reference

        def append(carry, weight, terms):
            number, found = carry
            scaled, scale = self.densities(names, params, terms)
            intensity = scaled @ amplitudes
            positive = intensity > 0
            log = jnp.log(jnp.where(positive, intensity, 1.0)) + scale
            row = jnp.where(positive, log, -jnp.inf)
            return number + 1, found.at[number].set(row)

        weight = self.bank.weight
        start = jnp.zeros((), int), jnp.zeros(weight.shape)
        return source_of(self.bank).scan(append, start, weight)[1]

    def _chunk(
        self,
        names: tuple[str, ...],
        params: Float[Array, " par"],
        amplitudes: Jet,
        weight: Float[Array, " event"],
        terms: Terms,
        order: int,
    ) -> "_ChunkSums":
        """What a chunk contributes to the sums over events."""
        n_par, n_comp = len(params), len(self.components)
        used = weight != 0
        scaled, scale = self.densities(names, params, terms)
        intensity = scaled @ amplitudes.value
        positive = intensity > 0
        safe = jnp.where(used & positive, intensity, 1.0)
        # A weight of either sign makes -2 ln L infinite.
        log_intensity = jnp.where(positive, jnp.log(safe) + scale, -jnp.inf)
        value = jnp.sum(
            jnp.where(used, jnp.where(positive, weight * log_intensity, -jnp.inf), 0.0)
        )
        zero = jnp.zeros((n_par, n_par))
        if order == 0:
            nothing = jnp.zeros(n_comp), jnp.zeros((n_comp, n_par))
            return _ChunkSums(value, jnp.zeros(n_par), zero, zero, *nothing, zero)
        parts = scaled / safe[:, None]
        score = parts @ amplitudes.first
        cross, bend = [], zero
        for j, (component, shapes) in enumerate(
            zip(self.components, terms.shapes, strict=True)
        ):
            share = parts[:, j] * amplitudes.value[j]
            slopes = jnp.zeros((len(weight), n_par))
            for morph, stored in zip(component.shape_morphs, shapes, strict=True):
                at, rows = positions(names, morph.parameters), jnp.asarray(stored)
                slopes = slopes.at[:, at].add(morph.slopes(params[at], rows).first)
                if order == 2:
                    block = morph.bend(params[at], rows, weight * share)
                    bend = bend.at[at[:, None], at[None, :]].add(block)
            if component.shape_morphs:
                score = score + share[:, None] * slopes
                cross.append((weight * parts[:, j]) @ slopes)
                if order == 2:
                    bend = bend + slopes.T @ ((weight * share)[:, None] * slopes)
            else:
                cross.append(jnp.zeros(n_par))
        outer = score.T @ (jnp.maximum(weight, 0.0)[:, None] * score)
        signed_outer = zero
        if order == 2:
            negative = score.T @ (jnp.minimum(weight, 0.0)[:, None] * score)
            signed_outer = outer + negative
        return _ChunkSums(
            value=value,
            gradient=weight @ score,
            outer=outer,
            signed_outer=signed_outer,
            shares=weight @ parts,
            cross=jnp.stack(cross),
            bend=bend,
        )

    def densities(
        self, names: tuple[str, ...], params: Float[Array, " par"], terms: Terms
    ) -> tuple[Float[Array, "event component"], Float[Array, " event"]]:
        """Densities r g over e^scale, and the scale, which avoids overflow."""
        logs = terms.log_ratio
        columns = []
        for j, (component, shapes) in enumerate(
            zip(self.components, terms.shapes, strict=True)
        ):
            column = logs[:, j]
            for morph, stored in zip(component.shape_morphs, shapes, strict=True):
                at, rows = positions(names, morph.parameters), jnp.asarray(stored)
                column = column + morph.log_factor(params[at], rows)
            columns.append(column)
        logs = jnp.stack(columns, axis=1)
        scale = jax.lax.stop_gradient(jnp.max(logs, axis=1))
        scale = jnp.where(jnp.isfinite(scale), scale, 0.0)
        return jnp.exp(logs - scale[:, None]), scale


class _ChunkSums(NamedTuple):
    """Sums over events from which the derivatives of Σ weight · ln λ follow.

    With a_j the amplitude f ν G / Z of component j and d its slopes ∂ ln g: the parts
    are r g / λ, the shares a r g / λ.

    Attributes:
        value: Σ weight · ln λ.
        gradient: Σ weight · score.
        outer: Σ weight · score scoreᵀ over positive weights.
        signed_outer: the same over all events, for the second derivative.
        shares: Σ weight · part of each component.
        cross: Σ weight · part · d of each component.
        bend: Σ weight · Σ_j share (d dᵀ + ∂d).
    """

    value: Scalar
    gradient: Float[Array, " par"]
    outer: Float[Array, "par par"]
    signed_outer: Float[Array, "par par"]
    shares: Float[Array, " component"]
    cross: Float[Array, "component par"]
    bend: Float[Array, "par par"]
