"""Derivatives with respect to every template against finite differences of pyhf.

pyhf cannot differentiate through the construction of a model, but a shifted template
makes a new pyhf model, and its results can be subtracted.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from scipy import special

from diffana.errors import RESULTS
from diffana.histfactory import from_workspace, to_spec
from diffana.infer import discovery, hypotest, sigma_mu
from diffana.losses import P0, Cls, WeightedSum
from pyhf_minima import information, minimum, twice_nll
from regions import EVERYTHING, workspace


# The programs run a few times only.
FAST = {"xla_backend_optimization_level": 0}

# More than the background, less than with the signal: all minima are off the bounds.
OBSERVED = [61.0, 50.0, 124.0]

KINDS = (
    "nominal",
    "histosys_lo",
    "histosys_hi",
    "normsys_lo",
    "normsys_hi",
    "shapesys",
    "staterror",
)


@pytest.fixture(scope="module")
def model():
    return from_workspace(workspace(OBSERVED, **EVERYTHING))[0]


def differences(model, quantities, relative_step):
    """Differences of `quantities(pyhf.Model)` by every entry, to fourth order."""

    def shifted(kind, entry, step):
        leaf = getattr(model.templates, kind)
        changed = eqx.tree_at(
            lambda m: getattr(m.templates, kind), model, leaf.at[entry].add(step)
        )
        return np.array(quantities(pyhf.Model(to_spec(changed), poi_name="mu")))

    def slope(kind, entry, step):
        one, two = (
            shifted(kind, entry, width) - shifted(kind, entry, -width)
            for width in (step, 2 * step)
        )
        return (8 * one - two) / (12 * step)

    slopes = {}
    for kind in KINDS:
        leaf = np.asarray(getattr(model.templates, kind))
        assert leaf.size > 0
        steps = relative_step * leaf
        slopes[kind] = np.array(
            [slope(kind, entry, step) for entry, step in enumerate(steps)]
        )
    return slopes


def compare(slope, wanted, rtol):
    for kind in KINDS:
        found = np.asarray(getattr(slope, kind))
        want = wanted[kind]
        # An entry with little influence is a difference of larger ones.
        atol = rtol * np.max(np.abs(want))
        np.testing.assert_allclose(found, want, rtol=rtol, atol=atol, err_msg=kind)
        assert np.any(want != 0)


class PyhfTests:
    """Test statistics of pyhf models that differ little, from polished minima."""

    def __init__(self):
        self.nearby = {}

    def lowest(self, name, model, data, held):
        start, hessian = self.nearby.get(name, (None, None))
        value, params, hessian = minimum(
            model, data, held=held, start=start, hessian=hessian
        )
        self.nearby.setdefault(name, (params, hessian))
        return value, params

    def asimov(self, name, model, params, held):
        """Statistic of `held` on the Asimov data of `params`."""
        data = np.array(model.expected_data(params))
        lowest, _ = self.lowest(name, model, data, held)
        return lowest - twice_nll(model, params, data)

    def expected(self, model):
        """Logarithms of the median CLs and p0 at nominal nuisance parameters."""
        nominal = np.array(model.config.suggested_init())
        background, signal = nominal.copy(), nominal.copy()
        background[model.config.poi_index] = 0.0
        signal[model.config.poi_index] = 1.0
        q_limit = self.asimov("limit", model, background, 1.0)
        q_discovery = self.asimov("discovery", model, signal, 0.0)
        return (
            np.log(2) + special.log_ndtr(-np.sqrt(q_limit)),
            special.log_ndtr(-np.sqrt(q_discovery)),
        )

    def observed(self, model):
        """Logarithms of the observed CLs, its median, the observed p0, its median."""
        data = np.array(OBSERVED[2:] + OBSERVED[:2] + model.config.auxdata)
        free, at = self.lowest("free", model, data, None)
        assert 0 < at[model.config.poi_index] < 1
        signal, signal_at = self.lowest("signal", model, data, 1.0)
        background, background_at = self.lowest("background", model, data, 0.0)
        # Cowan, Cranmer, Gross, Vitells, arXiv:1007.1727, equations 59 and 65.
        root = np.sqrt(signal - free)
        median = np.sqrt(self.asimov("fitted limit", model, background_at, 1.0))
        found = np.sqrt(self.asimov("fitted discovery", model, signal_at, 0.0))
        return (
            special.log_ndtr(-root) - special.log_ndtr(median - root),
            np.log(2) + special.log_ndtr(-median),
            special.log_ndtr(-np.sqrt(background - free)),
            special.log_ndtr(-found),
        )


@eqx.filter_jit(compiler_options=FAST)
@eqx.filter_value_and_grad(has_aux=True)
def expected_value(model, factors):
    found = WeightedSum((Cls(), P0()), tuple(factors)).evaluate(model)
    return found.value, found.result


def test_expected_p_values(model):
    tests = PyhfTests()
    # The minima are good to 1e-13. A step is 1e-4 of a template, which may be 1e-3 of
    # its distance to the nominal one: the fourth power of that is lost.
    wanted = differences(model, tests.expected, 1e-4)
    values = tests.expected(pyhf.Model(to_spec(model), poi_name="mu"))
    for at, factors in enumerate(jnp.eye(2)):
        (value, result), slope = expected_value(model, factors)
        assert result == RESULTS.successful
        np.testing.assert_allclose(value, values[at], rtol=1e-10)
        want = {kind: slopes[:, at] for kind, slopes in wanted.items()}
        compare(slope.templates, want, rtol=1e-6)


@pytest.mark.slow
def test_sigma_mu(model):
    value_and_slope = eqx.filter_value_and_grad(sigma_mu)
    value, slope = eqx.filter_jit(value_and_slope, compiler_options=FAST)(model)

    def from_second_differences(model):
        params = np.array(model.config.suggested_init())
        data = np.array(model.expected_data(params))
        free = ~np.array(model.config.suggested_fixed())
        variance = np.linalg.inv(information(model, params, data, free))
        poi = np.count_nonzero(free[: model.config.poi_index])
        return np.sqrt(variance[poi, poi])

    want = from_second_differences(pyhf.Model(to_spec(model), poi_name="mu"))
    # Second differences of values near 30 keep nine digits.
    np.testing.assert_allclose(value, want, rtol=1e-8)
    # And their differences over 5e-4 of a template six.
    wanted = differences(model, from_second_differences, 5e-4)
    compare(slope.templates, wanted, rtol=1e-5)


@pytest.mark.slow
def test_observed_p_values(model):
    """The Asimov data hold fitted nuisance parameters, which react to the templates."""

    @eqx.filter_jit(compiler_options=FAST)
    @eqx.filter_jacrev
    def log_p_values(model):
        counts = jnp.array(OBSERVED[2:] + OBSERVED[:2])
        data = jnp.concatenate([counts, model.auxdata])
        exclusion = hypotest(model, data, 1.0, throw=False)
        found = discovery(model, data, throw=False)
        p_values = [
            exclusion.CLs_obs,
            exclusion.CLs_exp[2],
            found.p0,
            found.p0_exp[2],
        ]
        return jnp.log(jnp.stack(p_values))

    tests = PyhfTests()
    wanted = differences(model, tests.observed, 1e-4)
    slope = jax.tree.map(np.asarray, log_p_values(model).templates)
    for at in range(4):
        want = {kind: slopes[:, at] for kind, slopes in wanted.items()}
        found = jax.tree.map(lambda leaf, at=at: leaf[at], slope)
        # More minima, and slopes that come from their difference, leave one digit less.
        compare(found, want, rtol=1e-5)
