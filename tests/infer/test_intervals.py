"""Profile intervals against closed forms, MINOS and finite differences."""

import equinox as eqx
import iminuit
import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from jax.test_util import check_grads
from scipy import optimize

from diffana.errors import RESULTS
from diffana.fit import fit
from diffana.histfactory import from_workspace
from diffana.infer import profile_interval
from gaussian import Gaussian
from reference import Morphed
from regions import EVERYTHING, workspace


COVARIANCE = np.array([[4.0, 1.2, -0.3], [1.2, 0.9, 0.1], [-0.3, 0.1, 0.25]])


@pytest.mark.parametrize("level", [1.0, 3.841])
def test_intervals_of_a_gaussian_are_its_standard_deviations(level):
    model = Gaussian(jnp.linalg.inv(COVARIANCE))
    data = jnp.array([0.3, -1.0, 2.0])
    interval = profile_interval(model, data, "theta1", level=level)
    half = np.sqrt(level * COVARIANCE[1, 1])
    # Fits are good to 1e-10 in t.
    np.testing.assert_allclose(interval.estimate, -1.0, rtol=1e-12)
    np.testing.assert_allclose(interval.upper, -1 + half, rtol=1e-9)
    np.testing.assert_allclose(interval.lower, -1 - half, rtol=1e-9)
    assert not interval.lower_at_bound
    assert not interval.upper_at_bound


SIGNAL, BACKGROUND = 5.0, 50.0


def one_bin():
    """A bin whose alpha morphs nothing: the profile is that of a Poisson count."""
    flat = jnp.array([BACKGROUND])
    return Morphed(jnp.array([SIGNAL]), flat, flat, flat)


def closed_edges(signal, background, count):
    """Edges of t = 1 in the closed form; -inf for a lower one below zero."""
    best = (count - background) / signal
    assert best > 0

    def height(mu):
        rate = background + mu * signal
        return 2 * (rate - count - count * np.log(rate / count)) - 1

    lower = -np.inf if height(0.0) < 0 else optimize.brentq(height, 0, best, xtol=1e-13)
    return lower, optimize.brentq(height, best, 50.0, xtol=1e-13)


def test_edges_of_a_counting_experiment():
    for count in (61.0, 54.0):
        data = jnp.array([count, 0.0])
        interval = profile_interval(one_bin(), data, "mu")
        lower, upper = closed_edges(SIGNAL, BACKGROUND, count)
        np.testing.assert_allclose(interval.upper, upper, rtol=1e-9)
        assert bool(interval.lower_at_bound) == np.isinf(lower)
        assert not interval.upper_at_bound
        want = 0.0 if np.isinf(lower) else lower
        np.testing.assert_allclose(interval.lower, want, rtol=1e-9)
        assert interval.result == RESULTS.successful


def test_an_estimate_at_the_bound_has_one_edge():
    data = jnp.array([42.0, 0.0])
    interval = profile_interval(one_bin(), data, "mu")
    assert interval.estimate == 0
    assert interval.lower == 0
    assert interval.lower_at_bound

    def height(mu):
        rate = BACKGROUND + mu * SIGNAL
        return 2 * (rate - BACKGROUND - 42 * np.log(rate / BACKGROUND)) - 1

    upper = optimize.brentq(height, 0, 20, xtol=1e-13)
    np.testing.assert_allclose(interval.upper, upper, rtol=1e-9)


def test_derivatives_of_edges_are_those_of_the_closed_form():
    def edges(args):
        signal, count = args
        model = eqx.tree_at(lambda m: m.signal, one_bin(), signal[None])
        interval = profile_interval(model, jnp.stack([count, jnp.zeros(())]), "mu")
        return jnp.stack([interval.lower, interval.upper])

    by_signal, by_count = jax.jit(jax.jacrev(edges))(
        (jnp.asarray(SIGNAL), jnp.asarray(61.0))
    )
    for got, move in [
        (by_signal, lambda h: (SIGNAL + h, BACKGROUND, 61.0)),
        (by_count, lambda h: (SIGNAL, BACKGROUND, 61.0 + h)),
    ]:
        sides = [np.array(closed_edges(*move(h))) for h in (1e-4, -1e-4)]
        # Differences of bisections good to 1e-13 over the step, and its square.
        np.testing.assert_allclose(got, (sides[0] - sides[1]) / 2e-4, rtol=1e-7)


