import copy
import json
import pathlib
import pickle
import subprocess
import sys

import jsonschema
import pytest
import yaml
from hypothesis import given, settings, strategies as st

import tiny
from diffana import config
from diffana.config import ConfigError


FOLDER = pathlib.Path(__file__).parents[1] / "configs"
CONFIGS = sorted(
    path
    for path in FOLDER.glob("*.yaml")
    if not any(
        other(path) for other in (config.is_landscape, config.is_nsbi, config.is_sweep)
    )
)
SCHEMA = CONFIGS[0].with_name("schema.json")

VALID = """
General: {Measurement: study, POI: mu, InputPath: "ntuples/{SamplePath}"}
Observables:
  - {Name: net, Type: MLP, Inputs: [pt, mass]}
Regions:
  - {Name: SR, Observable: net, Binning: [0, 0.5, 1]}
  - Name: CR
    Variable: mass
    Binning: [100, 200, 300]
    Cuts: [{Variable: pt, Above: 30, Slope: {Type: linear, Start: 1, End: 10}}]
Samples:
  - {Name: ttH, SamplePath: tth.root, Tree: events, Weight: weight, Yield: 20}
  - {Name: ttbar, SamplePath: [tt1.root, tt2.root], Filter: "n_jets >= 4"}
  - {Name: observed, SamplePath: data.root, Data: true}
NormFactors:
  - {Name: mu, Samples: ttH, Bounds: [0, 10]}
  - {Name: k_ttbar, Samples: [ttbar], Regions: CR}
Systematics:
  - Name: lumi
    Type: Normalization
    Up: {Normalization: 0.02}
    Down: {Normalization: -0.02}
  - Name: generator
    Type: NormPlusShape
    Samples: ttbar
    Up: {SamplePath: other.root, Tree: events}
    Down: {Symmetrize: true}
  - Name: pileup
    Type: NormPlusShape
    Up: {Weight: weight_up}
    Down: {Weight: 0.9 * weight}
Loss: {Type: cls}
Train: {Epochs: 3, BatchSize: 100}
"""


def edited(*changes):
    """The valid document with the value at each path replaced, or removed by `...`."""
    document = copy.deepcopy(yaml.safe_load(VALID))
    for path, value in changes:
        *parents, last = path
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


def mistakes(document):
    with pytest.raises(ConfigError) as caught:
        config.parse(yaml.safe_dump(document, sort_keys=False))
    return caught.value.mistakes


def generated(*changes):
    """`edited`, but of a document that is valid with generated events."""
    general = {"Measurement": "study", "POI": "mu"}
    samples = [
        {"Name": "ttH", "SamplePath": "signal"},
        {"Name": "ttbar", "SamplePath": "background"},
    ]
    return edited(
        (("General",), general),
        (("Generator",), {"Type": "blobs"}),
        (("Samples",), samples),
        (("Observables", 0, "Inputs"), ["x", "y"]),
        (("Regions", 1), ...),
        (("NormFactors", 1), ...),
        (("Systematics", 2), ...),
        (("Systematics", 1, "Up"), {"SamplePath": "background_up"}),
        *changes,
    )


def test_valid_documents_have_no_mistakes():
    parsed = config.parse(VALID)
    assert parsed.samples[1].sample_path == ("tt1.root", "tt2.root")
    assert parsed.samples[0].sample_path == ("tth.root",)
    assert parsed.regions[1].cuts is not None
    assert parsed.regions[1].cuts[0].slope == config.LinearSchedule.model_validate(
        {"Type": "linear", "Start": 1, "End": 10}
    )
    assert isinstance(parsed.systematics[1].down, config.Symmetrized)
    assert parsed.systematics[2].up.weight == "weight_up"
    assert [loss.type for loss in parsed.loss] == ["cls"]
    config.parse(yaml.safe_dump(generated()))


SHAPE = ("Systematics", 1)
TAU = {"Transform": {"Type": "tau_energy_scale", "Factor": 1.03}}


