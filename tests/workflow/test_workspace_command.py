import copy
import json
import warnings

import cabinetry
import numpy as np
import pyhf
import pytest
import uproot
import yaml
from click.testing import CliRunner

import ntuples
import tiny
from diffana import config as configuration, workflow
from diffana.cli import main
from diffana.errors import SpecificationError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ntuples")
    ntuples.plant(folder)
    return folder


def built_by_cabinetry(document):
    """What `cabinetry templates` and `cabinetry workspace` make of a document."""
    document = copy.deepcopy(document)
    cabinetry.configuration.validate(document)
    with warnings.catch_warnings():
        # Of yields that are 0, and of weights whose type uproot widens.
        warnings.simplefilter("ignore", RuntimeWarning)
        cabinetry.templates.build(document)
        return cabinetry.workspace.build(document)


def built(document, tmp_path):
    path = tiny.written(document, tmp_path / "config.yml")
    return workflow.build_workspace(configuration.load_analysis(path))


def has_variation_without_yield(workspace):
    return any(
        modifier["type"] == "normsys" and 0 in modifier["data"].values()
        for channel in workspace["channels"]
        for sample in channel["samples"]
        for modifier in sample["modifiers"]
    )


def compare(document, tmp_path):
    """Both make the same workspace, or both make none that is of use."""
    try:
        expected = built_by_cabinetry(document)
    except pyhf.exceptions.InvalidSpecification:
        with pytest.raises(SpecificationError, match="no sample appears in it"):
            built(document, tmp_path)
        return
    if "NaN" in json.dumps(expected) or has_variation_without_yield(expected):
        with pytest.raises(SpecificationError, match=r"entry \d+ is nan"):
            built(document, tmp_path)
        return
    made = built(document, tmp_path)
    ntuples.assert_same_workspace(made.document, expected)
    assert all("no likelihood can use" in remark for remark in made.remarks)


@pytest.mark.parametrize("seed", range(8))
def test_random_configurations_mean_what_cabinetry_takes_them_for(
    folder, tmp_path, seed
):
    compare(ntuples.configuration(folder, seed), tmp_path)


@pytest.mark.slow
def test_many_random_configurations_mean_what_cabinetry_takes_them_for(
    folder, tmp_path
):
    for seed in range(8, 60):
        compare(ntuples.configuration(folder, seed), tmp_path)


def document(folder, **sections):
    """Two regions, three samples, and every way in which an uncertainty is given."""
    return {
        "General": {
            "Measurement": "explicit",
            "POI": "mu",
            "HistogramFolder": str(folder / "histograms"),
            "InputPath": f"{folder}/R1_{{SamplePath}}.root",
        },
        "Regions": [
            {"Name": "SR", "Variable": "b", "Binning": [0, 1, 2], "Filter": "n > 1"},
            {"Name": "CR", "Variable": "n", "Binning": [0, 4]},
        ],
        "Samples": [
            {
                "Name": "observed",
                "Tree": "nominal",
                "SamplePath": "data",
                "Data": True,
            },
            {"Name": "signal", "Tree": "nominal", "SamplePath": "s1", "Weight": "w"},
            {"Name": "background", "Tree": "nominal", "SamplePath": ["s2", "s3"]},
        ],
        "NormFactors": [{"Name": "mu", "Samples": "signal"}],
        "Systematics": [
            {
                "Name": "scale",
                "Type": "NormPlusShape",
                "Samples": "background",
                "Up": {"Weight": "w_up"},
                "Down": {"Symmetrize": True},
            }
        ],
        **sections,
    }


def changed(document, path, value):
    """The document with another value, or with one more in a list."""
    *parents, last = path
    node = document
    for part in parents:
        node = node[part]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return document


