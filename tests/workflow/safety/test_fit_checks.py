import json

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import tiny
from diffana import runs
from diffana.errors import RESULTS
from diffana.fit import fit
from diffana.histfactory import from_workspace
from diffana.infer import nominal
from diffana.workflow.safety.fits import (
    check_agreement_with_pyhf,
    check_minima,
    check_parameters,
)
from diffana.workflow.safety.sensitivity import Expected


pytestmark = pytest.mark.usefixtures("compiled")


def counting(hi, lo, background=100.0):
    """One bin to measure the signal, one to measure the background, and its yield."""
    channels = [
        {
            "name": name,
            "samples": [
                {"name": sample, "data": [number], "modifiers": modifiers}
                for sample, number, modifiers in (
                    (
                        "signal",
                        size,
                        [{"name": "mu", "type": "normfactor", "data": None}],
                    ),
                    (
                        "background",
                        background,
                        [
                            {
                                "name": "rate",
                                "type": "normsys",
                                "data": {"hi": hi, "lo": lo},
                            }
                        ],
                    ),
                )
            ],
        }
        for name, size in (("SR", 20.0), ("CR", 0.0))
    ]
    document = tiny.workspace() | {
        "channels": channels,
        "observations": [{"name": name, "data": [1.0]} for name in ("SR", "CR")],
    }
    return from_workspace(document)[0]


@pytest.mark.parametrize(
    ("effect", "verdict"), [(0.02, "pass"), (0.1, "pass"), (0.5, "warn")]
)
def test_the_width_of_a_nuisance_parameter_is_that_of_the_fisher_information(
    effect, verdict
):
    """By hand: 1/sqrt(1 + N (d ln rate/dα)²) from the control region alone."""
    found = check_parameters(counting(1 + effect, 1 / (1 + effect)))
    width = found.numbers["parameters"]["rate"]["width"]
    # code4 is exponential beyond ±1 and has its slope at 0 to second order in log hi.
    slope = np.log(1 + effect)
    assert width == pytest.approx(1 / np.sqrt(1 + 100 * slope**2), rel=0.02)
    assert found.verdict == verdict
    assert ("rate" in found.numbers["over_constrained"]) == (verdict == "warn")
    assert abs(found.numbers["parameters"]["rate"]["pull"]) < 1e-6


def test_the_parameters_of_simulated_statistics_are_left_out():
    model = tiny.analysis().hard(tiny.populations())
    assert set(check_parameters(model).numbers["parameters"]) == {"rate", "shape"}


def test_a_model_without_nuisance_parameters_is_not_checked():
    channel = {
        "name": "SR",
        "samples": [
            {
                "name": "signal",
                "data": [3.0],
                "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
            }
        ],
    }
    document = tiny.workspace() | {
        "channels": [channel],
        "observations": [{"name": "SR", "data": [1.0]}],
    }
    found = check_parameters(from_workspace(document)[0])
    assert found.verdict == "not checked"


def test_a_fit_without_certificate_warns():
    model = counting(1.1, 0.9)
    broken = eqx.tree_at(
        lambda m: m.templates.nominal, model, jnp.full_like(model.templates.nominal, -1)
    )
    found = check_parameters(broken)
    assert found.verdict == "warn"
    assert "not certified" in found.summary


@pytest.fixture(scope="module")
def certified(compiled):
    model = counting(1.1, 0.9)
    return fit(model, model.expected_data(nominal(model, 1.0)))


def test_competing_minima_warn_if_they_are_near(certified):
    def verdict(gap):
        found = eqx.tree_at(lambda f: f.competing_gap, certified, jnp.asarray(gap))
        return check_minima({"cls": certified, "p0": found})

    assert verdict(np.inf).verdict == "pass"
    assert verdict(3.0).verdict == "pass"
    near = verdict(0.2)
    assert near.verdict == "warn"
    assert "0.2 above that of p0" in near.summary
    failed = eqx.tree_at(lambda f: f.result, certified, RESULTS.hessian_not_pd)
    found = check_minima({"cls": certified, "p0": failed})
    assert found.verdict == "warn"
    assert RESULTS[RESULTS.hessian_not_pd] in found.summary


NUMBERS = {"CLs_exp": [0.1, 0.2, 0.3, 0.4, 0.5], "p0": 0.01, "sigma_mu": 0.25}
QUOTED = {"cls": 0.3, "p0": 0.01, "sigma_mu": 0.25}


def stored(folder, **changed):
    document = {"diffana": NUMBERS, "pyhf": NUMBERS, "failures": {}} | changed
    (folder / "results.json").write_text(json.dumps(document))
    return runs.Run(folder)


def test_equal_results_of_pyhf_pass(tmp_path):
    found = check_agreement_with_pyhf(stored(tmp_path), Expected(QUOTED, QUOTED, {}))
    assert found.verdict == "pass"
    assert set(found.numbers["differences"].values()) == {0.0}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pyhf": {**NUMBERS, "p0": 0.0102}}, "p0, pyhf: 0.02"),
        ({"pyhf": {**NUMBERS, "p0": "nan"}}, "p0, pyhf: nan"),
        ({"diffana": {**NUMBERS, "sigma_mu": 0.26}}, "sigma_mu, the model"),
        ({"failures": {"CLs": "Inequality constraints"}}, "pyhf on CLs: Inequality"),
    ],
)
def test_other_results_warn(tmp_path, changed, message):
    run = stored(tmp_path, **changed)
    found = check_agreement_with_pyhf(run, Expected(QUOTED, QUOTED, {}))
    assert found.verdict == "warn"
    assert message in found.summary


@pytest.mark.parametrize("content", ["", "[]", '{"diffana": {}}'])
def test_results_that_cannot_be_read_are_not_checked(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    run = runs.Run(tmp_path)
    found = check_agreement_with_pyhf(run, Expected(QUOTED, QUOTED, {}))
    assert found.verdict == "not checked"
