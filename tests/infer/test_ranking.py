"""Impacts and pulls against closed forms, refits and pyhf."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest

from diffana.errors import RESULTS
from diffana.fit import fit
from diffana.histfactory import from_workspace
from diffana.infer import estimate, ranking
from gaussian import Gaussian
from regions import EVERYTHING, FAKE, workspace


COVARIANCE = np.array([[4.0, 1.2, -0.3], [1.2, 0.9, 0.1], [-0.3, 0.1, 0.25]])
MEASURED = jnp.array([0.3, -1.0, 2.0])


@pytest.mark.parametrize("refit", [False, True])
def test_impacts_of_a_gaussian_are_its_covariance(refit):
    model = Gaussian(jnp.linalg.inv(COVARIANCE))
    ranked = ranking(model, MEASURED, refit=refit)
    assert ranked.names == ("theta1", "theta2")
    want = COVARIANCE[0, 1:] / np.sqrt(np.diag(COVARIANCE)[1:])
    # Exactly linear; refits are good to the root of the edm.
    np.testing.assert_allclose(ranked.postfit_up, want, rtol=1e-7)
    np.testing.assert_allclose(ranked.postfit_down, -want, rtol=1e-7)
    assert ranked.order.tolist() == [0, 1]
    np.testing.assert_allclose(ranked.bestfit, MEASURED[1:], rtol=1e-12)
    # Nothing is known of auxiliary measurements.
    assert np.all(np.isnan([ranked.pull, ranked.constraint, ranked.prefit_up]))


def test_the_parameter_of_interest_can_be_chosen():
    model = Gaussian(jnp.linalg.inv(COVARIANCE))
    ranked = ranking(model, MEASURED, poi="theta2", parameters=["mu"])
    want = COVARIANCE[2, 0] / np.sqrt(COVARIANCE[0, 0])
    np.testing.assert_allclose(ranked.postfit_up, [want], rtol=1e-12)
    with pytest.raises(ValueError, match="impact on itself"):
        ranking(model, MEASURED, parameters=["mu"])
    with pytest.raises(ValueError, match="no parameter 'theta9'"):
        ranking(model, MEASURED, parameters=["theta9"])


OBSERVED = [66.0, 50.0, 131.0]


@pytest.fixture(scope="module")
def spec():
    return workspace(OBSERVED, **EVERYTHING)


def test_implicit_impacts_are_derivatives_of_conditional_fits(spec):
    model, data = from_workspace(spec)
    ranked = ranking(model, data)
    assert ranked.result == RESULTS.successful
    poi, step = model.parameters.poi_index, 1e-3
    best = ranked.fit.bestfit
    for position, name in enumerate(ranked.names):
        value = ranked.bestfit[position]
        above, below = (
            fit(model, data, fixed={name: value + h}, partners=best[None]).bestfit[poi]
            for h in (step, -step)
        )
        slope = (above - below) / (2 * step)
        # The square of the step against the scale of the curvature, of order one.
        np.testing.assert_allclose(
            ranked.postfit_up[position],
            slope * ranked.uncertainty[position],
            rtol=1e-4,
            atol=1e-6,
        )


def test_pulls_and_constraints_refer_to_the_auxiliary_measurements(spec):
    model, data = from_workspace(spec)
    ranked = ranking(model, data)
    estimates = estimate(model, data)
    for position, name in enumerate(ranked.names):
        at = model.parameters.index(name)
        centre, width = {
            "scale": (0.0, 1.0),
            "tagging": (0.0, 1.0),
            "xsec": (0.0, 1.0),
            # A relative uncertainty of 30 % is a count of 1 / 0.3^2.
            "fakes[0]": (1.0, 0.3),
            "fakes[1]": (1.0, 0.3),
            "stat_SR[0]": (1.0, 2.5 / 50),
            "stat_SR[1]": (1.0, 2.0 / 40),
            "stat_CR[0]": (1.0, 4.0 / 120),
        }[name]
        pull = (estimates.bestfit[at] - centre) / width
        np.testing.assert_allclose(ranked.pull[position], pull, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(
            ranked.constraint[position], estimates.uncertainty[at] / width, rtol=1e-9
        )
        np.testing.assert_allclose(
            ranked.prefit_up[position] * ranked.constraint[position],
            ranked.postfit_up[position],
            rtol=1e-9,
        )
    sizes = np.abs(ranked.postfit_up)[ranked.order]
    assert np.all(np.diff(sizes) <= 0)
    assert FAKE.size == 2


def test_refitted_impacts_equal_pyhf(spec):
    model, data = from_workspace(spec)
    names = ["tagging", "stat_SR[0]"]
    ranked = ranking(model, data, parameters=names, refit=True)
    parsed = pyhf.Workspace(spec)
    theirs = parsed.model()
    their_data = parsed.data(theirs)
    best = np.asarray(ranked.fit.bestfit)
    prefit = [1.0, 2.5 / 50]
    backend, optimizer = pyhf.get_backend()
    pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer(tolerance=1e-14))
    for position, name in enumerate(names):
        at = theirs.config.par_names.index(name)
        assert theirs.config.par_names == list(model.parameters.names)
        for kind, width in [
            ("prefit_up", prefit[position]),
            ("prefit_down", -prefit[position]),
            ("postfit_up", ranked.uncertainty[position]),
            ("postfit_down", -ranked.uncertainty[position]),
        ]:
            start, held = best.copy(), np.array(theirs.config.suggested_fixed())
            start[at] += width
            held[at] = True
            found = pyhf.infer.mle.fit(
                their_data, theirs, init_pars=start.tolist(), fixed_params=held.tolist()
            )
            shift = found[theirs.config.poi_index] - best[theirs.config.poi_index]
            # The place of pyhf's minimum is good to the root of its value's error.
            np.testing.assert_allclose(
                getattr(ranked, kind)[position], shift, atol=2e-4
            )
    pyhf.set_backend(backend, optimizer)
    # Morphing is not linear: the two sides differ by more than the errors above.
    assert abs(ranked.prefit_up[0] + ranked.prefit_down[0]) > 1e-3


def test_held_parameters_have_no_impact(spec):
    model, data = from_workspace(spec)
    ranked = ranking(model, data, fixed={"tagging": 0.5})
    at = ranked.names.index("tagging")
    assert ranked.postfit_up[at] == 0
    assert np.isnan([ranked.pull[at], ranked.constraint[at]]).all()
    assert not ranked.free[at]
    ordered = ranked.order.tolist()
    behind = ordered[ordered.index(at) :]
    # Only the control region's own parameters, which it alone coupled, share its place.
    np.testing.assert_allclose(ranked.postfit_up[np.array(behind)], 0, atol=1e-12)


def test_derivatives_of_impacts_equal_finite_differences(spec):
    model, data = from_workspace(spec)

    @eqx.filter_jit
    def impact(nominal):
        moved = eqx.tree_at(lambda m: m.templates.nominal, model, nominal)
        return ranking(moved, data, parameters=["tagging", "scale"]).postfit_up

    nominal = model.templates.nominal
    slopes = eqx.filter_jit(jax.jacrev(impact))(nominal)
    for entry in (0, 3):
        above, below = (impact(nominal.at[entry].add(h)) for h in (1e-4, -1e-4))
        want = (above - below) / 2e-4
        # Parameters good to 1e-9 over the step.
        np.testing.assert_allclose(slopes[:, entry], want, rtol=1e-5, atol=1e-7)


def test_a_failed_fit_gives_no_impacts(spec):
    model, data = from_workspace(spec)
    ranked = ranking(model, data.at[0].set(jnp.nan), throw=False)
    assert ranked.result == RESULTS.non_finite
    assert np.all(np.isnan(ranked.postfit_up))
    with pytest.raises(RuntimeError, match="not finite"):
        ranking(model, data.at[0].set(jnp.nan))
