"""Fits and tests of every published workspace against pyhf's likelihood.

Reference numbers come from pyhf's minimisers. These stop short by up to 1e-6 in
-2 ln L, on some workspaces by more, and in one of them at the higher of two minima;
what is found there is shown to be the truth with pyhf's likelihood itself.
"""

import jax
import numpy as np
import pyhf
import pytest
from scipy import optimize, special

import published
from diffana.errors import RESULTS
from diffana.histfactory import from_workspace
from diffana.infer import BANDS, discovery, estimate, hypotest, sigma_mu


pytestmark = [
    pytest.mark.slow,
    pytest.mark.shared,
    # scipy clips trial points that rounding put outside the bounds, and says so.
    pytest.mark.filterwarnings("ignore:Values in x were outside bounds"),
]

# A second minimum, lower than the one of the reference.
LOWER = {
    "pyhf_xml_xmlimport_input2": "the profile along `coupled_histosys` has two minima, "
    "and the reference's minimiser ended in the higher one"
}

# Reference p-values that are more than 1e-4 off.
STOPPED_SHORT = {
    name: "minimisers that stop 1e-7 above the minimum of the Asimov data leave an "
    "error of some 1e-4 in the expected CLs; the observed one agrees"
    for name in (
        "3Loffshell_simplified_250_230",
        "pyhf_val_1bin_normsys",
        "pyhf_xml_multibin_histfactory_p0",
        "pyhf_xml_overallsys_histfactory",
    )
}

# With sixty parameters or more, pyhf's finite differences take minutes and stop short.
LARGE = ("3Lonshell", "Sleptons", "atlas_", "sbottom_", "staus_", "ttbar_")


@pytest.fixture(scope="module")
def references(shared):
    return published.references(shared)


@pytest.fixture(autouse=True)
def forgotten_programs():
    """A process can map only so much memory, and no program serves another test."""
    yield
    jax.clear_caches()


@pytest.fixture
def tightened_pyhf():
    """pyhf on NumPy with a minimiser that stops at rounding, not at 1e-6."""
    backend, optimizer = pyhf.get_backend()
    pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer(tolerance=1e-14))
    yield
    pyhf.set_backend(backend, optimizer)


def p_values_of(spec, reference):
    """Observed p-value, then the expected ones, and the test with its fits."""
    model, data = from_workspace(spec)
    if reference.statistic == "q0":
        found = discovery(model, data)
        return np.append(found.p0, found.p0_exp), found
    found = hypotest(model, data, reference.poi_test)
    return np.append(found.CLs_obs, found.CLs_exp), found


@pytest.mark.parametrize("name", published.NAMES)
def test_fit_equals_the_reference(shared, references, name):
    reference = references[name]
    model, data = from_workspace(published.workspace(shared, name))
    found = estimate(model, data)
    assert found.result == RESULTS.successful
    # What the minimisers of the reference leave; a fit is certified to 1e-10.
    above = float(found.best_twice_nll) - reference.twice_nll
    assert above <= 1e-6
    if name in LOWER:
        assert above < -1
        # The fit found the reference's minimum as well.
        assert found.fit.competing_gap == pytest.approx(-above, abs=1e-6)
        return
    # A minimum much lower than the lowest of three minimisers would be news.
    assert above >= -1e-6

    parameters = model.parameters
    width = dict(zip(parameters.names, found.uncertainty.tolist(), strict=True))
    if found.fit.at_bound[parameters.poi_index]:
        # A signal strength at its bound has no uncertainty of its own.
        width[parameters.poi] = float(sigma_mu(model, 0.0))
    # An excess of 1e-6 in -2 ln L is a thousandth of a standard deviation.
    wanted = {parameters.poi: reference.poi_hat} | reference.bestfit
    for parameter, value in wanted.items():
        got = float(found.bestfit[parameters.index(parameter)])
        assert got == pytest.approx(value, abs=1e-3 * width[parameter]), parameter

    if reference.uncertainty:
        free = dict(zip(parameters.names, found.fit.free.tolist(), strict=True))
        assert {key for key, is_free in free.items() if is_free} == set(
            reference.uncertainty
        )
    # Second derivatives at points a thousandth of an uncertainty apart.
    for parameter, value in reference.uncertainty.items():
        assert width[parameter] == pytest.approx(value, rel=1e-3), parameter


@pytest.mark.parametrize("name", published.NAMES)
def test_p_values_equal_the_reference(shared, references, name, tightened_pyhf):
    reference = references[name]
    spec = published.workspace(shared, name)
    found, test = p_values_of(spec, reference)
    assert test.result == RESULTS.successful
    wanted = np.array(reference.p_values)
    assert np.all(np.isfinite(wanted))
    # Minima 1e-6 too high; p-values below 1e-4 hang on the square root of a statistic
    # of 15 or more, whose relative error is larger.
    off = np.abs(found - wanted) > np.where(wanted < 1e-4, 1e-6, 1e-4 * wanted)
    if name in LOWER:
        # The two minima are different physics: 0.11 instead of 0.28.
        assert found[0] < 0.5 * wanted[0]
    elif name in STOPPED_SHORT:
        assert not off[0]
        assert np.any(off[1:])
    else:
        assert not np.any(off), found / wanted - 1

    if name.startswith(LARGE):
        assert name not in LOWER | STOPPED_SHORT
        return
    # The exceptions and all others agree with pyhf where its minima are tight. From no
    # single start does it find the lower minimum and that of the Asimov data as well:
    # the observed CLs of such a workspace has a test of its own.
    bimodal = name in LOWER
    start = test.observed.conditional if bimodal else test.observed.free
    parsed = pyhf.Workspace(spec)
    theirs = parsed.model()
    observed, expected = pyhf.infer.hypotest(
        reference.poi_test,
        parsed.data(theirs),
        theirs,
        init_pars=start.bestfit.tolist(),
        test_stat=reference.statistic,
        return_expected_set=True,
    )
    # Its gradient is a finite difference, which leaves 1e-8 in the statistic, and a few
    # times that where 33 bins are summed.
    compared = slice(1, None) if bimodal else slice(None)
    np.testing.assert_allclose(
        found[compared], [observed, *expected][compared], rtol=1e-5, atol=1e-9
    )


