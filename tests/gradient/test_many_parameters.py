"""Derivatives of every result on workspaces with more than sixty parameters.

Correlated uncertainties act on many samples and channels at once, so that a wrong sum
over what shares a parameter, which a small model may forgive, shows here.
"""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from scipy import special

from diffana.errors import RESULTS
from diffana.histfactory import from_workspace, to_spec
from diffana.infer import (
    discovery,
    hypotest,
    ranking,
    sigma_mu,
    upper_limit,
)
from pyhf_minima import minimum, twice_nll


N_BINS = 4
CHANNELS = ("SR low", "SR high", "CR")
YIELDS = {
    "signal": {"SR low": [4, 7, 9, 6], "SR high": [3, 6, 9, 12], "CR": [1, 1, 0.5, 0]},
    "top": {
        "SR low": [90, 70, 45, 20],
        "SR high": [60, 42, 25, 11],
        "CR": [400, 310, 190, 90],
    },
    "vjets": {
        "SR low": [50, 42, 33, 18],
        "SR high": [35, 28, 20, 9],
        "CR": [110, 95, 60, 31],
    },
    "fake": {
        "SR low": [22, 15, 9, 4],
        "SR high": [15, 9, 6, 3],
        "CR": [260, 170, 95, 40],
    },
}
NORMALISED = [f"norm{i}" for i in range(20)]
SHAPED = [f"shape{i}" for i in range(16)]
BOTH = [f"both{i}" for i in range(6)]


def correlated_workspace(seed=5):
    """Four samples in three channels: 73 parameters, most of them shared."""
    rng = np.random.default_rng(seed)

    def plain(kind, name):
        return {"type": kind, "name": name, "data": None}

    def norm(name):
        up, down = rng.uniform(0.01, 0.05, 2) * rng.choice([-1, 1])
        return {"type": "normsys", "name": name, "data": {"hi": 1 + up, "lo": 1 - down}}

    def shape(name, yields):
        slope, offset = rng.normal(0, 0.03, 2)
        change = offset + slope * np.linspace(-1, 1, N_BINS)
        lopsided = rng.normal(0, 0.005, N_BINS)
        data = {
            "hi_data": (yields * (1 + change + lopsided)).tolist(),
            "lo_data": (yields * (1 - change + lopsided)).tolist(),
        }
        return {"type": "histosys", "name": name, "data": data}

    def uncertainty(kind, name, widths):
        return {"type": kind, "name": name, "data": widths.tolist()}

    def sample(name, channel):
        yields = np.array(YIELDS[name][channel], float)
        names = [*NORMALISED, *SHAPED, *BOTH]
        acting = {n for n in names if rng.uniform() < 0.7}
        modifiers = [norm(n) for n in (*NORMALISED, *BOTH) if n in acting]
        modifiers += [shape(n, yields) for n in (*SHAPED, *BOTH) if n in acting]
        if name == "signal":
            modifiers += [plain("normfactor", "mu"), plain("lumi", "lumi")]
        if name == "top":
            modifiers.append(plain("normfactor", "mu_top"))
        if name == "vjets":
            modifiers.append(plain("lumi", "lumi"))
            modifiers.append(uncertainty("shapesys", f"vjets {channel}", 0.1 * yields))
        if name == "fake" and channel != "SR high":
            modifiers.append(plain("shapefactor", "fake shape"))
        if name != "fake":
            widths = np.sqrt(yields) / 3
            modifiers.append(uncertainty("staterror", f"stat {channel}", widths))
        return {"name": name, "data": yields.tolist(), "modifiers": modifiers}

    lumi = {
        "name": "lumi",
        "auxdata": [1.0],
        "inits": [1.0],
        "sigmas": [0.02],
        "bounds": [[0.5, 1.5]],
    }
    channels = [
        {"name": channel, "samples": [sample(name, channel) for name in YIELDS]}
        for channel in CHANNELS
    ]
    # More than the background, less than with the signal, and not at any template.
    observations = [
        {
            "name": channel,
            "data": np.round(
                sum(
                    np.array(YIELDS[name][channel], float)
                    * (0.6 if name == "signal" else 1.0)
                    for name in YIELDS
                )
                * rng.normal(1, 0.04, N_BINS)
            ).tolist(),
        }
        for channel in CHANNELS
    ]
    config = {"poi": "mu", "parameters": [lumi]}
    return {
        "version": "1.0.0",
        "channels": channels,
        "observations": observations,
        "measurements": [{"name": "measurement", "config": config}],
    }


KINDS = (
    "nominal",
    "histosys_lo",
    "histosys_hi",
    "normsys_lo",
    "normsys_hi",
    "shapesys",
    "staterror",
    "sigma",
)
QUANTITIES = (
    "ln CLs",
    "ln median CLs",
    "ln p0",
    "ln median p0",
    "observed limit",
    "limit at -1 sigma",
    "median limit",
    "sigma_mu",
    "best fit of a nuisance parameter",
    "its uncertainty",
    "its impact",
)


