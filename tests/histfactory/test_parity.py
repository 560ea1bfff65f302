"""The likelihood against pyhf, on generated workspaces and on public ones."""

import json

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from scipy.special import gammaln, xlogy

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

PUBLIC = [
    "1Lbb_simplified_400_200",
    "1Lbb_simplified_700_400",
    "2L0J_simplified_200_75",
    "3Loffshell_simplified_250_230",
    "3Loffshell_simplified_350_290",
    "3Lonshell_2019-09_bench",
    "Sleptons_2018-16_bench",
    "atlas_1Lbb_700_400_via_combine",
    "c2p_multi-bin-stat-bbl",
    "c2p_multi-bin-sys-histosys-uncorr",
    "c2p_multi-bin-sys-normsys-uncorr",
    "c2p_one-bin-stat-bbl",
    "c2p_one-bin-sys-histosys-corr",
    "c2p_one-bin-sys-histosys-uncorr",
    "c2p_one-bin-sys-normsys-corr",
    "c2p_one-bin-sys-normsys-uncorr",
    "c2p_two-bin-sys-normfactor",
    "p2c_single_bin_1",
    "pyhf_2bin_1channel",
    "pyhf_benchmark_gauss",
    "pyhf_shapefactor_notebook",
    "pyhf_val_1bin_lumi",
    "pyhf_val_1bin_normsys",
    "pyhf_val_1bin_shapesys",
    "pyhf_val_1bin_shapesys_q0",
    "pyhf_val_2bin_2channel",
    "pyhf_val_2bin_2channel_couplednorm",
    "pyhf_val_2bin_2channel_coupledshapefactor",
    "pyhf_val_2bin_histosys",
    "pyhf_xml_multibin_histfactory_p0",
    "pyhf_xml_multichan_coupledoverall_histfactory",
    "pyhf_xml_multichannel_histfactory",
    "pyhf_xml_overallsys_histfactory",
    "pyhf_xml_xmlimport_input",
    "pyhf_xml_xmlimport_input2",
    "pyhf_xml_xmlimport_input3",
    "pyhf_xml_xmlimport_input4",
    "sbottom_RegionA_sbottom_1300_205_60",
    "sbottom_pyhf_tutorial",
    "staus_comb_DS_440_80_Staus",
    "ttbar_xsec_ljets",
]


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


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLIC)
def test_public_workspaces_match_reference_numbers(shared, name):
    workspace = json.loads((shared / f"data/workspaces/{name}.json").read_text())
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