def test_the_published_bands_of_ROOT_hold_where_the_reference_stopped_short(
    shared, references
):
    """One bin with `normsys`, computed with ROOT for pyhf's validation."""
    name = "pyhf_val_1bin_normsys"
    published_expected = [
        7.472581399417304e-10,
        5.741738272450336e-08,
        3.690120950161796e-06,
        0.00016966882793076826,
        0.004392935288879465,
    ]
    found, _ = p_values_of(published.workspace(shared, name), references[name])
    # MINUIT's minima are good to some 1e-7; the reference is off by 2e-4 to 5e-4.
    np.testing.assert_allclose(found[1:], published_expected, rtol=5e-5)


def test_one_workspace_has_two_minima(shared, references):
    """Brute force: pyhf's -2 ln L over the signal strength and its one morph."""
    name = "pyhf_xml_xmlimport_input2"
    reference, spec = references[name], published.workspace(shared, name)
    _, tests = p_values_of(spec, reference)
    parsed = pyhf.Workspace(spec)
    theirs = parsed.model()
    config = theirs.config
    strength, morph = config.poi_index, config.par_names.index("coupled_histosys")
    # The luminosity is held.
    assert np.flatnonzero(~np.array(config.suggested_fixed())).tolist() == sorted(
        [strength, morph]
    )
    lower, upper = config.suggested_bounds()[strength]

    def twice_nll(mu, alpha, data):
        params = np.array(config.suggested_init())
        params[[strength, morph]] = mu, alpha
        return -2 * float(theirs.logpdf(params, data)[0])

    def profile(alpha, data):
        """Convex in the signal strength, so that its minimum is the only one."""
        found = optimize.minimize_scalar(
            twice_nll,
            args=(alpha, data),
            bounds=(lower, upper),
            method="bounded",
            options={"xatol": 1e-9},
        )
        return min(found.fun, twice_nll(lower, alpha, data))

    def minima(curve, data):
        """All minima of `curve` along the morph, the lowest one first."""
        grid = np.linspace(-5, 5, 201)
        values = np.array([curve(alpha, data) for alpha in grid])
        inside = (values[1:-1] < values[:-2]) & (values[1:-1] < values[2:])
        found = [
            optimize.minimize_scalar(
                curve,
                args=(data,),
                bounds=(grid[at], grid[at + 2]),
                method="bounded",
                options={"xatol": 1e-9},
            )
            for at in np.flatnonzero(inside)
        ]
        return sorted((float(end.fun), float(end.x)) for end in found)

    data = np.array(parsed.data(theirs))
    lowest, other = minima(profile, data)
    # Both searches stop at 1e-9 of a parameter, at minima of curvature of order one.
    free = tests.observed.free
    np.testing.assert_allclose(free.best_twice_nll, lowest[0], atol=1e-9, rtol=0)
    np.testing.assert_allclose(free.bestfit[morph], lowest[1], atol=1e-5, rtol=0)
    assert reference.twice_nll == pytest.approx(other[0], abs=1e-6)
    assert other[0] - lowest[0] > 1

    def held(mu):
        return lambda alpha, data: twice_nll(mu, alpha, data)

    def fitted(mu, data):
        return minima(held(mu), data)[0]

    # CLs from nothing but these minima: arXiv:1007.1727, equations 16 and 65.
    signal, (background, morphed) = fitted(1.0, data)[0], fitted(0.0, data)
    generator = np.array(config.suggested_init())
    generator[[strength, morph]] = 0.0, morphed
    asimov = np.array(theirs.expected_data(generator))
    q = signal - lowest[0]
    q_asimov = fitted(1.0, asimov)[0] - twice_nll(0.0, morphed, asimov)
    assert background > lowest[0]
    assert tests.observed.poi_hat < 1
    assert q < q_asimov
    tails = special.log_ndtr([-np.sqrt(q), np.sqrt(q_asimov) - np.sqrt(q)])
    bands = np.array(BANDS)
    expected = special.log_ndtr(bands - np.sqrt(q_asimov)) - special.log_ndtr(bands)
    # The scan leaves about 1e-9 in the statistics.
    np.testing.assert_allclose(tests.CLs_obs, np.exp(tails[0] - tails[1]), rtol=1e-6)
    np.testing.assert_allclose(tests.CLs_exp, np.exp(expected), rtol=1e-6)
