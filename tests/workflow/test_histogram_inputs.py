import copy
import json
import re

import cabinetry
import hist
import numpy as np
import pytest
import uproot
import yaml
from click.testing import CliRunner

import ntuples
import tiny
from diffana import config as configuration, workflow
from diffana.cli import main
from diffana.errors import DataError


EDGES = {"SR": [0.0, 1.0, 2.5, 4.0], "CR": [10.0, 20.0]}
NAMES = {
    "data": ("nominal",),
    "signal": ("nominal", "up"),
    "background": ("nominal", "up", "down"),
    "other": ("nominal",),
}


def weighted(edges, random):
    found = hist.Hist(hist.axis.Variable(edges), storage=hist.storage.Weight())
    values = random.uniform(edges[0] - 1, edges[-1] + 1, 200)
    return found.fill(values, weight=random.uniform(-0.2, 1.0, 200))


@pytest.fixture
def folder(tmp_path):
    """Histograms with and without sums of squared weights, flow included."""
    random = np.random.default_rng(2)
    with uproot.recreate(tmp_path / "h.root") as file:
        for region, edges in EDGES.items():
            for sample, variations in NAMES.items():
                for variation in variations:
                    place = f"{region}/{sample}/{variation}"
                    if sample == "data":
                        counts = random.poisson(30.0, len(edges) - 1).astype(float)
                        file[place] = counts, np.array(edges)
                    else:
                        file[place] = weighted(edges, random)
        file["other/up"] = weighted(EDGES["SR"], random)
        file["plane"] = np.histogram2d(random.normal(size=9), random.normal(size=9))
    return tmp_path


def document(folder):
    return {
        "General": {
            "Measurement": "histograms",
            "POI": "mu",
            "HistogramFolder": str(folder / "histograms"),
            "InputPath": f"{folder}/h.root:{{RegionPath}}/{{SamplePath}}/"
            "{VariationPath}",
            "VariationPath": "nominal",
        },
        "Regions": [
            {"Name": "signal region", "RegionPath": "SR"},
            {"Name": "control", "RegionPath": "CR"},
        ],
        "Samples": [
            {"Name": "observed", "SamplePath": "data", "Data": True},
            {"Name": "signal", "SamplePath": "signal", "DisableStaterror": True},
            {"Name": "background", "SamplePath": "background"},
        ],
        "NormFactors": [{"Name": "mu", "Samples": "signal", "Nominal": 1}],
        "Systematics": [
            {
                "Name": "shape",
                "Type": "NormPlusShape",
                "Samples": "background",
                "Up": {"VariationPath": "up"},
                "Down": {"VariationPath": "down"},
            },
            {
                "Name": "mirrored",
                "Type": "NormPlusShape",
                "Regions": "control",
                "Up": {"VariationPath": "up"},
                "Down": {"Symmetrize": True},
            },
            {
                "Name": "generator",
                "Type": "NormPlusShape",
                "Samples": "background",
                "Up": {"SamplePath": "other"},
                "Down": {"Symmetrize": True},
            },
            {
                "Name": "rate",
                "Type": "Normalization",
                "Up": {"Normalization": 0.1},
                "Down": {"Normalization": -0.1},
            },
        ],
    }


def built(document, folder):
    path = tiny.written(document, folder / "config.yml")
    return workflow.build_workspace(configuration.load_analysis(path))


def collected_by_cabinetry(document):
    document = copy.deepcopy(document)
    cabinetry.configuration.validate(document)
    cabinetry.templates.collect(document)
    return cabinetry.workspace.build(document)


def spaceless(workspace):
    """The workspace with the name that cabinetry gives to a `staterror`."""
    text = json.dumps(workspace)
    return json.loads(
        text.replace("staterror_signal region", "staterror_signal-region")
    )


def test_histograms_mean_what_cabinetry_takes_them_for(folder):
    settings = document(folder)
    made = built(settings, folder)
    assert made.remarks == ()
    ntuples.assert_same_workspace(
        spaceless(made.document), collected_by_cabinetry(settings), rtol=1e-13
    )


