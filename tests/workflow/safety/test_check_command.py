"""`diffana check` on a run that was trained, and what it stores."""

import json
import shutil

import pytest
from click.testing import CliRunner
from rich.console import Console

from diffana import config as configuration, runs
from diffana.cli import main
from diffana.errors import RunError
from diffana.workflow.safety import read_checks
from diffana.workflow.safety.check import Check
from diffana.workflow.safety.seeds import check_seeds, siblings_of
from diffana.workflow.safety.table import table


@pytest.fixture(scope="module")
def checked(finished, tmp_path_factory):
    """A run and what checking it printed."""
    folder = tmp_path_factory.mktemp("checked") / "run"
    shutil.copytree(finished, folder)
    result = CliRunner().invoke(main, ["check", str(folder), "--resamples", "20"])
    return folder, result


NAMES = [
    "agreement of train, validation and test",
    "generalisation",
    "independent halves",
    "precision of the expected result",
    "simulated statistics",
    "one-sided variations",
    "size of variations",
    "variations above noise",
    "nuisance parameters",
    "dependence on the seed",
    "competing minima",
    "agreement with pyhf",
]


def test_every_question_is_answered(checked):
    _, result = checked
    checks = json.loads(result.stdout)["checks"]
    assert [one["name"] for one in checks] == NAMES
    verdicts = {one["verdict"] for one in checks}
    assert verdicts <= {"pass", "warn", "not checked"}
    assert result.exit_code == int("warn" in verdicts)
    assert all(one["summary"] for one in checks)
    by_name = {one["name"]: one for one in checks}
    # The blob's mean moves by more than bins of the observable hold.
    assert by_name["nuisance parameters"]["verdict"] == "warn"
    assert "mean" in by_name["nuisance parameters"]["numbers"]["over_constrained"]
    for healthy in NAMES[:3]:
        assert by_name[healthy]["verdict"] == "pass"


def test_results_are_found_again_from_the_stored_model(checked):
    """The histograms of the checks are those that the run was evaluated with."""
    folder, result = checked
    (found,) = (
        one
        for one in json.loads(result.stdout)["checks"]
        if one["name"] == "agreement with pyhf"
    )
    stored = json.loads((folder / "results.json").read_text())["diffana"]
    recomputed = found["numbers"]["recomputed"]
    # Sums in another order; the fits stop at an estimated distance of 1e-9 or less.
    assert recomputed["cls"] == pytest.approx(stored["CLs_exp"][2], rel=1e-6)
    assert recomputed["p0"] == pytest.approx(stored["p0"], rel=1e-6)
    assert recomputed["sigma_mu"] == pytest.approx(stored["sigma_mu"], rel=1e-9)


def test_the_answers_are_stored(checked):
    folder, result = checked
    checks = read_checks(folder)
    assert checks is not None
    printed = json.loads(result.stdout)["checks"]
    assert [one.summary for one in checks] == [one["summary"] for one in printed]
    assert [one.verdict for one in checks] == [one["verdict"] for one in printed]


def test_a_run_that_was_never_checked_has_no_answers(finished):
    assert read_checks(finished) is None


@pytest.mark.parametrize("content", ["", "[]", '{"checks": [{"name": "a"}]}'])
def test_damaged_answers_are_refused(tmp_path, content):
    (tmp_path / "checks.json").write_text(content)
    with pytest.raises(RunError, match=r"checks\.json is damaged"):
        read_checks(tmp_path)


def test_a_run_that_has_not_finished_is_not_checked(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    (folder / "finished.json").unlink()
    result = CliRunner().invoke(main, ["check", str(folder)])
    assert result.exit_code == 2
    assert "has not finished" in result.stderr
    assert not (folder / "checks.json").exists()


def test_the_table_has_a_row_for_each_check(capsys):
    checks = (Check("halves", "pass", "fine [0.1, 0.2]", {}),)
    Console(width=80).print(table(checks))
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["check", "verdict", "why"]
    assert row.split(maxsplit=2) == ["halves", "pass", "fine [0.1, 0.2]"]


@pytest.fixture
def siblings(finished, tmp_path):
    """Copies of a run with other seeds, whose results can be chosen."""

    def copied(*factors):
        for seed, factor in enumerate(factors, start=3):
            folder = shutil.copytree(finished, tmp_path / f"seed_{seed}")
            config = configuration.load(folder / "config.yaml")
            changed = configuration.changed(config, {"General.Seed": seed})
            (folder / "config.yaml").write_text(configuration.dump(changed))
            results = json.loads((folder / "results.json").read_text())
            for one in ("diffana", "pyhf"):
                results[one]["sigma_mu"] *= factor
            (folder / "results.json").write_text(json.dumps(results))
        return runs.Run(tmp_path / "seed_3")

    return copied


def checked_seeds(run):
    config = configuration.load(run.config)
    return check_seeds(run, config, siblings_of(run, config))


def test_the_spread_over_seeds_is_that_of_the_sensitivity(siblings):
    found = checked_seeds(siblings(1.0, 1.02, 1.04))
    assert found.verdict == "pass"
    assert found.numbers["seeds"] == [3, 4, 5]
    # 1/σ_μ of 1, 1.02 and 1.04: a standard deviation of 2 % to first order.
    row = found.numbers["metrics"]["sigma_mu"]
    assert row["relative"] == pytest.approx(0.02, rel=0.05)
    assert found.numbers["metrics"]["cls"]["relative"] == pytest.approx(0, abs=1e-12)


def test_seeds_that_disagree_warn(siblings):
    found = checked_seeds(siblings(1.0, 1.0, 1.3))
    assert found.verdict == "warn"
    assert "sigma_mu" in found.summary


def test_two_runs_have_no_spread(siblings, tmp_path):
    found = checked_seeds(siblings(1.0, 1.0))
    assert found.verdict == "not checked"
    assert "there are 2" in found.summary


def test_runs_of_other_settings_are_no_siblings(siblings, tmp_path):
    run = siblings(1.0, 1.0, 1.0)
    other = runs.Run(tmp_path / "seed_4")
    config = configuration.load(other.config)
    changed = configuration.changed(config, {"Train.BatchSize": 399})
    other.config.write_text(configuration.dump(changed))
    config = configuration.load(run.config)
    assert siblings_of(run, config) == ((tmp_path / "seed_5").resolve(),)
    named = [tmp_path / "seed_4", tmp_path / "seed_5"]
    found = check_seeds(run, config, named)
    assert found.verdict == "not checked"
    assert "differ in more than the seed" in found.summary
