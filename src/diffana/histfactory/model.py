"""The HistFactory likelihood."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Scalar

from diffana.likelihood import AbstractLikelihood, Expansion, Parameters, Scoring

from . import poisson
from .constraints import Constraints, constraints
from .layout import Layout
from .rates import bin_sum, cell_rates, rates_and_derivatives
from .templates import Templates


@final
class HistFactory(AbstractLikelihood):
    """Product of Poisson terms of binned yields and of constraint terms.

    The model is a pytree: the derivative of anything below with respect to a yield, a
    variation or an uncertainty is the derivative with respect to a leaf of `templates`.
    Parameters and data are those of pyhf, in pyhf's order; data are the bins of all
    channels followed by the auxiliary measurements.

    Attributes:
        templates: histograms and uncertainties.
        layout: which of their numbers belongs to what.
        terms: constraint terms that go with the templates if they are already computed
            (see `settled`), else None.

    Example:
        >>> import pyhf
        >>> from diffana.histfactory import from_model
        >>> model = from_model(pyhf.simplemodels.uncorrelated_background(
        ...     signal=[5.0], bkg=[50.0], bkg_uncertainty=[5.0]))
        >>> params = model.parameters.inits
        >>> model.expected_data(params).tolist()
        [55.0, 100.0]
    """

    templates: Templates
    layout: Layout
    terms: Constraints | None

    def __init__(
        self, templates: Templates, layout: Layout, terms: Constraints | None = None
    ):
        self.templates = templates
        self.layout = layout
        self.terms = terms

    def settled(self) -> "HistFactory":
        """The same model with its constraint terms computed in advance.

        Derivatives with respect to the templates still pass through, as long as the
        templates are not replaced afterwards.
        """
        return HistFactory(self.templates, self.layout, self.constraints)

    @property
    def constraints(self) -> Constraints:
        """Constraint terms that go with the current templates."""
        if self.terms is not None:
            return self.terms
        return constraints(self.templates, self.layout)

    @property
    def parameters(self) -> Parameters:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Names, starting values, ranges; `fixed` follows the current templates."""
        fixed = self.constraints.fixed
        return eqx.tree_at(lambda p: p.fixed, self.layout.parameters, fixed)

    @property
    def auxdata(self) -> Float[Array, " aux"]:
        """Nominal auxiliary measurements, which follow the current templates."""
        return self.constraints.auxdata

    def expected_samples(self, params: Float[Array, " par"]) -> Float[Array, " cell"]:
        """Expected events of each sample in each of its bins.

        `layout.cells(channel, sample)` is the slice of one sample in one channel.
        """
        return cell_rates(self.templates, self.layout, params)

    def expected_actualdata(self, params: Float[Array, " par"]) -> Float[Array, " bin"]:
        """Expected events of each bin, channels one after the other."""
        return bin_sum(self.expected_samples(params), self.layout)

    def expected_auxdata(self, params: Float[Array, " par"]) -> Float[Array, " aux"]:
        """Expected auxiliary measurements."""
        return self.constraints.expected_auxdata(params)

    def expected_data(self, params: Float[Array, " par"]) -> Float[Array, " data"]:
        """The Asimov data set: expected bins, then expected auxiliary measurements."""
        return jnp.concatenate(
            [self.expected_actualdata(params), self.expected_auxdata(params)]
        )

    def twice_nll(
        self, params: Float[Array, " par"], data: Float[Array, " data"]
    ) -> Scalar:
        """-2 ln L, all constants included.

        The result is inf where events are observed in a bin of expected yield 0, and
        NaN where they are observed at a negative expected yield.

        Args:
            params: parameter values, in the order of `parameters.names`.
            data: counts of all bins, then auxiliary measurements.

        Raises:
            ValueError: if a shape does not fit the model (while tracing).
        """
        counts, auxdata = self._split(params, data)
        main = poisson.twice_nll(counts, self.expected_actualdata(params))
        return main.sum() + self.constraint_twice_nll(params, auxdata)

    def constraint_twice_nll(
        self, params: Float[Array, " par"], auxdata: Float[Array, " aux"]
    ) -> Scalar:
        """-2 ln of the constraint terms alone, all constants included."""
        return self.constraints.twice_nll(params, auxdata)

    def gradient(
        self, params: Float[Array, " par"], data: Float[Array, " data"]
    ) -> Float[Array, " par"]:
        """First derivative of `twice_nll` with respect to `params`."""
        return self.expansion(params, data, exact=False).gradient

    def hessian(
        self, params: Float[Array, " par"], data: Float[Array, " data"]
    ) -> Float[Array, "par par"]:
        """Second derivative of `twice_nll` with respect to `params`."""
        return self.expansion(params, data).hessian

    def curvature(
        self, params: Float[Array, " par"], data: Float[Array, " data"]
    ) -> Float[Array, "par par"]:
        """Second derivative of `twice_nll` without that of the expected yields.

        This is 2 JᵀWJ with J = ∂λ/∂θ and W = n/λ², plus the curvature of the
        constraints: positive semi-definite, and the Hessian where data equal
        expectation.
        """
        return self.expansion(params, data, exact=False).curvature

    def expansion(
        self,
        params: Float[Array, " par"],
        data: Float[Array, " data"],
        *,
        exact: bool | Bool[Array, ""] = True,
    ) -> Expansion:
        """Value and derivatives in closed form; the rows are those of the Jacobian."""
        counts, auxdata = self._split(params, data)
        rates, jacobian, bend = rates_and_derivatives(
            self.templates,
            self.layout,
            params,
            lambda rates: poisson.slope(counts, rates),
            exact=exact,
        )
        terms = self.constraints
        main = poisson.twice_nll(counts, rates).sum()
        slope = poisson.slope(counts, rates) @ jacobian
        return Expansion(
            value=main + terms.twice_nll(params, auxdata),
            gradient=slope + terms.gradient(params, auxdata),
            diagonal=terms.curvature(params, auxdata),
            rows=jacobian,
            weight=poisson.bend(counts, rates),
            bend=bend,
        )

    def scoring(
        self, params: Float[Array, " par"], data: Float[Array, " data"]
    ) -> Scoring:
        """Value, gradient and curvature in one go."""
        found = self.expansion(params, data, exact=False)
        return Scoring(found.value, found.gradient, found.curvature)

    def twice_nll_table(
        self, points: Float[Array, "point par"], data: Float[Array, "toy data"]
    ) -> Float[Array, "toy point"]:
        """-2 ln L of every data set at every point.

        Poisson and Gaussian terms are products of a function of the data and one of the
        parameters, so that most of the work is a product of two matrices. A count above
        0 gives inf at a rate of 0 and nan at a negative one, as in `twice_nll`.
        """
        terms, layout = self.constraints, self.layout
        expected = jax.vmap(self.expected_data)(points)
        gaussian = layout.n_bins + layout.gaussian_aux
        counted = jnp.concatenate(
            [jnp.arange(layout.n_bins), layout.n_bins + layout.poisson_aux]
        )
        count, rate = data[:, counted], expected[:, counted]
        log_rate = jnp.log(jnp.where(rate > 0, rate, 1.0))
        constant = gammaln(count + 1).sum(1)
        total = rate.sum(1)[None] - count @ log_rate.T + constant[:, None]
        impossible = (count > 0).astype(float)
        at_zero = impossible @ (rate == 0).T.astype(float) > 0
        negative = impossible @ (rate < 0).T.astype(float) > 0
        total = jnp.where(at_zero, jnp.inf, jnp.where(negative, jnp.nan, total))
        # The distance from the first point, not from zero, keeps the digits.
        pull = (data[:, gaussian] - expected[:1, gaussian]) / terms.sigma[None]
        shift = (expected[:, gaussian] - expected[:1, gaussian]) / terms.sigma[None]
        squares = (pull**2).sum(1)[:, None] + (shift**2).sum(1)[None]
        widths = (2 * jnp.log(terms.sigma) + jnp.log(2 * jnp.pi)).sum()
        return 2 * total + squares - 2 * pull @ shift.T + widths

    def sample(
        self, params: Float[Array, " par"], key: PRNGKeyArray
    ) -> Float[Array, " data"]:
        """One pseudo-experiment: counts and auxiliary measurements drawn at `params`.

        NaN marks the bins whose expected yield is negative.
        """
        layout, terms = self.layout, self.constraints
        count_key, noise_key = jax.random.split(key)
        rates, auxdata = (
            self.expected_actualdata(params),
            terms.expected_auxdata(params),
        )
        # Both kinds of counts in one draw: the sampler is slow to compile.
        counts = poisson.sample(
            jnp.concatenate([rates, auxdata[layout.poisson_aux]]), count_key
        )
        noise = jax.random.normal(noise_key, terms.sigma.shape, terms.sigma.dtype)
        auxdata = (
            auxdata.at[layout.gaussian_aux]
            .add(terms.sigma * noise)
            .at[layout.poisson_aux]
            .set(counts[layout.n_bins :])
        )
        return jnp.concatenate([counts[: layout.n_bins], auxdata])

    def samples(
        self, params: Float[Array, "*toy par"], n_toys: int, seed: int
    ) -> Float[Array, "toy data"]:
        """Pseudo-experiments drawn at `params`, one per row.

        They are drawn by NumPy, whose Poisson sampler is many times faster on
        processors than JAX's. NaN marks the bins whose expected yield is negative.
        """
        rng = np.random.default_rng(seed)
        shape = (n_toys, self.layout.n_bins + self.layout.n_aux)
        if params.ndim == 1:
            expected = np.asarray(self.expected_data(params))[None]
        else:
            expected = np.asarray(_expected_at_each(self, params))
        terms, layout = self.constraints, self.layout
        # Every datum is a count but for the Gaussian auxiliary measurements.
        gaussian = layout.n_bins + np.asarray(layout.gaussian_aux, int)
        rates = expected.copy()
        rates[:, gaussian] = 0.0
        positive = np.where(rates >= 0, rates, 0.0)
        drawn = rng.poisson(positive, shape).astype(float)
        drawn[np.broadcast_to(~(rates >= 0), shape)] = np.nan
        noise = rng.standard_normal((n_toys, gaussian.size))
        drawn[:, gaussian] = expected[:, gaussian] + np.asarray(terms.sigma) * noise
        return jnp.asarray(drawn)

    def _split(
        self, params: Float[Array, " par"], data: Float[Array, " data"]
    ) -> tuple[Float[Array, " bin"], Float[Array, " aux"]]:
        n_par, n_bins = len(self.layout.parameters), self.layout.n_bins
        if params.shape != (n_par,):
            raise ValueError(f"params have shape {params.shape}, not ({n_par},)")
        if data.shape != (n_bins + self.layout.n_aux,):
            raise ValueError(
                f"data have shape {data.shape}, not {n_bins} bins and "
                f"{self.layout.n_aux} auxiliary measurements"
            )
        return data[:n_bins], data[n_bins:]


@eqx.filter_jit
def _expected_at_each(
    model: HistFactory, params: Float[Array, "toy par"]
) -> Float[Array, "toy data"]:
    return jax.vmap(model.expected_data)(params)
