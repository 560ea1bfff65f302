"""What the report says, and what it refuses."""

import html
import importlib.util
import json
import re
import shutil
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from diffana.cli import main
from diffana.errors import FitError
from diffana.workflow import report as package
from diffana.workflow.report import fits
from diffana.workflow.report.comparisons import among, siblings
from diffana.workflow.report.document import Missing
from diffana.workflow.report.material import gather
from fabricated import CHECKS, copied
from opened import SECTIONS


def invoke(*argv):
    return CliRunner().invoke(main, ["report", *map(str, argv)])


def section(page, name):
    """Text of a section without its markup."""
    (inside,) = re.findall(rf'<section id="{name}".*?</section>', page, re.DOTALL)
    text = re.sub(r"<(svg|style).*?</\1>", " ", inside, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


@pytest.fixture(scope="module")
def page(written):
    return written.path.read_text("utf-8")


@pytest.fixture(scope="module")
def results(checked):
    return json.loads((checked / "results.json").read_text())


def test_the_report_is_in_its_run_folder(written, checked):
    assert written == (checked / "report.html", (), ())
    assert not list(checked.glob(".*"))


def test_nothing_but_the_file_is_needed(page):
    assert page.count("<section id=") == len(SECTIONS)
    assert "http" not in section(page, "regions")
    for reference in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert reference.startswith(("#", "data:"))
    assert not re.search(r"@import|url\((?!#)|<script|<link(?! rel=\"icon\")", page)


def test_numbers_are_those_of_the_run(page, results):
    told = section(page, "results")
    for who in ("diffana", "pyhf"):
        for value in (*results[who]["CLs_exp"], results[who]["sigma_mu"]):
            assert f"{value:.4g}" in told


def test_limits_are_those_of_the_command(page, checked):
    """The workspace of the run holds Asimov data without signal, as the report has."""
    output = CliRunner().invoke(main, ["limit", str(checked / "workspace.json")])
    limits = json.loads(output.output)["expected_limit"]
    for value in limits:
        assert f"{value:.4g}" in section(page, "results")


def test_a_blinded_report_shows_no_observation(page):
    """The counts in the workspace are expectations, and nothing calls them data."""
    assert "No observed data are in this report." in page
    told = section(page, "results")
    assert "observed" not in told.lower().replace("observed limit", "")
    assert "Data / pred." not in page
    for name in ("yields", "regions"):
        assert " data " not in section(page, name).replace("Asimov data", "")
    for name in ("nuisance", "correlations", "results", "comparison", "yields"):
        assert "Asimov data" in section(page, name)


def test_checks_are_told_with_their_verdicts(page):
    told = section(page, "checks")
    for check in CHECKS:
        assert f"{check['name']} {check['verdict']} {check['summary']}" in told
    assert "1 passed, 1 warned, 1 could not be made" in section(page, "summary")
    # A summary with what HTML would take for an element.
    assert "of &lt;signal&gt;." in page


def test_the_cutflow_ends_with_the_cut(page):
    told = section(page, "yields")
    # 400 generated events each; the region has no filter of its own.
    assert "all events 400 (20) 400 (100)" in told
    assert "filter of the region 400 (20) 400 (100)" in told
    assert re.search(r"y ≥ −?[\d.]+ \d{3} \([\d.]+\) \d{3} \([\d.]+\)", told)


def test_seeds_and_baseline_are_compared(page, results):
    told = section(page, "comparison")
    median = results["diffana"]["CLs_exp"][2]
    # Seeds with CLs of 1, 1.2 and 0.9 times that; the baseline with 2 and 2.5 times.
    ratio = median / (2.25 * median)
    assert f"{ratio:.3g}" in told.split("Spread over seeds")[0].split("Baseline")[-1]
    for factor in (1.0, 1.2, 0.9):
        assert f"{factor * median:.4g}" in told.split("Spread over seeds")[1]
    assert "(this run)" in told


def test_equal_runs_give_equal_pages_step_by_step(page, checked, others):
    steps = []
    again = package.report(checked, others, on_step=steps.append)
    assert again.path.read_text("utf-8") == page
    assert (steps[0], steps[-1]) == ("reading the runs", "writing")
    assert len(set(steps)) == len(steps) == 6


# What is refused


@pytest.fixture
def spoiled(checked, tmp_path):
    return shutil.copytree(checked, tmp_path / "spoiled")


def refused(reason, *argv):
    result = invoke(*argv)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert reason in line
    assert result.stdout == ""


def test_a_run_that_has_not_finished(spoiled):
    (spoiled / "finished.json").unlink()
    (spoiled / "report.html").unlink()
    refused("has not finished; resume its training first", spoiled)
    assert not (spoiled / "report.html").exists()


def test_a_folder_without_a_run(checked, tmp_path):
    refused("is not a run folder", tmp_path)
    refused("is not a run folder", checked, tmp_path)
    refused("is not a run folder", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("results.json", "{", "results.json is damaged"),
        ("results.json", "{}", "incomplete"),
        ("workspace.json", "{", "workspace.json: not JSON"),
        ("workspace.json", "{}", "workspace.json"),
        ("workspace.json", None, "workspace.json: cannot be read"),
        ("provenance.json", "[]", "provenance.json is damaged"),
        ("config.yaml", "General: 1", "config.yaml is not valid"),
        ("metrics.jsonl", "", "has 0 epochs"),
        ("checks.json", "[1]", "checks.json is damaged"),
    ],
)
def test_a_damaged_run(spoiled, name, content, reason, monkeypatch):
    # Told before anything is fitted.
    monkeypatch.setattr(package, "fitted", pytest.fail)
    before = (spoiled / "report.html").read_bytes()
    (spoiled / name).unlink()
    if content is not None:
        (spoiled / name).write_text(content)
    refused(reason, spoiled)
    assert (spoiled / "report.html").read_bytes() == before


