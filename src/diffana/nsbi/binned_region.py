"""A region whose events are counted: expected events per bin, with derivatives."""

from typing import NamedTuple, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from diffana.histfactory import poisson
from diffana.nsbi.bins import AbstractMembership
from diffana.nsbi.channel import Channel
from diffana.nsbi.components import Component
from diffana.nsbi.norms import Jet, jet
from diffana.nsbi.rows import Terms, source_of


@final
class BinnedRegion(eqx.Module):
    """A region whose events are counted.

    Attributes:
        channel: the intensity, with the bank.
        membership: which bins the rows of the bank are in.
        shapes: P of the components that depend on no parameter, if they are already
            computed, else None.
    """

    channel: Channel
    membership: AbstractMembership
    shapes: Float[Array, "component bin"] | None = None

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return self.membership.n_bins

    def settled(self, names: tuple[str, ...]) -> "BinnedRegion":
        """The same with the shapes that never change computed in advance."""
        values = self._shapes(names, jnp.zeros(len(names)), order=0).value
        return BinnedRegion(self.channel, self.membership, values)

    def rates(
        self, names: tuple[str, ...], params: Float[Array, " par"]
    ) -> Float[Array, " bin"]:
        """Expected events of each bin."""
        shapes = self._shapes(names, params, order=0).value
        return self.channel.yields(names, params) @ shapes

    def rates_and_derivatives(
        self,
        names: tuple[str, ...],
        params: Float[Array, " par"],
        counts: Float[Array, " bin"],
        *,
        exact: bool,
    ) -> tuple[Float[Array, " bin"], Float[Array, "bin par"], Float[Array, "par par"]]:
        """Expected events, their first derivatives, and the bend of -2 ln L.

        Args:
            names: name of each parameter.
            params: their values.
            counts: events in the data.
            exact: whether the bend is wanted: second derivatives of the expected
                events times the slopes of -2 ln L in them. Else it is zero.
        """
        yields = jet(
            lambda at: self.channel.yields(names, at), params, 2 if exact else 1
        )
        shapes = self._shapes(names, params, order=1)
        rates = yields.value @ shapes.value
        jacobian = shapes.value.T @ yields.first + jnp.einsum(
            "j,jbp->bp", yields.value, shapes.first
        )
        if not exact:
            return rates, jacobian, jnp.zeros((len(params),) * 2)
        slope = poisson.slope(counts, rates)
        mixed = jnp.einsum("jp,b,jbq->pq", yields.first, slope, shapes.first)
        bend = jnp.einsum("b,jb,jpq->pq", slope, shapes.value, yields.second)
        bend = bend + mixed + mixed.T
        for j in self._morphed():
            bend = bend + yields.value[j] * self._bend(names, params, j, slope)
        return rates, jacobian, bend

    def _morphed(self) -> tuple[int, ...]:
        """Components whose shape depends on parameters."""
        components = self.channel.components
        return tuple(j for j, one in enumerate(components) if one.shape_morphs)

    def _shapes(
        self, names: tuple[str, ...], params: Float[Array, " par"], *, order: int
    ) -> Jet:
        """P of all components, with first derivatives at order 1; no second ones."""
        components, n_par = self.channel.components, len(params)
        everything = tuple(range(len(components)))
        pending = everything if self.shapes is None else self._morphed()
        moments = dict(
            zip(pending, self._moments(names, params, pending, order), strict=True)
        )
        values, slopes = [], []
        for j, component in enumerate(components):
            if j not in moments:
                assert self.shapes is not None
                values.append(self.shapes[j])
                slopes.append(jnp.zeros((self.n_bins, n_par)))
                continue
            content, slope, _, of_norm = self._divided(component, *moments[j])
            values.append(content)
            slopes.append(slope - content[:, None] * of_norm[None, :])
        return Jet(jnp.stack(values), jnp.stack(slopes), jnp.zeros(()))

    def _moments(
        self,
        names: tuple[str, ...],
        params: Float[Array, " par"],
        chosen: tuple[int, ...],
        order: int,
    ) -> "list[_Moments]":
        """Σ weight · r g of each bin, and of all events, with first derivatives."""
        n_par = len(params)

        def add(carry, weight, terms):
            number, sums = carry
            share = self.membership.shares(number)
            # Events may leave the range of the bins: the norm is that of all.
            share = jnp.concatenate([share, jnp.ones((len(weight), 1))], axis=1)
            found = []
            for (content, slope), j in zip(sums, chosen, strict=True):
                density, slopes = _density(
                    self.channel.components[j], j, names, params, weight, terms, order
                )
                content = content + density @ share
                if order:
                    slope = slope + share.T @ (density[:, None] * slopes)
                found.append(_Moments(content, slope))
            return number + 1, found

        n_sums = self.n_bins + 1
        empty = _Moments(jnp.zeros(n_sums), jnp.zeros((n_sums, n_par)))
        bank = self.channel.bank
        start = jnp.zeros((), int), [empty for _ in chosen]
        return source_of(bank).scan(add, start, bank.weight)[1] if chosen else []

    def _bend(
        self,
        names: tuple[str, ...],
        params: Float[Array, " par"],
        j: int,
        slope: Float[Array, " bin"],
    ) -> Float[Array, "par par"]:
        """Σ_b slope_b · second derivative of P_jb, by a further pass over the bank."""
        component, bank = self.channel.components[j], self.channel.bank
        (moments,) = self._moments(names, params, (j,), 1)
        content, first, norm, of_norm = self._divided(component, *moments)
        mean = slope @ content if component.normalised else jnp.zeros(())
        n_par = len(params)

        def add(carry, weight, terms):
            number, total = carry
            density, slopes, pieces = _density_and_pieces(
                component, j, names, params, weight, terms
            )
            pull = density * (self.membership.shares(number) @ slope - mean)
            total = total + slopes.T @ (pull[:, None] * slopes)
            for morph, at, rows in pieces:
                block = morph.bend(params[at], rows, pull)
                total = total.at[at[:, None], at[None, :]].add(block)
            return number + 1, total

        start = jnp.zeros((), int), jnp.zeros((n_par, n_par))
        bend = source_of(bank).scan(add, start, bank.weight)[1] / norm
        mixed = jnp.outer(slope @ first - mean * of_norm, of_norm)
        return bend - mixed - mixed.T

    def _divided(
        self, component: Component, content: Array, slope: Array
    ) -> tuple[
        Float[Array, " bin"],
        Float[Array, "bin par"],
        Scalar,
        Float[Array, " par"],
    ]:
        """Sums of the bins and their slopes over the norm, the norm, its log slope."""
        if component.normalised:
            norm, of_norm = content[-1], slope[-1] / content[-1]
        else:
            norm, of_norm = self.channel.bank.total(), jnp.zeros(slope.shape[1])
        return content[:-1] / norm, slope[:-1] / norm, norm, of_norm