@pytest.mark.parametrize(
    ("change", "path", "fragment"),
    [
        # Keys
        ((("Sytematics",), []), "Sytematics", "did you mean Systematics?"),
        ((("general",), {}), "general", "did you mean General?"),
        ((("Train", "Epoch"), 3), "Train.Epoch", "did you mean Epochs?"),
        ((("Loss", "PoiTests"), 1), "Loss.PoiTests", "did you mean PoiTest?"),
        (((*SHAPE, "Smoothing"), {}), "Systematics[1].Smoothing", "not smoothed"),
        (((*SHAPE, "Down", "Tree"), "t"), "Systematics[1].Down", "Symmetrize: true al"),
        (
            ((*SHAPE, "Up"), {"Symmetrize": True}),
            "Systematics[1].Up.Symmetrize",
            "only Down can be the mirror image",
        ),
        (
            ((*SHAPE, "Up", "Normalization"), 0.1),
            "Systematics[1].Up.Normalization",
            "unknown key; known are",
        ),
        ((("Train", "Epochs"), ...), "Train.Epochs", "is missing"),
        ((("Train",), ...), "Train", "is missing"),
        ((("Train",), 3), "Train", "should hold keys and values"),
        # Types are not converted
        ((("Train", "Epochs"), "3"), "Train.Epochs", "valid integer, but is '3'"),
        ((("Train", "Epochs"), True), "Train.Epochs", "valid integer, but is True"),
        ((("Train", "Epochs"), 2.0), "Train.Epochs", "valid integer"),
        ((("Regions", 0, "Flow"), 1), "Regions[0].Flow", "valid boolean"),
        ((("Regions", 0, "Name"), 1), "Regions[0].Name", "valid string, but is 1"),
        (
            (("Observables", 0, "Hidden"), [8, "8"]),
            "Observables[0].Hidden[1]",
            "valid integer, but is '8'",
        ),
        (
            (("Samples", 1, "SamplePath"), ["a", 3]),
            "Samples[1].SamplePath[1]",
            "valid string, but is 3",
        ),
        ((("Samples", 0, "SamplePath"), 3), "Samples[0].SamplePath", "valid string"),
        # Values
        ((("Train", "Epochs"), 0), "Train.Epochs", "greater than 0"),
        ((("Regions", 0, "Binning", 1), float("inf")), "Regions[0].Binning[1]", "fin"),
        ((("Regions", 0, "Binning"), [0, 2, 2]), "Regions[0].Binning", "increasing"),
        ((("Regions", 0, "Binning"), [0]), "Regions[0].Binning", "2 or more items"),
        ((("Regions",), []), "Regions", "1 or more items, but has 0"),
        ((("Regions", 0, "Name"), "a/b"), "Regions[0].Name", "slash"),
        ((("General", "InputPath"), "{Tree}"), "General.InputPath", "field {Tree}"),
        ((("General", "InputPath"), "{"), "General.InputPath", "template"),
        ((("General", "Seed"), -1), "General.Seed", "greater than or equal to 0"),
        ((("Split",), {"Train": 0.9}), "Split", "add up to 1.4"),
        ((("Split",), {"Test": 0.0}), "Split.Test", "greater than 0"),
        ((("NormFactors", 0, "Bounds"), [1, 0]), "NormFactors[0]", "not increasing"),
        ((("NormFactors", 0, "Nominal"), 11), "NormFactors[0]", "outside Bounds"),
        ((("Samples", 2, "Yield"), 3), "Samples[2]", "cannot have a Yield"),
        ((("Samples", 0, "Yield"), -3), "Samples[0].Yield", "greater than or equal"),
        ((("Samples", 1, "Filter"), "pt >"), "Samples[1].Filter", "not an expression"),
        ((("Samples", 0, "Weight"), "a b"), "Samples[0].Weight", "not an expression"),
        (
            (("Systematics", 0, "Down", "Normalization"), -1),
            "Systematics[0].Down.Normalization",
            "greater than -1",
        ),
        (
            (("Histogram",), {"Type": "bKDE", "Bandwidth": 0}),
            "Histogram.Bandwidth",
            "greater than 0, but is 0",
        ),
        (
            (
                ("Histogram",),
                {"Type": "bKDE", "Bandwidth": {"Type": "linear", "Start": 1}},
            ),
            "Histogram.Bandwidth.End",
            "is missing",
        ),
        # Choices
        ((("Loss", "Type"), "clss"), "Loss.Type", "did you mean cls?"),
        ((("Loss", "Type"), ...), "Loss.Type", "is missing"),
        ((("Loss",), [{"Type": "p0"}, {"Type": 3}]), "Loss[1].Type", "none of cls"),
        ((("Systematics", 0, "Type"), "OverallSys"), "Systematics[0].Type", "none of"),
        ((("Observables", 0, "Type"), "mlp"), "Observables[0].Type", "'MLP'"),
        (
            ((*SHAPE, "Down"), {"Transform": {"Type": "tes", "Factor": 1}}),
            "Systematics[1].Down.Transform.Type",
            "'tes' is none of tau_energy_scale",
        ),
        # Within a section
        ((("Regions", 0, "Variable"), "pt"), "Regions[0]", "either Observable or"),
        ((("Regions", 1, "Variable"), ...), "Regions[1]", "either Observable or"),
        ((("Regions", 1, "Cuts", 0, "Below"), 3), "Regions[1].Cuts[0]", "Above or"),
        (
            (("Regions", 1), {**edited()["Regions"][1], "TrainableBinning": True,
                              "Binning": [0, 1]}),
            "Regions[1]",
            "two bins",
        ),
        # Across sections
        ((("General", "POI"), "mus"), "General.POI", "did you mean mu?"),
        ((("General", "InputPath"), ...), "General.InputPath", "no Generator either"),
        ((("Generator",), {"Type": "blobs"}), "Generator", "General.InputPath"),
        ((("Samples", 0, "SamplePath"), ...), "Samples[0].SamplePath", "is missing"),
        ((("Samples", 1, "Name"), "ttH"), "Samples[1].Name", "Samples[0]"),
        ((("Samples", 1, "Regions"), "SR1"), "Samples[1].Regions", "did you mean SR?"),
        ((("NormFactors", 0, "Samples"), "tH"), "NormFactors[0].Samples", "ttH?"),
        (
            (("NormFactors", 1, "Samples"), ["ttbar", "Z"]),
            "NormFactors[1].Samples[1]",
            "known are ttH, ttbar, observed",
        ),
        (
            (("NormFactors", 1, "Samples"), ["ttbar", "ttbar"]),
            "NormFactors[1].Samples[0]",
            "listed 2 times",
        ),
        (
            (("NormFactors", 1, "Samples"), "observed"),
            "NormFactors[1].Samples",
            "observed data",
        ),
        (((*SHAPE, "Regions"), ["VR"]), "Systematics[1].Regions[0]", "no region 'VR'"),
        ((("Systematics", 0, "Name"), "mu"), "Systematics[0].Name", "norm factor"),
        ((("Regions", 0, "Observable"), "nett"), "Regions[0].Observable", "net?"),
        ((("Regions", 0), edited()["Regions"][1]), "Observables[0].Name", "no region"),
        (
            (("General", "Fixed"), [{"Name": "lumi", "Value": 0},
                                    {"Name": "lum", "Value": 0}]),
            "General.Fixed[1].Name",
            "did you mean lumi?",
        ),
        (
            (("General", "Fixed"), [{"Name": "mu", "Value": 0}]),
            "General.Fixed[0].Name",
            "parameter of interest",
        ),
        ((("Loss", "PoiTest"), 20), "Loss.PoiTest", "outside the Bounds of 'mu'"),
        (
            (("Loss",), {"Type": "fisher", "Parameters": ["mu", "lumy"]}),
            "Loss.Parameters[1]",
            "did you mean lumi?",
        ),
        (
            (("Histogram",), {"Type": "softmax"}),
            "Regions[1].Variable",
            "one output per bin",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_where_it_is(change, path, fragment):
    found = dict(mistakes(edited(change)))
    assert path in found
    assert fragment in found[path]


@pytest.mark.parametrize(
    ("change", "path", "fragment"),
    [
        ((("Samples", 0, "SamplePath"), "sinal"), "Samples[0].SamplePath", "signal?"),
        ((("Samples", 0, "Tree"), "events"), "Samples[0].Tree", "no trees"),
        ((("Observables", 0, "Inputs", 1), "z"), "Observables[0].Inputs[1]", "x, y"),
        (((*SHAPE, "Up"), TAU), "Systematics[1].Up.Transform", "no features"),
        (
            ((*SHAPE, "Up", "SamplePath"), "up"),
            "Systematics[1].Up.SamplePath",
            "no generated population 'up'",
        ),
        (
            (("Regions", 0, "Cuts"), [{"Variable": "pt", "Below": 1}]),
            "Regions[0].Cuts[0].Variable",
            "no generated column 'pt'",
        ),
    ],
)
def test_generated_events_have_known_populations_and_columns(change, path, fragment):
    found = dict(mistakes(generated(change)))
    assert list(found) == [path]
    assert fragment in found[path]


@pytest.mark.parametrize("kind", ["bce", "bce_augmented"])
def test_classification_needs_a_network_and_background(kind):
    bce = (("Loss",), [{"Type": "cls"}, {"Type": kind}])
    no_network = mistakes(
        edited(
            bce,
            (("Observables",), ...),
            (("Regions", 0), ...),
            (("NormFactors", 1), ...),
        )
    )
    assert [path for path, _ in no_network] == ["Loss[1]"]
    no_background = mistakes(edited(bce, (("NormFactors", 0, "Samples"), ...)))
    assert [path for path, _ in no_background] == ["Loss[1]"]


def test_a_softmax_histogram_fixes_the_number_of_outputs():
    region = {"Name": "CR", "Observable": "net", "Binning": [0, 1]}
    document = edited((("Regions", 1), region), (("Histogram",), {"Type": "softmax"}))
    assert [path for path, _ in mistakes(document)] == ["Regions[1].Observable"]
    document["Regions"][1]["Binning"] = [0, 0.1, 1]
    assert config.parse(yaml.safe_dump(document)).histogram.type == "softmax"


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file():
    document = edited(
        (("General", "POI"), "nu"),
        (("Regions", 0, "Binning"), [1, 0]),
        (("Samples", 1, "Filter"), "(pt"),
        (("NormFactors", 1, "Regions"), "XR"),
        (("Train", "Epochs"), -1),
        (("Trian",), {}),
    )
    assert [path for path, _ in mistakes(document)] == [
        "General.POI",
        "Regions[0].Binning",
        "Samples[1].Filter",
        "NormFactors[1].Regions",
        "Train.Epochs",
        "Trian",
    ]


def test_one_wrong_item_does_not_make_its_list_wrong():
    found = mistakes(edited((("Observables", 0, "Inputs"), [3])))
    assert [path for path, _ in found] == ["Observables[0].Inputs[0]"]


def test_duplicate_keys_are_refused():
    text = VALID + "Train: {Epochs: 4, BatchSize: 3, Epochs: 5}\n"
    with pytest.raises(ConfigError) as caught:
        config.parse(text)
    assert [path for path, _ in caught.value.mistakes] == ["Train", "Train.Epochs"]
    assert "in lines" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "", "3", "- 3", "a: [", "a: \x00", b"\xff\xfe\x00", "1: 2", "? [1]\n: 2",
        "a: !!python/object/apply:os.system [ls]", "&a [*a]", "Samples: &a\n- *a",
        "a: 2020-13-45", "<<: 3", "[" * 500, "---\na: 1\n---\nb: 2", "!!binary x",
        "Split: {Train: 1" + "0" * 400 + "}", "Observables: {Name: {Name: 3}}",
    ],
)  # fmt: skip
def test_what_is_no_configuration_is_refused(text):
    with pytest.raises(ConfigError) as caught:
        config.parse(text)
    assert caught.value.mistakes


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "a", "ttH", "cls", "mu", "Normalization", "{", "a &&"]),
    lambda child: (
        st.lists(child, max_size=3)
        | st.dictionaries(st.sampled_from(["Name", "Type", "Up", "Start"]), child)
    ),
    max_leaves=5,
)


