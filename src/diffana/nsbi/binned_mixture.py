"""Events of a mixture counted in bins of an observable, as a likelihood.

The expected events of a bin are those of the unbinned intensity,

    λ_b(θ) = Σ_j f_j(θ) ν_j G_j(θ) P_jb(θ),   P_jb = ∫_b p_j(x|θ) dx,

with the same coefficients, yields and morphs (see `channel`). P is a sum over the bank,
made anew for every value of the nuisance parameters: bins hold what becomes of the
events, so that the only thing which is lost is what the observable does not tell.
Interpolated templates would be another model.
"""

from collections.abc import Sequence
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Scalar

from diffana.histfactory import poisson
from diffana.likelihood import AbstractLikelihood, Expansion, Parameters
from diffana.nsbi.binned_region import BinnedRegion
from diffana.nsbi.bins import AbstractMembership, counts
from diffana.nsbi.likelihood import GaussianConstraints, Unbinned, UnbinnedData


class BinnedData(NamedTuple):
    """A data set.

    Attributes:
        counts: events of each bin, regions one after the other; of Asimov data any
            number that is not negative.
        auxdata: auxiliary measurement of each constrained nuisance parameter.
    """

    counts: Float[Array, " bin"]
    auxdata: Float[Array, " constraint"]


@final
class BinnedMixture(AbstractLikelihood):
    """Likelihood of the events of several regions, counted in bins.

    Attributes:
        parameters: names, starting values, bounds.
        regions: intensities and bins.
        constraints: of the nuisance parameters.

    Example:
        >>> edges = equal_expectation_edges(value, weight, 10)
        >>> model = BinnedMixture.of(unbinned, [HardBins.between(value, edges)])
        >>> fit(model, model.binned(data))
    """

    parameters: Parameters
    regions: tuple[BinnedRegion, ...]
    constraints: GaussianConstraints

    @classmethod
    def of(
        cls, model: Unbinned, memberships: Sequence[AbstractMembership]
    ) -> "BinnedMixture":
        """The likelihood whose events are counted instead.

        Args:
            model: the unbinned likelihood.
            memberships: for every region the bins of the rows of its bank.
        """
        regions = tuple(
            BinnedRegion(channel, membership)
            for channel, membership in zip(model.channels, memberships, strict=True)
        )
        return cls(model.parameters, regions, model.constraints)

    def settled(self) -> "BinnedMixture":
        """The same with the shapes that never change computed in advance."""
        names = self.parameters.names
        regions = tuple(region.settled(names) for region in self.regions)
        return BinnedMixture(self.parameters, regions, self.constraints)

    def binned(
        self,
        data: UnbinnedData,
        memberships: Sequence[AbstractMembership] | None = None,
    ) -> BinnedData:
        """Events of an unbinned data set, counted.

        Args:
            data: the events.
            memberships: for every region the bins of its rows. Not needed for
                pseudo-data, which are rows of the banks.

        Raises:
            ValueError: if they are needed.
        """
        found = []
        for number, (region, rows) in enumerate(
            zip(self.regions, data.rows, strict=True)
        ):
            if memberships is None and rows.source is not None:
                raise ValueError(
                    f"region {region.channel.name!r}: the data are not rows of the "
                    "bank, so that their bins have to be given"
                )
            own = region.membership if memberships is None else memberships[number]
            found.append(counts(rows.weight, own))
        return BinnedData(jnp.concatenate(found), data.auxdata)

    def expected_counts(self, params: Float[Array, " par"]) -> Float[Array, " bin"]:
        """Expected events of each bin, regions one after the other."""
        names = self.parameters.names
        return jnp.concatenate([one.rates(names, params) for one in self.regions])

    def twice_nll(self, params: Float[Array, " par"], data: BinnedData) -> Scalar:
        """-2 ln L with all constants; nan where the rate of a bin is negative."""
        main = poisson.twice_nll(data.counts, self.expected_counts(params))
        return jnp.sum(main) + self._constraint(params, data)[0]

    def gradient(
        self, params: Float[Array, " par"], data: BinnedData
    ) -> Float[Array, " par"]:
        """First derivative of `twice_nll` with respect to `params`."""
        return self.expansion(params, data, exact=False).gradient

    def hessian(
        self, params: Float[Array, " par"], data: BinnedData
    ) -> Float[Array, "par par"]:
        """Second derivative of `twice_nll` with respect to `params`."""
        return self.expansion(params, data).hessian

    def curvature(
        self, params: Float[Array, " par"], data: BinnedData
    ) -> Float[Array, "par par"]:
        """Second derivative of `twice_nll` without that of the expected events."""
        return self.expansion(params, data, exact=False).curvature

    def expansion(
        self,
        params: Float[Array, " par"],
        data: BinnedData,
        *,
        exact: bool | Bool[Array, ""] = True,
    ) -> Expansion:
        """Value and derivatives in closed form; the rows are those of the Jacobian."""
        if isinstance(exact, bool):
            return self._expansion(params, data, exact=exact)
        return jax.lax.cond(
            exact,
            lambda: self._expansion(params, data, exact=True),
            lambda: self._expansion(params, data, exact=False),
        )

    def expected_data(self, params: Float[Array, " par"]) -> BinnedData:
        """The Asimov data set."""
        return BinnedData(self.expected_counts(params), params[self._constrained()])

    def sample(self, params: Float[Array, " par"], key: PRNGKeyArray) -> BinnedData:
        """One pseudo-experiment; nan marks bins of negative rate."""
        count_key, noise_key = jax.random.split(key)
        expected = self.expected_data(params)
        width = self.constraints.width
        noise = jax.random.normal(noise_key, width.shape)
        return BinnedData(
            poisson.sample(expected.counts, count_key),
            expected.auxdata + width * noise,
        )

    def samples(
        self, params: Float[Array, "*toy par"], n_toys: int, seed: int
    ) -> BinnedData:
        """Pseudo-experiments, drawn by NumPy, one per entry of the leading axes."""
        rng = np.random.default_rng(seed)
        expected = _expected_at_each(self, jnp.atleast_2d(params))
        rates = np.asarray(expected.counts)
        shape = (n_toys, rates.shape[1])
        drawn = rng.poisson(np.where(rates >= 0, rates, 0.0), shape)
        width = np.asarray(self.constraints.width)
        noise = rng.standard_normal((n_toys, width.size))
        return BinnedData(
            jnp.asarray(np.where(rates >= 0, drawn, np.nan)),
            jnp.asarray(np.asarray(expected.auxdata) + width * noise),
        )

    def _expansion(
        self, params: Float[Array, " par"], data: BinnedData, *, exact: bool
    ) -> Expansion:
        names, n_par = self.parameters.names, len(params)
        rates, rows, first = [], [], 0
        bend = jnp.zeros((n_par, n_par))
        for region in self.regions:
            own = data.counts[first : first + region.n_bins]
            first += region.n_bins
            rate, jacobian, block = region.rates_and_derivatives(
                names, params, own, exact=exact
            )
            rates.append(rate)
            rows.append(jacobian)
            bend = bend + block
        rate, jacobian = jnp.concatenate(rates), jnp.concatenate(rows)
        value, gradient, diagonal = self._constraint(params, data)
        main = poisson.twice_nll(data.counts, rate)
        return Expansion(
            value=jnp.sum(main) + value,
            gradient=poisson.slope(data.counts, rate) @ jacobian + gradient,
            diagonal=diagonal,
            rows=jacobian,
            weight=poisson.bend(data.counts, rate),
            bend=bend,
        )

    def _constrained(self) -> np.ndarray:
        names = self.parameters.names
        return np.array([names.index(one) for one in self.constraints.parameters], int)

    def _constraint(
        self, params: Float[Array, " par"], data: BinnedData
    ) -> tuple[Scalar, Float[Array, " par"], Float[Array, " par"]]:
        """-2 ln of the constraint terms with its first two derivatives."""
        at, width = self._constrained(), self.constraints.width
        pull = (params[at] - data.auxdata) / width
        nothing = jnp.zeros_like(params)
        return (
            jnp.sum(pull**2 + jnp.log(2 * jnp.pi * width**2)),
            nothing.at[at].add(2 * pull / width),
            nothing.at[at].add(2 / width**2),
        )


@eqx.filter_jit
def _expected_at_each(
    model: BinnedMixture, params: Float[Array, "toy par"]
) -> BinnedData:
    return jax.vmap(model.expected_data)(params)