FILTER = ("Samples", 1, "Filter")
UP = ("Systematics", 0, "Up")
RULES = {
    "filters of samples take the place of those of regions": [(FILTER, "a < 1")],
    "filters of variations take the place of both": [
        (FILTER, "a < 1"),
        (("Systematics", 0, "Samples"), "signal"),
        (UP, {"Filter": "a > 0"}),
    ],
    "weights of variations take the place": [(UP, {"Weight": "0.7*w"})],
    "trees of variations": [(UP, {"Tree": "folder/varied"})],
    "files of variations": [(UP, {"SamplePath": ["s1", "s3"], "Weight": "w"})],
    "variables of variations": [(UP, {"Variable": "n"})],
    "variations that change nothing": [(UP, {}), (("Systematics", 0, "Down"), {})],
    "the same files again are the nominal events": [
        (UP, {"SamplePath": ["s2", "s3"], "Filter": "n < 5"})
    ],
    "patterns": [(("Samples", 2, "SamplePath"), "s[23]")],
    "names of parameters": [(("Systematics", 0, "ModifierName"), "alpha")],
    "fixed norm factors": [(("General", "Fixed"), [{"Name": "mu", "Value": 0.3}])],
    "bounds of norm factors": [
        (("NormFactors", 0, "Bounds"), [0.5, 0.9]),
        (("NormFactors", 0, "Nominal"), 0.7),
    ],
    "fixed systematics": [(("General", "Fixed"), [{"Name": "scale", "Value": -1}])],
    "no parameter of interest": [(("General", "POI"), ...)],
    "no systematics": [(("Systematics",), ...)],
    "samples of some regions": [(("Samples", 1, "Regions"), "SR")],
}


@pytest.mark.parametrize("rule", RULES)
def test_rules_of_cabinetry(folder, tmp_path, rule):
    settings = document(folder)
    for path, value in RULES[rule]:
        changed(settings, path, value)
    compare(settings, tmp_path)


def run(path, *options):
    return CliRunner().invoke(main, ["workspace", str(path), *map(str, options)])


def test_the_command_prints_or_writes_the_workspace(folder, tmp_path):
    settings = document(folder)
    path = tiny.written(settings, tmp_path / "config.yml")
    printed = run(path)
    assert (printed.exit_code, printed.stderr) == (0, "")
    expected = built_by_cabinetry(settings)
    ntuples.assert_same_workspace(json.loads(printed.stdout), expected)
    target = tmp_path / "workspace.json"
    written = run(path, "--output-file", target)
    assert (written.exit_code, written.output) == (0, "")
    assert json.loads(target.read_text()) == json.loads(printed.stdout)


def test_single_bins_have_no_shape(folder, tmp_path):
    made = built(document(folder), tmp_path).document
    found = {
        channel["name"]: [
            modifier["type"]
            for sample in channel["samples"]
            for modifier in sample["modifiers"]
            if modifier["name"] == "scale"
        ]
        for channel in made["channels"]
    }
    assert found == {"SR": ["normsys", "histosys"], "CR": ["normsys"]}


def test_without_data_the_background_is_expected(folder, tmp_path):
    settings = document(folder)
    del settings["Samples"][0]
    path = tiny.written(settings, tmp_path / "config.yml")
    result = run(path)
    assert result.stderr == (
        "Note: no Data sample in SR, CR: the observed counts there are those expected "
        "for mu = 0.\n"
    )
    made = json.loads(result.stdout)
    for channel, observation in zip(
        made["channels"], made["observations"], strict=True
    ):
        (background,) = (s for s in channel["samples"] if s["name"] == "background")
        np.testing.assert_allclose(
            observation["data"], background["data"], rtol=1e-14, atol=0
        )
    changed(settings, ("General", "POI"), ...)
    made = built(settings, tmp_path)
    assert "those expected for everything" in made.remarks[0]
    channel, observation = made.document["channels"][0], made.document["observations"]
    total = np.sum([sample["data"] for sample in channel["samples"]], axis=0)
    np.testing.assert_allclose(observation[0]["data"], total, rtol=1e-14)


def test_mirror_images_without_yield_are_remarked(folder, tmp_path):
    settings = changed(document(folder), UP, {"Weight": "2.5"})
    settings["Regions"] = settings["Regions"][1:]
    (remark,) = built(settings, tmp_path).remarks
    assert remark == (
        "region 'CR', sample 'background': 'scale' scales the yield by -0.5, which no "
        "likelihood can use"
    )


def test_data_of_some_regions(folder, tmp_path):
    settings = changed(document(folder), ("Samples", 0, "Regions"), "SR")
    made = built(settings, tmp_path)
    assert made.remarks[0].startswith("no Data sample in CR: ")
    whole = built(document(folder), tmp_path).document["observations"]
    assert made.document["observations"][0] == whole[0]
    assert made.document["observations"][1] != whole[1]


