import json
import math

import numpy as np
import pyhf
import pytest
import yaml
from click.testing import CliRunner
from pyhf.cli import cli as pyhf_cli

import tiny
from diffana import assemble, runs
from diffana.cli import main
from diffana.histfactory import modifier_settings
from diffana.histfactory.judge import judge
from diffana.train import sums
from diffana.workflow.evaluation import _observations
from diffana.workflow.prepared import prepare


def invoke(*argv):
    return CliRunner().invoke(main, [str(word) for word in argv])


def read(folder, name):
    return json.loads((folder / name).read_text())


@pytest.fixture
def exact_pyhf():
    """pyhf with a minimiser that does not stop early."""
    backend, optimizer = pyhf.get_backend()
    tight = pyhf.optimize.scipy_optimizer(tolerance=1e-14)
    pyhf.set_backend("numpy", tight)
    yield
    pyhf.set_backend(backend, optimizer)


def test_results_agree_with_pyhf(finished, exact_pyhf):
    results = read(finished, "results.json")
    ours, theirs = results["diffana"], results["pyhf"]
    assert results["failures"] == {}
    assert ours["fits"] == {"CLs": "certified", "p0": "certified"}
    assert np.all(np.diff(ours["CLs_exp"]) > 0)
    assert 0 < ours["CLs_exp"][2] < 1
    verdict = judge(
        read(finished, "workspace.json"),
        modifier_settings={
            "histosys": {"interpcode": "code4p"},
            "normsys": {"interpcode": "code4"},
        },
    )
    # 1e-6: house tolerance with a tightened oracle.
    np.testing.assert_allclose(ours["CLs_exp"], verdict.CLs_exp, rtol=1e-6)
    np.testing.assert_allclose(ours["p0"], verdict.p0, rtol=1e-6)
    # 1e-4: pyhf's second derivatives are differences.
    np.testing.assert_allclose(ours["sigma_mu"], verdict.sigma_mu, rtol=1e-4)
    # 1e-3: what is written comes from pyhf's own minimiser, which stops early; seen at
    # two standard deviations is 2e-4.
    np.testing.assert_allclose(theirs["CLs_exp"], verdict.CLs_exp, rtol=1e-3)
    np.testing.assert_allclose(theirs["p0"], verdict.p0, rtol=1e-3)
    np.testing.assert_allclose(theirs["sigma_mu"], verdict.sigma_mu, rtol=1e-12)


def test_the_workspace_is_one_for_pyhf(finished, tmp_path):
    """`pyhf cls` on the exported file; its Asimov data are the observations."""
    output = tmp_path / "cls.json"
    result = CliRunner().invoke(
        pyhf_cli,
        ["cls", str(finished / "workspace.json"), "--output-file", str(output)],
    )
    assert result.exit_code == 0, result.output
    found = json.loads(output.read_text())
    want = read(finished, "results.json")["diffana"]["CLs_exp"]
    # 1e-3: pyhf's own minimiser, see above.
    np.testing.assert_allclose(found["CLs_exp"], want, rtol=1e-3)
    # Background-only Asimov data: the observed value is the median.
    np.testing.assert_allclose(found["CLs_obs"], want[2], rtol=1e-3)


def test_results_are_of_test_events_with_sharp_bins(finished, settings):
    """The exported yields are counts of test events, found with NumPy alone."""
    prepared = prepare(tiny.parsed(yaml.safe_load(settings.read_text())))
    best, _ = runs.load_checkpoint(finished / "best.eqx", prepared.analysis)
    (channel,) = read(finished, "workspace.json")["channels"]
    region = best.regions[0]
    inner = np.asarray(region.edges())[1:-1]
    cut = float(region.cuts.cuts[0].threshold)
    for sample in channel["samples"]:
        (events,) = (
            one
            for one in prepared.test
            if (one.sample, one.variation) == (sample["name"], "nominal")
        )
        values = np.asarray(best.summaries["summary"](np.asarray(events.features)))
        kept = np.where(events.features[:, 1] >= cut, events.weight, 0.0)
        above = values >= inner
        want = [kept[~above].sum(), kept[above].sum()]
        np.testing.assert_allclose(sample["data"], want, rtol=1e-12)
        assert math.isclose(
            events.weight.sum(), {"signal": 20, "background": 100}[sample["name"]]
        )


