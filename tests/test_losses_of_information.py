"""Functions of the Fisher information against second differences through pyhf."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from scipy import integrate, optimize, stats

from diffana.errors import RESULTS
from diffana.histfactory import from_workspace, to_spec
from diffana.losses import (
    Constraint,
    Gaussianity,
    GeneralisedVariance,
    LogGeneralisedVariance,
    Pulls,
    TotalVariance,
    WeightedSum,
    evaluate_all,
)
from five_bins import Yields, binned
from gaussian import Gaussian
from pyhf_minima import information, twice_nll
from regions import EVERYTHING, workspace


# The programs run a few times only.
FAST = {"xla_backend_optimization_level": 0}
N_POINTS = 64

# All of them in one program: compilation is what costs.
TERMS = {
    "constraint": Constraint(),
    "constraint of fakes": Constraint(parameters=("fakes", "scale")),
    "determinant": GeneralisedVariance(parameters=("mu", "stat_SR")),
    "log determinant": LogGeneralisedVariance(),
    "trace": TotalVariance(),
    "diagonal": TotalVariance(parameters=("mu", "fakes[1]")),
    "gaussianity": Gaussianity(n_points=N_POINTS),
    "log gaussianity": Gaussianity(n_points=N_POINTS, of="log_likelihood"),
    "gaussianity at other points": Gaussianity(n_points=N_POINTS, seed=1),
}


@eqx.filter_jit(compiler_options=FAST)
def evaluate_each(losses, model):
    return evaluate_all(losses, model)


@pytest.fixture(scope="module")
def both():
    """Values of all terms, and pyhf's model, data, parameters and covariance."""
    model, _ = from_workspace(workspace([61.0, 50.0, 124.0], **EVERYTHING))
    found = evaluate_each(TERMS, model)
    theirs = pyhf.Model(to_spec(model), poi_name="mu")
    params = np.array(theirs.config.suggested_init())
    data = np.array(theirs.expected_data(params))
    free = ~np.array(theirs.config.suggested_fixed())
    assert np.all(free)
    # Second differences of values near 30 keep nine digits.
    covariance = np.linalg.inv(information(theirs, params, data, free))
    assert list(model.parameters.names) == theirs.config.par_names
    values = {name: one.value for name, one in found.items()}
    return values, theirs, data, params, covariance


def test_determinants_and_traces(both):
    values, theirs, _, _, covariance = both
    names = theirs.config.par_names
    some = [names.index(name) for name in ("mu", "stat_SR[0]", "stat_SR[1]")]
    pair = [names.index(name) for name in ("mu", "fakes[1]")]
    wanted = {
        "determinant": np.linalg.det(covariance[np.ix_(some, some)]),
        "log determinant": np.linalg.slogdet(covariance)[1],
        "trace": np.trace(covariance),
        "diagonal": np.sum(np.diagonal(covariance)[pair]),
    }
    for name, want in wanted.items():
        np.testing.assert_allclose(values[name], want, rtol=1e-6, err_msg=name)


def test_constraints(both):
    values, theirs, _, _, covariance = both
    terms = {}
    for name in theirs.config.par_order:
        group = theirs.config.param_set(name)
        if group.constrained:
            sigma = np.sqrt(np.diagonal(covariance)[theirs.config.par_slice(name)])
            terms[name] = np.sum((1 - sigma / np.array(group.width())) ** 2)
    assert set(terms) == {"scale", "tagging", "xsec", "fakes", "stat_SR", "stat_CR"}
    np.testing.assert_allclose(values["constraint"], sum(terms.values()), rtol=1e-6)
    some = terms["fakes"] + terms["scale"]
    np.testing.assert_allclose(values["constraint of fakes"], some, rtol=1e-5)


