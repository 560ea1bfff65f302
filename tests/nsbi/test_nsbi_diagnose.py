"""`diffana nsbi diagnose`: gates with numbers, figures, exit codes."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

from diffana.cli import main
from diffana.data.toys import COMPONENTS, Interference
from diffana.nsbi.ratios import AbstractRatio
from diffana.stored import Measurement
from diffana.workflow.nsbi import closure, diagnosis
from diffana.workflow.nsbi.prepared import prepare
from diffana.workflow.nsbi.tested import tested as at_test_events
from diffana.workflow.nsbi.training import build
from nsbi import small_config as small


def invoke(*argv):
    return CliRunner().invoke(main, [str(word) for word in argv])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two samples in files, with one uncertain shape."""
    files = small.Files(tmp_path_factory.mktemp("files"))
    files.shape(Morph="parametric")
    path = small.written(files.config, files.folder / "config.yaml")
    result = invoke("nsbi", "train", path, "--out", files.folder / "run")
    assert result.exit_code == 0, result.output
    return files, files.folder / "run"


@pytest.fixture(scope="module")
def diagnosed(run):
    _, folder = run
    return folder, invoke("nsbi", "diagnose", folder)


def test_every_ratio_and_component_is_asked_everything(diagnosed):
    folder, result = diagnosed
    printed = json.loads(result.stdout)
    gates = printed["gates"]
    asked = {}
    for gate in gates:
        asked.setdefault(gate["of"], []).append(gate["name"])
    of_ratio = [
        "normalisation",
        "effective size",
        "saturation",
        "calibration",
        "feature closure",
        "classifier closure",
    ]
    of_component = ["normalisation", "effective size"]
    assert asked == {
        # One member has no spread, but says so.
        "signal": [*of_ratio, "ensemble spread"],
        "background.parametric at scale = +1": of_ratio,
        "background.parametric at scale = -1": of_ratio,
        "component signal": of_component,
        "component background": of_component,
        "likelihood": ["simulated statistics", "positive intensity", "Asimov closure"],
    }
    for gate in gates:
        assert gate["verdict"] in ("pass", "fail", "not checked")
        assert gate["summary"]
    stored = json.loads((folder / "diagnostics.json").read_text())
    assert [one["summary"] for one in stored["gates"]] == [
        one["summary"] for one in gates
    ]


def test_the_exit_code_tells_of_failures(diagnosed):
    _, result = diagnosed
    verdicts = [gate["verdict"] for gate in json.loads(result.stdout)["gates"]]
    # 120 reference events for 230 expected ones.
    assert "fail" in verdicts
    assert result.exit_code == 1


def test_the_reason_why_something_is_not_checked(diagnosed):
    _, result = diagnosed
    last = json.loads(result.stdout)["gates"][-1]
    assert last["verdict"] == "not checked"
    assert last["summary"] == "the densities of the events are not known"


def test_figures(diagnosed):
    folder, _ = diagnosed
    assert {path.name for path in (folder / "figures").iterdir()} == {
        f"{stem}.{suffix}"
        for stem in (
            "training",
            "normalisation",
            "ratio_signal",
            "ratio_background.parametric at scale = +1",
            "ratio_background.parametric at scale = -1",
        )
        for suffix in ("pdf", "png")
    }


# Exact ratios pass


class Exactly(AbstractRatio):
    """Exact ratio of two components of the interference problem, or a wrong one."""

    densities: Interference
    numerator: int
    denominator: int
    alpha: float
    slope: float

    def log_ratio(self, features):
        above = self.densities.log_densities(features, self.alpha)[self.numerator]
        below = self.densities.log_densities(features)[self.denominator]
        return self.slope * (above - below)


def exactly(name, slope=1.0):
    pairs = {
        "B": ("B", "NI", 0.0),
        "S": ("S", "B", 0.0),
        "SBI": ("SBI", "B", 0.0),
        "NI.shift.up": ("NI", "NI", 1.0),
        "NI.shift.down": ("NI", "NI", -1.0),
    }
    above, below, alpha = pairs[name]
    at = COMPONENTS.index
    return Exactly(Interference(), at(above), at(below), alpha, slope)


