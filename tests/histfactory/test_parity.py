"""The likelihood against pyhf, on generated workspaces and on public ones."""

import itertools
import json

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from scipy.special import gammaln, xlogy

import published
from diffana.errors import SpecificationError
from diffana.histfactory import from_workspace


CODES = [
    {"histosys": {"interpcode": histosys}, "normsys": {"interpcode": normsys}}
    for histosys, normsys in (
        ("code4p", "code4"),
        ("code2", "code1"),
        ("code0", "code4"),
    )
]
NAMES = ["everything", "overrides", "vanishing", "joint staterror", "free"]


@eqx.filter_jit
def evaluate(model, params, data):
    auxdata = data[model.layout.n_bins :]
    return {
        "expected_data": model.expected_data(params),
        "logpdf": -0.5 * model.twice_nll(params, data),
        "constraint_logpdf": -0.5 * model.constraint_twice_nll(params, auxdata),
    }


def points(model, n_points):
    """Starting values, random points inside the bounds, and the bounds themselves."""
    parameters = model.parameters
    inits, lower, upper = parameters.inits, parameters.lower, parameters.upper
    rng = np.random.default_rng(1)
    yield inits
    for _ in range(n_points):
        step = rng.normal(size=len(parameters))
        yield jnp.clip(inits + step * jnp.where(inits == 0, 1.2, 0.2), lower, upper)
    yield jnp.where(jnp.isin(inits, 0.5), lower, inits)
    yield jnp.where(inits == 0, upper, inits)


@pytest.mark.parametrize("settings", CODES)
@pytest.mark.parametrize("name", NAMES)
def test_values_match_pyhf(workspaces, name, settings):
    workspace = pyhf.Workspace(workspaces[name])
    oracle = workspace.model(modifier_settings=settings)
    model, data = from_workspace(workspaces[name], modifier_settings=settings)
    np.testing.assert_array_equal(data, workspace.data(oracle))
    for params in points(model, 4):
        got, oracle_params = evaluate(model, params, data), np.asarray(params)
        want = {
            "expected_data": oracle.expected_data(oracle_params),
            "logpdf": oracle.logpdf(oracle_params, np.asarray(data))[0],
            "constraint_logpdf": oracle.constraint_logpdf(
                np.asarray(data)[model.layout.n_bins :], oracle_params
            )
            if oracle.constraint_model.has_pdf()
            else 0.0,
        }
        for key, value in want.items():
            np.testing.assert_allclose(got[key], value, rtol=1e-12, err_msg=key)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_match_pyhf(workspaces, name):
    config = pyhf.Workspace(workspaces[name]).model().config
    model, _ = from_workspace(workspaces[name])
    parameters = model.parameters
    assert list(parameters.names) == config.par_names
    assert parameters.poi == config.poi_name
    if config.poi_name is not None:
        assert parameters.poi_index == config.poi_index
    bounds = np.stack([parameters.lower, parameters.upper], axis=1)
    np.testing.assert_array_equal(parameters.inits, config.suggested_init())
    np.testing.assert_array_equal(bounds, config.suggested_bounds())
    np.testing.assert_array_equal(parameters.fixed, config.suggested_fixed())
    # (ν/δ)² is ν²/δ² in pyhf.
    np.testing.assert_allclose(model.auxdata, config.auxdata, rtol=1e-15)


FIRST, SECOND = [30.0, 20.0], [50.0, 40.0]


def shared_name(kinds, place):
    """Two modifiers of one name: on one sample, on two, or in two channels."""
    name = "lumi" if "lumi" in kinds else "shared"

    def modifier(kind, yields):
        yields = np.array(yields)
        data = {
            "normsys": {"hi": 1.1, "lo": 0.95},
            "histosys": {
                "hi_data": list(1.1 * yields),
                "lo_data": list(0.93 * yields),
            },
            "shapesys": list(0.1 * yields),
            "staterror": list(0.07 * yields),
        }
        return {"type": kind, "name": name, "data": data.get(kind)}

    def sample(name, data, *kinds):
        modifiers = [modifier(kind, data) for kind in kinds]
        return {"name": name, "data": data, "modifiers": modifiers}

    strength = {"type": "normfactor", "name": "mu", "data": None}
    signal = {"name": "signal", "data": [5.0, 9.0], "modifiers": [strength]}
    one, two = kinds
    channels = {
        "one sample": [[signal, sample("first", FIRST, one, two)]],
        "two samples": [
            [signal, sample("first", FIRST, one), sample("second", SECOND, two)]
        ],
        "two channels": [
            [signal, sample("first", FIRST, one)],
            [sample("second", SECOND, two)],
        ],
    }[place]
    lumi = {
        "name": "lumi",
        "auxdata": [1.0],
        "inits": [1.0],
        "sigmas": [0.02],
        "bounds": [[0.5, 1.5]],
    }
    config = {"poi": "mu", "parameters": [lumi] if "lumi" in kinds else []}
    return {
        "version": "1.0.0",
        "channels": [
            {"name": f"SR{at}", "samples": samples}
            for at, samples in enumerate(channels)
        ],
        "observations": [
            {"name": f"SR{at}", "data": [85.0, 60.0]} for at in range(len(channels))
        ],
        "measurements": [{"name": "measurement", "config": config}],
    }


