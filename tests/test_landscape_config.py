import copy
import pathlib

import pytest
import yaml
from click.testing import CliRunner

from diffana import config
from diffana.cli import main
from diffana.config import ConfigError


FOLDER = pathlib.Path(__file__).parents[1] / "configs"
LANDSCAPES = sorted(p for p in FOLDER.glob("*.yaml") if config.is_landscape(p))

MOVE = {
    "Type": "histosys",
    "Channel": "SR",
    "Sample": "background",
    "Modifier": "shape",
    "Side": "Hi",
    "Direction": [1, -1],
}
VALID = {
    "Workspace": {"Path": "workspace.json"},
    "Losses": [{"Type": "p0"}, {"Name": "s", "Loss": [{"Type": "sigma_mu"}]}],
    "Axes": [{"Name": "u", "Range": [0, 1], "Points": 3, "Moves": MOVE}],
}


def mistakes(**changes):
    document = copy.deepcopy(VALID) | changes
    document = {key: value for key, value in document.items() if value is not None}
    try:
        config.parse_landscape(yaml.safe_dump(document, sort_keys=False))
    except ConfigError as error:
        return [str(mistake) for mistake in error.mistakes]
    return []


def axis(**changes):
    return {**VALID["Axes"][0], **changes}


@pytest.mark.parametrize("path", LANDSCAPES, ids=lambda path: path.stem)
def test_files_in_configs_are_valid(path):
    parsed = config.load_landscape(path)
    assert config.parse_landscape(config.dump(parsed)) == parsed
    result = CliRunner().invoke(main, ["validate", str(path)])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{path} is valid: ")


def test_there_are_files_in_configs():
    assert [path.stem for path in LANDSCAPES] == [
        "blobs_landscape",
        "two_bin_landscape",
    ]


def test_a_loss_is_called_by_its_type_or_its_name():
    parsed = config.parse_landscape(yaml.safe_dump(VALID))
    assert list(parsed.named_losses) == ["p0", "s"]
    assert parsed.titles == {"u": "u", "p0": "p0", "s": "s"}


EDGE = {"Type": "edge", "Region": "SR", "Index": 1}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"Workspace": None}, ["needs one of the keys Workspace, Analysis, Run"]),
        ({"Run": "a"}, ["Workspace: cannot be combined with Run"]),
        ({"Hard": True}, ["Hard: a Workspace has no events"]),
        ({"Events": "test"}, ["Events: a Workspace has no events"]),
        ({"Axis": []}, ["Axis: unknown key; did you mean Axes?"]),
        (
            {"Axes": [axis(Moves=EDGE)]},
            [
                "Axes[0].Moves.Type: 'edge' moves nothing in the Workspace; there are "
                "nominal, histosys, normsys, shapesys, staterror"
            ],
        ),
        (
            {"Workspace": None, "Run": "a", "Axes": [axis(Moves=[EDGE, MOVE])]},
            [
                "Axes[0].Moves[1].Type: 'histosys' moves nothing in the Run; there are "
                "cut, edge, random_direction, towards"
            ],
        ),
        (
            {"Axes": [axis(Range=[1, 1], Points=1)]},
            [
                "Axes[0].Range: [1, 1] is not increasing",
                "Axes[0].Points: input should be greater than or equal to 2, but is 1",
            ],
        ),
        (
            {"Axes": [axis(Moves={**MOVE, "Side": "Up", "Direction": [0, 0]})]},
            [
                "Axes[0].Moves.Side: input should be 'Hi' or 'Lo', but is 'Up'",
                "Axes[0].Moves.Direction: moves nothing: every number is 0",
            ],
        ),
        (
            {"Axes": [axis(), axis()]},
            ["Axes[1].Name: 'u' is the name of Axes[0] too"],
        ),
        (
            {"Losses": [{"Type": "p0"}, {"Type": "p0", "Log": False}]},
            [
                "Losses[1]: is called 'p0' as Losses[0] is; give it a Name: "
                "{Name: ..., Loss: {Type: ...}}"
            ],
        ),
        (
            {"Losses": [{"Name": "u", "Loss": {"Type": "p0"}}]},
            ["Losses[0]: is called 'u' as an axis is"],
        ),
        (
            {"Losses": [{"Type": "bce"}, {"Name": "x", "Loss": [{"Type": "bce"}]}]},
            [
                "Losses[0]: 'bce' needs events, and a Workspace has none",
                "Losses[1].Loss[0]: 'bce' needs events, and a Workspace has none",
            ],
        ),
        (
            {"Losses": [{"Name": "x", "Loss": {"Type": "p0", "Lgo": True}}]},
            ["Losses[0].Loss.Lgo: unknown key; did you mean Log?"],
        ),
    ],
)
def test_every_mistake_is_named_with_its_place(changes, expected):
    assert mistakes(**changes) == expected


def test_three_axes_are_too_many():
    (message,) = mistakes(Axes=[axis(), axis(Name="b"), axis(Name="c")])
    assert message.startswith("Axes: ")
    assert "at most 2 items" in message
