"""The interference problem against quadrature in NumPy and its published numbers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy.optimize import minimize_scalar

from diffana.data.toys import COMPONENTS, Interference, Normal


# The constants of the benchmark, typed again.
RATES = np.array([100.0, 1_000.0, 10_000.0])
EXPOSURE, COS_PHASE = 50.0, -0.24
MEANS = np.array(
    [[1.5, 1.1, 0.7], [1.2225921266, 0.9018515191, 0.6207406076], [-0.6, -0.4, 0.1]]
)
COVARIANCE = np.array([[0.72, 0.18, 0.06], [0.18, 0.64, 0.10], [0.06, 0.10, 0.81]])
COVARIANCES = (
    COVARIANCE,
    1.25 * COVARIANCE,
    np.array([[1.35, -0.15, 0.12], [-0.15, 1.10, 0.22], [0.12, 0.22, 1.25]]),
)
SHIFT = 0.3 * np.sqrt(0.53) * np.array([0.792593924, 0.566138517, 0.226455407])


def density(x, component, shift=0.0):
    mean = MEANS[component] + shift
    return scipy.stats.multivariate_normal(mean, COVARIANCES[component]).pdf(x)


class Oracle:
    """-2 ln of the likelihood ratio of the expected events at μ = 1, by quadrature."""

    def __init__(self, n_per_axis):
        spread = np.sqrt(np.diag(COVARIANCES[2]))
        low, high = MEANS.min(0) - 8 * spread, MEANS.max(0) + 8 * spread
        axes = np.linspace(low, high, n_per_axis).T
        self.x = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        self.volume = np.prod((high - low) / (n_per_axis - 1))
        signal, background = (RATES[i] * density(self.x, i) for i in (0, 1))
        interference = 2 * COS_PHASE * np.sqrt(signal * background)
        self.interfering = signal, background, interference
        self.other = RATES[2] * density(self.x, 2)
        self.truth = signal + background + interference + self.other

    def q(self, mu, alpha=None):
        signal, background, interference = self.interfering
        other = self.other if alpha is None else self.moved(alpha)
        tested = mu * signal + background + np.sqrt(mu) * interference + other
        change = tested - self.truth - self.truth * np.log(tested / self.truth)
        constraint = 0.0 if alpha is None else alpha**2
        return 2 * EXPOSURE * self.volume * change.sum() + constraint

    def moved(self, alpha):
        """NI at α: moving the mean multiplies the density with an exponential."""
        precision = np.linalg.inv(COVARIANCES[2])
        direction = precision @ SHIFT
        linear = (self.x - MEANS[2]) @ direction
        exponent = alpha * linear - 0.5 * alpha**2 * (SHIFT @ direction)
        return self.other * np.exp(exponent)

    def profiled(self, mu):
        found = minimize_scalar(
            lambda alpha: self.q(mu, alpha),
            bracket=(-0.02, 0.0),
            options={"xtol": 1e-7},
        )
        return found.fun, found.x


def extremum(q, low, high, sign=1.0):
    """Lowest or highest point between two bounds; q there is known to the square."""
    found = minimize_scalar(
        lambda mu: sign * q(mu),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-8},
    )
    return found.x, sign * found.fun


# Columns: μ, q with α fixed.
FIXED = np.array(
    [
        [0.02, 17.273614],
        [0.05, 8.600925],
        [0.1, 5.045561],
        [0.5, 6.652340],
        [0.8, 1.731138],
        [1.2, 2.453282],
        [1.5, 18.075349],
        [2.0, 86.927775],
    ]
)
# Columns: μ, q with α profiled.
PROFILED = np.array(
    [
        [0.05, 6.742680],
        [0.5, 6.607418],
        [0.8, 1.699612],
        [1.2, 2.387428],
        [1.5, 17.518977],
        [2.0, 83.885708],
    ]
)
# Half a unit of the last printed digit, and what quadrature with 61 nodes leaves.
PRINTED = 1e-6


@pytest.fixture(scope="module")
def oracle():
    return Oracle(61)


@pytest.fixture(scope="module")
def problem():
    return Interference()


@pytest.fixture(scope="module")
def densities(problem):
    """Densities of all components at nodes, and the weights of the nodes."""
    nodes, weight = problem.grid()
    log_densities = jax.jit(jax.vmap(problem.log_densities))(jnp.asarray(nodes))
    return nodes, weight, np.exp(np.asarray(log_densities))


def test_densities_integrate_to_one_and_yields_to_the_benchmark(problem, densities):
    _, weight, values = densities
    # Rounding of 2·10⁵ terms; the tails beyond eight standard deviations are 10⁻¹⁵.
    np.testing.assert_allclose(weight @ values, 1.0, atol=1e-12)
    for alpha in (-3.0, 1.0, 3.0):
        moved = problem.noninterfering.moved(alpha * problem.shift)
        nodes, weight = problem.grid(41)
        found = jax.jit(jax.vmap(moved.log_density))(jnp.asarray(nodes))
        assert abs(weight @ np.exp(found) - 1) < 1e-12
    # All printed digits of the benchmark.
    np.testing.assert_allclose(
        problem.yields(), [5_000.0, 47594.142762, 50_000.0, 500_000.0], rtol=1e-10
    )


def test_yield_of_interference_is_its_integral(problem, oracle):
    signal, background, interference = oracle.interfering
    for mu in (0.0, 0.3, 1.0, 2.5):
        intensity = mu * signal + background + np.sqrt(mu) * interference
        total = EXPOSURE * (oracle.volume * (intensity + oracle.other).sum())
        np.testing.assert_allclose(problem.total(mu), total, rtol=1e-12)
        np.testing.assert_allclose(
            EXPOSURE * problem.interfering_rate(mu),
            EXPOSURE * oracle.volume * intensity.sum(),
            rtol=1e-12,
        )


def test_coarse_grids_integrate_to_the_promised_accuracy(problem):
    """Nodes at 0.6 standard deviations: the error of the rule is e^(-2 π² / 0.6²)."""
    nodes, weight = problem.grid(31, reach=7.0)
    values = np.exp(jax.vmap(problem.log_densities)(jnp.asarray(nodes)))
    np.testing.assert_allclose(weight @ values, 1.0, atol=1e-9)
    # Its corners count one eighth.
    assert weight[0] == pytest.approx(weight.max() / 8)
    with pytest.raises(ValueError, match="2 nodes per axis"):
        problem.grid(1)


def test_densities_and_intensity_are_those_of_scipy(problem):
    random = np.random.default_rng(5)
    x = random.normal(scale=2.0, size=(50, 3))
    alpha, mu = 0.7, 0.3
    signal, background = density(x, 0), density(x, 1)
    other = density(x, 2, alpha * SHIFT)

    def coherent(mu):
        product = signal * background * RATES[0] * RATES[1]
        interference = 2 * COS_PHASE * np.sqrt(mu * product)
        return mu * RATES[0] * signal + RATES[1] * background + interference

    full = coherent(1.0) * EXPOSURE / 47594.14276217533
    wanted = np.log(np.stack([signal, full, background, other], axis=1))
    found = jax.vmap(problem.log_densities, (0, None))(jnp.asarray(x), alpha)
    assert len(COMPONENTS) == found.shape[1]
    # Logarithms of order 10 after some thirty operations.
    np.testing.assert_allclose(found, wanted, atol=1e-11)

    intensity = jax.vmap(lambda one: problem.intensity(one, mu, alpha))(jnp.asarray(x))
    np.testing.assert_allclose(
        intensity, EXPOSURE * (coherent(mu) + RATES[2] * other), rtol=1e-11
    )
    share = jax.vmap(lambda one: problem.share(one, mu))(jnp.asarray(x))
    incoherent = mu * RATES[0] * signal + RATES[1] * background
    np.testing.assert_allclose(share, coherent(mu) / incoherent - 1, atol=1e-12)
    fraction = jax.vmap(lambda one: problem.signal_fraction(one, mu))(jnp.asarray(x))
    np.testing.assert_allclose(fraction, mu * RATES[0] * signal / incoherent, 1e-11)


@pytest.mark.parametrize("mu", [0.0, 0.3, 1.0, 2.5])
def test_mixture_of_the_components_is_the_intensity(problem, mu):
    x = jnp.asarray(np.random.default_rng(6).normal(size=(20, 3)))
    alpha = -0.4
    expected = problem.coefficients(mu) * problem.yields()
    log_densities = jax.vmap(problem.log_densities, (0, None))(x, alpha)
    found = jnp.exp(log_densities) @ expected
    wanted = jax.vmap(lambda one: problem.intensity(one, mu, alpha))(x)
    # Terms of either sign, a hundred times the sum at most.
    np.testing.assert_allclose(found, wanted, rtol=1e-11)
    np.testing.assert_allclose(expected.sum(), problem.total(mu), rtol=1e-13)


def test_likelihood_with_one_parameter_is_the_published_one(oracle):
    found = [oracle.q(mu) for mu in FIXED[:, 0]]
    np.testing.assert_allclose(found, FIXED[:, 1], atol=PRINTED)
    # The minimum is flat: 10⁻⁶ in μ is 10⁻¹⁰ in q, and more cannot be told apart.
    assert extremum(oracle.q, 0.05, 0.2) == pytest.approx(
        (0.126265, 4.792364), abs=2e-6
    )
    barrier = extremum(oracle.q, 0.3, 0.5, -1.0)
    assert barrier == pytest.approx((0.378636, 7.409203), abs=2e-6)


def test_likelihood_of_the_densities_is_that_of_the_oracle(problem, oracle):
    nodes, weight = problem.grid()

    @jax.jit
    def q(mu):
        at = lambda mu: jax.vmap(lambda x: problem.log_intensity(x, mu))(nodes)
        truth, tested = at(1.0), at(mu)
        # Where all densities vanish, their logarithms do not.
        change = jnp.exp(tested) - jnp.exp(truth) - jnp.exp(truth) * (tested - truth)
        return 2 * jnp.sum(weight * change)

    found = [float(q(mu)) for mu in FIXED[:, 0]]
    # Differences of intensities whose integral is 5·10⁵, at rounding.
    np.testing.assert_allclose(found, [oracle.q(mu) for mu in FIXED[:, 0]], atol=1e-8)


def test_profiled_likelihood_is_the_published_one(oracle):
    # The differences are 7·10⁻⁴ α, as of a box of integration that is too narrow for NI
    # by 10⁻⁹ of it: |α| is at most 0.013 here.
    accuracy = 1e-5
    profiled = lambda mu: oracle.profiled(mu)[0]
    found = [profiled(mu) for mu in PROFILED[:, 0]]
    np.testing.assert_allclose(found, PROFILED[:, 1], atol=accuracy)
    mu, q = extremum(profiled, 0.09, 0.13)
    # The published minimum, and α there.
    assert mu == pytest.approx(0.110632, abs=PRINTED)
    assert q == pytest.approx(4.228852, abs=accuracy)
    assert oracle.profiled(mu)[1] == pytest.approx(-0.006033, abs=PRINTED)
    barrier = extremum(profiled, 0.3, 0.5, -1.0)
    assert barrier == pytest.approx((0.376320, 7.400217), abs=accuracy)


def test_information_is_the_published_one(problem):
    nodes, weight = problem.grid(51)

    def log_intensity(x):
        at = lambda params: problem.log_intensity(x, params[0], params[1])
        start = jnp.array([1.0, 0.0])
        return at(start), jax.grad(at)(start)

    values, scores = jax.jit(jax.vmap(log_intensity))(jnp.asarray(nodes))
    expected = weight * np.exp(values)
    scores = np.asarray(scores)
    information = np.einsum("e,ei,ej->ij", expected, scores, scores)
    constrained = information + np.diag([0.0, 1.0])
    published = [0.137548, 0.007508, 0.139171]
    covariance = np.linalg.inv(constrained)
    alone = 1 / np.sqrt(np.diag(constrained))
    found = [alone[0], alone[1], np.sqrt(covariance[0, 0])]
    np.testing.assert_allclose(found, published, atol=PRINTED)


def test_derivatives_are_those_of_differences(problem):
    def value(params):
        x, (mu, alpha, cos_phase) = params[:3], params[3:]
        here = eqx.tree_at(lambda one: one.cos_phase, problem, cos_phase)
        return here.log_intensity(x, mu, alpha)

    at = jnp.array([0.4, -0.2, 1.1, 0.3, 0.7, -0.24])
    steps = 1e-5 * jnp.eye(len(at))
    value, slope = jax.jit(value), jax.jit(jax.grad(value))
    curvature = jax.jit(jax.jacfwd(slope))(at)
    for function, derivative in ((value, slope(at)), (slope, curvature)):
        found = [(function(at + h) - function(at - h)) / 2e-5 for h in steps]
        # Differences of numbers of order 10: 10⁻¹⁵ / 10⁻⁵, and the square of the step.
        np.testing.assert_allclose(np.array(found).T, derivative, atol=1e-8)


@pytest.mark.parametrize("size", [1e2, 1e4])
def test_densities_far_away_stay_finite(problem, size):
    """There both densities underflow, and 1 / cosh overflows."""
    x = size * jnp.array([1.0, -1.0, 1.0])
    value, slope = jax.value_and_grad(problem.log_intensity)(x, 0.3)
    assert jnp.isfinite(value)
    assert jnp.all(jnp.isfinite(slope))
    # Up to the rate and the exposure, the widest distribution remains.
    wide = problem.noninterfering.log_density(x)
    np.testing.assert_allclose(value, wide + np.log(5e5), rtol=1e-12)


def test_without_signal_only_the_background_is_left(problem):
    x = jnp.array([0.4, -0.2, 1.1])
    wanted = EXPOSURE * (RATES[1] * density(x, 1) + RATES[2] * density(x, 2))
    np.testing.assert_allclose(problem.intensity(x, 0.0), wanted, rtol=1e-13)
    assert problem.share(x, 0.0) == 0.0
    assert problem.signal_fraction(x, 0.0) == 0.0


def test_three_features_are_needed():
    plane = Normal([0.0, 0.0], np.eye(2))
    with pytest.raises(ValueError, match=r"three features.*'signal': \(2,\)"):
        Interference(signal=plane)
    with pytest.raises(ValueError, match=r"mean has shape \(2,\), the covariance"):
        Normal([0.0, 0.0], np.eye(3))
