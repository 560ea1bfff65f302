import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from jax.test_util import check_grads

from diffana.histfactory import constraints, from_workspace
from diffana.histfactory.rates import (
    leave_one_out,
    leave_two_out,
    rates_and_derivatives,
)
from rearranged import reordered, shuffled, split


def point(model, seed=3):
    """A random point off the kinks and bounds, with the signal strength at 0."""
    parameters = model.parameters
    step = np.random.default_rng(seed).normal(size=len(parameters))
    params = parameters.inits + step * jnp.where(parameters.inits == 0, 1.1, 0.15)
    return params.at[parameters.poi_index].set(0.0)


@pytest.fixture(
    params=["everything", pytest.param("vanishing", marks=pytest.mark.slow)]
)
def case(workspaces, request):
    return from_workspace(workspaces[request.param])


def test_products_without_factors():
    factors = jnp.array([[2.0, 3.0, 5.0, 7.0], [0.0, 3.0, 0.0, 7.0]])
    one = [[105.0, 70.0, 42.0, 30.0], [0.0, 0.0, 0.0, 0.0]]
    np.testing.assert_array_equal(leave_one_out(factors), one)
    two = leave_two_out(factors)
    np.testing.assert_array_equal(two[0, 0], [0.0, 35.0, 21.0, 15.0])
    np.testing.assert_array_equal(two[1, 0], [0.0, 0.0, 21.0, 0.0])
    np.testing.assert_array_equal(two, jnp.swapaxes(two, 1, 2))


def test_closed_form_derivatives_match_automatic_ones(case):
    model, data = case
    params = point(model)

    @eqx.filter_jit
    def both(model, params, data):
        closed = (model.gradient(params, data), model.hessian(params, data))
        automatic = (
            jax.grad(model.twice_nll)(params, data),
            jax.hessian(model.twice_nll)(params, data),
        )
        return closed, automatic

    for got, want in zip(*both(model, params, data), strict=True):
        # Relative to the largest element: others are differences of such numbers.
        np.testing.assert_allclose(got, want, atol=1e-13 * np.abs(want).max())


@pytest.mark.slow
def test_closed_form_derivatives_are_themselves_differentiable(everything):
    """Implicit derivatives need those of the gradient, σ_μ those of the Hessian."""
    model, data = from_workspace(everything)
    params = point(model)
    weight = jnp.asarray(np.random.default_rng(7).normal(size=params.size))

    def derivatives(gradient_of, hessian_of):
        def contracted(templates, params):
            changed = eqx.tree_at(lambda m: m.templates, model, templates)
            gradient = gradient_of(changed)(params, data)
            return weight @ gradient, weight @ hessian_of(changed)(
                params, data
            ) @ weight

        return jax.jit(jax.jacrev(contracted, argnums=(0, 1)))(model.templates, params)

    closed = derivatives(lambda m: m.gradient, lambda m: m.hessian)
    automatic = derivatives(
        lambda m: jax.grad(m.twice_nll), lambda m: jax.hessian(m.twice_nll)
    )
    for got, want in zip(*map(jax.tree.leaves, (closed, automatic)), strict=True):
        scale = np.abs(want).max(initial=1.0)
        np.testing.assert_allclose(got, want, atol=1e-12 * scale)


def test_curvature_is_the_hessian_at_asimov_data(case):
    model, data = case
    params = point(model)

    @eqx.filter_jit
    def matrices(model, params, data):
        asimov = model.expected_data(params)
        return (
            model.curvature(params, data),
            model.curvature(params, asimov),
            model.hessian(params, asimov),
        )

    curvature, expected, hessian = matrices(model, params, data)
    np.testing.assert_allclose(expected, hessian, atol=1e-13 * np.abs(hessian).max())
    eigenvalues = np.linalg.eigvalsh(curvature)
    assert eigenvalues[0] > -1e-13 * eigenvalues[-1]


def test_jacobian_matches_forward_mode(everything):
    model, _ = from_workspace(everything)
    params = point(model)

    @eqx.filter_jit
    def both(model, params):
        _, closed, _ = rates_and_derivatives(
            model.templates, model.layout, params, jnp.zeros_like
        )
        return closed, jax.jacfwd(model.expected_actualdata)(params)

    got, want = both(model, params)
    np.testing.assert_allclose(got, want, atol=1e-13 * np.abs(want).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["everything", "overrides"])
def test_derivatives_match_finite_differences(workspaces, name):
    model, data = from_workspace(workspaces[name])
    params = point(model)

    @jax.jit
    def twice_nll(templates, params):
        return eqx.tree_at(lambda m: m.templates, model, templates).twice_nll(
            params, data
        )

    # Differences of second order lose half the digits, and the derivatives in the
    # direction of a check are of order 10⁴: hence the absolute tolerance.
    args = (model.templates, params)
    check_grads(twice_nll, args, 2, ("fwd", "rev"), atol=1e-2, rtol=1e-4)


def test_derivatives_are_finite_where_yields_and_uncertainties_vanish(workspaces):
    model, data = from_workspace(workspaces["vanishing"])
    params = model.parameters.inits

    @eqx.filter_jit
    def derivatives(model, params, data):
        def twice_nll(templates, params):
            changed = eqx.tree_at(lambda m: m.templates, model, templates)
            return changed.twice_nll(params, changed.expected_data(params))

        args = (model.templates, params)
        first = jax.grad(twice_nll, argnums=(0, 1))(*args)
        second = jax.jvp(jax.grad(twice_nll, argnums=(0, 1)), args, args)
        return first, second

    assert all(
        np.isfinite(leaf).all()
        for leaf in jax.tree.leaves(derivatives(model, params, data))
    )


