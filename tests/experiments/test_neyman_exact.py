import json

import numpy as np
import pytest

from experiments.neyman_exact import figures, run
from experiments.neyman_exact.problems import on_off
from experiments.neyman_exact.toys import CLOSED_FORM, covered


# What 10 steps of learning and 500 toys per value cannot be sure of.
RELIABLE = (
    "Gaussian: coverage of critical values",
    "Bounded Gaussian: critical values",
    "Bounded Gaussian: a half-normal focus",
    "Poisson, b = 3",
    "On/off, τ = 1",
    "No belt of any problem",
    "A focus at μ = 0 is a trade",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("neyman_exact")
    with pytest.MonkeyPatch.context() as patch:
        # Fits and figures take most of the time; they have tests of their own.
        patch.setattr(run, "profiled", lambda *test: (0.0, 0.0, 0))
        patch.setattr(run.figures, "draw", lambda folder, found, checks: None)
        run.main(["--quick", "--out", str(folder)])
    return folder


@pytest.mark.parametrize("beginning", RELIABLE)
def test_claims_that_need_no_long_run_are_reproduced(folder, beginning):
    record = json.loads((folder / "claims.json").read_text())
    found = [c for c in record["claims"] if c["claim"].startswith(beginning)]
    assert found
    for claim in found:
        assert claim["verdict"] == "reproduced", claim


def test_critical_values_of_the_closed_form_cover_exactly():
    mu = np.linspace(-6, 6, 25)
    critical = CLOSED_FORM.acceptance(mu, 0.6826894921).critical
    # Ten digits of the root, amplified by far distances from the focus.
    np.testing.assert_allclose(covered(mu, critical), 0.6826894921, atol=1e-8)


@pytest.mark.slow
def test_profile_of_the_library_is_the_closed_one():
    problem = on_off()
    critical = np.zeros(problem.mu.size)
    _, near, n_failed = run.profiled(problem, 200, [critical], run.FINE)
    assert n_failed == 0
    # Polynomials through 25 nodes, for counts of a few events.
    assert near < 0.01


@pytest.mark.slow
def test_figures_are_written(folder, tmp_path):
    found, checks = json.loads((folder / "numbers.json").read_text())
    arrays = ("mu", "tested")
    for one in found.values():
        one.update({name: np.array(one[name]) for name in arrays})
        for key in ("belts", "learned"):
            one[key] = {float(level): row for level, row in one[key].items()}
        for row in one["belts"].values():
            for belt in row.values():
                belt.update({name: np.array(values) for name, values in belt.items()})
    checks["toys"] = {name: np.array(row) for name, row in checks["toys"].items()}
    figures.draw(tmp_path, found, checks)
    names = {path.name for path in tmp_path.glob("*.png")}
    assert names == {
        "regret_68.png",
        "regret_95.png",
        "coverage.png",
        "learned.png",
        "toys.png",
    }