def places(node, path=()):
    yield path
    items = node.items() if isinstance(node, dict) else ()
    items = enumerate(node) if isinstance(node, list) else items
    for key, value in items:
        yield from places(value, (*path, key))


@settings(max_examples=80)
@given(path=st.sampled_from([p for p in places(edited()) if p]), value=junk)
def test_any_replacement_gives_a_configuration_or_mistakes(path, value):
    try:
        parsed = config.parse(yaml.safe_dump(edited((path, value)), sort_keys=False))
    except ConfigError as error:
        found = error.mistakes
    else:
        found = None
        assert config.parse(config.dump(parsed)) == parsed
    assert found is None or all(message for _, message in found)
    assert found != []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configurations_survive_being_written_out(path):
    parsed = config.load(path)
    text = config.dump(parsed)
    assert config.parse(text) == parsed
    assert config.dump(config.parse(text)) == text
    assert yaml.safe_load(text)["Train"]["MaxFailedSteps"] == 10


@settings(max_examples=40)
@given(
    name=st.text(
        st.characters(exclude_characters="/", exclude_categories=["Cs", "Cc"]),
        min_size=1,
    )
    | st.sampled_from(["1e3", "1.e+3", "yes", "null", "~", "=", "<<", "2020-01-01"]),
    number=st.floats(min_value=0, max_value=1e300, exclude_min=True),
)
def test_any_name_and_number_survives_being_written_out(name, number):
    document = edited(
        (("General", "Measurement"), name),
        (("Samples", 0, "Yield"), number),
    )
    parsed = config.Config.model_validate(document)
    assert parsed.general.measurement == name
    assert config.parse(config.dump(parsed)) == parsed


