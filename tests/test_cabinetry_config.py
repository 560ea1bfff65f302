"""Configurations in cabinetry's spelling: what is valid, what is refused by name."""

import copy
import json
import pkgutil

import pytest
import yaml

from diffana import config as configuration
from diffana.config import ConfigError


TUTORIAL = """
General:
  Measurement: minimal_example
  POI: Signal_norm
  HistogramFolder: histograms/
  InputPath: inputs/{SamplePath}
Regions:
  - Name: Signal_region
    Variable: jet_pt
    Filter: lep_charge > 0
    Binning: [200, 300, 400, 500, 600]
Samples:
  - {Name: Data, Tree: pseudodata, SamplePath: data.root, Data: True}
  - Name: Signal
    Tree: signal
    SamplePath: prediction.root
    Weight: weight
    DisableStaterror: True
  - {Name: Background, Tree: background, SamplePath: prediction.root, Weight: weight}
Systematics:
  - Name: Luminosity
    Up: {Normalization: 0.05}
    Down: {Normalization: -0.05}
    Type: Normalization
  - Name: Modeling
    Up: {SamplePath: prediction.root, Tree: background_varied}
    Down: {Symmetrize: True}
    Samples: Background
    Type: NormPlusShape
  - Name: WeightBasedModeling
    Up: {Weight: weight_up}
    Down: {Weight: 0.7*weight}
    Samples: Background
    Type: NormPlusShape
NormFactors:
  - {Name: Signal_norm, Samples: Signal, Nominal: 1, Bounds: [0, 10]}
"""
MODELING = ("Systematics", 1)


def edited(*changes):
    document = copy.deepcopy(yaml.safe_load(TUTORIAL))
    for (*parents, last), value in changes:
        node = document
        for part in parents:
            node = node[part]
        if value is ...:
            del node[last]
        elif isinstance(node, list) and last == len(node):
            node.append(value)
        else:
            node[last] = value
    return document


def loaded(document, tmp_path):
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return configuration.load_analysis(path)


def test_a_configuration_of_cabinetry_is_valid(tmp_path):
    found = loaded(edited(), tmp_path)
    assert not isinstance(found, configuration.Config)
    assert found.regions[0].flow is False
    assert found.systematics[1].up.tree == "background_varied"
    again = configuration.AnalysisConfig.model_validate(
        yaml.safe_load(configuration.dump(found))
    )
    assert again == found


def test_sections_on_the_training_make_it_a_configuration_that_is_trained(tmp_path):
    sections = {
        "Observables": [{"Name": "net", "Type": "MLP", "Inputs": ["jet_pt"]}],
        "Loss": {"Type": "cls"},
        "Train": {"Epochs": 1, "BatchSize": 10},
    }
    region = {"Name": "learned", "Observable": "net", "Binning": [0, 0.5, 1]}
    document = edited((("Regions", 1), region)) | sections
    found = loaded(document, tmp_path)
    assert isinstance(found, configuration.Config)
    assert [one.flow for one in found.regions] == [False, True]
    plain = loaded(edited(), tmp_path)
    assert found.regions[0] == plain.regions[0]
    assert found.systematics == plain.systematics
    del document["Train"]
    with pytest.raises(ConfigError) as caught:
        loaded(document, tmp_path)
    assert [tuple(one) for one in caught.value.mistakes] == [("Train", "is missing")]


def keys(schema, name):
    return set(schema["definitions"][name]["properties"])


def test_every_key_of_cabinetry_is_known():
    """None is taken for unknown, or ignored: those without support say so."""
    text = pkgutil.get_data("cabinetry", "schemas/config.json")
    assert text is not None
    schema = json.loads(text)
    sections = {
        "general": configuration.GeneralSection,
        "region": configuration.RegionSection,
        "sample": configuration.SampleSection,
        "normfactor": configuration.NormFactorSection,
        "systematic": configuration.NormPlusShapeSystematic,
    }
    for name, section in sections.items():
        known = {field.alias for field in section.model_fields.values()}
        assert keys(schema, name) <= known
    template = {
        field.alias
        for section in (configuration.Variation, configuration.RelativeYield)
        for field in section.model_fields.values()
    }
    assert keys(schema, "template_setting") == template - {"Transform"}


