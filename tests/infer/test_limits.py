"""Upper limits against closed forms, pyhf and finite differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from jax.test_util import check_grads
from scipy import optimize, stats

from diffana.errors import RESULTS
from diffana.histfactory import from_model, from_workspace
from diffana.infer import BANDS, expected_upper_limit, upper_limit
from reference import Morphed
from regions import EVERYTHING, workspace


LEVEL = 0.05


def counting(signal, background):
    """One bin without uncertainties: the γ of the background is held."""
    return from_model(
        pyhf.simplemodels.uncorrelated_background([signal], [background], [0.0])
    )


def observe(count):
    return jnp.array([count, 1.0])


def drop(count, rate, best):
    """Twice the logarithm of the ratio of two Poisson probabilities."""
    return 2 * (rate - best - count * np.log(rate / best))


def closed_limit(signal, background, count, *, band=None, bounded=True):
    """Limit on the signal strength of one bin, by bisection in the closed form."""

    def excess(mu):
        rate = background + mu * signal
        q_asimov = drop(background, rate, background)
        if band is not None:
            shift = -band
            tails = stats.norm.logsf([np.sqrt(q_asimov) + shift, shift])
            return tails[0] - tails[1] - np.log(LEVEL)
        best = max(count, background) if bounded else count
        q = drop(count, rate, best) if rate > best else 0.0
        if bounded and q > q_asimov:
            above = (q - q_asimov) / (2 * np.sqrt(q_asimov))
        else:
            above = np.sqrt(q) - np.sqrt(q_asimov)
        tails = stats.norm.logsf([above + np.sqrt(q_asimov), above])
        return tails[0] - tails[1] - np.log(LEVEL)

    return optimize.brentq(excess, 1e-3, 50.0, xtol=1e-13, rtol=1e-13)


SIGNAL, BACKGROUND = 5.0, 50.0
# An excess, a deficit that stops the fit at the bound, the expectation itself.
COUNTS = [61.0, 38.0, 50.0]


@pytest.mark.parametrize("count", COUNTS)
def test_limits_of_one_bin_are_those_of_the_closed_form(count):
    limits = upper_limit(counting(SIGNAL, BACKGROUND), observe(count))
    # Fits certified to an edm of 1e-10 are good to 1e-10 in q of about 4.
    want = closed_limit(SIGNAL, BACKGROUND, count)
    np.testing.assert_allclose(limits.observed, want, rtol=1e-9)
    want = [closed_limit(SIGNAL, BACKGROUND, count, band=band) for band in BANDS]
    np.testing.assert_allclose(limits.expected, want, rtol=1e-9)
    assert np.all(limits.n_trials <= 6)


@eqx.filter_jit
@eqx.filter_jacrev
def slopes_of_limits(model_and_data):
    limits = upper_limit(*model_and_data)
    return jnp.append(limits.expected, limits.observed)


@pytest.mark.parametrize("count", COUNTS)
def test_derivatives_are_those_of_the_closed_form(count):
    model = counting(SIGNAL, BACKGROUND)

    def differences(move):
        bands = [*BANDS, None]
        sides = [
            [closed_limit(*move(h), band=band) for band in bands] for h in (1e-4, -1e-4)
        ]
        return (np.array(sides[0]) - np.array(sides[1])) / 2e-4

    by_model, by_data = slopes_of_limits((model, observe(count)))
    nominal = by_model.templates.nominal
    cell = {
        sample: model.layout.cells("singlechannel", sample).start
        for sample in ("signal", "background")
    }
    # Differences of bisections good to 1e-13 over 2e-4, and the third derivative.
    close = {"rtol": 1e-6, "atol": 1e-8}
    want = differences(lambda h: (SIGNAL + h, BACKGROUND, count))
    np.testing.assert_allclose(nominal[:, cell["signal"]], want, **close)
    want = differences(lambda h: (SIGNAL, BACKGROUND + h, count))
    np.testing.assert_allclose(nominal[:, cell["background"]], want, **close)
    want = differences(lambda h: (SIGNAL, BACKGROUND, count + h))
    np.testing.assert_allclose(by_data[:, 0], want, **close)
    assert abs(by_data[-1, 0]) > 0.01


def test_the_level_is_an_argument():
    model = counting(SIGNAL, BACKGROUND)
    strict, loose = (
        upper_limit(model, observe(55.0), level=level) for level in (0.01, 0.3)
    )
    # CLs of the median is 2 Φ̄(√q_A).
    for limits, level in ((strict, 0.01), (loose, 0.3)):
        q = drop(BACKGROUND, BACKGROUND + SIGNAL * limits.expected[2], BACKGROUND)
        np.testing.assert_allclose(2 * stats.norm.sf(np.sqrt(q)), level, rtol=1e-9)
    with pytest.raises(ValueError, match="level 5"):
        upper_limit(model, observe(55.0), level=5)


def narrow(model, upper):
    """The model with a lower bound above for its strength."""
    index = model.parameters.poi_index
    return eqx.tree_at(
        lambda m: m.layout.parameters.upper,
        model,
        model.layout.parameters.upper.at[index].set(upper),
    )


def test_a_limit_beyond_the_bound_is_missing_and_spoils_no_other():
    wide = counting(SIGNAL, BACKGROUND)
    full = upper_limit(wide, observe(50.0))
    between = float(full.expected[3] + full.expected[4]) / 2
    model = narrow(wide, between)
    limits = upper_limit(model, observe(50.0), throw=False)
    np.testing.assert_allclose(limits.expected[:4], full.expected[:4], rtol=1e-12)
    assert np.isnan(limits.expected[4])
    ends = [limits.results == code for code in (RESULTS.successful, RESULTS.no_root)]
    assert ends[0].tolist() == [True] * 5 + [False]
    assert ends[1].tolist() == [False] * 5 + [True]
    assert limits.result == RESULTS.no_root
    with pytest.raises(RuntimeError, match="widen the bounds"):
        upper_limit(model, observe(50.0))

    @eqx.filter_jit
    @eqx.filter_grad
    def slope(templates, model, band):
        model = eqx.tree_at(lambda m: m.templates, model, templates)
        return upper_limit(model, observe(50.0), throw=False).expected[band]

    got = slope(model.templates, model, jnp.array(3))
    want = slope(wide.templates, wide, jnp.array(3))
    np.testing.assert_allclose(got.nominal, want.nominal, rtol=1e-12)
    none = slope(model.templates, model, jnp.array(4))
    assert np.all(np.asarray(none.nominal) == 0)


def test_failed_fits_give_no_limit():
    model = counting(SIGNAL, BACKGROUND)
    limits = upper_limit(model, observe(jnp.nan), throw=False)
    assert limits.result == RESULTS.non_finite
    assert np.isnan(limits.observed)
    assert np.all(np.isnan(limits.expected))
    with pytest.raises(RuntimeError, match="not finite"):
        upper_limit(model, observe(jnp.nan))


BINS = Morphed(*map(jnp.array, ([3.0, 9.0], [40.0, 30.0], [44.0, 28.0], [37.0, 33.0])))


def test_the_median_without_data_is_that_of_asimov_data():
    asimov = BINS.expected_data(jnp.array([0.0, 0.0]))
    alone = expected_upper_limit(BINS)
    # The background fit to the Asimov data returns its parameters to the edm.
    want = upper_limit(BINS, asimov).expected[2]
    np.testing.assert_allclose(alone.median, want, rtol=1e-8)
    other = expected_upper_limit(BINS, jnp.array([0.0, 1.0]))
    want = upper_limit(BINS, BINS.expected_data(jnp.array([0.0, 1.0]))).expected[2]
    np.testing.assert_allclose(other.median, want, rtol=1e-8)
    assert abs(other.median - alone.median) > 0.01


@pytest.mark.slow
def test_derivatives_of_the_median_hold_to_second_order_in_both_modes():
    def median(signal, up):
        model = eqx.tree_at(lambda m: (m.signal, m.up), BINS, (signal, up))
        return expected_upper_limit(model).median

    # The reference is a finite difference with steps of 1e-5 or so.
    check_grads(
        jax.jit(median),
        (BINS.signal, BINS.up),
        order=2,
        modes=("fwd", "rev"),
        rtol=1e-5,
    )


def test_a_missing_median_has_no_derivative():
    def median(signal):
        return expected_upper_limit(
            eqx.tree_at(lambda m: m.signal, BINS, signal), throw=False
        ).median

    value, slope = jax.jit(jax.value_and_grad(median))(1e-3 * BINS.signal)
    assert np.isnan(value)
    assert np.all(np.isnan(slope))


OBSERVED = {"deficit": [44.0, 33.0, 118.0], "excess": [64.0, 56.0, 124.0]}


@pytest.fixture
def tightened_pyhf():
    """pyhf on NumPy with a minimiser that stops at rounding, not at 1e-6."""
    backend, optimizer = pyhf.get_backend()
    pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer(tolerance=1e-14))
    yield
    pyhf.set_backend(backend, optimizer)


@pytest.mark.filterwarnings("ignore:Values in x were outside bounds")
@pytest.mark.parametrize(
    ("observed", "bounded"),
    [(OBSERVED["deficit"], True), (OBSERVED["excess"], True), (None, False)],
    ids=["deficit", "excess", "signed"],
)
def test_pyhf_finds_the_level_at_every_limit(observed, bounded, tightened_pyhf):
    mu_lower = 0.0 if bounded else -10.0
    observed = OBSERVED["deficit"] if observed is None else observed
    spec = workspace(observed, mu_lower=mu_lower, **EVERYTHING)
    limits = upper_limit(*from_workspace(spec), bounded=bounded)
    parsed = pyhf.Workspace(spec)
    theirs = parsed.model()
    for position, limit in enumerate([limits.observed, *limits.expected]):
        CLs = pyhf.infer.hypotest(
            float(limit),
            parsed.data(theirs),
            theirs,
            init_pars=limits.free.bestfit.tolist(),
            test_stat="qtilde" if bounded else "q",
            return_expected_set=True,
        )
        found = CLs[0] if position == 0 else CLs[1][position - 1]
        # pyhf's minimiser leaves about 1e-8 in q; see test_hypotest.
        np.testing.assert_allclose(found, LEVEL, rtol=2e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Values in x were outside bounds")
def test_limits_equal_those_of_pyhf(tightened_pyhf):
    spec = workspace(OBSERVED["excess"], **EVERYTHING)
    limits = upper_limit(*from_workspace(spec))
    parsed = pyhf.Workspace(spec)
    theirs = parsed.model()
    observed, expected = pyhf.infer.intervals.upper_limits.upper_limit(
        parsed.data(theirs), theirs, rtol=1e-9
    )
    np.testing.assert_allclose(limits.observed, observed, rtol=1e-6)
    np.testing.assert_allclose(limits.expected, expected, rtol=1e-6)


@pytest.mark.slow
def test_template_derivatives_equal_finite_differences():
    model, data = from_workspace(workspace(OBSERVED["excess"], **EVERYTHING))

    @eqx.filter_jit
    def limits(templates):
        found = upper_limit(eqx.tree_at(lambda m: m.templates, model, templates), data)
        return jnp.append(found.expected[jnp.array([0, 2])], found.observed)

    slopes = eqx.filter_jit(jax.jacrev(limits))(model.templates)
    step = 1e-4
    for field, entry in [
        ("nominal", 0),
        ("nominal", 2),
        ("nominal", 4),
        ("histosys_hi", 1),
        ("normsys_lo", 0),
        ("shapesys", 1),
        ("staterror", 0),
    ]:
        values = getattr(model.templates, field)

        def moved(h, field=field, entry=entry, values=values):
            return limits(
                eqx.tree_at(
                    lambda t: getattr(t, field),
                    model.templates,
                    values.at[entry].add(h),
                )
            )

        want = (moved(step) - moved(-step)) / (2 * step)
        # Limits good to 1e-11 over the step, and its square.
        np.testing.assert_allclose(
            getattr(slopes, field)[:, entry], want, rtol=1e-5, atol=2e-7
        )
