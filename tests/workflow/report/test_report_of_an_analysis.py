"""The report of an analysis with regions, samples, systematics and data."""

import io
import json
import shutil

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from rich.console import Console

import analysis_with_data
import tiny
from diffana import workflow
from diffana.cli import main
from diffana.workflow.report import report
from diffana.workflow.report.material import gather
from opened import faults, look


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    folder = tmp_path_factory.mktemp("events")
    analysis_with_data.write_events(folder)
    return folder


@pytest.fixture(scope="module")
def run(compiled, events, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run <one> & 'two'"
    config = tiny.parsed(analysis_with_data.document(events))
    console = Console(file=io.StringIO())
    workflow.train(config, folder, resume=False, console=console)
    return folder


@pytest.fixture(scope="module")
def written(run):
    return report(run)


@pytest.mark.parametrize("width", [1200, 360])
def test_a_browser_finds_nothing_wrong(written, browser, width):
    assert (written.warnings, written.failures) == ((), ())
    found = look(browser, written.path, width=width)
    assert faults(found) == []
    # Training, three regions before and after the fit, ranking, correlations, limit.
    assert found["drawings"] + found["images"] == 10


def test_names_are_text(written, browser):
    look(browser, written.path)
    title = browser.find_element("css selector", "h1")
    assert title.text == 'Search <img src=x onerror=alert(1)> & "more"'
    assert browser.title == title.text
    cells = [one.text for one in browser.find_elements("css selector", "th")]
    assert analysis_with_data.NAMES["wjets"] in cells
    assert not browser.find_elements("css selector", "main b, img[src=x]")


def test_it_is_large_enough(run):
    material = gather(run)
    assert len(material.channels) == 3
    assert len(material.samples("CR")) == 5
    assert len(material.published.model.parameters.names) > 20
    assert material.on_data


def data_rows(browser):
    """Cells of the rows of tables of yields that hold observed counts."""
    return browser.execute_script(
        "return [...document.querySelectorAll('#yields tr')]"
        ".filter(row => row.cells[0].textContent === 'data')"
        ".map(row => [...row.cells].slice(1).map(cell => cell.textContent))"
    )


def told_counts(browser):
    """Text alternatives of figures that tell observed counts."""
    return [
        label
        for one in browser.find_elements("css selector", "figure svg")
        if "observed" in (label := one.get_attribute("aria-label"))
    ]


def test_data_are_shown_as_counted(written, browser, events):
    """Observed counts of two regions by NumPy; the third has a trained cut."""
    data = np.load(events / "data.npz")
    low, right = data["pt"] <= 40, data["x"] > 0
    found = look(browser, written.path)
    before, after = data_rows(browser)
    assert before == after
    assert before[1] == str(np.count_nonzero(low & right))
    # Bins of a variable have no overflow, not even the event at its edge.
    assert before[2] == str(np.count_nonzero((data["pt"] < 40) & ~right))
    assert len(told_counts(browser)) == 6
    assert "Goodness of fit" in found["sections"]["nuisance"]
    assert "Asimov data with mu" not in found["sections"]["nuisance"]
    assert "Observed and expected CLs" in found["sections"]["results"]


def test_regions_without_data_of_their_own_stay_blind(run, browser, tmp_path):
    """The workspace holds counts of all regions; the configuration allows one."""
    folder = shutil.copytree(run, tmp_path / "blind")
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    (data,) = (one for one in config["Samples"] if one["Name"] == "data")
    data["Regions"] = ["CR"]
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    material = gather(folder)
    assert not material.on_data
    assert material.counts("CR") is not None
    assert material.counts("SR_low") is None
    found = look(browser, report(folder).path)
    assert faults(found) == []
    shown = f"{material.counts('CR').sum():g}"
    assert data_rows(browser) == [["–", "–", shown]] * 2
    assert all("channel CR" in label for label in told_counts(browser))
    assert len(told_counts(browser)) == 2
    # Numbers that only a fit to all counts could have.
    assert "Goodness of fit" not in found["text"]
    assert "Observed" not in found["sections"]["results"]
    assert "enter no fit" in found["text"]


def test_input_files_that_have_changed(run, events, tmp_path):
    changed = tmp_path / "ttbar.npz"
    shutil.move(events / "ttbar.npz", changed)
    try:
        material = gather(run)
        (gone,) = (one for one in material.files if one.change)
        assert (gone.path, gone.change) == (str(events / "ttbar.npz"), "gone")
        (events / "ttbar.npz").write_bytes(changed.read_bytes() + b" ")
        material = gather(run)
        assert [one.change for one in material.files if one.change] == ["changed"]
        assert material.trained is None
        assert "ttbar.npz" in material.trained_missing
        # Fixed bins are known from the configuration, trained ones are not.
        assert material.axis("CR").edges.tolist() == [0, 8, 16, 24, 32, 40]
        assert material.axis("SR <high pt>").label == "Bin of summary"
    finally:
        shutil.move(changed, events / "ttbar.npz")


def test_a_degenerate_model_leaves_a_report(checked, tmp_path):
    """Two free factors on the signal cannot be told apart."""
    folder = shutil.copytree(checked, tmp_path / "run")
    path = folder / "workspace.json"
    workspace = json.loads(path.read_text())
    for channel in workspace["channels"]:
        for sample in channel["samples"]:
            if sample["name"] == "signal":
                sample["modifiers"].append(
                    {"name": "second", "type": "normfactor", "data": None}
                )
    path.write_text(json.dumps(workspace))
    result = CliRunner().invoke(main, ["report", str(folder)])
    assert result.exit_code == 1, result.output
    assert "is not certified" in result.stderr
    text = (folder / "report.html").read_text("utf-8")
    assert "There is no number: the fit with mu free is not certified" in text
