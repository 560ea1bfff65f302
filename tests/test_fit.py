"""The fit against brute force, closed forms and finite differences."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from diffana.errors import RESULTS
from diffana.fit import Minimiser, fit, fit_together
from diffana.likelihood import AbstractLikelihood, Parameters
from reference import Morphed


def random_models(n_models):
    rng = np.random.default_rng(20)
    for _ in range(n_models):
        signal, nominal = rng.uniform(0.1, 8, 5), rng.uniform(2, 60, 5)
        up, down = nominal * (1 + rng.normal(0, 0.4, (2, 5))).clip(0.05)
        yield Morphed(*map(jnp.asarray, (signal, nominal, up, down)))


def brute_force_minimum(model, mu, data):
    """Lowest twice_nll over a fine grid of alpha, polished by a parabola."""
    alpha = np.linspace(-5, 5, 20_001)
    grid = jnp.stack([jnp.full_like(alpha, mu), alpha], axis=1)
    values = np.asarray(jax.vmap(lambda params: model.twice_nll(params, data))(grid))
    values = np.where(np.isfinite(values), values, np.inf)
    at = np.clip(np.argmin(values), 1, len(values) - 2)
    before, lowest, after = values[at - 1 : at + 2]
    bend = before - 2 * lowest + after
    return lowest - (before - after) ** 2 / (8 * bend) if bend > 0 else lowest


@eqx.filter_jit
def conditional(model, mu_true, mu_test, minimiser):
    data = model.expected_data(jnp.array([mu_true, 0.0]))
    found = fit(model, data, fixed={"mu": mu_test}, minimiser=minimiser, throw=False)
    return data, found


@pytest.mark.parametrize(("mu_true", "mu_test"), [(1.0, 0.0), (0.0, 1.0)])
def test_conditional_fits_find_the_global_minimum_of_bimodal_profiles(mu_true, mu_test):
    single = Minimiser(n_directions=0)
    missed = 0
    for model in random_models(80):
        data, found = conditional(model, mu_true, mu_test, Minimiser())
        want = brute_force_minimum(model, mu_test, data)
        # The parabola through three points 5e-4 apart is exact to about 1e-9.
        np.testing.assert_allclose(found.best_twice_nll, want, atol=1e-7)
        _, alone = conditional(model, mu_true, mu_test, single)
        missed += not alone.best_twice_nll < want + 1e-3
    # Several starts are needed: from the nominal point alone some fits end elsewhere.
    assert missed >= 1


def test_competing_minima_are_reported():
    # Up and down templates that mirror each other leave two equally good alphas.
    nominal = jnp.array([20.0, 20.0])
    model = Morphed(
        signal=jnp.array([8.0, 0.0]),
        nominal=nominal,
        up=jnp.array([28.0, 20.0]),
        down=jnp.array([28.0, 20.0]),
    )
    data = model.expected_data(jnp.array([1.0, 0.0]))
    found = fit(model, data, fixed={"mu": 0.0})
    np.testing.assert_allclose(found.competing_gap, 0.0, atol=1e-9)
    lonely = fit(model, data, fixed={"mu": 1.0})
    assert np.isinf(lonely.competing_gap)


def bimodal_free(model):
    data = model.expected_data(jnp.array([0.7, 0.4]))
    return data.at[:-1].multiply(jnp.linspace(0.9, 1.15, 5))


@pytest.fixture
def model():
    return Morphed(
        signal=jnp.array([1.0, 2.0, 4.0, 7.0, 9.0]),
        nominal=jnp.array([50.0, 40.0, 30.0, 20.0, 10.0]),
        up=jnp.array([55.0, 42.0, 29.0, 21.0, 13.0]),
        down=jnp.array([47.0, 37.0, 32.0, 19.0, 8.0]),
    )


def refit(model, data, **fixed):
    return fit(model, data, fixed=fixed, throw=False)


def test_minimiser_and_minimum_are_differentiable_to_second_order(model):
    observed = bimodal_free(model)

    @jax.jit
    def found(nominal, data):
        changed = eqx.tree_at(lambda m: m.nominal, model, nominal)
        result = fit(changed, data, throw=False)
        return result.bestfit, result.best_twice_nll

    args = (model.nominal, observed)
    # With steps of 1e-3 the third derivative leaves a relative error near 1e-6.
    check_grads(found, args, order=2, modes=("fwd", "rev"), rtol=1e-4, eps=1e-3)


def test_derivative_with_respect_to_a_held_value(model):
    observed = bimodal_free(model)

    @jax.jit
    def profile(mu):
        found = fit(model, observed, fixed={"mu": mu}, throw=False)
        return found.best_twice_nll, found.bestfit

    check_grads(profile, (1.3,), order=1, modes=("fwd", "rev"), rtol=1e-6)
    # A profile that is still falling at mu = 0.5 has its minimum above.
    slope = jax.jit(jax.grad(lambda mu: profile(mu)[0]))(0.5)
    assert (slope < 0) == (refit(model, observed).bestfit[0] > 0.5)


def test_parameter_at_its_bound_does_not_react(model):
    deficit = model.expected_data(jnp.array([0.0, 0.0]))
    deficit = deficit.at[:-1].add(-0.5 * model.signal)
    found = refit(model, deficit)
    assert found.bestfit[0] == 0.0
    assert bool(found.at_bound[0])
    assert not bool(found.free[0])

    @jax.jit
    def minimiser(data):
        return fit(model, data, throw=False).bestfit

    jacobian = jax.jacrev(minimiser)(deficit)
    np.testing.assert_array_equal(jacobian[0], 0.0)
    held = refit(model, deficit, mu=0.0)
    # The search stops at an edm of 1e-18, which is 1e-9 standard deviations.
    np.testing.assert_allclose(found.bestfit, held.bestfit, atol=1e-9)
    check_grads(minimiser, (deficit,), order=1, modes=("fwd", "rev"), rtol=1e-5)


def test_upper_bound_is_respected(model):
    excess = model.expected_data(jnp.array([25.0, 0.0]))
    found = refit(model, excess)
    assert found.bestfit[0] == 10.0
    assert bool(found.at_bound[0])
    assert found.result == RESULTS.successful


@final
class Quadratic(AbstractLikelihood):
    """twice_nll = |design x - data|^2: a Gaussian whose fit is linear algebra."""

    design: jax.Array

    @property
    def parameters(self):
        n_par = self.design.shape[1]
        return Parameters(
            inits=jnp.zeros(n_par),
            lower=jnp.full(n_par, -jnp.inf),
            upper=jnp.full(n_par, jnp.inf),
            fixed=jnp.zeros(n_par, bool),
            names=tuple(f"x{i}" for i in range(n_par)),
        )

    def twice_nll(self, params, data):
        return jnp.sum((self.design @ params - data) ** 2)

    def expected_data(self, params):
        return self.design @ params

    def sample(self, params, key):
        return self.design @ params + jax.random.normal(key, self.design.shape[:1])

    def curvature(self, params, data):
        return 2 * self.design.T @ self.design


def test_gaussian_fit_is_least_squares():
    rng = np.random.default_rng(1)
    # Columns in units six orders of magnitude apart, as yields and widths are.
    design = rng.normal(size=(30, 6)) * 10.0 ** np.arange(-3, 3)
    data = rng.normal(size=30)
    found = fit(Quadratic(jnp.asarray(design)), jnp.asarray(data))
    want, residual, *_ = np.linalg.lstsq(design, data)
    np.testing.assert_allclose(found.bestfit, want, rtol=1e-9)
    np.testing.assert_allclose(found.best_twice_nll, residual[0], rtol=1e-12)


def test_degenerate_direction_is_refused():
    design = jnp.ones((4, 2))
    found = fit(Quadratic(design), jnp.arange(4.0), throw=False)
    assert found.result == RESULTS.hessian_not_pd
    assert np.all(np.isnan(found.bestfit))
    assert np.isnan(found.best_twice_nll)


def test_nan_template_is_refused_and_named(model):
    broken = eqx.tree_at(lambda m: m.up, model, model.up.at[2].set(jnp.nan))
    data = model.expected_data(jnp.array([1.0, 0.0]))
    found = fit(broken, data, throw=False)
    assert found.result == RESULTS.non_finite
    with pytest.raises(eqx.EquinoxRuntimeError, match="not finite"):
        eqx.filter_jit(fit)(broken, data)


def test_unconverged_fit_gives_neither_number_nor_gradient(model):
    lazy = Minimiser(max_steps=1, n_directions=0, last_steps=0)

    def best(nominal):
        changed = eqx.tree_at(lambda m: m.nominal, model, nominal)
        data = bimodal_free(model)
        return fit(changed, data, minimiser=lazy, throw=False)

    assert best(model.nominal).result == RESULTS.iteration_limit
    assert np.isnan(best(model.nominal).best_twice_nll)
    for quantity in (lambda r: r.best_twice_nll, lambda r: r.bestfit[1]):
        slope = jax.grad(lambda nominal, q=quantity: q(best(nominal)))(model.nominal)
        assert np.all(np.isnan(slope))


def test_a_last_descent_certifies_what_no_start_could(model):
    data = bimodal_free(model)
    lazy = Minimiser(max_steps=1, n_directions=0)
    assert fit(model, data, minimiser=lazy).n_steps > 2
    want = brute_force_free_minimum(model, data)
    # Fits are good to 1e-10 in twice_nll; the polished grid is to 1e-7.
    found = fit(model, data, minimiser=lazy).best_twice_nll
    np.testing.assert_allclose(found, want, atol=1e-6)


def brute_force_free_minimum(model, data):
    """Lowest minimum along alpha on a fine grid of mu, polished by a quartic."""
    mus = np.linspace(0.4, 1.1, 36)
    values = np.array([brute_force_minimum(model, mu, data) for mu in mus])
    at = np.argmin(values)
    coefficients = np.polyfit(mus[at - 3 : at + 4], values[at - 3 : at + 4], 4)
    fine = np.linspace(mus[at - 2], mus[at + 2], 10_001)
    return np.polyval(coefficients, fine).min()


def test_fits_together_never_leave_the_free_fit_above_a_conditional_one():
    together = eqx.filter_jit(
        lambda model, data: fit_together(model, data, [{}, {"mu": 1.0}, {"mu": 0.0}])
    )
    key = jax.random.key(3)
    for i, model in enumerate(random_models(20)):
        rates = model.rates(jnp.array([1.0, 0.0]))
        counts = jax.random.poisson(jax.random.fold_in(key, i), rates).astype(float)
        fits = together(model, jnp.append(counts, 0.0))
        free, *conditional_fits = fits.best_twice_nll
        # Equal up to the rounding of values of order 1e3.
        assert all(free <= value + 1e-10 for value in conditional_fits)


def test_one_program_serves_every_tested_value(model):
    data = bimodal_free(model)
    traces = []

    @jax.jit
    def value(mu):
        traces.append(mu)
        return fit(model, data, fixed={"mu": mu}, throw=False).best_twice_nll

    values = [float(value(mu)) for mu in (0.0, 0.5, 1.0)]
    batched = jax.vmap(value)(jnp.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(batched, values, rtol=1e-12)
    assert len(traces) == 2  # one for the scalar program, one for the batched


def test_unknown_parameter_is_named(model):
    with pytest.raises(ValueError, match="no parameter 'nu'"):
        fit(model, bimodal_free(model), fixed={"nu": 1.0})


def test_single_precision_is_refused(model):
    with jax.enable_x64(False):
        single = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), model)
        with pytest.raises(ValueError, match="double precision"):
            fit(single, jnp.ones(6, jnp.float32))