class _Moments(NamedTuple):
    """Sums over the events of each bin, and over all events.

    Attributes:
        content: Σ weight · r g.
        slope: its derivatives.
    """

    content: Float[Array, " bin+1"]
    slope: Float[Array, "bin+1 par"]


def _density(
    component: Component,
    j: int,
    names: tuple[str, ...],
    params: Float[Array, " par"],
    weight: Float[Array, " event"],
    terms: Terms,
    order: int,
) -> tuple[Float[Array, " event"], Float[Array, "event par"]]:
    """Weight · r g of each event, and the first derivatives of ln g."""
    if order:
        return _density_and_pieces(component, j, names, params, weight, terms)[:2]
    used = weight != 0
    log = jnp.where(used, jnp.asarray(terms.log_ratio[:, j], float), 0.0)
    for morph, at, rows in _pieces(component, j, names, used, terms):
        log = log + morph.log_factor(params[at], rows)
    return jnp.where(used, weight, 0.0) * jnp.exp(log), jnp.zeros(())


def _density_and_pieces(component, j, names, params, weight, terms):
    """The same with the morphs, where their parameters are, and their terms."""
    used = weight != 0
    log = jnp.where(used, jnp.asarray(terms.log_ratio[:, j], float), 0.0)
    slopes = jnp.zeros((len(weight), len(params)))
    pieces = _pieces(component, j, names, used, terms)
    for morph, at, rows in pieces:
        value, first = morph.slopes(params[at], rows)
        log = log + value
        slopes = slopes.at[:, at].add(first)
    return jnp.where(used, weight, 0.0) * jnp.exp(log), slopes, pieces


def _pieces(component, j, names, used, terms):
    """Morphs of a component, where their parameters are, and their terms."""
    found = []
    for morph, rows in zip(component.shape_morphs, terms.shapes[j], strict=True):
        at = jnp.array([names.index(name) for name in morph.parameters])
        kept = used.reshape(-1, *[1] * (rows.ndim - 1))
        found.append((morph, at, jnp.where(kept, jnp.asarray(rows, float), 0.0)))
    return found
