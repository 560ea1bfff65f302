"""Expected yields and their uncertainties against cabinetry, toys and closed forms."""

import cabinetry
import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest

from diffana.histfactory import from_workspace
from diffana.infer import estimate, prefit_covariance, yields


SEEDS = range(3)


def modifier(kind, name, data=None):
    return {"type": kind, "name": name, "data": data}


def generated(seed, *, norm=0.1):
    """Three channels with every type of modifier, parameters shared in every way."""
    random = np.random.default_rng(seed)

    def sample(name, n_bins, scale, *modifiers):
        data = scale * random.uniform(0.5, 1.5, n_bins)
        built = []
        for one in modifiers:
            match one["type"]:
                case "histosys":
                    hi, lo = (
                        data * (1 + random.uniform(-0.2, 0.2, n_bins)) for _ in "ab"
                    )
                    built.append(one | {"data": {"hi_data": [*hi], "lo_data": [*lo]}})
                case "staterror" | "shapesys":
                    size = data * random.uniform(0.05, 0.2, n_bins)
                    built.append(one | {"data": [*size]})
                case "normsys":
                    size = {"hi": 1 + norm * random.uniform(0.5, 1), "lo": 1 - norm}
                    built.append(one | {"data": size})
                case _:
                    built.append(one)
        return {"name": name, "data": [*data], "modifiers": built}

    mu, lumi = modifier("normfactor", "mu"), modifier("lumi", "lumi")
    scale = [modifier(kind, "scale") for kind in ("histosys", "normsys")]
    channels = {
        "SR": [
            sample("signal", 3, 10, mu, lumi, *scale, modifier("staterror", "stat_SR")),
            sample("top", 3, 60, lumi, *scale, modifier("staterror", "stat_SR")),
            sample("fake", 3, 15, modifier("shapesys", "fakes")),
        ],
        "CR": [
            sample("top", 2, 300, lumi, *scale, modifier("normsys", "xsec")),
            sample("fake", 2, 20, modifier("shapefactor", "free")),
        ],
        "VR": [sample("top", 1, 90, modifier("normfactor", "norm_top"), lumi)],
    }
    return {
        "version": "1.0.0",
        "channels": [{"name": n, "samples": s} for n, s in channels.items()],
        "observations": [
            {
                "name": name,
                "data": [
                    *np.rint(np.sum([one["data"] for one in samples], axis=0) * 1.05)
                ],
            }
            for name, samples in channels.items()
        ],
        "measurements": [
            {
                "name": "m",
                "config": {
                    "poi": "mu",
                    "parameters": [
                        {
                            "name": "lumi",
                            "auxdata": [1.0],
                            "inits": [1.0],
                            "sigmas": [0.02],
                            "bounds": [[0.9, 1.1]],
                        }
                    ],
                },
            }
        ],
    }


def by_cabinetry(spec, params, uncertainty, correlation):
    """Per bin and per channel, cells and totals, in the order of our layout."""
    model = pyhf.Workspace(spec).model()
    bins, channels = cabinetry.model_utils.yield_stdev(
        model, np.asarray(params), np.asarray(uncertainty), np.asarray(correlation)
    )
    names = model.config.samples
    cells, rows = [], []
    for position, channel in enumerate(model.config.channels):
        (here,) = (one for one in spec["channels"] if one["name"] == channel)
        for name in sorted(one["name"] for one in here["samples"]):
            cells += bins[position][names.index(name)]
            rows.append(channels[position][names.index(name)])
    return {
        "cells": cells,
        "bins": [value for channel in bins for value in channel[-1]],
        "rows": rows,
        "channels": [channel[-1] for channel in channels],
    }


def agree(found, want, **tolerance):
    for name, values in want.items():
        got = getattr(found, f"{name}_uncertainty")
        np.testing.assert_allclose(got, values, **tolerance, err_msg=name)


