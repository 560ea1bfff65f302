"""Fits by minimisers of other packages: where they end, and what is not believed."""

import subprocess
import sys
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
import scipy.optimize
from jaxtyping import Array, Float

import pyhf_minima
import regions
from diffana.errors import RESULTS, PackageError
from diffana.fit import (
    AbstractSolver,
    Jaxopt,
    Minuit,
    Optimistix,
    fit,
    fit_with,
)
from diffana.fit.solvers import End, Objective, Unbounding
from diffana.histfactory import from_workspace
from diffana.infer import estimate
from diffana.likelihood import AbstractLikelihood, Parameters
from gaussian import Gaussian
from reference import Morphed


SOLVERS = {"iminuit": Minuit, "jaxopt": Jaxopt, "optimistix": Optimistix}
CERTIFIED_EDM = 1e-5

each_solver = pytest.mark.parametrize(
    "solver", [kind() for kind in SOLVERS.values()], ids=list(SOLVERS)
)


@pytest.fixture
def model():
    return Morphed(
        signal=jnp.array([1.0, 2.0, 4.0, 7.0, 9.0]),
        nominal=jnp.array([50.0, 40.0, 30.0, 20.0, 10.0]),
        up=jnp.array([55.0, 42.0, 29.0, 21.0, 13.0]),
        down=jnp.array([47.0, 37.0, 32.0, 19.0, 8.0]),
    )


@pytest.fixture
def data(model):
    counts = model.expected_data(jnp.array([0.7, 0.4]))
    return counts.at[:-1].multiply(jnp.linspace(0.9, 1.15, 5))


@final
class Stopping(AbstractSolver):
    """Stops at once, at a given point."""

    x: Float[Array, " moving"]
    exhausted: bool = False
    certified_edm: float = CERTIFIED_EDM

    def minimise(self, objective: Objective) -> End:
        return End(self.x, 1, self.exhausted)


