"""What a trained run can be asked: fits, scans, limits, and a comparison."""

import json

import pytest
from click.testing import CliRunner

from diffana.cli import main
from nsbi.tiny_run import trained


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("tiny"))


def asked(*arguments):
    done = CliRunner().invoke(main, [str(one) for one in arguments])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_fit_returns_the_parameters_of_expected_events(run):
    found = asked("fit", run)
    assert abs(found["bestfit"]["sqrt_mu"] - 1) < 1e-6
    assert abs(found["squares"]["mu"]["bestfit"] - 1) < 1e-6
    # 0.139 with exact densities. Few events and small networks are worse, not absurd.
    assert 0.1 < found["squares"]["mu"]["uncertainty"] < 0.3


def test_scan_of_the_signal_strength(run):
    found = asked(
        "scan", run, "--parameter", "mu", "--range", "0.5", "1.5", "--points", "3"
    )
    low, middle, high = found["delta_twice_nll"]
    assert middle < 1e-6 < min(low, high)
    assert found["values"]["mu"] == [0.5, 1.0, 1.5]


@pytest.mark.slow
def test_comparison(run):
    found = asked("nsbi", "compare", run, "--bins", "6", "--points", "5")
    rows = {one["name"]: one for one in found["methods"]}
    unbinned = rows["unbinned"]["uncertainty"]
    # Bins lose information, single features most of it.
    assert unbinned < rows["optimal observable, 6 bins"]["uncertainty"]
    assert rows["histogram of z, 6 bins"]["uncertainty"] > 1.5 * unbinned
    assert (run / "comparison.json").exists()
    assert (run / "figures" / "comparison.png").exists()