def test_gaussianity_at_the_same_points(both):
    values, theirs, data, params, covariance = both
    half = jax.random.normal(jax.random.key(0), (N_POINTS // 2, len(params)), float)
    numbers = np.concatenate([half, -half])
    points = params + numbers @ np.linalg.cholesky(covariance).T
    lower, upper = np.array(theirs.config.suggested_bounds()).T
    inside = np.all((lower <= points) & (points <= upper), axis=1)
    assert 0.5 * N_POINTS < np.sum(inside) < N_POINTS

    exact = twice_nll(theirs, params, data)
    ratio = np.array(
        [-0.5 * (twice_nll(theirs, at, data) - exact) for at in points[inside]]
    )
    quadratic = -0.5 * np.sum(numbers[inside] ** 2, axis=1)
    # The points are as good as the covariance.
    want = np.mean((np.exp(ratio) - np.exp(quadratic)) ** 2)
    np.testing.assert_allclose(values["gaussianity"], want, rtol=1e-5)
    want = np.mean((ratio - quadratic) ** 2)
    np.testing.assert_allclose(values["log gaussianity"], want, rtol=1e-5)
    # Another seed, other points.
    assert values["gaussianity"] != values["gaussianity at other points"]


BOTH_FORMS = {
    of: Gaussianity(n_points=20_000, of=of, seed=3)
    for of in ("likelihood", "log_likelihood")
}


def test_gaussianity_is_that_of_an_integral():
    """Signal and background of one bin; mu cannot be negative, alpha is Gaussian."""
    s, b = 7.0, 40.0
    sigma = np.sqrt(s + b) / s
    model = binned(Yields([s], [b]))
    lower = -1 / sigma  # in units of the uncertainty

    def mean(difference):
        def inner(z):
            mu = 1 + sigma * z
            rate, counts = b + mu * s, b + s
            model = counts * np.log(rate / counts) - (rate - counts)
            return stats.norm.pdf(z) * difference(model, -0.5 * z**2)

        return integrate.quad(inner, lower, 8, epsabs=1e-14)[0] / stats.norm.sf(lower)

    # Squares of alpha's Gaussian factor average to 1/√3, its logarithm drops out.
    wanted = {
        "likelihood": mean(lambda a, b: (np.exp(a) - np.exp(b)) ** 2) / np.sqrt(3),
        "log_likelihood": mean(lambda a, b: (a - b) ** 2),
    }
    found = evaluate_each(BOTH_FORMS, model)
    for of, want in wanted.items():
        # Statistical: the squares scatter by a few times their mean.
        close = {"rtol": 5 * 4 / np.sqrt(20_000), "err_msg": of}
        np.testing.assert_allclose(found[of].value, want, **close)


def test_an_exact_gaussian_has_no_gaussianity():
    covariance = np.array([[4.0, 1.2, -0.3], [1.2, 0.9, 0.1], [-0.3, 0.1, 0.25]])
    model = Gaussian(jnp.linalg.inv(covariance))
    for found in evaluate_each(BOTH_FORMS, model).values():
        assert found.result == RESULTS.successful
        # Squares of rounding errors of about 1e-15.
        np.testing.assert_allclose(found.value, 0.0, atol=1e-28)


QUADRATIC = (
    Constraint(),
    LogGeneralisedVariance(),
    GeneralisedVariance(),
    TotalVariance(),
    Gaussianity(n_points=N_POINTS),
)


@eqx.filter_jit(compiler_options=FAST)
@eqx.filter_value_and_grad(has_aux=True)
def evaluate(model, factors):
    found = WeightedSum(QUADRATIC, tuple(factors)).evaluate(model)
    return found.value, found.result


def test_the_gaussianity_of_undefined_points():
    """A background of a half event, which vanishes within the bounds of alpha."""
    model = binned(Yields([7.0, 0.0], [40.0, 0.5], [40.0, 1.0], [40.0, 0.0]))
    (value, result), slope = evaluate(model, jnp.eye(5)[4])
    assert result == RESULTS.successful
    assert 0 < value < 1
    for leaf in jax.tree.leaves(slope.templates):
        assert np.all(np.isfinite(leaf))
    found = evaluate_each(BOTH_FORMS, model)
    assert found["likelihood"].result == RESULTS.successful
    assert found["log_likelihood"].result == RESULTS.undefined_loss
    assert np.isnan(found["log_likelihood"].value)


@pytest.mark.parametrize("row", range(5), ids=lambda at: type(QUADRATIC[at]).__name__)
def test_empty_bins_and_absent_uncertainties(row):
    few = Yields([5.0], [40.0], [46.0], [37.0], [4.0])
    silent = Yields(
        [5.0, 0, 0], [40.0, 0, 1e-3], [46.0, 0, 1e-3], [37.0, 0, 1e-3], [4.0]
    )
    (want, _), _ = evaluate(binned(few), jnp.eye(5)[row])
    (value, result), slope = evaluate(binned(silent), jnp.eye(5)[row])
    assert result == RESULTS.successful
    np.testing.assert_allclose(value, want, rtol=1e-9)
    for leaf in jax.tree.leaves(slope.templates):
        assert np.all(np.isfinite(leaf))


@pytest.mark.parametrize("row", range(5), ids=lambda at: type(QUADRATIC[at]).__name__)
@pytest.mark.parametrize(
    "yields",
    [Yields([0.0], [40.0]), Yields([5.0], [np.nan]), Yields([5.0, 3.0], [40.0, -9.0])],
    ids=["no signal", "nan", "negative"],
)
def test_a_singular_or_undefined_information_gives_a_code(row, yields):
    (value, result), _ = evaluate(binned(yields), jnp.eye(5)[row])
    assert result == RESULTS.undefined_loss
    assert np.isnan(value)


def test_a_constraint_of_counts_by_hand():
    s, b, delta = 7.0, 40.0, 6.0
    # With the strength free, one bin says nothing about its background.
    model = binned(Yields([s], [b], uncertainty=[delta]))
    (value, _), _ = evaluate(model, jnp.eye(5)[0])
    np.testing.assert_allclose(value, 0.0, atol=1e-20)
    # A second bin does: alpha moves it by two, of 100 events.
    model = binned(Yields([s, 0.0], [b, 100.0], [b, 120.0], [b, 80.0]))
    (value, _), slope = evaluate(model, jnp.eye(5)[0])
    sigma = (1 + 20**2 / 100) ** -0.5
    np.testing.assert_allclose(value, (1 - sigma) ** 2, rtol=1e-12)

    def closed(up):
        return (1 - (1 + ((up - 80) / 2) ** 2 / 100) ** -0.5) ** 2

    step = optimize.approx_fprime(120.0, closed, 1e-5)
    at = model.layout.histosys("SR", "background", "shape").start + 1
    # A one-sided difference.
    np.testing.assert_allclose(slope.templates.histosys_hi[at], step, rtol=1e-4)


def test_only_constrained_parameters_count():
    model = binned(Yields([7.0], [40.0]))

    def trace(loss, model):
        eqx.filter_eval_shape(loss.evaluate, model)

    with pytest.raises(ValueError, match="'mu' has no constraint"):
        trace(Constraint(parameters=("mu",)), model)
    with pytest.raises(ValueError, match="no parameter 'rates'"):
        trace(Pulls(parameters=("rates",)), model)
    with pytest.raises(ValueError, match="HistFactory"):
        trace(Constraint(), Gaussian(jnp.eye(2)))


def test_points_come_in_pairs():
    with pytest.raises(ValueError, match="n_points 7"):
        Gaussianity(n_points=7)
    with pytest.raises(ValueError, match="neither"):
        Gaussianity(of="nll")  # pyright: ignore[reportArgumentType]
