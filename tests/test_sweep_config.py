import copy
import pathlib

import pytest
from click.testing import CliRunner

import tiny
from diffana import config
from diffana.cli import main
from diffana.config import ConfigError


FOLDER = pathlib.Path(__file__).parents[1] / "configs"
SWEEPS = sorted(path for path in FOLDER.glob("*.yaml") if config.is_sweep(path))
VALID = {
    "Base": "tiny.yaml",
    "Seeds": [4, 2],
    "Settings": [
        {"Name": "plain"},
        {"Name": "short", "Change": {"Train.Epochs": 1, "Loss": {"Type": "p0"}}},
    ],
    "Grid": {
        "Train.BatchSize": [100, 200],
        "Histogram.Bandwidth": [0.1, {"Type": "linear", "Start": 0.2, "End": 0.1}],
    },
}


@pytest.fixture
def load(tmp_path):
    """Reads a sweep of the tiny configuration, with some keys in place of others."""
    tiny.written(tiny.document(), tmp_path / "tiny.yaml")

    def load(**changes):
        document = copy.deepcopy(VALID) | changes
        document = {key: value for key, value in document.items() if value is not None}
        return config.load_sweep(tiny.written(document, tmp_path / "sweep.yaml"))

    return load


@pytest.fixture
def mistakes(load):
    def mistakes(**changes):
        with pytest.raises(ConfigError) as caught:
            load(**changes)
        return [str(mistake) for mistake in caught.value.mistakes]

    return mistakes


def test_there_is_a_sweep_in_configs():
    assert FOLDER / "sweep.yaml" in SWEEPS


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_files_in_configs_are_valid(path):
    result = CliRunner().invoke(main, ["validate", str(path)])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{path} is valid: ")
    assert config.load_sweep(path).runs


def test_what_is_said_of_a_valid_sweep():
    path = FOLDER / "sweep.yaml"
    assert CliRunner().invoke(main, ["validate", str(path)]).stdout == (
        f"{path} is valid: 12 runs of blobs.yaml; 3 seeds of cls,LearningRate=0.001; "
        "cls,LearningRate=0.0003; bce,LearningRate=0.001; bce,LearningRate=0.0003\n"
    )


def test_runs_are_all_seeds_of_all_combinations(load):
    plan = load()
    assert [run.name for run in plan.runs] == [
        f"{setting},BatchSize={size},Bandwidth={width}_seed{seed}"
        for setting in ("plain", "short")
        for size in (100, 200)
        for width in ("0.1", "linear")
        for seed in (4, 2)
    ]
    for run in plan.runs:
        train = run.config.train
        assert run.name == f"{run.setting}_seed{run.config.general.seed}"
        assert f"BatchSize={train.batch_size}," in run.setting
        assert (train.epochs, run.config.loss[0].type) == (
            (1, "p0") if run.setting.startswith("short") else (2, "cls")
        )
        width = run.config.histogram.bandwidth
        assert ("linear" in run.setting) == (width != 0.1)
        # Everything else is that of the base.
        same = {
            "General.Seed": 3,
            "Train.BatchSize": 400,
            "Train.Epochs": 2,
            "Loss": {"Type": "cls"},
            "Histogram.Bandwidth": 0.1,
        }
        assert config.changed(run.config, same) == plan.base


def test_seeds_may_be_counted(load):
    plan = load(Seeds=3, Settings=None, Grid=None)
    assert [run.name for run in plan.runs] == ["base_seed0", "base_seed1", "base_seed2"]
    assert plan.config.seed_values == (0, 1, 2)


def test_names_in_the_grid_tell_paths_and_values_apart(load):
    grid = {
        "Samples.signal.Yield": [1, 2],
        "Samples.background.Yield": [1, 2],
        "Train.Optimizer": [
            {"Type": "adam", "LearningRate": 0.1},
            {"Type": "adam", "LearningRate": 0.2},
        ],
        "Observables.summary.Hidden": [[3], [3, 4]],
    }
    plan = load(Seeds=1, Settings=None, Grid=grid)
    assert len({run.name for run in plan.runs}) == len(plan.runs) == 16
    assert plan.runs[0].setting == (
        "signal.Yield=1,background.Yield=1,Optimizer=0,Hidden=3"
    )
    assert plan.runs[-1].setting == (
        "signal.Yield=2,background.Yield=2,Optimizer=1,Hidden=3-4"
    )


def test_a_sweep_is_written_and_read(load, tmp_path):
    plan = load()
    (tmp_path / "again.yaml").write_text(config.dump(plan.config))
    assert config.load_sweep(tmp_path / "again.yaml") == plan