@pytest.mark.parametrize(
    ("spelled", "value"),
    [("1e-3", 1e-3), ("1E3", 1e3), ("2.5e+1", 25.0), (".5e0", 0.5), ("3", 3.0)],
)
def test_numbers_without_a_point_are_numbers(spelled, value):
    text = VALID.replace("Yield: 20", f"Yield: {spelled}")
    assert config.parse(text).samples[0].yield_ == value


@pytest.mark.parametrize(
    "expression",
    ["pt > 20 && !(eta != 2) || n < 3", " pt ", "(a > 1) & (b == 's')", "0.7*weight"],
)
def test_expressions_may_use_operators_of_root(expression):
    document = edited((("Regions", 0, "Filter"), expression))
    assert config.parse(yaml.safe_dump(document)).regions[0].filter == expression


def test_configurations_cannot_be_changed():
    parsed = config.parse(VALID)
    with pytest.raises(Exception, match="frozen"):
        parsed.general.seed = 3
    assert hash(parsed) == hash(config.parse(VALID))


def test_an_unreadable_file_is_a_mistake(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        config.load(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="directory"):
        config.load(tmp_path)


def test_errors_can_be_sent_between_processes():
    error = ConfigError([("Loss.Type", "is missing")])
    copied = pickle.loads(pickle.dumps(error))
    assert copied.mistakes == error.mistakes
    assert str(copied) == "Loss.Type: is missing"


def test_the_schema_in_the_repository_is_current():
    # `diffana schema > configs/schema.json` renews it.
    assert json.loads(SCHEMA.read_text()) == config.json_schema()


def test_the_schema_agrees_with_the_parser():
    validator = jsonschema.Draft202012Validator(config.json_schema())
    validator.check_schema(config.json_schema())
    for path in CONFIGS:
        validator.validate(yaml.safe_load(config.dump(config.load(path))))
    validator.validate(edited())
    for wrong in (
        edited((("Sytematics",), [])),
        edited((("Loss", "Type"), "clss")),
        edited((("Samples", 0, "SamplePath"), 3)),
    ):
        assert not validator.is_valid(wrong)


def test_every_key_is_documented():
    definitions = config.json_schema()["$defs"].values()
    for section in (config.json_schema(), *definitions):
        assert section["description"]
        for key, entry in section["properties"].items():
            assert key == "Type" or entry["description"], (section["title"], key)


def test_reading_a_configuration_imports_nothing_heavy():
    code = (
        "import sys, diffana.config\n"
        f"diffana.config.load({str(CONFIGS[0])!r})\n"
        "print(*sorted({'jax', 'numpy', 'equinox', 'pyhf'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == ""


def test_changed_replaces_values_by_path():
    before = tiny.parsed(tiny.document())
    found = config.changed(
        before,
        {
            "General.Seed": 7,
            "Regions.SR.TrainableBinning": True,
            "Observables.0.Hidden": [4, 4],
            "Loss": [{"Type": "p0", "Weight": 2.0}],
        },
    )
    assert found.general.seed == 7
    assert found.regions[0].trainable_binning
    assert found.observables[0].hidden == (4, 4)
    assert (found.loss[0].type, found.loss[0].weight) == ("p0", 2.0)
    assert before.general.seed == 3
    assert config.changed(before, {}) == before


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("Train.Epoch", 3, "Train.Epoch: there is no 'Epoch' to change"),
        ("Regions.CR.Flow", False, "Regions.CR.Flow: there is no 'CR' to change"),
        ("Regions.1.Flow", False, "Regions.1.Flow: there is no '1' to change"),
        ("General.Seed.x", 1, "General.Seed.x: there is no 'x' to change"),
        ("Train.Epochs", 0, "Train.Epochs: input should be greater than 0, but is 0"),
    ],
)
def test_changed_names_a_path_that_does_not_fit(path, value, message):
    with pytest.raises(ConfigError) as caught:
        config.changed(tiny.parsed(tiny.document()), {path: value})
    assert str(caught.value.mistakes[0]) == message
