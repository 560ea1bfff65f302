"""Limits and intervals as losses, against closed forms, pyhf and their bounds."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from scipy import optimize, stats

from diffana.errors import RESULTS
from diffana.histfactory import from_model
from diffana.losses import IntervalLength, UpperLimit
from five_bins import Yields, filled, specification
from pyhf_minima import minimum, twice_nll
from reference import Morphed


# The programs run a few times only.
FAST = {"xla_backend_optimization_level": 0}
TRACED = []
UPPER = 10.0  # bound of the signal strength


def program(loss):
    """Value, code and gradient by template, compiled once for all models."""

    @eqx.filter_jit(compiler_options=FAST)
    @eqx.filter_value_and_grad(has_aux=True)
    def run(model):
        TRACED.append(loss)
        found = loss.evaluate(model)
        return found.value, found.result

    return run


limit, length = program(UpperLimit()), program(IntervalLength())


def counting(signal, background):
    """Two bins whose background is known."""
    s, b = jnp.asarray(signal, float), jnp.asarray(background, float)
    return Morphed(s, b, b, b)


def q(counts, mu, signal, background):
    """-2 ln L of a signal strength above that of perfectly fitting counts."""
    rate = background + mu * signal
    return 2 * np.sum(rate - counts - counts * np.log(rate / counts))


def closed_limit(signal, background, n_sigma=0.0, level=0.05):
    def excess(mu):
        root = np.sqrt(q(background, mu, signal, background))
        log_CLs = stats.norm.logsf(root - n_sigma) - stats.norm.logcdf(n_sigma)
        return log_CLs - np.log(level)

    return optimize.brentq(excess, 1e-6, UPPER, xtol=1e-14)


def closed_length(signal, background):
    counts = background + signal

    def excess(mu):
        return q(counts, mu, signal, background) - 1

    low = 0.0 if excess(0.0) < 0 else optimize.brentq(excess, 0.0, 1.0, xtol=1e-14)
    return optimize.brentq(excess, 1.0, UPPER, xtol=1e-14) - low


SIGNAL, BACKGROUND = np.array([7.0, 12.0]), np.array([40.0, 25.0])
WEAK = 0.3 * SIGNAL  # its interval reaches down to zero


def slopes(function, signal, background):
    """Central differences by every yield, good to 1e-8."""
    step, at = 1e-3, np.concatenate([signal, background])

    def odd(width, move):
        sides = (np.split(at + sign * width * move, 2) for sign in (1, -1))
        up, down = (function(*side) for side in sides)
        return up - down

    return np.array(
        [
            (8 * odd(step, move) - odd(2 * step, move)) / (12 * step)
            for move in np.eye(at.size)
        ]
    )


@pytest.mark.parametrize("signal", [SIGNAL, WEAK], ids=["strong", "weak"])
@pytest.mark.parametrize(
    ("run", "closed"), [(limit, closed_limit), (length, closed_length)]
)
def test_values_and_gradients_of_counts(run, closed, signal):
    (value, result), slope = run(counting(signal, BACKGROUND))
    assert result == RESULTS.successful
    # Fits certified to an edm of 1e-10 are good to 1e-10 in q of about 1.
    np.testing.assert_allclose(value, closed(signal, BACKGROUND), rtol=1e-9)
    by_background = slope.nominal + slope.up + slope.down
    found = np.concatenate([slope.signal, by_background])
    # Bisections good to 1e-14 over 1e-3, and the fifth derivative.
    wanted = slopes(closed, signal, BACKGROUND)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("n_sigma", [-2.0, 0.5, 2.0])
@pytest.mark.parametrize("level", [0.05, 0.32])
def test_the_limit_of_a_fluctuation(n_sigma, level):
    loss = UpperLimit(level=level, n_sigma=n_sigma)
    want = closed_limit(SIGNAL, BACKGROUND, n_sigma, level)
    found = loss.evaluate(counting(SIGNAL, BACKGROUND))
    np.testing.assert_allclose(found.value, want, rtol=1e-9)


def morphed_and_pyhf():
    bins = (SIGNAL, BACKGROUND, np.array([44.0, 21.0]), np.array([37.0, 31.0]))
    spec = specification(Yields(*map(np.asarray, filled(Yields(*bins)))))
    return Morphed(*map(jnp.asarray, bins)), pyhf.Model(spec, poi_name="mu")


def test_the_limit_is_that_of_pyhf():
    ours, theirs = morphed_and_pyhf()
    nominal = np.array(theirs.config.suggested_init())
    nominal[theirs.config.poi_index] = 0.0
    data = theirs.expected_data(nominal)
    exact = twice_nll(theirs, nominal, data)

    def excess(mu):
        lowest, *_ = minimum(theirs, data, held=mu)
        return np.log(2 * stats.norm.sf(np.sqrt(lowest - exact)) / 0.05)

    want = optimize.brentq(excess, 0.5, 3.0, xtol=1e-9)
    # Minima good to 1e-12 or so.
    np.testing.assert_allclose(limit(ours)[0][0], want, rtol=1e-8)


def test_the_length_is_that_of_a_scan_with_pyhf():
    ours, theirs = morphed_and_pyhf()
    nominal = np.array(theirs.config.suggested_init())
    data = theirs.expected_data(nominal)
    exact = twice_nll(theirs, nominal, data)

    def excess(mu):
        return minimum(theirs, data, held=mu)[0] - exact - 1

    upper = optimize.brentq(excess, 1.0, 3.0, xtol=1e-9)
    lower = optimize.brentq(excess, 0.0, 1.0, xtol=1e-9)
    np.testing.assert_allclose(length(ours)[0][0], upper - lower, rtol=1e-8)


def test_without_signal_there_is_no_limit_and_the_interval_is_everything():
    nothing = counting([0.0, 0.0], BACKGROUND)
    (value, result), _ = limit(nothing)
    assert result == RESULTS.no_root
    assert np.isnan(value)
    (value, result), slope = length(nothing)
    assert result == RESULTS.successful
    assert value == UPPER
    for leaf in jax.tree.leaves(slope):
        np.testing.assert_array_equal(leaf, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "closed"),
    [(UpperLimit(), closed_limit), (IntervalLength(), closed_length)],
    ids=["limit", "length"],
)
def test_bins_without_anything_have_no_influence(loss, closed):
    one_bin = np.array([7.0]), np.array([40.0])
    want = closed(*one_bin)
    model = from_model(
        pyhf.simplemodels.uncorrelated_background([7.0, 0.0], [40.0, 0.0], [0.0, 0.0])
    )
    (value, result), slope = program(loss)(model)
    assert result == RESULTS.successful
    np.testing.assert_allclose(value, want, rtol=1e-9)
    cells = [
        model.layout.cells("singlechannel", sample).start
        for sample in ("signal", "background")
    ]
    wanted = slopes(closed, *one_bin)
    np.testing.assert_allclose(
        slope.templates.nominal[np.array(cells)], wanted, rtol=1e-6
    )
    for leaf in jax.tree.leaves(slope.templates):
        assert np.all(np.isfinite(leaf))


@pytest.mark.parametrize("run", [limit, length])
@pytest.mark.parametrize("yields", [-40.0, np.nan])
def test_failures_are_data(run, yields):
    (value, result), _ = run(counting(SIGNAL, [40.0, yields]))
    assert result == RESULTS.non_finite
    assert np.isnan(value)


@pytest.mark.slow
@pytest.mark.parametrize("loss", [UpperLimit, IntervalLength])
def test_logarithms(loss):
    model = counting(SIGNAL, BACKGROUND)
    value, log = (loss(log=log).evaluate(model).value for log in (False, True))
    np.testing.assert_allclose(log, np.log(value), rtol=1e-14)


def test_one_program_serves_all_models():
    before = len(TRACED)
    for scale in (0.9, 1.1):
        limit(counting(scale * SIGNAL, BACKGROUND))
        length(counting(scale * SIGNAL, BACKGROUND))
    limit(counting(SIGNAL, BACKGROUND))
    assert len(TRACED) <= max(before, 2)


def test_settings_without_meaning_are_refused():
    with pytest.raises(ValueError, match="level 5"):
        UpperLimit(level=5)
    with pytest.raises(ValueError, match="n_sigma inf"):
        UpperLimit(n_sigma=np.inf)
    with pytest.raises(ValueError, match="level 0"):
        IntervalLength(level=0)
