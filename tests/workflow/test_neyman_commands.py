"""`diffana neyman` on a counting experiment, whose exact belts are known."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner

from diffana.cli import main
from nsbi.tiny_run import trained


def counting(observed=8, uncertainty=None):
    """Poisson counts with a signal strength, background 3."""
    modifiers = [{"name": "mu", "type": "normfactor", "data": None}]
    shape = [{"name": "rate", "type": "normsys", "data": uncertainty}]
    samples = [
        {"name": "signal", "data": [1.0], "modifiers": modifiers},
        {
            "name": "background",
            "data": [3.0],
            "modifiers": shape if uncertainty else [],
        },
    ]
    mu = {"name": "mu", "bounds": [[0.0, 40.0]], "inits": [1.0]}
    return {
        "version": "1.0.0",
        "channels": [{"name": "SR", "samples": samples}],
        "observations": [{"name": "SR", "data": [observed]}],
        "measurements": [
            {"name": "m", "config": {"poi": "mu", "parameters": [mu]}},
        ],
    }


def asked(*arguments, code=0):
    done = CliRunner().invoke(main, ["neyman", *(str(one) for one in arguments)])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout) if done.stdout.startswith("{") else done.output


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    path = tmp_path_factory.mktemp("counting") / "workspace.json"
    path.write_text(json.dumps(counting()))
    return path


COMMON = ("--levels", "0.6827,0.9", "--range", "0", "15", "--grid", "151")


@pytest.fixture(scope="module")
def focused(workspace):
    out = workspace.parent / "fts"
    asked(workspace, "--focus", "normal(0,2)", *COMMON, "--toys", "60000", "--out", out)
    return out


@pytest.fixture(scope="module")
def unfocused(workspace):
    out = workspace.parent / "lrs"
    asked(workspace, *COMMON, "--toys", "60000", "--out", out)
    return out


# Exact belts of a Poisson count, background 3: for the focused statistic the ends of
# an enumeration with 4001 values of mu; for the other one Feldman and Cousins, Phys.
# Rev. D 57 (1998) 3873, table IV, and the same enumeration. A set of a discrete
# measurement ends where critical values jump, which is where the probability of some
# counts passes the level. Its error from 1200 toys is 0.01, and it changes by 0.01 or
# more when mu changes by 0.5 at the lower and by 1 at the upper end.
LOWER, UPPER = 0.5, 1.0


def test_interval_of_the_focused_statistic(focused):
    found = asked("interval", focused)
    (low, high), (low90, high90) = (one["hull"] for one in found["sets"])
    np.testing.assert_allclose([low, low90], [1.640, 1.430], atol=LOWER)
    np.testing.assert_allclose([high, high90], [7.135, 9.990], atol=UPPER)
    assert abs(found["poi_hat"] - 5.0) < 1e-6
    # A tested value far from the data has a small p-value, one near a large one.
    p_value = np.interp([5.0, 14.0], found["mu"], found["p_value"])
    assert p_value[0] > 0.3
    assert p_value[1] < 0.02
    assert (focused / "interval.json").is_file()
    for name in ("belt", "interval"):
        assert (focused / "figures" / f"{name}.png").stat().st_size > 5000


def test_interval_of_feldman_and_cousins_for_other_data(unfocused, tmp_path):
    data = tmp_path / "data.json"
    for content in ({"SR": [10]}, [{"name": "SR", "data": [10]}], counting(10)):
        data.write_text(json.dumps(content))
        found = asked("interval", unfocused, "--data", data)
        low, high = found["sets"][1]["hull"]
        assert abs(low - 2.633) < LOWER
        assert abs(high - 13.500) < UPPER
    # Nothing is stored about data that are not those of the belt.
    assert not (unfocused / "interval.json").exists()


def test_coverage_is_within_its_band(focused):
    found = asked("coverage", focused, "--points", "8", "--toys", "4000")
    # Counts are discrete, so that sets cover more often than they claim in places.
    for one in found["levels"]:
        assert one["covers"]
        assert np.min(one["coverage"]) > one["level"] - 0.04
    assert (focused / "figures" / "coverage.png").is_file()


def test_comparison_shows_gain_and_cost(focused, unfocused, tmp_path):
    figure = tmp_path / "compared.png"
    found = asked(
        "compare", focused, unfocused, "--points", "6", "--toys", "1000",
        "--plot", figure,
    )  # fmt: skip
    assert found["reference"] == "lrs"
    rows = found["levels"][1]["belts"]["fts"]
    # Near the focus sets are shorter, far away they are longer.
    assert rows["ratio"]["mean"][0] < 0.9
    assert rows["ratio"]["largest"]["value"] > 1.0
    assert figure.stat().st_size > 5000


def test_the_bound_needs_no_toys(workspace, tmp_path):
    out = tmp_path / "belt"
    made = asked(
        workspace, "--focus", "normal(0,2)", "--method", "universal", "--out", out
    )
    assert made["n_toys"] == 0
    np.testing.assert_allclose(made["critical"][1], 6.18007, atol=2e-3)
    sets = asked("interval", out)["sets"]
    # It contains the exact set.
    assert sets[1]["hull"][0] <= 0.905
    assert sets[1]["hull"][1] >= 11.620


def test_a_belt_with_nuisance_parameter_covers(tmp_path):
    path = tmp_path / "workspace.json"
    path.write_text(json.dumps(counting(8, {"hi": 1.3, "lo": 0.7})))
    out = tmp_path / "belt"
    made = asked(
        path, "--focus", "normal(0,2)", "--range", "0", "12", "--grid", "61",
        "--points", "21", "--toys", "20000", "--out", out,
    )  # fmt: skip
    assert made["nuisance"] == "profile"
    assert "nuisance parameters fitted" in made["guarantee"]
    found = asked("coverage", out, "--points", "5", "--toys", "2000")
    assert all(one["covers"] for one in found["levels"])


@pytest.mark.slow
def test_a_learned_likelihood_has_belts(tmp_path):
    run = trained(tmp_path)
    out = tmp_path / "belt"
    made = asked(
        run, "--focus", "normal(1,0.5)", "--no-truncate", "--range", "0.7", "1.3",
        "--grid", "21", "--points", "3", "--toys", "150", "--nodes", "5", "--out", out,
    )  # fmt: skip
    assert made["poi"] == "sqrt_mu"
    (inner, outer) = (one["hull"] for one in asked("interval", out)["sets"])
    # The data are expected ones at 1.
    assert outer[0] < inner[0] < 1.0 < inner[1] < outer[1]


@pytest.mark.slow
def test_what_is_killed_goes_on(workspace, tmp_path):
    def command(out):
        return [
            sys.executable, "-m", "diffana", "neyman", str(workspace), *COMMON,
            "--toys", "400000", "--out", str(out),
        ]  # fmt: skip

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(whole), check=True, capture_output=True)
    process = subprocess.Popen(
        command(killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not list(killed.glob("toys/*.npy")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = {path.name: path.stat().st_mtime_ns for path in killed.glob("toys/*.npy")}
    assert left
    assert not (killed / "belt.json").exists()
    subprocess.run(command(killed), check=True, capture_output=True)
    one, other = (json.loads((f / "belt.json").read_text()) for f in (whole, killed))
    for document in (one, other):
        document.pop("seconds")
    assert one == other


def test_processes_make_the_same_toys(workspace, tmp_path):
    options = (*COMMON, "--toys", "10000")
    alone = asked(workspace, *options, "--out", tmp_path / "alone")
    shared = asked(workspace, *options, "--workers", "2", "--out", tmp_path / "shared")
    # Sums in other threads round in other ways.
    np.testing.assert_allclose(alone["critical"], shared["critical"], atol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--focus", "normal(1)"), "normal takes 2 numbers, not 1"),
        (("--focus", "gauss(1,1)"), "gauss(1, 1) is not one of normal"),
        (("--focus", "normal(1,-1)"), "focus 'normal(1,-1)'"),
        (("--focus", "normal(1,"), "not understood"),
        (("--focus", "__import__('os')"), "is not one of"),
        (("--statistic", "fts"), "needs a focus"),
        (("--statistic", "lrs", "--focus", "normal(1,1)"), "has no focus"),
        (("--levels", "0.9,1.2"), "no confidence levels"),
        (("--range", "3", "1"), "no value to test"),
        (("--focus", "normal(1,1e-3)", "--range", "0", "20"), "refine the grid"),
        (("--method", "universal"), "focused statistic"),
        (("--workers", "2", "--scheduler", "tcp://x:1"), "exclude one another"),
    ],
)
def test_bad_input_is_one_line(workspace, tmp_path, options, message):
    out = tmp_path / "belt"
    said = asked(workspace, *options, "--out", out, code=2)
    assert message in said
    assert said.count("\n") == 1
    assert not (out / "belt.json").exists()


def test_a_folder_keeps_its_belt(focused, workspace):
    again = asked(
        workspace, "--focus", "normal(0,2)", *COMMON, "--toys", "60000",
        "--out", focused, code=2,
    )  # fmt: skip
    assert "holds a finished belt" in again
    other = asked(workspace, *COMMON, "--out", focused, code=2)
    assert "another configuration" in other


def test_folders_and_data_that_do_not_fit(focused, unfocused, tmp_path):
    assert "no finished belt" in asked("interval", tmp_path, code=2)
    data = tmp_path / "data.json"
    for content, message in (
        ({"CR": [3]}, "no counts of channel 'SR'"),
        ({"SR": [3], "CR": [1]}, "there is no channel 'CR'"),
        ({"SR": [3, 4]}, "needs 1 counts"),
        ({"SR": [-1]}, "needs 1 counts"),
        (3, "no observations"),
    ):
        data.write_text(json.dumps(content))
        assert message in asked("interval", focused, "--data", data, code=2)
    path = tmp_path / "workspace.json"
    path.write_text(json.dumps(counting(3)))
    asked(path, *COMMON, "--toys", "2000", "--out", tmp_path / "other")
    said = asked("compare", focused, tmp_path / "other", code=2)
    assert "another likelihood" in said
    (unfocused / "belt.json").write_text("{")
    assert "is damaged" in asked("interval", unfocused, code=2)


@pytest.mark.parametrize(
    "treatment",
    [
        "mixed",
        pytest.param("marginal", marks=pytest.mark.slow),
        pytest.param("laplace", marks=pytest.mark.slow),
    ],
)
def test_other_treatments_of_nuisance_parameters(tmp_path, treatment):
    path = tmp_path / "workspace.json"
    path.write_text(json.dumps(counting(8, {"hi": 1.3, "lo": 0.7})))
    method = "universal" if treatment == "mixed" else "empirical"
    out = tmp_path / "belt"
    made = asked(
        path, "--focus", "normal(0,2)", "--range", "0", "12", "--grid", "31",
        "--points", "7", "--toys", "3500", "--nuisance", treatment,
        "--method", method, "--out", out,
    )  # fmt: skip
    assert made["nuisance"] == treatment
    inner, outer = (one["hull"] for one in asked("interval", out)["sets"])
    # Without uncertainty of the background the exact set is [1.640, 7.135]: another
    # 0.9 events hardly matter beside the fluctuation of 8. The bound is conservative.
    if treatment == "mixed":
        assert inner[0] < 1.64
        assert inner[1] > 7.13
    else:
        np.testing.assert_allclose(inner, [1.640, 7.135], atol=UPPER)
    assert outer[0] <= inner[0]
    assert outer[1] >= inner[1]


def test_a_prior_needs_a_constraint(tmp_path):
    content = counting()
    free = {"name": "rate", "type": "normfactor", "data": None}
    content["channels"][0]["samples"][1]["modifiers"] = [free]
    path = tmp_path / "workspace.json"
    path.write_text(json.dumps(content))
    said = asked(
        path, "--focus", "normal(0,2)", "--range", "0", "12", "--nuisance", "mixed",
        "--out", tmp_path / "belt", code=2,
    )  # fmt: skip
    assert "parameter 'rate' has no constraint" in said
