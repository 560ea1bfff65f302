"""Fits of many data sets at once against single fits, NumPy and finite differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from diffana.fit import Minimiser, fit, fit_together
from diffana.fit.elimination import solve_many
from diffana.fit.many import fit_many
from diffana.histfactory import from_workspace
from thirty_bins import thirty_bins


# Several starts are for profiles with several minima, which these are not.
MINIMISER = Minimiser(n_directions=0)
# Distances to the minimum below 1e-4 are subtracted; what is left of them is an error
# of third order, (1e-4)^(3/2) times a skewness below 1.
ATOL_VALUE = 1e-6
N_TOYS = 12


@pytest.fixture(scope="module")
def model():
    return thirty_bins()[0]


@pytest.fixture(scope="module")
def bounded(model):
    """The same program, with a signal strength of 0 or more."""
    lower = model.parameters.lower.at[model.parameters.poi_index].set(0.0)
    return eqx.tree_at(lambda m: m.layout.parameters.lower, model, lower)


@pytest.fixture(scope="module")
def toys(model):
    """Half of them with so little signal that mu is fitted below 0."""
    params = np.tile(np.asarray(model.parameters.inits), (N_TOYS, 1))
    params[: N_TOYS // 2, model.parameters.poi_index] = -0.2
    return model.samples(jnp.asarray(params), N_TOYS, 3)


@eqx.filter_jit
def compiled(model, toys, starts, limits, is_held, max_steps):
    poi = model.parameters.poi_index
    return fit_many(
        model,
        toys,
        starts,
        along=poi,
        is_held=is_held,
        limits=limits,
        max_steps=max_steps,
    )


def fitted(model, toys, starts, limits=None, *, is_held=False, max_steps=50):
    """Fits of at most N_TOYS data sets, always by the same compiled program."""
    poi, n_toys = model.parameters.poi_index, len(toys)
    if limits is None:
        limits = model.parameters.lower[poi], model.parameters.upper[poi]
    limits = tuple(jnp.asarray(limit) for limit in limits)
    rows = jnp.arange(N_TOYS) % n_toys
    found = compiled(
        model,
        toys[rows],
        starts[rows],
        limits,
        jnp.asarray(is_held),
        jnp.asarray(max_steps),
    )
    return jax.tree.map(lambda leaf: leaf[:n_toys], found)


def nominal(model, toys):
    return jnp.tile(model.parameters.inits, (len(toys), 1))


def at_poi(model, rows, value):
    return jnp.asarray(rows).at[:, model.parameters.poi_index].set(value)


@eqx.filter_jit
def single(model, data, held):
    """Free fit, and one with the parameter of interest held, by the certified fit."""
    names = model.parameters.poi
    found = fit_together(model, data, [{}, {names: held}], minimiser=MINIMISER)
    return found.best_twice_nll, found.bestfit


def positive_definite(n, rng):
    root = rng.normal(size=(7, n, n))
    scale = 10.0 ** rng.uniform(-3, 3, (7, n))
    return (root @ root.transpose(0, 2, 1) + 0.1 * np.eye(n)) * (
        scale[:, :, None] * scale[:, None, :]
    )


@pytest.mark.parametrize("n", [1, 3, 11, 30])
def test_elimination_solves_what_numpy_solves(n):
    rng = np.random.default_rng(n)
    matrix, right = positive_definite(n, rng), rng.normal(size=(7, n, 3))
    solved = jax.jit(solve_many)(jnp.asarray(matrix), jnp.asarray(right))
    assert solved.is_definite.all()
    want = np.linalg.solve(matrix, right)
    # Condition numbers, after scaling of rows and columns, are below 1e5.
    size = np.abs(want).max((1, 2), keepdims=True)
    np.testing.assert_allclose(solved.x / size, want / size, atol=1e-9)
    sign, log_det = np.linalg.slogdet(matrix)
    assert (sign == 1).all()
    np.testing.assert_allclose(solved.log_det, log_det, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("n", [3, 30])
def test_elimination_flags_matrices_that_are_not_positive_definite(n):
    rng = np.random.default_rng(n)
    matrix = positive_definite(n, rng)
    values, vectors = np.linalg.eigh(matrix[2])
    values[n // 2] *= -1
    matrix[2] = (vectors * values) @ vectors.T
    matrix[4, 0, 0] = np.nan
    matrix[5, :, 1] = matrix[5, 1, :] = 0.0
    solved = jax.jit(solve_many)(jnp.asarray(matrix), jnp.ones((7, n, 1)))
    expected = [True, True, False, True, False, False, True]
    assert solved.is_definite.tolist() == expected
    good = np.array(expected)
    assert np.isfinite(np.asarray(solved.x)[good]).all()


def test_free_and_held_fits_agree_with_certified_single_fits(model, toys):
    free = fitted(model, toys, nominal(model, toys))
    held = fitted(model, toys, at_poi(model, free.params, 0.3), is_held=True)
    assert free.is_certified.all()
    assert held.is_certified.all()
    for i, data in enumerate(toys):
        (best, conditional), (bestfit, _) = single(model, data, 0.3)
        np.testing.assert_allclose(free.twice_nll[i], best, atol=ATOL_VALUE)
        np.testing.assert_allclose(held.twice_nll[i], conditional, atol=ATOL_VALUE)
        # A distance of 1e-4 in twice_nll is 1 % of a standard deviation, removed to
        # first order by the last step.
        np.testing.assert_allclose(free.params[i], bestfit, atol=2e-3)
    poi = model.parameters.poi_index
    assert (np.asarray(held.params)[:, poi] == 0.3).all()
    fixed = np.asarray(model.parameters.fixed)
    assert (np.asarray(free.params)[:, fixed] == 1.0).all()


def test_a_parameter_stays_within_its_own_bounds_and_within_given_limits(
    model, bounded, toys
):
    poi = bounded.parameters.poi_index
    found = fitted(bounded, toys, nominal(bounded, toys))
    assert found.is_certified.all()
    values = np.asarray([single(bounded, data, 0.3)[0][0] for data in toys])
    np.testing.assert_allclose(found.twice_nll, values, atol=ATOL_VALUE)
    at_bound = np.asarray(found.params)[:, poi] == 0.0
    assert 0 < at_bound.sum() < N_TOYS

    limited = fitted(model, toys, nominal(model, toys), (0.0, 10.0))
    np.testing.assert_allclose(limited.twice_nll, found.twice_nll, atol=ATOL_VALUE)
    np.testing.assert_array_equal(limited.params[:, poi] == 0.0, at_bound)


def test_stiffness_at_a_bound_is_that_of_the_profile_next_to_it(bounded, toys):
    found = fitted(bounded, toys, nominal(bounded, toys))
    step = 0.03
    values = [
        fitted(
            bounded, toys, at_poi(bounded, found.params, i * step), is_held=True
        ).twice_nll
        for i in range(4)
    ]
    # One-sided second difference of second order. The curvature is not the Hessian: it
    # lacks a part that is proportional to the distance of the data from expectation.
    second = (2 * values[0] - 5 * values[1] + 4 * values[2] - values[3]) / step**2
    at_bound = np.asarray(found.params)[:, bounded.parameters.poi_index] == 0.0
    np.testing.assert_allclose(found.stiffness[at_bound], second[at_bound], rtol=0.15)


def test_stiffness_and_tangent_are_derivatives_of_the_profile(model):
    """On Asimov data, where the curvature is the Hessian."""
    truth = model.parameters.inits.at[model.parameters.poi_index].set(0.8)
    data = eqx.filter_jit(lambda m, p: m.expected_data(p))(model, truth)[None]
    found = fitted(model, data, truth[None])
    step = 0.02
    rows = jnp.tile(data, (3, 1))
    starts = jnp.tile(truth[None], (3, 1))
    poi = model.parameters.poi_index
    starts = starts.at[:, poi].set(0.8 + step * jnp.array([-1.0, 0.0, 1.0]))
    below, here, above = fitted(model, rows, starts, is_held=True).twice_nll
    second = (below - 2 * here + above) / step**2
    # Fourth order of the profile: (step / sd)² / 12 of the second, with sd = 0.2, times
    # a coefficient of order one.
    np.testing.assert_allclose(found.stiffness[0], second, rtol=2e-3)
    ends = fitted(model, rows, starts, is_held=True).params
    slope = (ends[2] - ends[0]) / (2 * step)
    np.testing.assert_allclose(found.tangent[0], slope, atol=2e-3)


@eqx.filter_jit
def curvatures(model, params, toys):
    return jax.vmap(lambda one, data: model.curvature(one, data))(params, toys)


def test_log_det_is_that_of_the_curvature_of_the_other_free_parameters(model, toys):
    free = fitted(model, toys, nominal(model, toys))
    held = fitted(model, toys, at_poi(model, free.params, 0.3), is_held=True)
    keep = ~np.asarray(model.parameters.fixed)
    keep[model.parameters.poi_index] = False
    for found in (free, held):
        curvature = curvatures(model, found.params, toys)
        block = np.asarray(curvature)[:, keep][:, :, keep]
        # The curvature is taken one small step before the minimum.
        np.testing.assert_allclose(
            found.log_det, np.linalg.slogdet(block)[1], atol=2e-2
        )


def test_data_sets_that_cannot_be_fitted_are_not_certified_and_hurt_no_other(
    model, toys
):
    broken = toys.at[2, 4].set(jnp.nan)
    found = fitted(model, broken, nominal(model, toys))
    sound = fitted(model, toys, nominal(model, toys))
    expected = np.arange(N_TOYS) != 2
    assert found.is_certified.tolist() == expected.tolist()
    assert np.isnan(found.twice_nll[2])
    np.testing.assert_allclose(
        found.twice_nll[expected], sound.twice_nll[expected], atol=ATOL_VALUE
    )


@pytest.mark.slow
def test_far_starts_and_large_pulls_end_in_the_same_minimum(model):
    """Every constraint off by up to two standard deviations, starts far away."""
    rng = np.random.default_rng(8)
    n_toys = N_TOYS
    params = np.tile(np.asarray(model.parameters.inits), (n_toys, 1))
    alphas = [model.parameters.index(n) for n in ("bump", "slope", "rate")]
    params[:, alphas] = rng.uniform(-2, 2, (n_toys, 3))
    params[:, model.parameters.poi_index] = rng.uniform(0, 4, n_toys)
    toys = model.samples(jnp.asarray(params), n_toys, 5)
    near = fitted(model, toys, jnp.asarray(params))
    far = at_poi(model, params, 8.0).at[:, jnp.asarray(alphas)].multiply(-1.0)
    away = fitted(model, toys, far)
    assert near.is_certified.all()
    assert away.is_certified.all()
    np.testing.assert_allclose(near.twice_nll, away.twice_nll, atol=ATOL_VALUE)


def test_empty_data_against_a_general_minimiser(bounded, toys):
    """No event at all: the fit sits on a bound, and rates have no curvature."""
    model, truth = bounded, bounded.parameters.inits
    data = toys[0].at[: model.layout.n_bins].set(0.0)
    found = fitted(model, data[None], truth[None])
    assert found.is_certified.all()
    fixed = np.asarray(model.parameters.fixed)
    bounds = [
        (v, v) if held else (low, high)
        for v, held, low, high in zip(
            truth.tolist(),
            fixed,
            model.parameters.lower.tolist(),
            model.parameters.upper.tolist(),
            strict=True,
        )
    ]
    value = eqx.filter_jit(model.scoring)
    best = optimize.minimize(
        lambda p: tuple(map(np.asarray, value(jnp.asarray(p), data)[:2])),
        np.asarray(truth),
        jac=True,
        bounds=bounds,
        method="L-BFGS-B",
        options={"ftol": 1e-14, "gtol": 1e-9, "maxiter": 2000},
    )
    # L-BFGS-B stops when gradients are small, not when the minimum is reached.
    np.testing.assert_allclose(found.twice_nll[0], best.fun, atol=1e-5)
    assert found.params[0, model.parameters.poi_index] == 0.0


def test_one_parameter_alone():
    """Nothing to profile: the stiffness is the second derivative itself."""
    modifier = {"type": "normfactor", "name": "mu", "data": None}
    model, data = from_workspace(
        {
            "version": "1.0.0",
            "channels": [
                {
                    "name": "SR",
                    "samples": [
                        {"name": "s", "data": [2.0], "modifiers": [modifier]},
                        {"name": "b", "data": [3.0], "modifiers": []},
                    ],
                }
            ],
            "observations": [{"name": "SR", "data": [8.0]}],
            "measurements": [
                {"name": "m", "config": {"poi": "mu", "parameters": []}},
            ],
        }
    )
    found = fitted(model, data[None], jnp.ones((1, 1)))
    # n = 8 = 3 + 2 mu; the second derivative of -2 ln L is 2 s² / n.
    np.testing.assert_allclose(found.params, [[2.5]], atol=1e-4)
    np.testing.assert_allclose(found.stiffness, [1.0], rtol=2e-2)
    np.testing.assert_allclose(found.log_det, [0.0], atol=1e-12)
    # Fits that run out of steps are not certified.
    short = fitted(model, data[None], jnp.full((1, 1), 9.0), max_steps=1)
    assert not short.is_certified.any()
    assert np.isnan(short.twice_nll).all()


def test_templates_that_bend_far_from_the_data():
    # The Hessian is several times the curvature there: scoring alone overshoots.
    nominal = np.array([3000.0, 2000.0, 1200.0, 700.0, 300.0])
    shape = {
        "hi_data": [2400.0, 1900.0, 1400.0, 1000.0, 600.0],
        "lo_data": [3300.0, 2050.0, 1050.0, 500.0, 100.0],
    }
    samples = [
        {
            "name": "signal",
            "data": [20.0, 60.0, 150.0, 300.0, 500.0],
            "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
        },
        {
            "name": "background",
            "data": nominal.tolist(),
            "modifiers": [{"name": "shape", "type": "histosys", "data": shape}],
        },
    ]
    model, data = from_workspace(
        {
            "version": "1.0.0",
            "channels": [{"name": "SR", "samples": samples}],
            "observations": [
                {"name": "SR", "data": [3020.0, 2060.0, 1350.0, 1000.0, 800.0]}
            ],
            "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
        }
    )
    poi = model.parameters.poi_index
    mu = jnp.linspace(0.0, 4.0, 9)
    starts = jnp.tile(model.parameters.inits, (9, 1)).at[:, poi].set(mu)
    rows = jnp.broadcast_to(data, (9, data.size))
    found = eqx.filter_jit(
        lambda model, rows, starts: fit_many(
            model, rows, starts, along=poi, is_held=True
        )
    )(model, rows, starts)
    assert found.is_certified.all()
    one = eqx.filter_jit(lambda model, data, mu: fit(model, data, fixed={"mu": mu}))
    expected = [one(model, data, at).best_twice_nll for at in mu]
    # An estimated distance of 1e-6 is subtracted, which leaves far less.
    np.testing.assert_allclose(found.twice_nll, expected, atol=1e-6)
