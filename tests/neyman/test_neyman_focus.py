"""Focus functions against scipy.stats, integrals and finite differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import integrate, stats

from diffana.neyman.focus import (
    HalfNormal,
    Mixture,
    Nodes,
    Normal,
    Uniform,
    effective_support,
    insured,
)


# One compiled program is cheaper than one for every operation in it.
@eqx.filter_jit
def log_density(focus, mu):
    return focus.log_density(jnp.asarray(mu))


@eqx.filter_jit
def log_weights(focus, grid, log_quadrature):
    return focus.log_weights(grid, log_quadrature)


# Pairs of a focus and the same distribution in SciPy.
DENSITIES = {
    "normal": (Normal(1.0, 2.0), stats.norm(1.0, 2.0)),
    "truncated": (Normal(1.0, 2.0, 0.0, 4.0), stats.truncnorm(-0.5, 1.5, 1.0, 2.0)),
    "above": (Normal(-1.0, 2.0, lower=0.5), stats.truncnorm(0.75, np.inf, -1.0, 2.0)),
    "below": (Normal(1.0, 2.0, upper=3.0), stats.truncnorm(-np.inf, 1.0, 1.0, 2.0)),
    "upper tail": (Normal(0.0, 1.0, 6.0, 7.0), stats.truncnorm(6.0, 7.0)),
    "lower tail": (Normal(0.0, 1.0, -9.0, -8.0), stats.truncnorm(-9.0, -8.0)),
    "half-normal": (HalfNormal(2.0, 1.0), stats.halfnorm(1.0, 2.0)),
    "uniform": (Uniform(-1.0, 3.0), stats.uniform(-1.0, 4.0)),
}


@pytest.mark.parametrize(("focus", "truth"), DENSITIES.values(), ids=DENSITIES)
def test_density(focus, truth):
    lower, upper = truth.ppf([1e-6, 1 - 1e-6])
    mu = np.linspace(lower, upper, 1301)
    # SciPy's own truncated normal has 13 digits in a tail.
    np.testing.assert_allclose(
        log_density(focus, mu), truth.logpdf(mu), rtol=1e-11, atol=1e-12
    )
    assert [*map(float, focus.support)] == [*truth.support()]


@pytest.mark.parametrize(("focus", "truth"), DENSITIES.values(), ids=DENSITIES)
def test_outside_the_support(focus, truth):
    lower, upper = (float(end) for end in focus.support)
    outside = [end for end in (lower - 0.01, upper + 0.01) if np.isfinite(end)]
    assert (np.asarray(log_density(focus, jnp.array(outside))) == -np.inf).all()
    inside = [end for end in (lower, upper) if np.isfinite(end)]
    assert np.isfinite(log_density(focus, jnp.array(inside))).all()


@pytest.mark.parametrize(("focus", "truth"), DENSITIES.values(), ids=DENSITIES)
def test_effective_support(focus, truth):
    for tail in (1e-10, 1e-3):
        lower, upper = effective_support(focus, tail)
        assert np.isfinite([lower, upper]).all()
        outside = truth.cdf(lower) + truth.sf(upper)
        assert outside <= tail * (1 + 1e-6)  # SciPy's tails have 6 digits here
        # Ends that are not those of the support are not much too far out either.
        left, right = truth.support()
        if lower > left:
            assert truth.cdf(lower) > 0.2 * tail
        if upper < right:
            assert truth.sf(upper) > 0.2 * tail


@pytest.mark.parametrize("tail", [0.0, 1.0, -1.0, np.nan])
def test_tail_without_meaning(tail):
    with pytest.raises(ValueError, match="tail probability"):
        effective_support(Uniform(0.0, 1.0), tail)


@settings(max_examples=30)
@given(
    start=st.floats(-45, 45),
    width=st.floats(1e-3, 30),
    mean=st.floats(-3, 3),
    sd=st.floats(0.3, 3),
)
def test_truncated_density_integrates_to_one(start, width, mean, sd):
    """Also where both distribution functions are 0, or 1, in float64."""
    lower, upper = mean + sd * start, mean + sd * (start + width)
    focus = Normal(mean, sd, lower, upper)
    low, high = effective_support(focus)
    nodes, weights = np.polynomial.legendre.leggauss(120)
    mu = low + 0.5 * (high - low) * (1 + nodes)
    density = np.exp(np.asarray(log_density(focus, mu)))
    # The effective support leaves out 1e-10; a difference of logarithms around 1000
    # over a width of 1e-3 has ten digits.
    total = 0.5 * (high - low) * weights @ density
    assert total == pytest.approx(1.0, abs=1e-8)


def test_weights_add_up():
    """With the trapezoidal rule, of which the error is of the order of the step."""
    grid = jnp.linspace(-1.0, 12.0, 1301)
    log_quadrature = jnp.log(jnp.full(1301, 0.01))
    for focus in (
        Normal(4.0, 1.0),
        Normal(0.5, 1.0, lower=0.0),
        HalfNormal(1.5),
        Uniform(0.0, 5.0),
        insured(HalfNormal(1.0), lower=0.0, upper=10.0),
        Nodes([0.0, 1.234, 5.0], [0.1, -2.0, 0.3]),
    ):
        total = jnp.exp(log_weights(focus, grid, log_quadrature)).sum()
        assert float(total) == pytest.approx(1.0, abs=5e-3)


def test_weights_are_not_normalised():
    """A grid that is too narrow shows."""
    grid = jnp.linspace(0.0, 1.0, 101)
    log_quadrature = jnp.log(jnp.full(101, 0.01).at[jnp.array([0, -1])].set(0.005))
    weights = jnp.exp(log_weights(Normal(0.0, 1.0), grid, log_quadrature))
    want = stats.norm.cdf(1) - stats.norm.cdf(0)
    assert float(weights.sum()) == pytest.approx(want, abs=1e-5)  # step² / 12


def test_mixture():
    mu = np.linspace(-4, 8, 1301)
    mixed = Mixture((Normal(0.0, 1.0), Uniform(1.0, 5.0)), [3.0, 1.0])
    want = 0.75 * stats.norm.pdf(mu) + 0.25 * stats.uniform(1, 4).pdf(mu)
    np.testing.assert_allclose(np.exp(log_density(mixed, mu)), want, rtol=1e-13)
    assert [*map(float, mixed.support)] == [-np.inf, np.inf]
    lower, upper = effective_support(mixed)
    assert lower == pytest.approx(stats.norm.ppf(0.5e-10))
    assert upper == pytest.approx(stats.norm.isf(0.5e-10))
    assert effective_support(Mixture(mixed.components, [0, 1])) == (1.0, 5.0)


def test_mixture_far_in_the_tails():
    """Where the largest component has no weight, and where all underflow."""
    mixed = Mixture((Normal(0.0, 1.0), Normal(100.0, 1.0)), [1.0, 0.0])
    found = log_density(mixed, jnp.array([0.0, 100.0]))
    np.testing.assert_allclose(found, stats.norm.logpdf([0.0, 100.0]), rtol=1e-14)
    outside = Mixture((Uniform(0.0, 1.0), Uniform(2.0, 3.0)), [1.0, 1.0])
    found = log_density(outside, jnp.array([0.5, 1.5, 2.5]))
    np.testing.assert_allclose(np.exp(found), [0.5, 0.0, 0.5], rtol=1e-14)


def test_mixture_in_a_mixture_and_nodes():
    nodes = Nodes([0.0, 2.0], [0.0, 0.0])
    half = Mixture((nodes, Uniform(0.0, 4.0)), [1.0, 1.0])
    grid, log_quadrature = jnp.linspace(0.5, 3.5, 4), jnp.zeros(4)
    weights = jnp.exp(log_weights(half, grid, log_quadrature))
    # The node at 0 is not on the grid; that at 2 is between two points.
    np.testing.assert_allclose(weights, [0.125, 0.25, 0.25, 0.125], rtol=1e-14)
    nested = Mixture((half, Normal(0.0, 1.0)), [0.5, 0.5])
    assert [*map(float, nested.support)] == [-np.inf, np.inf]
    with pytest.raises(TypeError, match="Nodes has probability, not density"):
        log_density(nested, grid)


def test_insured():
    focus = insured(HalfNormal(1.0), lower=0.0, upper=10.0)
    mu = np.array([0.0, 1.0, 9.5])
    want = 0.9 * stats.halfnorm.pdf(mu) + 0.01
    found = np.exp(log_density(focus, mu))
    np.testing.assert_allclose(found, want, rtol=1e-14)
    total = integrate.quad(
        lambda at: float(np.exp(log_density(focus, jnp.array([at])))[0]),
        *effective_support(focus),
        points=[1.0],
    )[0]
    assert total == pytest.approx(1.0, abs=1e-8)  # the default of the integral
    assert insured(focus, 0.3, lower=0.0, upper=1.0).weights.tolist() == [0.7, 0.3]


def test_nodes_are_shared_linearly():
    nodes = Nodes([0.0, 1.25, 3.0, 7.0], np.log([0.1, 0.4, 0.3, 0.2]))
    grid, log_quadrature = jnp.arange(5.0), jnp.full(5, jnp.nan)
    weights = np.exp(log_weights(nodes, grid, log_quadrature))
    # The last node is outside.
    np.testing.assert_allclose(weights, [0.1, 0.3, 0.1, 0.3, 0.0], atol=1e-15)
    assert [*map(float, nodes.support)] == [0.0, 7.0]
    assert effective_support(nodes) == (0.0, 7.0)


def test_nodes_on_their_own_grid():
    grid = jnp.linspace(0.1, 0.7, 19)
    log_weight = jnp.sin(jnp.arange(19.0))
    # Other roundings of the same points, on either side of an end.
    for mu in (grid, grid * (1 + 1e-14), grid * (1 - 1e-14)):
        found = log_weights(Nodes(mu, log_weight), grid, jnp.zeros(19))
        np.testing.assert_allclose(found, jax.nn.log_softmax(log_weight), atol=1e-11)


def check_gradient(function, numbers):
    """First derivatives by central differences, of error 1e-10 and rounding 1e-11."""
    slope, step = jax.jit(jax.grad(function))(numbers), 1e-5
    for i in range(len(numbers)):
        shift = step * np.eye(len(numbers))[i]
        rise = function(numbers + shift) - function(numbers - shift)
        np.testing.assert_allclose(slope[i], rise / (2 * step), rtol=1e-7, atol=1e-8)


def test_nodes_have_gradients():
    nodes = Nodes([0.0, 1.3, 2.0], [0.5, -1.0, 0.2])
    grid = jnp.linspace(-1.0, 3.0, 9)

    @jax.jit
    def entropy(numbers):
        logs = Nodes(numbers[:3], numbers[3:]).log_weights(grid, jnp.zeros(9))
        weights = jnp.exp(logs)
        return -jnp.sum(weights * jnp.where(weights > 0, logs, 0.0))

    # Away from a kink: no node is on a grid point.
    check_gradient(entropy, np.array([0.1, 1.3, 2.2, *nodes.log_weight]))


GRADIENTS = {
    "whole": (0.3, 1.2, -np.inf, np.inf),
    "bounded": (0.3, 1.2, -0.5, 2.5),
    "above": (0.3, 1.2, 0.0, np.inf),
    "below": (0.3, 1.2, -np.inf, 2.5),
    "upper tail": (-9.0, 1.2, 0.0, 2.0),
    "lower tail": (40.0, 1.2, -np.inf, 2.5),
}


@jax.jit
def normal_density(numbers):
    mu = jnp.array([0.2, 0.7, 1.9])
    return jnp.sin(mu) @ Normal(*numbers).log_density(mu)


SLOPE = jax.jit(jax.grad(normal_density))
CURVATURE = jax.jit(
    lambda numbers, along: jax.jvp(jax.grad(normal_density), (numbers,), (along,))[1]
)


@pytest.mark.parametrize("numbers", GRADIENTS.values(), ids=GRADIENTS)
def test_gradients(numbers):
    """With respect to everything finite, the infinite bounds having derivative 0."""
    numbers, step = np.array(numbers), 1e-5
    slope = SLOPE(numbers)
    for i in range(4):
        if np.isinf(numbers[i]):
            assert slope[i] == 0
            continue
        shift = step * np.eye(4)[i]
        # Central differences of numbers around 1000, which have 13 decimals.
        rise = normal_density(numbers + shift) - normal_density(numbers - shift)
        np.testing.assert_allclose(slope[i], rise / (2 * step), rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("numbers", GRADIENTS.values(), ids=GRADIENTS)
def test_second_derivatives(numbers):
    """Forward over reverse mode, along one direction."""
    numbers, step = np.array(numbers), 1e-5
    along = np.array([0.3, -0.5, 0.7, 1.0]) * np.isfinite(numbers)
    found = CURVATURE(numbers, along)
    rise = SLOPE(numbers + step * along) - SLOPE(numbers - step * along)
    np.testing.assert_allclose(found, rise / (2 * step), rtol=1e-6, atol=1e-6)


def test_gradients_of_a_mixture():
    """Also with respect to weights, where one is 0, and outside all supports."""
    mu = jnp.array([-1.0, 0.5, 3.5, 20.0])

    @jax.jit
    def density(numbers):
        mixed = Mixture((HalfNormal(numbers[0]), Uniform(0.0, 3.0)), numbers[1:])
        return jnp.exp(mixed.log_density(mu))

    check_gradient(lambda x: jnp.arange(1.0, 5.0) @ density(x), np.array([1.3, 3, 2]))
    uniform, half = np.array([0, 1 / 3, 0, 0]), stats.halfnorm(0, 1.3).pdf(mu)
    jacobian = jax.jit(jax.jacobian(density))
    # Without weight, each is the larger one somewhere.
    for weights, want in (([1.0, 0.0], uniform - half), ([0.0, 1.0], half - uniform)):
        numbers = np.array([1.3, *weights])
        slope = jacobian(numbers)[:, 1 + weights.index(0.0)]
        assert np.isfinite(slope).all()
        # Where the density is 0, its logarithm has no derivative, and 0 is given.
        defined = np.asarray(density(numbers)) > 0
        np.testing.assert_allclose(slope[defined], want[defined], atol=1e-14)


def test_parameters_are_leaves():
    """A scan over the width compiles once."""
    n_traces = 0

    @eqx.filter_jit
    def at_zero(focus):
        nonlocal n_traces
        n_traces += 1
        return focus.log_density(jnp.zeros(2))

    for sd in (1.0, 2.0, 3.0):
        at_zero(insured(Normal(0.0, sd, lower=-1.0), 0.1, lower=-1, upper=4))
    assert n_traces == 1


INVALID = {
    "sd": (lambda: Normal(0.0, 0.0), "standard deviation of a focus: 0.0"),
    "negative sd": (lambda: HalfNormal(-1.0), "standard deviation of a focus: -1.0"),
    "nan sd": (lambda: Normal(0.0, np.nan), "standard deviation of a focus: nan"),
    "mean": (lambda: Normal(np.inf, 1.0), "mean of a normal focus: inf"),
    "bounds": (lambda: Normal(0.0, 1.0, 2.0, 2.0), "2.0 is not below 2.0"),
    "nan bound": (lambda: Normal(0.0, 1.0, np.nan), "bound of a focus: nan"),
    "half": (lambda: HalfNormal(1.0, -np.inf), "half-normal: -inf is not finite"),
    "uniform": (lambda: Uniform(0.0, np.inf), "uniform focus: inf is not finite"),
    "order": (lambda: Uniform(1.0, 0.0), "1.0 is not below 0.0"),
    "no parts": (lambda: Mixture((), []), "mixture of 0 components"),
    "shapes": (lambda: Mixture((Uniform(0, 1),), [1, 1]), "mixture of 1 components"),
    "weights": (lambda: Mixture((Uniform(0, 1),), [-1.0]), "-1.0 is negative"),
    "no weight": (lambda: Mixture((Uniform(0, 1),), [0.0]), "add up to 0.0"),
    "share": (
        lambda: insured(Uniform(0, 1), 1.2, lower=0, upper=1),
        "insurance: 1.2 is not between",
    ),
    "nodes": (lambda: Nodes([0.0, 1.0], [0.0]), "nodes with weights of shape"),
    "node": (lambda: Nodes([0.0, np.nan], [0.0, 1.0]), "mu of the nodes: nan"),
    "weight": (lambda: Nodes([0.0], [np.inf]), "log_weight of the nodes: inf"),
}


@pytest.mark.parametrize(("make", "message"), INVALID.values(), ids=INVALID)
def test_what_is_no_distribution(make, message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        make()
