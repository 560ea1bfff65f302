import io
import json
import math
import shutil

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from matplotlib.figure import Figure
from rich.console import Console

import tiny
from diffana import plot, workflow
from diffana.cli import main
from diffana.errors import RunError
from diffana.workflow import comparison_report, evaluation
from diffana.workflow.comparison import compare, epoch_reached, spread
from diffana.workflow.comparison_names import differences, names


METRICS = ("cls", "p0", "sigma_mu")
N_EPOCHS = 4


def trained(settings, folder, *, width, seed):
    """A run of the configuration of `finished` with another last bandwidth or seed."""
    document = yaml.safe_load(settings.read_text())
    document["General"]["Seed"] = seed
    document["Histogram"]["Bandwidth"]["End"] = width
    console = Console(file=io.StringIO())
    workflow.train(tiny.parsed(document), folder, resume=False, console=console)
    return folder


@pytest.fixture(scope="module")
def folders(settings, finished, tmp_path_factory):
    """Two configurations, with two seeds each."""
    parent = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as patch:
        # Nothing here looks at the figures of single runs, which take seconds.
        patch.setattr(evaluation, "save_figures", lambda *run: None)
        return [
            trained(settings, parent / "narrow_4", width=0.1, seed=4),
            finished,
            trained(settings, parent / "wide_3", width=0.2, seed=3),
            trained(settings, parent / "wide_4", width=0.2, seed=4),
        ]


@pytest.fixture
def copied(folders, tmp_path):
    """The first run, to be spoiled."""
    return shutil.copytree(folders[0], tmp_path / "run")


def invoke(*argv):
    return CliRunner().invoke(main, ["compare", *map(str, argv)])


def read(folder, name):
    return json.loads((folder / name).read_text())


def lines(folder, name):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_seeds_of_one_configuration_are_one_group(folders):
    comparison = compare(folders)
    assert (comparison.poi, comparison.poi_test) == ("mu", 1.0)
    assert [group.name for group in comparison.groups] == [
        "Histogram.Bandwidth.End=0.1",
        "Histogram.Bandwidth.End=0.2",
    ]
    for group in comparison.groups:
        assert [run.seed for run in group.runs] == [3, 4]


def test_numbers_are_those_of_the_run_folders(folders):
    """Medians and ranges by NumPy from what the runs have written."""
    document = compare(folders).document()
    for group, members in zip(
        document["groups"], (folders[:2], folders[2:]), strict=True
    ):
        results = [read(folder, "results.json") for folder in members]
        metrics = [lines(folder, "metrics.jsonl") for folder in members]
        timings = [lines(folder, "timings.jsonl") for folder in members]
        for metric, pick in (
            ("cls", lambda one: one["CLs_exp"][2]),
            ("p0", lambda one: one["p0"]),
            ("sigma_mu", lambda one: one["sigma_mu"]),
        ):
            ours = [pick(one["diffana"]) for one in results]
            theirs = [pick(one["pyhf"]) for one in results]
            found = group["test"][metric]
            assert found["median"] == np.median(ours)
            assert (found["low"], found["high"]) == (min(ours), max(ours))
            assert found["undefined"] == 0
            worst = np.max(np.abs(np.divide(ours, theirs) - 1))
            assert group["difference_to_pyhf"] >= worst
        # 1e-3: pyhf's own minimiser stops early.
        assert 0 < group["difference_to_pyhf"] < 1e-3
        assert group["cost"]["updates"] == metrics[0][-1]["step"] == 2 * N_EPOCHS
        seconds = [[one["seconds"] for one in each] for each in timings]
        assert group["cost"]["seconds"] == np.median(np.sum(seconds, axis=1))
        assert group["cost"]["seconds_per_epoch"] == np.median(seconds)
        selected = [one["epoch"] for one in results]
        assert group["convergence"]["selected"] == np.median(selected)
        assert group["convergence"]["refused"] == [0, 0]
        last = [one == N_EPOCHS for one in selected]
        assert group["convergence"]["still_improved"] == sum(last)


def test_a_run_without_times_is_compared_without_them(folders, copied):
    (copied / "timings.jsonl").unlink()
    (group,) = compare([copied, folders[1]]).groups
    assert group.seconds is None
    assert group.seconds_per_epoch is None
    assert group.name == "tiny"


def test_what_is_not_defined_counts_as_worst(folders, copied):
    results = read(copied, "results.json")
    results["diffana"]["p0"] = "nan"
    (copied / "results.json").write_text(json.dumps(results))
    (group,) = compare([copied, folders[1]]).groups
    found = spread(group.test("p0"))
    assert found.low == read(folders[1], "results.json")["diffana"]["p0"]
    assert math.isnan(found.median)
    assert found.undefined == 1
    # pyhf has a number where we have none: that is no agreement.
    assert math.isnan(group.difference_to_pyhf)