@final
class Bounded(AbstractLikelihood):
    """twice_nll = |design x - data|² within bounds, which may be infinite."""

    design: Float[Array, "row par"]
    lower: Float[Array, " par"]
    upper: Float[Array, " par"]

    @property
    def parameters(self):
        n_par = self.lower.size
        return Parameters(
            inits=jnp.clip(jnp.zeros(n_par), self.lower, self.upper),
            lower=self.lower,
            upper=self.upper,
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


def same_minimum(found, value):
    assert found.result == RESULTS.successful
    assert 0 <= found.edm <= CERTIFIED_EDM
    np.testing.assert_allclose(found.best_twice_nll, value, atol=CERTIFIED_EDM)


@each_solver
def test_gaussian_fit_ends_at_the_measurement(solver):
    covariance = np.array([[4.0, 1.8], [1.8, 1.0]])
    precision = np.linalg.inv(covariance)
    measured = jnp.array([30.0, -7.0])
    found = fit_with(solver, Gaussian(jnp.asarray(precision)), measured)
    same_minimum(found, 0.0)
    shift = np.asarray(found.bestfit) - measured
    assert shift @ precision @ shift <= CERTIFIED_EDM


@each_solver
def test_bounded_fit_is_bounded_least_squares(solver):
    # Infinite bounds on either side, and units four orders of magnitude apart.
    rng = np.random.default_rng(5)
    unit = 10.0 ** np.array([-2, -1, 0, 1, 2, 0])
    design, measured = rng.normal(size=(30, 6)) * unit, 5 * rng.normal(size=30)
    free = np.linalg.lstsq(design, measured)[0]
    lower, upper = np.full(6, -np.inf), np.full(6, np.inf)
    upper[0], upper[1] = free[0] - 10, free[1] + 1
    lower[2], lower[3] = free[2] - 0.2, free[3] + 0.05
    lower[4], upper[4] = free[4] - 0.01, free[4] - 0.001
    want = scipy.optimize.lsq_linear(design, measured, (lower, upper), "bvls", 1e-14)
    stopped = want.active_mask != 0
    assert 1 < np.sum(stopped) < 5
    likelihood = Bounded(*map(jnp.asarray, (design, lower, upper)))
    found = fit_with(solver, likelihood, jnp.asarray(measured))
    same_minimum(found, 2 * want.cost)
    np.testing.assert_array_equal(found.at_bound, stopped)
    bestfit = np.asarray(found.bestfit)
    bounds = np.where(want.active_mask > 0, upper, lower)
    np.testing.assert_array_equal(bestfit[stopped], bounds[stopped])
    shift = design @ (bestfit - want.x)
    assert shift @ shift <= CERTIFIED_EDM


@pytest.fixture(scope="module")
def published():
    """A workspace with every kind of uncertainty, here and in pyhf."""
    content = regions.workspace([63.0, 61.0, 118.0], **regions.EVERYTHING)
    workspace = pyhf.Workspace(content)
    theirs = workspace.model()
    return from_workspace(content), (theirs, workspace.data(theirs))


@each_solver
@pytest.mark.parametrize("held", [None, 1.5])
def test_minimum_is_that_of_pyhf(published, solver, held):
    (model, data), theirs = published
    value, params, hessian = pyhf_minima.minimum(*theirs, held=held)
    fixed = None if held is None else {"mu": held}
    found = fit_with(solver, model, data, fixed=fixed)
    same_minimum(found, value)
    # A parabola as high as the distance allows, and the digits of finite differences.
    shift = (np.asarray(found.bestfit) - params)[np.asarray(found.free)]
    assert 0.5 * shift @ hessian @ shift <= 1.1 * CERTIFIED_EDM
    if held is not None:
        assert found.bestfit[model.parameters.poi_index] == held


@each_solver
@pytest.mark.parametrize(("mu_true", "bound"), [(-0.5, 0.0), (25.0, 10.0)])
def test_parameter_stopped_by_its_bound_is_put_on_it(model, solver, mu_true, bound):
    data = model.expected_data(jnp.array([mu_true, 0.0]))
    found = fit_with(solver, model, data)
    assert found.bestfit[0] == bound
    np.testing.assert_array_equal(found.at_bound, [True, False])
    np.testing.assert_array_equal(found.free, [False, True])
    along = scipy.optimize.minimize_scalar(
        lambda alpha: float(model.twice_nll(jnp.array([bound, alpha]), data)),
        bounds=(-5, 5),
        options={"xatol": 1e-9},
    )
    same_minimum(found, along.fun)


@each_solver
def test_every_start_leads_to_the_minimum_of_the_built_in_fit(model, data, solver):
    want = fit(model, data)
    for start in (None, [0.0, 0.0], [10.0, 5.0], [-3.0, 9.0]):
        found = fit_with(solver, model, data, start=start)
        same_minimum(found, want.best_twice_nll)
        np.testing.assert_array_equal(found.free, want.free)


@each_solver
def test_points_without_likelihood_are_passed_by(model, solver):
    # A signal that may be so negative that expected yields are.
    signed = Morphed(model.signal, model.nominal, model.up, model.down, mu_lower=-10.0)
    true = jnp.array([-0.8, 0.4])
    data = signed.expected_data(true)
    assert np.isnan(signed.twice_nll(jnp.array([-10.0, 0.0]), data))
    for start in ([9.0, -4.0], [1.0, 0.0]):
        found = fit_with(solver, signed, data, start=start)
        same_minimum(found, signed.twice_nll(true, data))


@each_solver
def test_nothing_moves_where_everything_is_held(model, data, solver):
    held = {"mu": 0.3, "alpha": -0.2}
    found = fit_with(solver, model, data, fixed=held)
    np.testing.assert_array_equal(found.bestfit, [0.3, -0.2])
    value = model.twice_nll(jnp.array([0.3, -0.2]), data)
    np.testing.assert_allclose(found.best_twice_nll, value, rtol=1e-14)
    assert found.edm == 0


@each_solver
def test_derivatives_are_those_of_the_minimum(solver):
    covariance = np.array([[4.0, 1.8], [1.8, 1.0]])
    likelihood = Gaussian(jnp.asarray(np.linalg.inv(covariance)))

    def bestfit(measured, mu):
        return fit_with(solver, likelihood, measured, fixed={"mu": mu}).bestfit

    def best_twice_nll(measured, mu):
        found = fit_with(solver, likelihood, measured, fixed={"mu": mu})
        return found.best_twice_nll

    args = jnp.array([1.0, 3.0]), 2.5
    # theta follows its own measurement and, by the correlation, that of mu.
    slope = covariance[0, 1] / covariance[0, 0]
    for mode in (jax.jacfwd, jax.jacrev):
        by_data, by_mu = mode(bestfit, argnums=(0, 1))(*args)
        np.testing.assert_allclose(by_data, [[0, 0], [-slope, 1]], atol=1e-12)
        np.testing.assert_allclose(by_mu, [1, slope], rtol=1e-12)
        by_data, by_mu = mode(best_twice_nll, argnums=(0, 1))(*args)
        # Twice the pull of mu; its error is that of the slope at the minimum.
        pull = (args[1] - args[0][0]) / covariance[0, 0]
        np.testing.assert_allclose(by_mu, 2 * pull, atol=1e-2)
        np.testing.assert_allclose(by_data, [-2 * pull, 0], atol=1e-2)


# what is not believed


@pytest.mark.parametrize(
    "solver",
    [Minuit(max_calls=1), Jaxopt(max_steps=1), Optimistix(max_steps=1)],
    ids=list(SOLVERS),
)
def test_unfinished_fit_gives_neither_number_nor_gradient(model, data, solver):
    found = fit_with(solver, model, data, start=[9.0, 4.0], throw=False)
    assert found.result == RESULTS.iteration_limit
    assert np.all(np.isnan(found.bestfit))
    assert np.isnan(found.best_twice_nll)

    def best(data):
        ended = fit_with(solver, model, data, start=[9.0, 4.0], throw=False)
        return ended.best_twice_nll

    assert np.all(np.isnan(jax.grad(best)(data)))
    with pytest.raises(eqx.EquinoxRuntimeError, match="used up its iterations"):
        fit_with(solver, model, data, start=[9.0, 4.0])


def test_satisfied_solver_far_from_the_minimum_is_refused(model, data):
    sloppy = Optimistix(tolerance=1e3)
    found = fit_with(sloppy, model, data, start=[5.0, 2.0], throw=False)
    assert found.result == RESULTS.not_at_minimum
    assert np.all(np.isnan(found.bestfit))
    assert found.edm > CERTIFIED_EDM


def test_the_estimated_distance_is_that_to_the_minimum(model, data):
    best = fit(model, data)
    for shift in (0.001, 0.003, 0.01):
        x = best.bestfit + shift * jnp.array([0.4, -0.8])
        height = model.twice_nll(x, data) - best.best_twice_nll
        found = fit_with(Stopping(x), model, data, throw=False)
        # A parabola to within the third derivative.
        np.testing.assert_allclose(found.edm, height, rtol=0.02)
        assert (found.result == RESULTS.successful) == (found.edm <= CERTIFIED_EDM)


def test_saddle_point_is_refused():
    # Up and down templates that mirror each other leave a maximum between two minima.
    model = Morphed(
        signal=jnp.array([8.0, 0.0]),
        nominal=jnp.array([20.0, 20.0]),
        up=jnp.array([28.0, 20.0]),
        down=jnp.array([28.0, 20.0]),
    )
    data = model.expected_data(jnp.array([1.0, 0.0]))
    held = {"mu": 0.0}
    at_saddle = Stopping(jnp.zeros(1))
    found = fit_with(at_saddle, model, data, fixed=held, throw=False)
    assert found.result == RESULTS.hessian_not_pd
    assert np.all(np.isnan(found.bestfit))


def test_degenerate_direction_is_refused():
    unbounded = jnp.full(2, jnp.inf)
    flat = Bounded(jnp.ones((4, 2)), -unbounded, unbounded)
    found = fit_with(Jaxopt(), flat, jnp.arange(4.0), throw=False)
    assert found.result == RESULTS.hessian_not_pd


def test_hair_before_a_bound_and_beyond_it_is_on_it(model):
    deficit = model.expected_data(jnp.array([-0.5, 0.0]))
    best = fit(model, deficit).bestfit
    for mu in (1e-8, -1e-8, -1.0):
        stopping = Stopping(jnp.array([mu, best[1]]))
        found = fit_with(stopping, model, deficit)
        assert found.bestfit[0] == 0
    # There is more to gain than the distance that a certified fit may have.
    found = fit_with(Stopping(jnp.array([0.1, best[1]])), model, deficit, throw=False)
    assert found.result == RESULTS.not_at_minimum


def test_minimum_close_to_a_bound_stays_there(model):
    # The slope is as small as on a bound, but nothing is to be gained there.
    for mu in (0.05, 1e-3):
        asimov = model.expected_data(jnp.array([mu, 0.0]))
        found = fit_with(Stopping(jnp.array([mu, 0.0])), model, asimov)
        np.testing.assert_array_equal(found.bestfit, [mu, 0.0])
        assert not np.any(found.at_bound)


@each_solver
def test_data_that_are_not_finite_are_named(model, data, solver):
    broken = data.at[2].set(jnp.nan)
    found = fit_with(solver, model, broken, throw=False)
    assert found.result == RESULTS.non_finite
    with pytest.raises(eqx.EquinoxRuntimeError, match="not finite"):
        fit_with(solver, model, broken)
    lost = Stopping(jnp.full(2, jnp.nan))
    assert fit_with(lost, model, data, throw=False).result == RESULTS.non_finite


# how it is called


@pytest.mark.parametrize("package", SOLVERS)
def test_missing_package_is_named_with_its_extra(model, data, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(PackageError, match=rf"{package}.*'diffana\[solvers\]'"):
        fit_with(SOLVERS[package](), model, data)


def test_packages_are_imported_when_they_are_needed():
    code = (
        "import sys, diffana.fit\n"
        f"loaded = set(sys.modules) & {set(SOLVERS)}\n"
        "assert not loaded, loaded"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap])
def test_call_with_tracers_is_refused(model, data, transform):
    def best(data):
        return fit_with(Minuit(), model, data).bestfit

    data = jnp.stack([data, data]) if transform is jax.vmap else data
    with pytest.raises(ValueError, match="outside jit and vmap"):
        transform(best)(data)


def test_call_with_constants_under_jit_is_refused(model, data):
    with pytest.raises(ValueError, match="outside jit and vmap"):
        jax.jit(lambda: fit_with(Minuit(), model, data).bestfit)()


def test_wrong_arguments_are_named(model, data):
    with pytest.raises(ValueError, match="no parameter 'nu'"):
        fit_with(Minuit(), model, data, fixed={"nu": 1.0})
    with pytest.raises(ValueError, match=r"shape \(3,\), but there are 2"):
        fit_with(Minuit(), model, data, start=[1.0, 2.0, 3.0])


def test_estimates_of_a_given_fit(model, data):
    given = fit_with(Minuit(), model, data)
    found = estimate(model, data, fit=given)
    np.testing.assert_array_equal(found.bestfit, given.bestfit)
    hessian = jax.hessian(model.twice_nll)(given.bestfit, data)
    np.testing.assert_allclose(found.covariance, np.linalg.inv(hessian / 2), rtol=1e-9)
    refused = fit_with(Minuit(max_calls=1), model, data, throw=False)
    unknown = estimate(model, data, fit=refused, throw=False)
    assert unknown.result == RESULTS.iteration_limit
    assert np.all(np.isnan(unknown.uncertainty))
    with pytest.raises(eqx.EquinoxRuntimeError, match="used up its iterations"):
        estimate(model, data, fit=refused)


def test_coordinates_without_bounds_reach_all_parameters_and_no_others():
    infinite = np.inf
    lower = np.array([-1.0, 2.0, -infinite, -infinite])
    upper = np.array([3.0, infinite, 2.0, infinite])
    coordinates = Unbounding(jnp.asarray(lower), jnp.asarray(upper))
    for u in np.linspace(-50, 50, 41):
        x = np.asarray(coordinates.bounded(jnp.full(4, u)))
        assert np.all((x >= lower) & (x <= upper))
        back = coordinates.bounded(coordinates.unbounded(jnp.asarray(x)))
        # The sine keeps half of the digits near its turning points.
        np.testing.assert_allclose(back, x, atol=1e-7)