def test_yields_and_preselections(folder, tmp_path):
    """What cabinetry does not have: a Yield is that before any Filter."""
    settings = document(folder)
    settings["Samples"][1] |= {"Yield": 40, "Preselection": "n != 2"}
    settings["Regions"][1]["Flow"] = True
    made = built(settings, tmp_path).document
    (table,) = uproot.open(folder / "R1_s1.root")["nominal"].iterate(library="np")
    own = table["n"] != 2
    weight = 40 / table["w"][own].sum() * table["w"] * own
    control = made["channels"][1]["samples"][0]
    np.testing.assert_allclose(control["data"], [40.0], rtol=1e-13)
    in_region = table["n"] > 1
    for place, (low, high) in enumerate(((0, 1), (1, 2))):
        in_bin = in_region & (table["b"] >= low) & (table["b"] < high)
        got = made["channels"][0]["samples"][0]
        np.testing.assert_allclose(got["data"][place], weight[in_bin].sum(), rtol=1e-13)
        spread = [m for m in got["modifiers"] if m["type"] == "staterror"]
        np.testing.assert_allclose(
            spread[0]["data"][place], np.sqrt((weight[in_bin] ** 2).sum()), rtol=1e-13
        )


def test_pieces_of_files_make_the_same_histograms(folder, tmp_path, monkeypatch):
    settings = document(folder)
    settings["Samples"][1]["Yield"] = 40
    whole = built(settings, tmp_path).document
    monkeypatch.setattr("diffana.workflow.workspace._CHUNK", 50)
    ntuples.assert_same_workspace(built(settings, tmp_path).document, whole, 1e-13)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"Observable": "net", "Variable": ...}, "bins the Observable 'net'"),
        ({"TrainableBinning": True}, "has TrainableBinning"),
        ({"Cuts": [{"Variable": "a", "Above": 0}]}, "has a trainable cut on 'a'"),
    ],
)
def test_regions_that_need_training_are_refused(folder, tmp_path, change, what):
    settings = document(folder)
    for key, value in change.items():
        changed(settings, ("Regions", 0, key), value)
    if "Observable" in change:
        network = {"Name": "net", "Type": "MLP", "Inputs": ["b", "n"]}
        settings["Observables"] = [network]
    target = tmp_path / "workspace.json"
    result = run(tiny.written(settings, tmp_path / "c.yml"), "--output-file", target)
    assert result.exit_code == 2
    assert result.stderr == (
        f"Error: region 'SR' {what}, which has to be trained first: `diffana train` "
        "leaves a workspace.json in its run folder\n"
    )
    assert not target.exists()


def test_cuts_that_are_held_are_selections(folder, tmp_path):
    cut = {"Variable": "n", "Above": 1.5, "Trainable": False}
    settings = document(folder)
    expected = built(settings, tmp_path).document
    del settings["Regions"][0]["Filter"]
    settings["Regions"][0]["Cuts"] = [cut]
    ntuples.assert_same_workspace(built(settings, tmp_path).document, expected, 1e-14)


def test_a_configuration_of_cabinetry_is_valid_and_cannot_be_trained(folder, tmp_path):
    path = tiny.written(document(folder), tmp_path / "config.yml")
    result = CliRunner().invoke(main, ["validate", str(path)])
    assert result.exit_code == 0
    assert result.stdout == (
        f"{path} is valid: 2 regions, 3 samples, 1 norm factor, 1 systematic, "
        "0 trained observables; describes no training, for want of the sections Loss "
        "and Train\n"
    )
    out = tmp_path / "run"
    result = CliRunner().invoke(main, ["train", str(path), "--out", str(out)])
    assert result.exit_code == 2
    assert result.stderr == (
        f"Error: {path} has 3 mistakes:\n"
        "  Regions: nothing to train: there is no region with an Observable, with "
        "TrainableBinning or with Cuts\n"
        "  Loss: is missing\n"
        "  Train: is missing\n"
    )
    assert not out.exists()


def test_validation_tells_which_filters_count(folder, tmp_path):
    settings = changed(document(folder), FILTER, "a < 1")
    path = tiny.written(settings, tmp_path / "config.yml")
    result = CliRunner().invoke(main, ["validate", str(path)])
    assert result.stdout.splitlines()[1:] == [
        "the Filter of sample 'signal' takes the place of that of its regions"
    ]


@pytest.mark.shared
def test_the_tutorial_of_cabinetry(shared, tmp_path):
    inputs = shared / "data/cabinetry_tutorial"
    settings = yaml.safe_load((inputs / "config_ntuples.yml").read_text())
    settings["General"]["InputPath"] = f"{inputs}/{{SamplePath}}"
    settings["General"]["HistogramFolder"] = str(tmp_path / "histograms")
    compare(settings, tmp_path)