def test_mistakes_in_the_document_and_in_the_base_come_together(mistakes, tmp_path):
    (tmp_path / "wrong.yaml").write_text("Sytematics: []\n")
    found = mistakes(Base="wrong.yaml", Seeds=0, Seting=[])
    assert found[:2] == [
        "Seeds: input should be greater than 0, but is 0",
        "Seting: unknown key; did you mean Settings?",
    ]
    assert f"Base: {tmp_path}/wrong.yaml: Regions: is missing" in found
    (place,) = [one for one in found if "Sytematics" in one]
    assert place.startswith(f"Base: {tmp_path}/wrong.yaml: Sytematics: unknown key")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"Seeds": None}, ["Seeds: is missing"]),
        ({"Seeds": [1, -1]}, ["Seeds[1]: input should be greater than or equal to 0"]),
        ({"Seeds": [1, 1]}, ["Seeds: 1 is given twice"]),
        ({"Seeds": 1.5}, ["Seeds: input should be a valid integer"]),
        ({"Grid": {}}, ["Grid: needs 1 or more items, but has 0"]),
        (
            {"Grid": {"Train.Epochs": [1, 1]}, "Settings": None},
            ["Grid.Train.Epochs: 1 is given twice"],
        ),
        (
            {"Grid": {"General.Seed": [1]}},
            ["Grid.General.Seed: is given by Seeds"],
        ),
        (
            {"Grid": {"Train.Epochs": [1, 2]}},
            ["Settings[1].Change.Train.Epochs: is in the Grid too"],
        ),
        (
            {"Settings": [{"Name": "a/b"}, {"Name": ".a"}, {"Name": "c d"}]},
            [
                f"Settings[{i}].Name: {name!r} cannot name a folder"
                for i, name in enumerate(("a/b", ".a", "c d"))
            ],
        ),
        (
            {"Settings": [{"Name": "a"}, {"Name": "a", "Change": {"Train.Epochs": 1}}]},
            ["Settings[1].Name: 'a' is the name of Settings[0] too"],
        ),
        (
            {"Settings": [{"Name": "a", "Change": {"General.Seed": 1}}]},
            ["Settings[0].Change.General.Seed: is given by Seeds"],
        ),
    ],
)
def test_mistakes_in_the_document(mistakes, changes, expected):
    found = mistakes(**changes)
    assert len(found) == len(expected)
    for one, start in zip(found, expected, strict=True):
        assert one.startswith(start)


def test_mistakes_of_the_result_are_told_once_where_they_come_from(mistakes):
    changes = {
        "wrong_value": {"Train.Epochs": 1.5},
        "wrong_paths": {"Train.Epoch": 1, "Samples.other.Yield": 2},
        "wrong_reference": {"Regions.SR.Observable": "net"},
    }
    found = mistakes(
        Settings=[{"Name": name, "Change": one} for name, one in changes.items()],
        Grid={
            "Train.BatchSize": [100, -1],
            "Train.Optimizer": [{"Type": "sgd", "LearningRate": 1}, {"Type": "sgd"}],
        },
    )
    assert found == [
        "Settings[0].Change.Train.Epochs: input should be a valid integer, but is 1.5",
        "Settings[1].Change.Train.Epoch: there is no 'Epoch' to change",
        "Settings[1].Change.Samples.other.Yield: there is no 'other' to change",
        "Settings[2].Change: Observables[0].Name: no region bins the observable "
        "'summary'",
        "Settings[2].Change: Regions[0].Observable: no observable 'net'; known are "
        "summary",
        "Grid.Train.BatchSize[1]: input should be greater than 0, but is -1",
        "Grid.Train.Optimizer[1]: Train.Optimizer.LearningRate: is missing",
    ]


def test_a_mistake_of_one_combination_names_it(mistakes):
    """Each change is valid alone."""
    split = {"Train": 0.5, "Validation": 0.3, "Test": 0.1}
    found = mistakes(
        Settings=[{"Name": "a"}, {"Name": "b", "Change": {"Split": split}}],
        Grid={"Split.Test": [0.1, 0.25]},
    )
    assert found == [
        "b,Test=0.25: Split: the fractions add up to 1.05, which is more than 1"
    ]


def test_a_setting_that_changes_nothing_is_refused(mistakes):
    found = mistakes(
        Settings=[{"Name": "a"}, {"Name": "b", "Change": {"Train.Epochs": 2}}],
        Grid=None,
    )
    assert found == ["Settings[1]: b is the same configuration as a"]


@pytest.mark.parametrize("command", ["validate", "sweep"])
def test_the_command_prints_every_mistake(tmp_path, command):
    tiny.written(tiny.document(), tmp_path / "tiny.yaml")
    path = tiny.written(VALID | {"Seeds": 0, "Base": 1}, tmp_path / "wrong.yaml")
    out = ["--out", str(tmp_path / "out")] if command == "sweep" else []
    result = CliRunner().invoke(main, [command, str(path), *out])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"Error: {path} has 2 mistakes:",
        "  Base: input should be a valid string, but is 1",
        "  Seeds: input should be greater than 0, but is 0",
    ]
    assert not (tmp_path / "out").exists()


def test_a_text_that_is_no_sweep(tmp_path):
    path = tmp_path / "list.yaml"
    path.write_text("[1, 2]")
    with pytest.raises(ConfigError, match="should hold keys and values"):
        config.load_sweep(path)
    assert not config.is_sweep(path)