def test_evaluating_again_gives_the_same(finished):
    before = {
        name: (finished / name).read_bytes()
        for name in ("results.json", "workspace.json", "best.eqx", "finished.json")
    }
    (finished / "results.json").unlink()
    result = invoke("evaluate", finished)
    assert result.exit_code == 0, result.output
    assert "CLs at mu = 1, median" in result.stdout
    assert {name: (finished / name).read_bytes() for name in before} == before


def test_observed_events_fill_the_observations(tmp_path):
    """And nothing else: results stay expected ones."""
    rows = np.random.default_rng(1).normal(size=(120, 2))
    for name in ("signal", "background"):
        np.savez(tmp_path / f"{name}.npz", x=rows[:, 0], y=rows[:, 1], w=np.ones(120))
    # Recorded events have no weights.
    np.savez(tmp_path / "data.npz", x=[0.1, 0.6, 0.7, 5.0], y=[0.0, 0.0, 0.0, -9.0])
    document = tiny.document(Systematics=None)
    del document["Generator"]
    document["General"]["InputPath"] = f"{tmp_path}/{{SamplePath}}.npz"
    for sample in document["Samples"]:
        sample["Weight"] = "w"
    document["Samples"].append({"Name": "data", "SamplePath": "data", "Data": True})
    document["Regions"] = [
        {
            "Name": "SR",
            "Variable": "x",
            "Binning": [-1.0, 0.0, 0.5, 1.0],
            "Flow": True,
            "Filter": "y > -5",
            "Cuts": [{"Variable": "y", "Above": -4.0}],
        }
    ]
    document["Observables"] = None
    config = tiny.parsed(document)
    prepared, structure = prepare(config), assemble.structure(config)
    (observed,) = prepared.observed
    assert observed.sample == "data"
    hard = prepared.analysis.hard
    likelihood = hard(prepared.test)
    histograms = sums(hard, prepared.parts["observed"]).histograms
    data = _observations(likelihood, histograms, structure)
    np.testing.assert_array_equal(data[:3], [0, 1, 2])
    np.testing.assert_array_equal(data[3:], likelihood.auxdata)
    asimov = _observations(likelihood, {}, structure)
    np.testing.assert_allclose(asimov[:3].sum(), 100, rtol=0.2)


def test_changed_input_is_refused(finished, tmp_path, monkeypatch):
    """Results of a run belong to the files it was trained on."""
    path = tmp_path / "events.csv"
    path.write_text("x,y\n1,2\n")
    run = runs.create(
        tmp_path / "run",
        config=(finished / "config.yaml").read_text(),
        provenance=runs.describe(seed=3, inputs=[path]),
    )
    run.finish({})
    monkeypatch.setattr("diffana.assemble.input_files", lambda config: (path,))
    path.write_text("x,y\n1,3\n")
    result = invoke("evaluate", run.folder)
    assert result.exit_code == 2
    assert result.stderr == (
        f"Error: {path} is not the file that {run.folder} was trained on\n"
    )


def test_what_cannot_be_evaluated(finished, tmp_path):
    result = invoke("evaluate", tmp_path)
    assert result.exit_code == 2
    assert result.stderr == f"Error: {tmp_path} is not a run folder\n"
    run = runs.create(tmp_path / "run", config="", provenance={})
    result = invoke("evaluate", run.folder)
    assert result.exit_code == 2
    assert result.stderr == (
        f"Error: {run.folder} has not finished; resume its training first\n"
    )


def test_interpolation_codes_reach_pyhf():
    document = tiny.document(
        Fit={"Interpolation": {"HistoSys": "code0", "NormSys": "code1"}}
    )
    model = prepare(tiny.parsed(document)).analysis.model
    assert modifier_settings(model) == {
        "histosys": {"interpcode": "code0"},
        "normsys": {"interpcode": "code1"},
    }