def results(model, counts, ranked, shift):
    """QUANTITIES; auxiliary measurements are nominal but for the shift."""
    data = jnp.concatenate([counts, model.auxdata]) + shift
    exclusion = hypotest(model, data, 1.0, throw=False)
    found = discovery(model, data, throw=False)
    limits = upper_limit(model, data, throw=False)
    impacts = ranking(model, data, parameters=[ranked], throw=False)
    return jnp.stack(
        [
            jnp.log(exclusion.CLs_obs),
            jnp.log(exclusion.CLs_exp[2]),
            jnp.log(found.p0),
            jnp.log(found.p0_exp[2]),
            limits.observed,
            limits.expected[1],
            limits.expected[2],
            sigma_mu(model),
            impacts.bestfit[0],
            impacts.uncertainty[0],
            impacts.postfit_up[0],
        ]
    )


@eqx.filter_jit
def results_and_slope(model, counts, ranked, templates, shift, direction):
    """`results`, and the derivative in a direction by all templates and all data."""

    def of_both(templates, shift):
        changed = eqx.tree_at(lambda m: m.templates, model, templates)
        return results(changed, counts, ranked, shift)

    values, pullback = jax.vjp(of_both, templates, shift)
    return values, pullback(direction)


class Results:
    """Values and derivatives from one compiled program, as functions of changes."""

    def __init__(self, model, data, ranked):
        self.model, self.ranked = model, ranked
        self.counts = data[: model.layout.n_bins]
        self.nothing = jnp.zeros_like(data)

    def _both(self, templates, shift, direction):
        return results_and_slope(
            self.model, self.counts, self.ranked, templates, shift, direction
        )

    def __call__(self, *, kind=None, entry=0, by=0.0):
        """Values with one entry of a kind of templates, or of the data, changed."""
        templates, shift = self.model.templates, self.nothing
        if kind == "data":
            shift = shift.at[entry].add(by)
        elif kind is not None:
            changed = getattr(templates, kind).at[entry].add(by)
            templates = eqx.tree_at(lambda t: getattr(t, kind), templates, changed)
        direction = jnp.zeros(len(QUANTITIES))
        return np.asarray(self._both(templates, shift, direction)[0])

    def slopes(self):
        """Derivatives of all quantities by every entry of every kind, in reverse."""
        pulled = [
            self._both(self.model.templates, self.nothing, direction)[1]
            for direction in jnp.eye(len(QUANTITIES))
        ]
        by_kind = {
            kind: np.stack([getattr(templates, kind) for templates, _ in pulled])
            for kind in KINDS
        }
        return by_kind | {"data": np.stack([by_datum for _, by_datum in pulled])}


def central(function, step):
    """Derivative of `function` at zero, to fourth order in the step."""
    one, two = (function(h) - function(-h) for h in (step, 2 * step))
    return (8 * one - two) / (12 * step)


def step_of(value, relative):
    return relative * (value if value != 0 else 1.0)


def entries_of(model, data, kind):
    """Entries that a derivative may be taken by."""
    if kind == "data":
        return np.arange(data.size)
    if kind == "sigma":
        # The others follow from the statistical uncertainties.
        return np.flatnonzero(~np.asarray(model.layout.sigma_derived))
    return np.arange(getattr(model.templates, kind).size)


def compare_with_finite_differences(model, data, ranked, n_entries, rtol):
    """Entries of every kind, drawn at random."""
    found = Results(model, data, ranked)
    values = found()
    assert np.all(np.isfinite(values)), dict(zip(QUANTITIES, values, strict=True))
    rng = np.random.default_rng(11)
    for kind, slopes in found.slopes().items():
        assert np.all(np.isfinite(slopes)), kind
        # An entry with little influence is a difference of larger ones.
        scale = np.max(np.abs(slopes), axis=1, initial=0.0)
        scale = np.where(scale > 0, scale, 1.0)
        entries = entries_of(model, data, kind)
        # Entries that matter for something: agreement of zeros would prove little.
        influence = np.max(np.abs(slopes[:, entries]) / scale[:, None], axis=0)
        entries = entries[influence > 0.05]
        for entry in rng.choice(entries, min(entries.size, n_entries), replace=False):
            at = data if kind == "data" else getattr(model.templates, kind)
            want = central(
                lambda h, kind=kind, entry=entry: found(kind=kind, entry=entry, by=h),
                step_of(float(at[entry]), 1e-3),
            )
            np.testing.assert_allclose(
                slopes[:, entry] / scale,
                want / scale,
                rtol=rtol,
                atol=rtol,
                err_msg=f"{kind} {entry}",
            )