@pytest.fixture(scope="module")
def random_parameters():
    """Values off the nominal ones, and a covariance with correlations of every sign."""
    random = np.random.default_rng(5)
    spec = generated(0)
    model, _ = from_workspace(spec)
    inits = np.asarray(model.parameters.inits)
    mixed = random.normal(size=(inits.size, 2 * inits.size))
    covariance = mixed @ mixed.T / (2 * inits.size)
    width = 0.1 * np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(*[np.sqrt(np.diag(covariance))] * 2)
    return inits + 0.05 * random.normal(size=inits.size), width, correlation


@pytest.mark.parametrize("seed", SEEDS)
def test_small_uncertainties_are_those_of_cabinetry(seed, random_parameters):
    """Its half differences tend to derivatives as the uncertainties become small."""
    params, width, correlation = random_parameters
    spec = generated(seed)
    small = 1e-4 * width
    covariance = correlation * np.outer(small, small)
    found = yields(from_workspace(spec)[0], jnp.asarray(params), covariance)
    # The third derivatives leave 1e-8, rounding of the differences 1e-16 / 1e-5.
    agree(found, by_cabinetry(spec, params, small, correlation), rtol=1e-7)


def test_uncertainties_before_the_fit_are_those_of_cabinetry():
    spec = generated(1, norm=0.0)
    model, _ = from_workspace(spec)
    theirs = pyhf.Workspace(spec).model()
    width = cabinetry.model_utils.prefit_uncertainties(theirs)
    covariance = prefit_covariance(model)
    np.testing.assert_allclose(np.diag(covariance), width**2, rtol=1e-14)
    assert np.count_nonzero(covariance - np.diag(np.diag(covariance))) == 0
    # Shapes are interpolated such that their derivative at 0 is half the difference
    # between +1 and -1, and all other modifiers here are linear: equal to rounding.
    found = yields(model, model.parameters.inits, covariance)
    agree(
        found,
        by_cabinetry(spec, theirs.config.suggested_init(), width, np.eye(len(width))),
        rtol=1e-12,
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_uncertainties_before_and_after_the_fit_are_close_to_cabinetrys(seed):
    spec = generated(seed)
    model, data = from_workspace(spec)
    theirs = pyhf.Workspace(spec).model()
    width = cabinetry.model_utils.prefit_uncertainties(theirs)
    before = yields(model, model.parameters.inits, prefit_covariance(model))
    params = theirs.config.suggested_init()
    # What is left is of third order in one parameter, and "scale" changes yield and
    # shape by up to 30 % together: the square of that, relative to the effect.
    agree(before, by_cabinetry(spec, params, width, np.eye(len(width))), rtol=0.09)
    fitted = estimate(model, data)
    after = yields(model, fitted.bestfit, fitted.covariance)
    want = by_cabinetry(spec, fitted.bestfit, fitted.uncertainty, fitted.correlation)
    agree(after, want, rtol=0.09)


@pytest.mark.parametrize("seed", SEEDS)
def test_yields_are_those_of_cabinetrys_prediction(seed):
    spec = generated(seed)
    model, _ = from_workspace(spec)
    theirs = pyhf.Workspace(spec).model()
    predicted = cabinetry.model_utils.prediction(theirs)
    found = yields(model, model.parameters.inits, prefit_covariance(model))
    for position, channel in enumerate(theirs.config.channels):
        by_sample = dict(
            zip(theirs.config.samples, predicted.model_yields[position], strict=True)
        )
        total = np.sum(predicted.model_yields[position], axis=0)
        # Sums of a few numbers of the same sign: rounding.
        bins = found.bins[model.layout.bins(channel)]
        np.testing.assert_allclose(bins, total, rtol=1e-13)
        np.testing.assert_allclose(found.channels[position], total.sum(), rtol=1e-13)
        for row, sum_of_row in zip(model.layout.rows, found.rows, strict=True):
            if row.channel == channel:
                cells = found.cells[row.start : row.stop]
                np.testing.assert_allclose(cells, by_sample[row.sample], rtol=1e-13)
                np.testing.assert_allclose(sum_of_row, np.sum(cells), rtol=1e-13)


def test_one_bin_by_hand():
    """Yield s·mu + b·gamma: variance (s σ_mu)² + (b σ_γ)² + 2 s b ρ σ_mu σ_γ."""
    spec = {
        "version": "1.0.0",
        "channels": [
            {
                "name": "SR",
                "samples": [
                    {
                        "name": "signal",
                        "data": [10.0],
                        "modifiers": [modifier("normfactor", "mu")],
                    },
                    {
                        "name": "background",
                        "data": [50.0],
                        "modifiers": [modifier("staterror", "stat", [5.0])],
                    },
                ],
            }
        ],
        "observations": [{"name": "SR", "data": [60.0]}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
    }
    model, _ = from_workspace(spec)
    assert model.parameters.names == ("mu", "stat[0]")
    covariance = jnp.array([[0.09, -0.6 * 0.3 * 0.08], [-0.6 * 0.3 * 0.08, 0.0064]])
    found = yields(model, jnp.array([2.0, 1.1]), covariance)
    np.testing.assert_allclose(found.bins, [75.0], rtol=1e-15)
    want = np.sqrt(3.0**2 + 4.0**2 - 2 * 0.6 * 3.0 * 4.0)
    np.testing.assert_allclose(found.bins_uncertainty, [want], rtol=1e-14)
    np.testing.assert_allclose(found.channels_uncertainty, [want], rtol=1e-14)
    # Samples in the order of pyhf: background, signal.
    np.testing.assert_allclose(found.cells_uncertainty, [4.0, 3.0], rtol=1e-14)
    # Before the fit nothing is known of mu: the staterror of 10 % alone.
    before = yields(model, jnp.array([1.0, 1.0]), prefit_covariance(model))
    np.testing.assert_allclose(before.bins_uncertainty, [5.0], rtol=1e-14)


def test_uncertainties_are_the_spread_of_yields_at_random_parameters(
    random_parameters,
):
    params, width, correlation = random_parameters
    model, _ = from_workspace(generated(2))
    small = 0.02 * width
    covariance = correlation * np.outer(small, small)
    n_toys = 20_000
    drawn = np.random.default_rng(8).multivariate_normal(params, covariance, n_toys)
    values = np.asarray(jax.vmap(model.expected_actualdata)(jnp.asarray(drawn)))
    found = yields(model, jnp.asarray(params), jnp.asarray(covariance))
    # Five standard deviations of a standard deviation from so many toys, 1 / √(2 n).
    spread = 5 / np.sqrt(2 * n_toys)
    np.testing.assert_allclose(values.std(axis=0), found.bins_uncertainty, rtol=spread)
    sums = [values[:, model.layout.bins(c.name)].sum(1) for c in model.layout.channels]
    np.testing.assert_allclose(
        np.std(sums, axis=1), found.channels_uncertainty, rtol=spread
    )


def test_held_parameters_contribute_nothing():
    spec = generated(0)
    spec["measurements"][0]["config"]["parameters"][0]["fixed"] = True
    model, _ = from_workspace(spec)
    position = model.parameters.index("lumi")
    assert prefit_covariance(model)[position, position] == 0
    theirs = pyhf.Workspace(spec).model()
    width = cabinetry.model_utils.prefit_uncertainties(theirs)
    np.testing.assert_allclose(np.diag(prefit_covariance(model)), width**2, rtol=1e-14)


def test_an_uncertainty_has_the_derivative_of_finite_differences():
    model, _ = from_workspace(generated(0))
    covariance = prefit_covariance(model)

    def uncertainty(params):
        return yields(model, params, covariance).channels_uncertainty.sum()

    at = model.parameters.inits + 0.1
    slope = jax.grad(uncertainty)(at)
    steps = 1e-5 * np.eye(at.size)
    want = [(uncertainty(at + s) - uncertainty(at - s)) / 2e-5 for s in steps]
    # Truncation of 1e-10 and rounding of 1e-11 of a sum of about 50.
    np.testing.assert_allclose(slope, want, rtol=1e-6, atol=1e-6)