@pytest.mark.parametrize("key", ["failures", "diffana", "pyhf"])
def test_results_with_a_part_missing(spoiled, key):
    path = spoiled / "results.json"
    results = json.loads(path.read_text())
    del results[key]
    path.write_text(json.dumps(results))
    refused("incomplete", spoiled)


def test_a_run_that_tests_something_else(checked, spoiled):
    path = spoiled / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"poi_test": 2.0}))
    refused("cannot be compared", checked, spoiled)


def test_the_same_run_twice(checked):
    refused("given twice", checked, checked)


def test_a_file_that_exists(checked, tmp_path):
    path = tmp_path / "mine.html"
    path.write_text("mine")
    refused("exists", checked, "--output-file", path)
    assert path.read_text() == "mine"
    refused("must end in one of .html", checked, "--output-file", tmp_path / "a.txt")


def test_jinja2_is_asked_for_before_anything_is_done(checked, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == "jinja2" else find(name, *more),
    )
    refused("pip install 'diffana[report]'", checked)


# What is shown without


def test_a_fit_without_certificate_leaves_a_report_and_exit_code_1(
    checked, tmp_path, monkeypatch
):
    def uncertified(*workspace, **options):
        raise FitError("the fit is not certified: no minimum")

    for name in ("fit", "limit", "significance"):
        monkeypatch.setattr(fits.results, name, uncertified)
    monkeypatch.setattr(fits.profiles, "ranking", uncertified)
    path = tmp_path / "new.html"
    result = invoke(checked, "--output-file", path)
    assert result.exit_code == 1
    assert "not certified: no minimum" in result.stderr
    assert result.stdout == f"{path}\n"
    text = path.read_text("utf-8")
    for name in ("summary", "yields", "regions", "nuisance", "correlations", "results"):
        assert "the fit is not certified: no minimum" in section(text, name)
    # What needs no fit is there all the same.
    assert "Expected results on test events" in section(text, "results")