@pytest.mark.parametrize(
    ("values", "selected", "share", "reached"),
    [
        # 95 % of the way from 3 to 1 is 1.1.
        ([3.0, 1.2, 1.05, 1.0], 4, 0.95, 3),
        ([3.0, 1.2, 1.05, 1.0], 4, 0.9, 2),
        ([np.nan, 3.0, 1.0], 3, 0.95, 3),
        ([1.0, 2.0], 1, 0.95, 1),
        # Losses are logarithms: below zero, the share is still one of the way.
        ([-1.0, -8.0, -9.7, -10.0], 4, 0.95, 3),
    ],
)
def test_when_most_of_the_improvement_was_reached(values, selected, share, reached):
    assert epoch_reached(values, selected=selected, share=share) == reached


BASE = {
    "Histogram": {"Type": "bKDE", "Bandwidth": 0.1},
    "Loss": [{"Type": "cls", "Weight": 1.0, "PoiTest": 1.0}],
    "Regions": [{"Name": "SR", "Cuts": None}, {"Name": "CR", "Cuts": None}],
}


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        # Settings that the other type does not have are no difference.
        (
            [{"Loss": [{"Type": "bce", "Weight": 1.0}]}],
            ["Loss.Type=cls", "Loss.Type=bce"],
        ),
        (
            [
                {"Loss": [{"Type": "bce", "Weight": 1.0}]},
                {"Loss": [{"Type": "cls", "Weight": 1.0, "PoiTest": 2.0}]},
            ],
            [
                "Loss.Type=cls, Loss.PoiTest=1",
                "Loss.Type=bce",
                "Loss.Type=cls, Loss.PoiTest=2",
            ],
        ),
        (
            [{"Loss": [*BASE["Loss"], {"Type": "p0", "Weight": 0.5}]}],
            ["Loss=cls", "Loss=cls + p0"],
        ),
        # Types alone would give two rows one name.
        (
            [
                {"Loss": [*BASE["Loss"], {"Type": "p0", "Weight": 0.5}]},
                {"Loss": [*BASE["Loss"], {"Type": "p0", "Weight": 0.1}]},
            ],
            [
                'Loss=[{"Type": "cls", "Weight": 1.0, "PoiTest": 1.0}]',
                'Loss=[{"Type": "cls", "Weight": 1.0, "PoiTest": 1.0}, '
                '{"Type": "p0", "Weight": 0.5}]',
                'Loss=[{"Type": "cls", "Weight": 1.0, "PoiTest": 1.0}, '
                '{"Type": "p0", "Weight": 0.1}]',
            ],
        ),
        (
            [
                {
                    "Histogram": {
                        "Type": "bKDE",
                        "Bandwidth": {"Type": "linear", "Start": 0.3, "End": 0.1},
                    }
                }
            ],
            ["Histogram.Bandwidth=0.1", "Histogram.Bandwidth=0.3→0.1"],
        ),
        (
            [{"Regions": [BASE["Regions"][0], {"Name": "CR", "Cuts": [1, 2]}]}],
            ["Regions[1].Cuts=none", "Regions[1].Cuts=[1, 2]"],
        ),
    ],
)
def test_configurations_are_named_by_what_differs(others, expected):
    assert names(differences([BASE, *(BASE | other for other in others)])) == expected


def test_json_when_piped_and_in_a_file(folders, tmp_path):
    result = invoke(*folders)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document == compare(folders).document()
    path = tmp_path / "comparison.json"
    assert invoke(*folders, "--output-file", path).stdout == ""
    assert json.loads(path.read_text()) == document


def test_the_table_on_a_terminal(folders):
    console = Console(width=100, highlight=False)
    with console.capture() as captured:
        console.print(comparison_report.tables(compare(folders)))
    text = captured.get()
    sigmas = [read(f, "results.json")["diffana"]["sigma_mu"] for f in folders[:2]]
    (row, *_) = (
        r for r in text.splitlines() if r.startswith("Histogram.Bandwidth.End=0.1")
    )
    assert f"{np.median(sigmas):.3g}" in row
    assert f"[{min(sigmas):.2g}, {max(sigmas):.2g}]" in text
    assert "Expected CLs at mu = 1" in text
    assert f"of {N_EPOCHS}" in text


def test_figure_and_json_in_a_new_folder(folders, tmp_path):
    out = tmp_path / "new" / "comparison"
    assert invoke(*folders, "--out", out).exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "comparison.json",
        "comparison.pdf",
        "comparison.png",
    ]
    before = (out / "comparison.json").read_bytes()
    again = invoke(*folders, "--out", out)
    assert again.exit_code == 2
    assert again.stderr == (
        f"Error: {out} exists; a comparison never overwrites anything\n"
    )
    assert (out / "comparison.json").read_bytes() == before


def test_the_figure_shows_the_numbers(folders):
    comparison = compare(folders)
    with plot.style():
        figure = comparison_report.figure(comparison)
        figure.canvas.draw()
    panels = np.reshape(figure.axes, (len(METRICS), 2))
    for metric, (left, right) in zip(METRICS, panels, strict=True):
        for group, line in zip(comparison.groups, left.lines, strict=True):
            assert line.get_label() == group.name
            middle = np.median(group.validation(metric), axis=0)
            np.testing.assert_array_equal(line.get_ydata(), middle)
        points, medians = right.lines[::2], right.lines[1::2]
        for group, seeds, median in zip(
            comparison.groups, points, medians, strict=True
        ):
            np.testing.assert_array_equal(seeds.get_ydata(), group.test(metric))
            assert median.get_ydata()[0] == np.median(group.test(metric))
        assert left.get_yscale() == ("linear" if metric == "sigma_mu" else "log")