MORPHED = Morphed(
    *map(jnp.array, ([3.0, 9.0], [40.0, 30.0], [44.0, 28.0], [37.0, 33.0]))
)


@pytest.mark.slow
def test_derivatives_hold_to_second_order_in_both_modes():
    data = jnp.array([47.0, 41.0, 0.0])

    def width(signal, held):
        model = eqx.tree_at(lambda m: m.signal, MORPHED, signal)
        interval = profile_interval(model, data, "mu", fixed={"alpha": held})
        free = profile_interval(model, data, "mu")
        return interval.upper + free.upper - free.lower

    args = (MORPHED.signal, jnp.asarray(0.3))
    check_grads(jax.jit(width), args, order=2, modes=("fwd", "rev"), rtol=1e-5)


def test_a_fit_at_hand_saves_one():
    data = jnp.array([47.0, 41.0, 0.0])
    alone = profile_interval(MORPHED, data, "alpha")
    given = profile_interval(MORPHED, data, "alpha", fit=fit(MORPHED, data))
    assert alone.upper == given.upper


def test_misuse_is_refused():
    data = jnp.array([47.0, 41.0, 0.0])
    with pytest.raises(ValueError, match="no parameter 'nu'"):
        profile_interval(MORPHED, data, "nu")
    with pytest.raises(ValueError, match="'mu' is held"):
        profile_interval(MORPHED, data, "mu", fixed={"mu": 1.0})
    with pytest.raises(ValueError, match="level"):
        profile_interval(MORPHED, data, "mu", level=0.0)


def test_a_failed_fit_gives_no_interval():
    broken = jnp.array([jnp.nan, 41.0, 0.0])
    interval = profile_interval(MORPHED, broken, "mu", throw=False)
    assert interval.result == RESULTS.non_finite
    assert np.isnan([interval.lower, interval.upper, interval.estimate]).all()
    with pytest.raises(RuntimeError, match="not finite"):
        profile_interval(MORPHED, broken, "mu")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::iminuit.util.IMinuitWarning")
def test_edges_equal_those_of_minos_on_pyhfs_likelihood():
    spec = workspace([72.0, 58.0, 126.0], **EVERYTHING)
    model, data = from_workspace(spec)
    interval = profile_interval(model, data, "mu")
    parsed = pyhf.Workspace(spec)
    theirs = parsed.model()
    their_data = parsed.data(theirs)

    def twice_nll(params):
        return -2 * float(theirs.logpdf(params, their_data)[0])

    best = fit(model, data).bestfit.tolist()
    minuit = iminuit.Minuit(twice_nll, best, name=theirs.config.par_names)
    minuit.errordef = 1.0
    minuit.limits = theirs.config.suggested_bounds()
    minuit.strategy, minuit.tol = 2, 1e-4
    minuit.migrad()
    minuit.minos("mu")
    assert not interval.lower_at_bound
    errors = minuit.merrors["mu"]
    # MINOS stops when t is within about 1e-3 of the level.
    np.testing.assert_allclose(
        interval.upper - interval.estimate, errors.upper, rtol=2e-3
    )
    np.testing.assert_allclose(
        interval.lower - interval.estimate, errors.lower, rtol=2e-3
    )
    # To more digits: t itself, with everything but the strength minimised.
    for edge in (interval.lower, interval.upper):
        minuit.values["mu"] = float(edge)
        minuit.fixed["mu"] = True
        minuit.migrad()
        np.testing.assert_allclose(minuit.fval - twice_nll(best), 1.0, atol=1e-5)