def test_the_workspace_joins_a_trained_region(folder):
    """What a configuration of histograms is for where something is trained."""
    target = folder / "workspace.json"
    path = tiny.written(document(folder), folder / "config.yml")
    argv = ["workspace", str(path), "--output-file", str(target)]
    result = CliRunner().invoke(main, argv)
    assert (result.exit_code, result.output) == (0, "")
    joined = tiny.document(Workspace={"Path": str(target)})
    joined["Regions"][0] = {"Name": "box", "Variable": "x", "Binning": [-2, 0, 2]}
    del joined["Observables"], joined["Loss"], joined["Train"]
    made = built(joined, folder)
    names = [channel["name"] for channel in made.document["channels"]]
    assert names == ["control", "signal region", "box"]
    assert made.remarks[0].startswith("no Data sample in box: ")
    published = json.loads(target.read_text())
    observed = {one["name"]: one["data"] for one in made.document["observations"]}
    for one in published["observations"]:
        assert observed[one["name"]] == one["data"]


def test_only_what_has_a_meaning_is_accepted(folder):
    settings = document(folder)
    settings["Samples"][1] |= {"Weight": "w", "SamplePath": ["signal", "other"]}
    settings["Systematics"][0]["Up"]["Tree"] = "t"
    settings["Regions"][0]["Variable"] = "x"
    with pytest.raises(configuration.ConfigError) as caught:
        built(settings, folder)
    message = "has no effect: General.InputPath leads to histograms"
    found = dict(caught.value.mistakes)
    assert found["Samples[1].Weight"] == message
    assert found["Systematics[0].Up.Tree"] == message
    assert found["Samples[1].SamplePath"].startswith("has to be a single one: ")
    assert found["Regions[0].Variable"].startswith("unknown key; known are ")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("Regions", 1, "RegionPath"), "XR", "no histogram 'XR/data/nominal'; close: "),
        (("Systematics", 0, "Up"), {"VariationPath": "upp"}, "no histogram 'SR/backgr"),
        (("Samples", 1, "SamplePath"), "sig", "no histogram 'SR/sig/nominal'; close: "),
    ],
)
def test_histograms_that_are_not_there(folder, path, value, message):
    settings = document(folder)
    *parents, last = path
    node = settings
    for part in parents:
        node = node[part]
    node[last] = value
    with pytest.raises(DataError, match=re.escape(f"{folder}/h.root: {message}")):
        built(settings, folder)


@pytest.fixture
def listed(folder):
    """A document whose samples name their histograms in full."""
    settings = document(folder)
    del settings["Systematics"], settings["General"]["VariationPath"]
    settings["General"]["InputPath"] = f"{folder}/h.root:{{SamplePath}}"
    settings["Regions"] = [{"Name": "SR"}]
    for sample, name in zip(settings["Samples"], NAMES, strict=False):
        sample["SamplePath"] = f"SR/{name}/nominal"
    return settings


def test_histograms_of_one_region_have_the_same_bins(folder, listed):
    assert len(built(listed, folder).document["observations"][0]["data"]) == 3
    listed["Samples"][2]["SamplePath"] = "CR/background/nominal"
    message = (
        f"region 'SR': {folder}/h.root:CR/background/nominal has bin edges 10, 20, but "
        f"{folder}/h.root:SR/data/nominal has 0, 1, 2.5, 4"
    )
    with pytest.raises(DataError, match=re.escape(message)):
        built(listed, folder)


def test_histograms_have_one_dimension(folder, listed):
    listed["Samples"][2]["SamplePath"] = "plane"
    message = "'plane' is a TH2D and no one-dimensional histogram"
    with pytest.raises(DataError, match=message):
        built(listed, folder)


def test_histograms_cannot_be_trained_on(folder):
    path = tiny.written(document(folder), folder / "config.yml")
    result = CliRunner().invoke(
        main, ["train", str(path), "--out", str(folder / "run")]
    )
    assert result.exit_code == 2
    assert "General.InputPath: leads to histograms, on which nothing" in result.stderr
    assert not (folder / "run").exists()
    result = CliRunner().invoke(main, ["validate", str(path)])
    assert result.exit_code == 0
    assert result.stdout == (
        f"{path} is valid: 2 regions, 3 samples, 1 norm factor, 4 systematics; reads "
        "its templates from histograms, on which nothing can be trained\n"
    )


@pytest.mark.shared
def test_the_tutorial_of_cabinetry(shared, tmp_path):
    inputs = shared / "data/cabinetry_tutorial"
    text = (inputs / "config_histograms.yml").read_text()
    settings = yaml.safe_load(text.replace("inputs/histograms", f"{inputs}/histograms"))
    settings["General"]["HistogramFolder"] = str(tmp_path / "histograms")
    made = built(settings, tmp_path)
    ntuples.assert_same_workspace(
        made.document, collected_by_cabinetry(settings), rtol=1e-13
    )