def test_curves_in_memory_are_drawn_with_gaps():
    """An epoch without a value is drawn from the other seeds, and left out if none."""
    values = np.array([[3.0, np.nan, np.nan], [1.0, 2.0, np.nan]])
    ax = Figure().add_subplot()
    drawn = plot.metric_bands(
        {"a": plot.Curves([1, 2, 3], values)},
        metric="sigma_mu",
        colours=plot.series_colours(["a"]),
        ax=ax,
    )
    np.testing.assert_array_equal(drawn["a"].median.get_ydata(), [2.0, 2.0, np.nan])
    (path,) = drawn["a"].band.get_paths()
    assert {(1.0, 1.0), (1.0, 3.0), (2.0, 2.0)} <= set(map(tuple, path.vertices))
    final = plot.final_values(
        {"a": [0.1, np.nan, 0.3]},
        metric="p0",
        colours=plot.series_colours(["a"]),
        ax=ax,
    )
    assert list(final["a"].median.get_ydata()) == [0.3, 0.3]


def test_more_configurations_than_colours_are_refused():
    with pytest.raises(ValueError, match="11 configurations"):
        plot.series_colours([str(i) for i in range(11)])


def unfinished(run, tmp_path):
    (run / "finished.json").unlink()
    return f"{run} has not finished; resume its training first"


def no_run(run, tmp_path):
    (run / "provenance.json").unlink()
    return f"{run} is not a run folder"


def damaged_results(run, tmp_path):
    (run / "results.json").write_text("{")
    return f"{run}/results.json is damaged"


def missing_results(run, tmp_path):
    (run / "results.json").unlink()
    return f"{run}/results.json cannot be read: No such file or directory"


def incomplete_results(run, tmp_path):
    (run / "results.json").write_text('{"poi": "mu"}')
    return f"{run} is damaged: its metrics or results are incomplete"


def damaged_metrics(run, tmp_path):
    (run / "metrics.jsonl").write_text("{}\n")
    return f"{run}/metrics.jsonl, line 1: not a record with a step"


def missing_metrics(run, tmp_path):
    (run / "metrics.jsonl").unlink()
    return f"{run}/metrics.jsonl has 0 epochs, but {N_EPOCHS} were made"


def damaged_configuration(run, tmp_path):
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text + "Sytematics: []\n")
    return (
        f"{run}/config.yaml is not valid: Sytematics: unknown key; did you mean "
        "Systematics?"
    )


def another_hypothesis(run, tmp_path):
    results = read(run, "results.json")
    (run / "results.json").write_text(json.dumps(results | {"poi_test": 2.0}))
    return (
        f"{run} tests mu = 2, but {{first}} tests mu = 1: their results cannot be "
        "compared"
    )


def the_same_run_again(run, tmp_path):
    return (
        f"{{first}} and {run} have the same configuration and the same seed 4: they "
        "are no independent runs"
    )


def other_events(run, tmp_path):
    text = (run / "config.yaml").read_text().replace("Seed: 4", "Seed: 5")
    (run / "config.yaml").write_text(text)
    for folder, sha256 in ((run, "1"), (tmp_path / "first", "2")):
        provenance = read(folder, "provenance.json")
        provenance["inputs"] = [{"path": "b.csv", "sha256": sha256}]
        (folder / "provenance.json").write_text(json.dumps(provenance))
    return f"{run} was trained on another content of b.csv than {{first}}"


@pytest.mark.parametrize(
    "spoil",
    [
        unfinished,
        no_run,
        damaged_results,
        missing_results,
        incomplete_results,
        damaged_metrics,
        missing_metrics,
        damaged_configuration,
        another_hypothesis,
        the_same_run_again,
        other_events,
    ],
    ids=lambda spoil: spoil.__name__,
)
def test_what_cannot_be_compared_is_one_message(folders, copied, tmp_path, spoil):
    first = shutil.copytree(folders[0], tmp_path / "first")
    message = spoil(copied, tmp_path).replace("{first}", str(first))
    out = tmp_path / "out"
    result = invoke(first, copied, "--out", out)
    assert result.stderr == f"Error: {message}\n"
    assert result.exit_code == 2
    assert result.stdout == ""
    assert not out.exists()


def test_one_folder_given_twice(folders, monkeypatch):
    monkeypatch.chdir(folders[0].parent)
    result = invoke(folders[0], folders[0].name)
    assert result.exit_code == 2
    assert result.stderr == f"Error: {folders[0].name} is given twice\n"


def test_there_has_to_be_a_run():
    assert invoke().exit_code == 2
    with pytest.raises(RunError, match="no run to compare"):
        compare([])
