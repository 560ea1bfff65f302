import json

import numpy as np
import pytest

from diffana import config as configuration
from diffana.losses import SigmaMu
from diffana.workflow.history import follow


@pytest.fixture(scope="module")
def config(settings):
    return configuration.load(settings)


@pytest.fixture(scope="module")
def history(compiled, config):
    return follow(config)


def test_the_result_is_that_of_the_same_training_with_a_run_folder(history, finished):
    """Judged by pyhf on the workspace that the run exported."""
    results = json.loads((finished / "results.json").read_text())
    assert history.best("loss") + 1 == results["epoch"]
    for name, ours, theirs in (
        ("cls", history.final("cls", "loss"), results["pyhf"]["CLs_exp"][2]),
        ("p0", history.final("p0", "loss"), results["pyhf"]["p0"]),
    ):
        # pyhf's fits stop within 1e-4 of the p-value.
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, err_msg=name)


def test_validation_metrics_are_those_of_the_run(history, finished):
    lines = (finished / "metrics.jsonl").read_text().splitlines()
    recorded = [json.loads(line)["validation"]["sigma_mu"] for line in lines]
    np.testing.assert_array_equal(history.validation["sigma_mu"], recorded)


def test_each_metric_chooses_its_own_epoch(history):
    for name, values in history.validation.items():
        assert values[history.best(name)] == min(values)
        assert history.final(name) == history.test[name][np.argmin(values)]


def test_another_seed_runs_the_same_programs(history, config, monkeypatch):
    """Nothing is traced again for it."""

    def traced(*args, **kwargs):
        raise AssertionError("a program is traced again")

    monkeypatch.setattr("diffana.train.evaluate_all", traced)
    other = follow(configuration.changed(config, {"General.Seed": 12}))
    assert other.seed == 12
    assert other.validation["sigma_mu"][-1] != history.validation["sigma_mu"][-1]


def test_a_metric_that_is_never_defined_has_no_best_epoch(history):
    undefined = np.full(4, np.nan)
    broken = history._replace(validation={"cls": undefined})
    with pytest.raises(ValueError, match="seed 3: no epoch has a defined 'cls'"):
        broken.best("cls")


def test_a_training_can_begin_with_another_analysis(history, config):
    chosen = history.chosen["loss"]
    once = configuration.changed(config, {"Train.Epochs": 1})
    started = follow(once, metrics={"s": SigmaMu()}, start=lambda prepared: chosen)
    first = follow(once, metrics={"s": SigmaMu()})
    # One epoch from a trained network ends lower than one from a new network.
    assert started.validation["s"][0] < first.validation["s"][0]