@pytest.fixture(scope="module")
def prepared():
    document = small.document(
        Generator={"Type": "interference", "EventsPerSample": 20_000},
        # B reaches beyond NI: even with the exact ratio few events carry its weight.
        Diagnostics={"AsimovPoints": 9, "EffectiveSize": 0.005},
    )
    for sample, expected in zip(
        document["Samples"], (100, 951.88285524, 1000, 10_000), strict=True
    ):
        sample["Yield"] = expected
    return prepare(small.parsed(document))


def test_exact_ratios_pass_every_gate(prepared):
    ratios = {name: exactly(name) for name in prepared.plan.ratios}
    section = prepared.config.diagnostics
    failed = [
        (one.name, gate.summary)
        for one in at_test_events(prepared, ratios)
        for gate in diagnosis.gates(one, section, len(ratios))
        if gate.verdict == "fail"
    ]
    assert failed == []


def test_a_wrong_slope_fails(prepared):
    ratios = {name: exactly(name) for name in prepared.plan.ratios}
    ratios["B"] = exactly("B", slope=0.8)
    section = prepared.config.diagnostics
    first, *_ = at_test_events(prepared, ratios)
    verdicts = {
        gate.name: gate.verdict for gate in diagnosis.gates(first, section, len(ratios))
    }
    assert verdicts["calibration"] == "fail"
    assert verdicts["classifier closure"] == "fail"


def test_events_of_both_classes_are_independent(prepared):
    """S and B are the same simulated events, which must not be compared as such."""
    ratios = {name: exactly(name) for name in prepared.plan.ratios}
    for one in at_test_events(prepared, ratios):
        above, below = (
            {tuple(row) for row in part.events.features}
            for part in (one.numerator, one.denominator)
        )
        assert not above & below


@pytest.mark.slow
def test_a_likelihood_of_exact_ratios_is_the_exact_one(prepared):
    ratios = {name: exactly(name) for name in prepared.plan.ratios}
    built = build(prepared, ratios)
    data = built.model.expected_data(built.model.parameters.inits)
    measurement = Measurement(built.model, data, "here", False, {})
    found = closure.closure(prepared, ratios, measurement)
    # With a bank of 10 000 events the norms are known to a percent. The norm of the
    # background is that of 10 of 1000 events, beside an uncertainty of about 60.
    near = found.exact < 4
    assert near.sum() > 3
    np.testing.assert_allclose(found.learned[near], found.exact[near], atol=1.5)
    assert abs(found.shift) < 0.5
    gate = closure.gate(prepared, found)
    assert gate.numbers["shift"] == found.shift


# What cannot be diagnosed


def test_a_damaged_ratio_is_named(run, tmp_path):
    _, folder = run
    copied = tmp_path / "run"
    shutil.copytree(folder, copied)
    path = copied / "ratios" / "signal.eqx"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    result = invoke("nsbi", "diagnose", copied)
    assert result.exit_code == 2
    assert result.stderr == f"Error: {path} is damaged: its content has changed\n"


def test_changed_input_is_noticed(run, tmp_path):
    files, folder = run
    path = files.folder / "signal.csv"
    before = path.read_bytes()
    try:
        path.write_bytes(before + before.splitlines(keepends=True)[-1])
        result = invoke("nsbi", "diagnose", folder)
    finally:
        path.write_bytes(before)
    assert result.exit_code == 2
    assert result.stderr == (
        f"Error: {path} is not the file that {folder} was trained on\n"
    )


def test_a_run_that_has_not_finished(run, tmp_path):
    _, folder = run
    copied = tmp_path / "run"
    shutil.copytree(folder, copied)
    (copied / "finished.json").unlink()
    result = invoke("nsbi", "diagnose", copied)
    assert result.exit_code == 2
    assert "has not finished" in result.stderr


def test_thresholds_are_those_of_all_ratios_together():
    want = stats.norm.isf(stats.norm.sf(3.0) / 10)
    np.testing.assert_allclose(diagnosis.harder_pull(3.0, 10), want, rtol=1e-12)
    assert diagnosis.harder_pull(3.0, 1) == pytest.approx(3.0)


def test_an_intensity_that_becomes_negative_is_found(prepared):
    """A wrong ratio of S to B makes the interference larger than what interferes."""
    ratios = {name: exactly(name) for name in prepared.plan.ratios}
    good = diagnosis.positive(build(prepared, ratios).model)
    assert good.verdict == "pass"
    ratios["SBI"] = exactly("S", slope=-3.0)
    bad = diagnosis.positive(build(prepared, ratios).model)
    assert bad.verdict == "fail"
    assert bad.numbers["largest_share"] > 0
