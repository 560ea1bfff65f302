"""The unbinned likelihood against formulae written out in NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from diffana import fit, infer, losses, nsbi
from diffana.data.toys import GaussianCovariance
from diffana.errors import RESULTS, DataError
from diffana.histfactory.interpolation import code4
from diffana.likelihood import Parameters
from nsbi import small


PARAMS = jnp.array([1.3, 0.4, -0.3])


def events(n_events=150, seed=3):
    random = np.random.default_rng(seed)
    return random.normal(0.3, 1.1, n_events), random.uniform(0.2, 1.8, n_events)


def morphed(x, tilt, width):
    """g of signal and background, without normalisation, by the definition."""
    up, down = jnp.exp(small.SLOPE * x), jnp.exp(-small.SLOPE * x)
    first = jax.vmap(lambda u, d: code4(jnp.array([tilt]), d[None], u[None])[0])(
        up, down
    )
    second = np.exp(small.WIDTH * (x**2 - 1) * width - 0.05 * x**2 * width**2)
    return np.asarray(first), np.asarray(first) * second


def by_definition(params, x, weight, aux):
    """-2 ln L over that of the reference hypothesis, all in NumPy."""
    mu, tilt, width = (float(p) for p in params)
    nodes, density = small.nodes()
    ratio_nodes, ratio = np.exp(small.log_ratio(nodes)), np.exp(small.log_ratio(x))
    yields = np.array(
        [mu * 40.0 * float(code4(*map(jnp.asarray, (tilt, 0.92, 1.1)))), 200.0]
    )
    intensity = np.zeros_like(x)
    for j, (g_nodes, g) in enumerate(
        zip(morphed(nodes, tilt, width), morphed(x, tilt, width), strict=True)
    ):
        norm = np.sum(density * ratio_nodes[:, j] * g_nodes) / np.sum(density)
        intensity += yields[j] * ratio[:, j] * g / norm
    twice_nll = 2 * (yields.sum() - 240.0 - np.sum(weight * np.log(intensity / 240.0)))
    sigma = np.array([1.0, 0.5])
    pulls = (np.array([tilt, width]) - np.array(aux)) / sigma
    return twice_nll + np.sum(pulls**2 + np.log(2 * np.pi * sigma**2))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_value_by_the_definition(sign):
    x, weight = events()
    weight[:10] *= sign
    found = small.likelihood().twice_nll(PARAMS, small.data(x, weight))
    # Sums of 400 and 150 numbers of order one.
    wanted = by_definition(PARAMS, x, weight, (0.2, -0.1))
    np.testing.assert_allclose(found, wanted, rtol=1e-11)


@pytest.mark.parametrize("params", [PARAMS, jnp.array([0.0, -1.7, 2.1])])
def test_closed_form_derivatives(params):
    x, weight = events()
    weight[:5] *= -1
    model, data = small.likelihood(), small.data(x, weight)
    expansion = eqx.filter_jit(model.expansion)(params, data)
    slope = jax.grad(model.twice_nll)(params, data)
    bend = jax.hessian(model.twice_nll)(params, data)
    np.testing.assert_allclose(expansion.gradient, slope, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(expansion.hessian, bend, rtol=1e-10, atol=1e-10)
    assert np.all(np.linalg.eigvalsh(expansion.curvature) >= 0)


def test_expansion_without_the_hessian_is_the_same():
    model, data = small.likelihood(), small.data(*events())
    full = model.expansion(PARAMS, data, exact=True)
    part = model.expansion(PARAMS, data, exact=jnp.array(False))
    np.testing.assert_allclose(part.gradient, full.gradient, rtol=1e-13)
    np.testing.assert_allclose(part.curvature, full.curvature, rtol=1e-10)
    np.testing.assert_array_equal(part.bend, 0.0)


@pytest.mark.slow
def test_derivatives_with_respect_to_events_and_shapes():
    x, weight = events(40)
    model, data = small.likelihood(small.rows(*small.nodes(60))), small.data(x, weight)
    numbers, rest = eqx.partition((model, data), eqx.is_inexact_array)

    def value(scale):
        # A smooth path through all arrays at once.
        moved = jax.tree.map(lambda leaf: leaf + scale * jnp.sin(leaf), numbers)
        likelihood, events = eqx.combine(moved, rest)
        return likelihood.twice_nll(PARAMS, events)

    check_grads(jax.jit(value), (0.1,), order=2, modes=("fwd", "rev"), rtol=1e-5)


@pytest.mark.parametrize("chunk", [7, 64, 150, 4096])
def test_chunks_change_nothing(chunk):
    x, weight = events()
    whole = small.likelihood().expansion(PARAMS, small.data(x, weight))
    nodes, density = small.nodes()
    model = small.likelihood(small.rows(nodes, density, chunk=chunk))
    found = model.expansion(PARAMS, small.data(x, weight, chunk=chunk))
    for name in ("value", "gradient", "hessian"):
        # Only the order of the sums differs.
        np.testing.assert_allclose(
            getattr(found, name), getattr(whole, name), rtol=1e-11, atol=1e-10
        )


def test_padding_may_hold_anything():
    x, weight = events()
    weight[20:25] = 0.0
    clean = small.likelihood().twice_nll(PARAMS, small.data(x, weight))
    x = x.copy()
    x[20:25] = np.nan
    model, data = small.likelihood(), small.data(x, weight)
    assert model.twice_nll(PARAMS, data) == clean
    assert np.all(np.isfinite(model.gradient(PARAMS, data)))
    assert np.all(np.isfinite(jax.grad(model.twice_nll)(PARAMS, data)))


def test_asimov_data_return_their_parameters():
    model = small.likelihood()
    truth = jnp.array([1.6, -0.7, 0.4])
    data = model.expected_data(truth)
    found = infer.estimate(model, data)
    np.testing.assert_allclose(found.bestfit, truth, atol=1e-9)
    total = sum(float(rows.total()) for rows in data.rows)
    np.testing.assert_allclose(total, model.expected_yield(truth), rtol=1e-12)


def test_learned_ratios_of_wrong_norm_still_close():
    x, density = small.nodes()
    bank = nsbi.held(
        density, small.log_ratio(x) + np.array([0.3, -0.1]), small.shapes(x)
    )
    model = small.likelihood(bank)
    data = model.expected_data(PARAMS)
    np.testing.assert_allclose(fit.fit(model, data).bestfit, PARAMS, atol=1e-9)
    np.testing.assert_allclose(
        data.rows[0].total(), model.expected_yield(PARAMS), rtol=1e-12
    )


def test_losses_are_those_of_any_likelihood():
    model = small.likelihood(small.rows(*small.nodes(80)))
    for loss in (losses.SigmaMu(), losses.Cls()):
        value = loss(model)
        assert np.isfinite(value), loss


def test_settled_is_the_same_likelihood():
    model, data = small.likelihood(), small.data(*events())
    found = model.settled().expansion(PARAMS, data)
    wanted = model.expansion(PARAMS, data)
    np.testing.assert_allclose(found.hessian, wanted.hessian, rtol=1e-12)


def test_single_precision_storage_costs_single_precision():
    x, weight = events(2000)
    single = nsbi.held(
        weight,
        small.log_ratio(x).astype(np.float32),
        [[term.astype(np.float32) for term in row] for row in small.shapes(x)],
    )
    aux = jnp.zeros(2)
    model = small.likelihood()
    found = model.twice_nll(PARAMS, nsbi.UnbinnedData((single,), aux))
    double = model.twice_nll(PARAMS, nsbi.UnbinnedData((small.rows(x, weight),), aux))
    # Rounding of 6e-8 in the logarithm of each of 2000 events, with random signs.
    np.testing.assert_allclose(found, double, atol=2000 * 6e-8)


class Reader:
    """Chunks of rows that count how often they are read."""

    def __init__(self, rows):
        self.terms = jax.tree.map(np.asarray, rows.source.terms)
        self.n_read = 0

    def __call__(self, number):
        self.n_read += 1
        return jax.tree.map(lambda one: one[number], self.terms)


def test_stored_events_are_read_once_for_value_and_derivatives():
    x, weight = events()
    held = small.data(x, weight, chunk=32)
    reader = Reader(held.rows[0])
    rows = nsbi.Rows(held.rows[0].weight, nsbi.StoredTerms(reader))
    stored = nsbi.UnbinnedData((rows,), held.auxdata)
    model = small.likelihood()
    reader.n_read = 0
    found = jax.block_until_ready(model.expansion(PARAMS, stored))
    assert reader.n_read == len(held.rows[0].weight)
    wanted = model.expansion(PARAMS, held)
    np.testing.assert_allclose(found.hessian, wanted.hessian, rtol=1e-12)
    np.testing.assert_allclose(
        fit.fit(model, stored).bestfit, fit.fit(model, held).bestfit, rtol=1e-12
    )


def test_data_are_no_constants_of_the_program():
    model = small.likelihood()
    traces = []

    @eqx.filter_jit
    def value(model, data, params):
        traces.append(1)
        return model.twice_nll(params, data)

    for seed in range(3):
        value(model, small.data(*events(seed=seed)), PARAMS + seed)
    assert len(traces) == 1
    data = small.data(*events())
    arrays, rest = eqx.partition((model, data), eqx.is_array)

    def of_arrays(arrays, params):
        model, data = eqx.combine(arrays, rest)
        return model.expansion(params, data).hessian

    jaxpr = jax.make_jaxpr(of_arrays)(arrays, PARAMS)
    # The largest constant is the table of coefficients of the polynomial.
    assert max((np.size(one) for one in jaxpr.consts), default=0) <= 49


def test_gaussian_covariances():
    problem = GaussianCovariance()
    # ln p is quadratic in the features: three Hermite nodes along each are exact.
    points, weights = np.polynomial.hermite_e.hermegauss(3)
    grid = np.stack(np.meshgrid(*[points] * 4, indexing="ij"), -1).reshape(-1, 4)
    x = np.concatenate([grid, np.zeros((len(grid), 1))], 1)
    weight = np.prod(np.meshgrid(*[weights] * 4, indexing="ij"), axis=0).ravel()

    def log_ratio(theta, features):
        at = lambda value: problem.log_density(features, value)
        return at(theta[0]) - at(0.0)

    bank = nsbi.held(weight, np.zeros((len(x), 1)), [(x,)])
    component = nsbi.Component(
        50.0,
        shape_morphs=(nsbi.FromFeatures(log_ratio, ("theta",)),),
        name="events",
        normalised=False,
    )
    channel = nsbi.Channel((component,), nsbi.Products(((),)), bank, "all")
    model = nsbi.Unbinned(
        parameters=Parameters(
            inits=jnp.zeros(1),
            lower=jnp.full(1, -1.2),
            upper=jnp.full(1, 1.2),
            fixed=jnp.zeros(1, bool),
            names=("theta",),
            poi="theta",
        ),
        channels=(channel,),
        constraints=nsbi.GaussianConstraints.unit(()),
    )
    data = model.expected_data(jnp.zeros(1))
    scan = infer.scan(model, data, {"theta": [-1.0, -0.5, -0.1, 0.1, 0.5, 1.0]})
    wanted = [137.025165, 12.455517, 0.403286, 0.403286, 12.455517, 137.025165]
    # Six decimals are published.
    np.testing.assert_allclose(scan.delta_twice_nll, wanted, atol=1e-6)
    sigma = infer.estimate(model, data).uncertainty[0]
    np.testing.assert_allclose(sigma, 0.158114, atol=1e-6)


def test_negative_total_intensity_is_data_inside_and_an_error_outside():
    x = np.linspace(-1.0, 1.0, 5)
    bank = nsbi.held(np.ones(5), np.stack([3 * x, 0 * x], 1))
    channel = nsbi.Channel(
        (nsbi.Component(5.0, name="S"), nsbi.Component(5.0, name="B")),
        # More background is taken away than there is at large signal.
        nsbi.Morphing(("k",), ((0,), (1,)), jnp.array([[0.0, 1.0], [1.0, -1.0]])),
        bank,
        "SR",
    )
    parameters = Parameters(
        inits=jnp.array([3.0]),
        lower=jnp.array([0.0]),
        upper=jnp.array([5.0]),
        fixed=jnp.array([False]),
        names=("k",),
        poi="k",
    )
    model = nsbi.Unbinned(parameters, (channel,), nsbi.GaussianConstraints.unit(()))
    data = nsbi.UnbinnedData((bank,), jnp.zeros(0))
    assert model.twice_nll(jnp.array([3.0]), data) == jnp.inf
    assert np.isfinite(model.twice_nll(jnp.array([0.5]), data))
    with pytest.raises(DataError, match=r"region 'SR', event 0: the total intensity"):
        nsbi.check(model, data)
    held = fit.fit(model, data, fixed={"k": jnp.array(3.0)}, throw=False)
    assert held.result == RESULTS.non_finite
    assert np.isnan(held.best_twice_nll)
    # From a good start the fit stays where the intensity is positive.
    found = fit.fit(model, data, partners=jnp.array([[0.5]]), throw=False)
    assert found.result == RESULTS.successful
    assert found.bestfit[0] < 1.2


def test_events_that_no_likelihood_can_use():
    with pytest.raises(DataError, match="event 1: a log ratio is not finite"):
        nsbi.held(np.ones(3), [[0.0], [np.nan], [0.0]])
    with pytest.raises(DataError, match="event 2: the weight is inf"):
        nsbi.held([1.0, 1.0, np.inf], np.zeros((3, 1)))
    with pytest.raises(DataError, match="3 weights, but 2 events"):
        nsbi.held(np.ones(3), np.zeros((2, 1)))
    with pytest.raises(DataError, match="event 0: a systematic variation of component"):
        nsbi.held(np.ones(1), np.zeros((1, 1)), [(np.full((1, 2, 1), np.inf),)])
    empty = small.likelihood(
        nsbi.held(np.zeros(0), np.zeros((0, 2)), small.shapes(np.zeros(0)))
    )
    with pytest.raises(
        DataError, match="region 'SR': the reference events have a total"
    ):
        nsbi.check(empty, small.data(*events()))


def test_shapes_that_become_negative_are_refused():
    x = np.array([0.0, 11.0])
    model = small.likelihood()
    with pytest.raises(
        DataError, match=r"component 'signal', event 1.*tilt = -1 and 1"
    ):
        nsbi.check(model, small.data(x))


def test_parameters_that_do_not_exist():
    model = small.likelihood()
    with pytest.raises(ValueError, match="parameter 'tilt' is not among mu"):
        nsbi.Unbinned(
            parameters=Parameters(
                inits=jnp.ones(1),
                lower=jnp.zeros(1),
                upper=jnp.ones(1),
                fixed=jnp.zeros(1, bool),
                names=("mu",),
            ),
            channels=model.channels,
            constraints=nsbi.GaussianConstraints.unit(()),
        )