def test_fixed_flags_follow_the_templates(workspaces):
    model, _ = from_workspace(workspaces["vanishing"])
    fixed = dict(zip(model.parameters.names, model.parameters.fixed, strict=True))
    shape = [fixed[f"shape[{i}]"] for i in range(3)]
    assert shape == [False, True, True]
    assert [fixed[f"staterror_SR[{i}]"] for i in range(3)] == [True, True, False]

    entries = model.layout.shapesys("SR", "top", "shape")
    changed = eqx.tree_at(
        lambda m: m.templates.shapesys,
        model,
        model.templates.shapesys.at[entries].set(jnp.array([0.0, 1.0, 4.0])),
    )
    fixed = dict(zip(changed.parameters.names, changed.parameters.fixed, strict=True))
    assert [fixed[f"shape[{i}]"] for i in range(3)] == [True, True, False]
    assert changed.auxdata[changed.layout.poisson_aux].tolist() == [1.0, 1.0, 25.0]


def test_an_undefined_uncertainty_is_not_hidden(workspaces, twice_nll):
    model, data = from_workspace(workspaces["vanishing"])
    broken = eqx.tree_at(
        lambda m: m.templates.staterror, model, replace_fn=lambda x: x * jnp.nan
    )
    assert np.isnan(twice_nll(broken, model.parameters.inits, data))


def test_shapes_are_checked(everything):
    model, data = from_workspace(everything)
    params = model.parameters.inits
    with pytest.raises(ValueError, match="params have shape"):
        model.twice_nll(params[1:], data)
    with pytest.raises(ValueError, match=r"data have shape \(\d+,\), not 8 bins"):
        model.twice_nll(params, data[1:])


@pytest.mark.slow
def test_samples_have_the_expected_moments(everything):
    model, _ = from_workspace(everything)
    params = model.parameters.inits
    keys = jax.random.split(jax.random.key(0), 1000)
    draw = eqx.filter_jit(lambda m, p, k: jax.vmap(lambda key: m.sample(p, key))(k))
    toys = np.asarray(draw(model, params, keys))
    expected = np.asarray(model.expected_data(params))
    # Five standard deviations of the mean; 25 data, one false alarm in 10⁵ keys.
    margin = 5 * toys.std(axis=0) / np.sqrt(len(keys))
    assert np.all(np.abs(toys.mean(axis=0) - expected) < margin)
    variance = np.zeros(model.layout.n_aux)
    terms = constraints(model.templates, model.layout)
    variance[model.layout.gaussian_aux] = terms.sigma**2
    variance[model.layout.poisson_aux] = terms.factor
    variance = np.concatenate([expected[: model.layout.n_bins], variance])
    # The relative error of a variance is √(2/n) = 4.5 %, more for few counts.
    np.testing.assert_allclose(toys.var(axis=0), variance, rtol=0.25)


def test_one_compilation_serves_all_templates(everything):
    model, data = from_workspace(everything)
    traces = []

    @eqx.filter_jit
    def twice_nll(model, params, data):
        traces.append(None)
        return model.twice_nll(params, data)

    params = model.parameters.inits
    for scale in (1.0, 1.1, 1.2):
        scaled = eqx.tree_at(
            lambda m: m.templates.nominal, model, scale * model.templates.nominal
        )
        twice_nll(scaled, params, data)
    twice_nll(from_workspace(everything)[0], params, data)
    assert len(traces) == 1


@settings(max_examples=8)
@given(order=st.permutations(range(4)))
def test_the_order_of_samples_does_not_matter(workspace_of_everything, order):
    (channel, *rest) = workspace_of_everything["channels"]
    shuffled = {**channel, "samples": [channel["samples"][i] for i in order]}
    permuted = {**workspace_of_everything, "channels": [*rest, shuffled]}
    want, got = (
        eqx.filter(from_workspace(w), eqx.is_array)
        for w in (workspace_of_everything, permuted)
    )
    for a, b in zip(jax.tree.leaves(want), jax.tree.leaves(got), strict=True):
        np.testing.assert_array_equal(a, b)


@settings(max_examples=8)
@given(fraction=st.floats(0.01, 0.99), seed=st.integers(0, 100))
def test_splitting_a_sample_changes_nothing(
    workspace_of_everything, twice_nll, fraction, seed
):
    halves = split(workspace_of_everything, "SR", "top", fraction)
    whole, data = from_workspace(workspace_of_everything)
    parts, _ = from_workspace(halves)
    assert whole.parameters.names == parts.parameters.names
    params = point(whole, seed)
    np.testing.assert_allclose(
        twice_nll(parts, params, data), twice_nll(whole, params, data), rtol=1e-12
    )


@settings(max_examples=5)
@given(seed=st.integers(0, 10_000))
def test_no_order_in_the_workspace_matters(workspace_of_everything, twice_nll, seed):
    model, data = from_workspace(workspace_of_everything)
    other, other_data = from_workspace(shuffled(workspace_of_everything, seed))
    params = point(model, seed)
    moved = reordered(params, model.parameters.names, other.parameters.names)
    # The same terms; only their sums may round differently.
    np.testing.assert_allclose(
        twice_nll(other, moved, other_data),
        twice_nll(model, params, data),
        rtol=1e-13,
    )
