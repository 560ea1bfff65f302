import json
import pathlib

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from diffana import config
from diffana.cli import main
from diffana.config import ConfigError
from nsbi import small_config as small


FOLDER = pathlib.Path(__file__).parents[2] / "configs"
CONFIGS = sorted(path for path in FOLDER.glob("*.yaml") if config.is_nsbi(path))


def mistakes(**sections):
    try:
        small.parsed(small.document(**sections))
    except ConfigError as error:
        return [str(mistake) for mistake in error.mistakes]
    return []


def samples(**changed):
    """The samples, with keys of some of them changed."""
    found = small.document()["Samples"]
    for one in found:
        one |= changed.get(one["Name"], {})
    return found


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_files_in_configs_are_valid(path):
    parsed = config.load_nsbi(path)
    assert config.parse_nsbi(config.dump(parsed)) == parsed
    result = CliRunner().invoke(main, ["validate", str(path)])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{path} is valid: ")


def test_there_are_files_in_configs():
    assert [path.stem for path in CONFIGS] == ["nsbi_interference", "nsbi_smeared"]


def test_the_schema_in_the_repository_is_current():
    # `diffana nsbi schema > configs/nsbi_schema.json` renews it.
    written = (FOLDER / "nsbi_schema.json").read_text()
    assert json.loads(written) == config.nsbi_json_schema()
    assert json.loads(CliRunner().invoke(main, ["nsbi", "schema"]).stdout) == (
        config.nsbi_json_schema()
    )


def test_the_schema_agrees_with_the_parser():
    validator = jsonschema.Draft202012Validator(config.nsbi_json_schema())
    for path in CONFIGS:
        validator.validate(yaml.safe_load(config.dump(config.load_nsbi(path))))
    validator.validate(small.document())
    wrong = small.document(Ratios={"Loss": "bces"})
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(wrong)


def test_defaults_of_a_small_file():
    parsed = small.parsed(small.document())
    assert parsed.squares == {"mu": "sqrt_mu"}
    assert parsed.systematics is not None
    assert [getattr(one, "morph", None) for one in parsed.systematics] == ["polyexp"]
    assert [sample.through for sample in parsed.samples] == ["B", "B", None, None]