def accepted(read, spec):
    """What `read` makes of a workspace, or None if it refuses."""
    try:
        return read(spec)
    except (
        SpecificationError,
        pyhf.exceptions.InvalidModel,
        pyhf.exceptions.InvalidNameReuse,
        pyhf.exceptions.InvalidSpecification,
        # pyhf's answer to a `staterror` on different samples of two channels.
        AssertionError,
    ):
        return None


@pytest.mark.parametrize("place", ["one sample", "two samples", "two channels"])
def test_names_are_shared_where_pyhf_shares_them(place):
    """One parameter, whatever it acts through, or no model at all."""
    morphs = {("normsys", "histosys"), ("histosys", "normsys")}
    alike = {
        (kind, kind)
        for kind in ("normfactor", "shapefactor", "lumi", "normsys", "histosys")
    }
    possible = {
        "one sample": morphs,
        "two samples": morphs | alike | {("staterror", "staterror")},
        "two channels": morphs | alike,
    }[place]
    types = ("normfactor", "shapefactor", "lumi", "normsys", "histosys")
    types = (*types, "shapesys", "staterror")
    found = set()
    for kinds in itertools.product(types, repeat=2):
        if place == "one sample" and kinds[0] == kinds[1]:
            continue
        spec = shared_name(kinds, place)
        ours = accepted(from_workspace, spec)
        theirs = accepted(lambda spec: pyhf.Workspace(spec).model(), spec)
        assert (ours is None) == (theirs is None), kinds
        if theirs is None:
            continue
        found.add(kinds)
        model, data = ours
        assert list(model.parameters.names) == theirs.config.par_names
        rng = np.random.default_rng(1)
        params = theirs.config.suggested_init() + rng.normal(
            0, 0.1, theirs.config.npars
        )
        want = theirs.logpdf(params, np.asarray(data))[0]
        got = -0.5 * model.twice_nll(jnp.asarray(params), data)
        np.testing.assert_allclose(got, want, rtol=1e-12, err_msg=str(kinds))
    assert found == possible


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("name", published.NAMES)
def test_public_workspaces_match_reference_numbers(shared, name):
    workspace = published.workspace(shared, name)
    reference = json.loads((shared / f"oracles/workspaces/{name}.json").read_text())
    data = jnp.asarray(reference["data"], float)
    for codes in reference["settings"]:
        settings = {kind: {"interpcode": codes[kind]} for kind in CODES[0]}
        model, observed = from_workspace(workspace, modifier_settings=settings)
        assert list(model.parameters.names) == reference["par_names"]
        np.testing.assert_allclose(observed, data, rtol=1e-15)
        for params, want in zip(reference["points"], codes["values"], strict=True):
            got = evaluate(model, jnp.asarray(params, float), data)
            rates = got["expected_data"][: model.layout.n_bins]
            np.testing.assert_allclose(rates, want["expected_main"], rtol=1e-12)
            np.testing.assert_allclose(
                got["constraint_logpdf"], want["constraint_logpdf"], rtol=1e-12
            )
            np.testing.assert_allclose(
                got["logpdf"],
                want["logpdf"],
                rtol=1e-12,
                atol=rounding_of_the_reference(data[: model.layout.n_bins], rates),
            )


def rounding_of_the_reference(counts, rates):
    """What pyhf's sum of large terms of opposite sign leaves undetermined."""
    terms = np.abs(xlogy(counts, rates)) + rates + gammaln(counts + 1)
    return float(np.finfo(float).eps * np.sum(terms))