@pytest.mark.parametrize(
    "change",
    [
        (("General", "POI"), ...),
        (("Systematics",), ...),
        (("Systematics",), []),
        (("General", "Fixed"), [{"Name": "Signal_norm", "Value": 0}]),
        ((*MODELING, "Down"), {"Symmetrize": False, "Weight": "w"}),
        ((*MODELING, "Down"), {}),
        ((*MODELING, "Samples"), ["Background", "Signal"]),
        ((*MODELING, "Up", "Variable"), "jet_pt / 1.1"),
        ((*MODELING, "Up", "Filter"), "jet_pt > 3"),
        (("Regions", 0, "Variable"), "2*jet_pt + 1"),
        (("Regions", 0, "Filter"), ...),
        (("Samples", 1, "Filter"), "jet_pt > 3"),
        (("NormFactors", 0, "Bounds"), [0.5, 0.9]),
    ],
)
def test_what_cabinetry_allows(tmp_path, change):
    document = edited(change)
    if change[0][-1] == "Bounds":
        document["NormFactors"][0]["Nominal"] = 0.7
    loaded(document, tmp_path)


@pytest.mark.parametrize(
    ("change", "path", "fragment"),
    [
        (
            ((*MODELING, "Smoothing"), {"Algorithm": "353QH, twice"}),
            "Systematics[1].Smoothing",
            "templates are not smoothed here",
        ),
        (
            ((*MODELING, "Up", "VariationPath"), "up"),
            "Systematics[1].Up.VariationPath",
            "has no effect: General.InputPath has no {VariationPath}",
        ),
        (
            (("Regions", 0, "RegionPath"), "SR"),
            "Regions[0].RegionPath",
            "has no effect: General.InputPath has no {RegionPath}",
        ),
        (
            (("General", "InputPath"), "inputs/{RegionPath}/{SamplePath}"),
            "Regions[0].RegionPath",
            "is missing, but General.InputPath needs it",
        ),
        (
            (("General", "InputPath"), "inputs/{SamplePath}{Variation}"),
            "General.InputPath",
            "unknown field {Variation}; known are {RegionPath}, {SamplePath}, ",
        ),
        (
            (("General", "InputPath"), "inputs/prediction.root"),
            "Samples[1].SamplePath",
            "has no effect: General.InputPath has no {SamplePath}",
        ),
        (
            ((*MODELING, "Down", "Weight"), "w"),
            "Systematics[1].Down",
            "Symmetrize: true alone",
        ),
        (
            ((*MODELING, "Up", "Normalization"), 0.1),
            "Systematics[1].Up.Normalization",
            "unknown key",
        ),
        (
            (("Systematics", 0, "Up", "Weight"), "w"),
            "Systematics[0].Up.Weight",
            "unknown key",
        ),
        (
            (("Samples", 1, "Data"), True),
            "Samples[1].Data",
            "the observed data are 'Data'",
        ),
        ((("Regions", 0, "Binning"), ...), "Regions[0].Binning", "is missing"),
    ],
)
def test_what_would_have_no_or_another_meaning_is_refused(
    tmp_path, change, path, fragment
):
    with pytest.raises(ConfigError) as caught:
        loaded(edited(change), tmp_path)
    assert fragment in dict(caught.value.mistakes)[path]


def test_variables_of_variations_replace_only_what_is_binned(tmp_path):
    network = {"Name": "net", "Type": "MLP", "Inputs": ["jet_pt"]}
    learned = {"Name": "learned", "Observable": "net", "Binning": [0, 0.5, 1]}
    cut = {"Variable": "jet_pt", "Above": 3, "Trainable": False}
    document = edited(
        ((*MODELING, "Up", "Variable"), "jet_pt_up"),
        (("Regions", 0, "Cuts"), [cut]),
        (("Regions", 1), learned),
        (("Observables",), [network]),
    )
    with pytest.raises(ConfigError) as caught:
        loaded(document, tmp_path)
    assert [tuple(one) for one in caught.value.mistakes] == [
        (
            "Systematics[1].Up.Variable",
            "region 'Signal_region' cuts on its Variable, too, so that it cannot be "
            "replaced",
        ),
        ("Systematics[1].Up.Variable", "region 'learned' bins an Observable"),
    ]
    document["Systematics"][1]["Regions"] = "Signal_region"
    del document["Regions"][0]["Cuts"]
    loaded(document, tmp_path)


def test_yields_need_one_set_of_files(tmp_path):
    document = edited(
        (("General", "InputPath"), "inputs/{RegionPath}/{SamplePath}"),
        (("Regions", 0, "RegionPath"), "SR"),
        (("Samples", 1, "Yield"), 30),
    )
    with pytest.raises(ConfigError, match="the regions have files of their own"):
        loaded(document, tmp_path)