COUPLINGS = {
    "Couplings": [{"Name": "kappa"}],
    "Powers": [[0], [1], [2]],
    "Points": {"S": [0], "SBI": [1], "B": [5]},
}


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({}, []),
        ({"Interference": None, "Morphing": COUPLINGS, "General": {
            "Measurement": "m", "POI": "kappa"}}, []),
        ({"Samples": samples(S={"Through": "Bkg"})},
         ["Samples[0].Through: no sample 'Bkg'; known are S, SBI, B, NI"]),
        ({"Samples": samples(B={"Through": "NI"})},
         ["Samples[2].Through: 'B' is in the Reference, whose samples are compared "
          "with the first of them"]),
        ({"Samples": samples(S={"Through": "SBI"}, SBI={"Through": "S"})},
         ["Samples[0].Through: leads back to itself: S through SBI through S"]),
        ({"Samples": samples(S={"Through": "S"})},
         ["Samples[0].Through: leads back to itself: S through S"]),
        ({"Samples": samples(S={"Through": None, "Data": True, "Yield": None})},
         ["Interference.Signal: no sample 'S'; known are SBI, B, NI"]),
        ({"Samples": samples(NI={"DisableStaterror": True})},
         ["Samples[3].DisableStaterror: has no effect: there are no bins"]),
        ({"Reference": ["NI", "C"]},
         ["Reference[1]: no sample 'C'; known are S, SBI, B, NI"]),
        ({"Reference": ["NI", "NI"]}, ["Reference[1]: 'NI' is listed twice"]),
        ({"Features": ["x", "x"]}, ["Features[1]: 'x' is listed twice"]),
        ({"Features": ["q", "x + y"]},
         ["Features[0]: no generated column 'q'; known are x, y, z"]),
        ({"General": {"Measurement": "m", "POI": "mu"}},
         ["General.POI: 'mu' acts through its square root: the parameter is "
          "'sqrt_mu'"]),
        ({"General": {"Measurement": "m", "POI": "nu"}},
         ["General.POI: no norm factor 'nu'; known are sqrt_mu"]),
        ({"General": {"Measurement": "m", "POI": "sqrt_mu", "Fixed": [
            {"Name": "sqrt_mu", "Value": 1.0}, {"Name": "shape", "Value": 0.0}]}},
         ["General.Fixed[0].Name: the parameter of interest cannot be fixed",
          "General.Fixed[1].Name: no parameter 'shape'; known are sqrt_mu, shift"]),
        ({"Interference": {"Signal": "S", "Total": "S", "Background": "B"}},
         ["Interference.Total: 'S' is the Signal too"]),
        ({"Interference": {"Signal": "S", "Total": "SBI", "Background": "B",
                           "Bounds": [-1, 3]}},
         ["Interference: Bounds of √μ begin at 0 or above"]),
        ({"Interference": {"Signal": "S", "Total": "SBI", "Background": "B",
                           "Amplitude": "shift"}, "General": {"Measurement": "m"}},
         ["Interference.Amplitude: 'shift' is the name of a systematic, too",
          "Systematics[0].Name: 'shift' is the name of a norm factor"]),
        ({"Morphing": COUPLINGS}, ["Interference: cannot be combined with Morphing"]),
        ({"Interference": None, "General": {"Measurement": "m"}, "Morphing": COUPLINGS
          | {"Points": {"S": [0], "SBI": [1, 2]}}},
         ["Morphing.Points: 3 monomials need as many samples, not 2",
          "Morphing.Points.SBI: has 2 values for 1 couplings"]),
        ({"Interference": None, "General": {"Measurement": "m"}, "Morphing": COUPLINGS
          | {"Powers": [[0], [1, 1], [2]]}},
         ["Morphing.Powers[1]: has 2 powers for 1 couplings"]),
        ({"Input": {"ChunkSize": 100}},
         ["Input.ChunkSize: has no effect: all events are in memory"]),
        ({"Region": {"Name": "../SR"}},
         ["Region.Name: '../SR' cannot name a folder: take letters, digits, spaces and "
          "_ . + -, with a letter or a digit first"]),
        ({"Region": {"Name": "SR", "Variable": "x"}},
         ["Region.Variable: unknown key; known are Name, Filter, RegionPath"]),
        ({"Generator": {"Type": "smeared"}, "Samples": samples(), "Features": ["x0"]},
         ["Samples[0].SamplePath: no generated population 'pool'; known are S, "
          "S_response_up, S_response_down, S_resolution_up, S_resolution_down, "
          "S_theory_up, S_theory_down, B, B_response_up, B_response_down, "
          "B_resolution_up, B_resolution_down, B_theory_up, B_theory_down"]),
    ],
)  # fmt: skip
def test_mistakes(sections, expected):
    found = mistakes(**sections)
    assert found[: len(expected)] == expected
    assert bool(found) == bool(expected)


def test_a_variable_of_a_variation_has_no_effect():
    systematic = small.document()["Systematics"][0] | {"Up": {"Variable": "y"}}
    assert mistakes(Systematics=[systematic]) == [
        "Systematics[0].Up.Variable: has no effect: there are no bins"
    ]


def test_fresh_events_need_a_generator(tmp_path):
    files = small.Files(tmp_path)
    files.config["Ratios"]["FreshEvents"] = True
    with pytest.raises(ConfigError) as caught:
        files.parsed()
    assert str(caught.value) == "Ratios.FreshEvents: needs a Generator"


def test_every_mistake_is_printed(tmp_path):
    path = small.written(small.document(Ratio={}, Reference="C"), tmp_path / "a.yaml")
    for command in (["validate"], ["nsbi", "train", "--out", str(tmp_path / "run")]):
        result = CliRunner().invoke(main, [*command, str(path)])
        assert result.exit_code == 2
        assert result.stderr.splitlines() == [
            f"Error: {path} has 2 mistakes:",
            "  Reference: no sample 'C'; known are S, SBI, B, NI",
            "  Ratio: unknown key; did you mean Ratios?",
        ]