@pytest.fixture(scope="module")
def correlated():
    model, data = from_workspace(correlated_workspace())
    assert len(model.parameters) > 65
    assert all(getattr(model.templates, kind).size > 0 for kind in KINDS)
    return model, data


@pytest.mark.slow
def test_every_kind_of_template(correlated):
    model, data = correlated
    compare_with_finite_differences(model, data, "shape0", n_entries=4, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.shared
def test_a_published_workspace(shared):
    """A search for bottom squarks whose fitted signal strength is at its bound."""
    name = "sbottom_RegionA_sbottom_1300_205_60"
    spec = json.loads((shared / f"data/workspaces/{name}.json").read_text())
    model, data = from_workspace(spec)
    assert len(model.parameters) == 64
    ranked = "JET_GroupedNP_1"
    compare_with_finite_differences(model, data, ranked, n_entries=2, rtol=1e-5)


class PyhfTests:
    """Test statistics of pyhf models close to one that diffana has fitted.

    The minima are those of `pyhf.Model.logpdf`: what is taken over, the starts and the
    preconditioning Hessians, has no influence on where the Newton steps end.
    """

    def __init__(self, model, data):
        exclusion, found = hypotest(model, data, 1.0), discovery(model, data)
        self.counts = np.asarray(data[: model.layout.n_bins]).tolist()
        self.nearby = {}
        for name, fit, held in (
            ("free", exclusion.observed.free, False),
            ("signal", exclusion.observed.conditional, True),
            ("background", exclusion.observed.background, True),
            ("limit", exclusion.asimov.fit, True),
            ("discovery", found.asimov.fit, True),
        ):
            assert fit.result == RESULTS.successful
            moving = ~np.asarray(model.parameters.fixed)
            moving[model.parameters.poi_index] &= not held
            hessian = np.asarray(model.hessian(fit.bestfit, data))
            self.nearby[name] = fit.bestfit, hessian[np.ix_(moving, moving)]

    def lowest(self, name, model, data, held):
        start, hessian = self.nearby[name]
        value, params, _ = minimum(model, data, held=held, start=start, hessian=hessian)
        return value, params

    def asimov(self, name, model, params, held):
        """Statistic of `held` on the Asimov data of `params`."""
        data = np.array(model.expected_data(params))
        return self.lowest(name, model, data, held)[0] - twice_nll(model, params, data)

    def log_p_values(self, model):
        """The first four of QUANTITIES."""
        data = np.array(self.counts + model.config.auxdata)
        free, at = self.lowest("free", model, data, None)
        assert 0 < at[model.config.poi_index] < 1
        signal, signal_at = self.lowest("signal", model, data, 1.0)
        background, background_at = self.lowest("background", model, data, 0.0)
        # Cowan, Cranmer, Gross, Vitells, arXiv:1007.1727, equations 59 and 65.
        root = np.sqrt(signal - free)
        median = np.sqrt(self.asimov("limit", model, background_at, 1.0))
        found = np.sqrt(self.asimov("discovery", model, signal_at, 0.0))
        return np.array(
            [
                special.log_ndtr(-root) - special.log_ndtr(median - root),
                np.log(2) + special.log_ndtr(-median),
                special.log_ndtr(-np.sqrt(background - free)),
                special.log_ndtr(-found),
            ]
        )


@pytest.mark.slow
def test_p_values_through_new_pyhf_models(correlated):
    model, data = correlated
    found = Results(model, data, "shape0")
    tests = PyhfTests(model, data)
    theirs = tests.log_p_values(pyhf.Model(to_spec(model), poi_name="mu"))
    # Newton steps from differences place the minima to 1e-7, which moves no minimum but
    # the Asimov data generated there.
    np.testing.assert_allclose(found()[:4], theirs, rtol=1e-7)
    by_kind = found.slopes()
    rng = np.random.default_rng(12)
    # `pyhf` holds no width of a Gaussian constraint but that of `lumi`.
    for kind in KINDS[:-1]:
        leaf = getattr(model.templates, kind)
        entry = rng.choice(leaf.size)

        def moved(h, kind=kind, leaf=leaf, entry=entry):
            changed = eqx.tree_at(
                lambda m: getattr(m.templates, kind), model, leaf.at[entry].add(h)
            )
            return tests.log_p_values(pyhf.Model(to_spec(changed), poi_name="mu"))

        want = central(moved, step_of(float(leaf[entry]), 2e-3))
        slopes = by_kind[kind][:4]
        scale = np.max(np.abs(slopes), axis=1)
        # Minima good to 1e-12 over steps of 1e-3 of a template.
        np.testing.assert_allclose(
            slopes[:, entry] / scale,
            want / scale,
            rtol=1e-5,
            atol=1e-5,
            err_msg=f"{kind} {entry}",
        )