def test_events_that_are_gone(spoiled, tmp_path, monkeypatch):
    """As of a run on files: results stay, what needs the events says why not."""
    gone = tmp_path / "gone.npz"
    path = spoiled / "provenance.json"
    provenance = json.loads(path.read_text())
    entry = {"path": str(gone), "bytes": 123_456, "sha256": "0" * 64}
    path.write_text(json.dumps(provenance | {"inputs": [entry]}))
    monkeypatch.setattr(package.material.assemble, "input_files", lambda config: [gone])
    result = invoke(spoiled)
    assert result.exit_code == 0, result.output
    assert "events of this run cannot be read any more" in result.stderr
    text = (spoiled / "report.html").read_text("utf-8")
    assert "gone" in section(text, "inputs")
    assert "123,456" in section(text, "inputs")
    assert "cutflow needs the events" in section(text, "yields")
    # The edges of this run were trained: without the model only bins are known.
    assert "1 0.8" in section(text, "composition")
    assert "∞" not in section(text, "composition")


def test_checks_that_cannot_be_made(checked, tmp_path):
    run = shutil.copytree(checked, tmp_path / "run")
    (run / "checks.json").unlink()
    material = gather(run)
    lost = package.material.dataclasses.replace(
        material, trained=None, trained_missing="x.npz cannot be read"
    )
    found = package._checks(lost, among(run, ()))
    assert isinstance(found, Missing)
    assert "x.npz cannot be read" in found.reason


# What counts as observed


@pytest.mark.parametrize(
    ("samples", "channels", "observed"),
    [
        ([], ["SR", "CR"], set()),
        ([None], ["SR", "CR"], {"SR", "CR"}),
        ([("CR",)], ["SR", "CR"], {"CR"}),
        # Published channels have counts of their own; a region in place of one has not.
        ([], ["SR", "CR", "published"], {"published"}),
        ([("SR",)], ["SR", "CR", "published"], {"SR", "published"}),
    ],
)
def test_channels_with_observed_counts(samples, channels, observed):
    config = SimpleNamespace(
        regions=[SimpleNamespace(name=name) for name in ("SR", "CR")],
        samples=[
            SimpleNamespace(data=False, regions=None),
            *(SimpleNamespace(data=True, regions=regions) for regions in samples),
        ],
    )
    layout = SimpleNamespace(channels=[SimpleNamespace(name=name) for name in channels])
    published = SimpleNamespace(model=SimpleNamespace(layout=layout))
    assert package.material._observed(config, published) == observed


# Runs of a sweep


@pytest.fixture
def sweep(checked, tmp_path):
    parent = tmp_path / "swept"
    (parent / "runs").mkdir(parents=True)
    (parent / "sweep.yaml").write_text("")
    run = copied(checked, parent / "runs" / "a")
    copied(checked, parent / "runs" / "b", seed=8)
    copied(checked, parent / "runs" / "c", seed=9)
    (parent / "runs" / "c" / "finished.json").unlink()
    return run


def test_finished_runs_of_a_sweep_are_found(sweep):
    assert [one.name for one in siblings(sweep)] == ["b"]
    assert [run.seed for run in among(sweep, ()).comparison.groups[0].runs] == [3, 8]
    # Named, too: once.
    named = among(sweep, [sweep.parent / "b"])
    assert len(named.comparison.groups[0].runs) == 2


def test_a_run_outside_a_sweep_has_no_siblings(sweep):
    (sweep.parent.parent / "sweep.yaml").unlink()
    assert siblings(sweep) == ()


def test_runs_of_a_sweep_that_cannot_be_compared_are_left_out(sweep, checked):
    copied(checked, sweep.parent / "d", seed=3)
    found = among(sweep, ())
    assert len(found.comparison.groups[0].runs) == 2
    (reason,) = found.left_out
    assert "the same seed 3" in reason
