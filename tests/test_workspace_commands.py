"""The commands on published workspaces: their numbers, and what users get wrong."""

import contextlib
import copy
import json
import os
import pty
import subprocess
import sys

import numpy as np
import pyhf
import pytest
import scipy.stats
from click.testing import CliRunner

from diffana.cli import main


WORKSPACE = {
    "channels": [
        {
            "name": "SR",
            "samples": [
                {
                    "name": "signal",
                    "data": [5.0, 10.0],
                    "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
                },
                {
                    "name": "background",
                    "data": [50.0, 60.0],
                    "modifiers": [
                        {"name": "flat", "type": "shapesys", "data": [5.0, 12.0]}
                    ],
                },
            ],
        }
    ],
    "observations": [{"name": "SR", "data": [53.0, 65.0]}],
    "measurements": [
        {"name": "first", "config": {"poi": "mu", "parameters": []}},
        {
            "name": "second",
            "config": {
                "poi": "mu",
                "parameters": [{"name": "mu", "bounds": [[0.0, 3.5]]}],
            },
        },
        {"name": "blind", "config": {"poi": "", "parameters": []}},
    ],
    "version": "1.0.0",
}
PATCH = [{"op": "replace", "path": "/channels/0/samples/0/data", "value": [9.0, 4.0]}]


def patch_set(digest):
    return {
        "metadata": {
            "references": {"hepdata": "ins1234567"},
            "description": "signals",
            "digests": {"md5": digest},
            "labels": ["mass"],
        },
        "version": "1.0.0",
        "patches": [
            {"metadata": {"name": f"mass_{m}", "values": [m]}, "patch": PATCH}
            for m in (100, 200)
        ],
    }


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with a workspace and patches, and the current one."""
    monkeypatch.chdir(tmp_path)
    digest = pyhf.utils.digest(WORKSPACE, algorithm="md5")
    for name, content in {
        "workspace": WORKSPACE,
        "patch": PATCH,
        "patchset": patch_set(digest),
        "foreign": patch_set("0" * 32),
    }.items():
        write(name, content)
    return tmp_path


def write(name, content):
    with open(f"{name}.json", "w") as file:  # noqa: PTH123
        json.dump(content, file)


def invoke(*argv, stdin=None):
    return CliRunner().invoke(main, list(argv), input=stdin)


def result(command, *argv, stdin=None):
    if "--measurement" not in argv:
        argv = (*argv, "--measurement", "first")
    done = invoke(command, *argv, stdin=stdin)
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def pyhf_model(workspace=WORKSPACE, measurement="first", patches=()):
    parsed = pyhf.Workspace(workspace)
    model = parsed.model(measurement_name=measurement, patches=list(patches))
    return model, parsed.data(model)


@pytest.fixture
def precise():
    """pyhf's minimiser with a tolerance far below those of the tests."""
    before = pyhf.get_backend()
    pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer(tolerance=1e-14))
    yield
    pyhf.set_backend(*before)


def pyhf_cls(model, data, poi_test=1.0, test_stat="qtilde"):
    observed, expected = pyhf.infer.hypotest(
        poi_test, data, model, test_stat=test_stat, return_expected_set=True
    )
    return {"CLs_obs": float(observed), "CLs_exp": [float(CLs) for CLs in expected]}


def assert_same_cls(ours, theirs):
    assert list(ours) == ["CLs_obs", "CLs_exp"]
    # SLSQP leaves an error of about 1e-8 on the parameters, quadratic in twice_nll.
    for key in ours:
        np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-6)


# numbers


def test_cls(precise):
    assert_same_cls(result("cls", "workspace.json"), pyhf_cls(*pyhf_model()))


@pytest.mark.slow
def test_cls_of_another_strength_and_statistic(precise):
    theirs = pyhf_cls(*pyhf_model(), 2.5, "q")
    for option in ("--poi-test", "--test-poi"):
        ours = result("cls", "workspace.json", option, "2.5", "--test-stat", "q")
        assert_same_cls(ours, theirs)


def test_standard_input_and_a_patch(precise):
    theirs = pyhf_cls(*pyhf_model(patches=[PATCH]))
    text = json.dumps(WORKSPACE)
    assert_same_cls(result("cls", "-p", "patch.json", stdin=text), theirs)
    assert_same_cls(result("cls", "-", "--patch", "patch.json", stdin=text), theirs)


def test_a_patch_of_a_patch_set(precise):
    theirs = pyhf_cls(*pyhf_model(patches=[PATCH]))
    ours = result("cls", "workspace.json", "-p", "patchset.json:mass_200")
    assert_same_cls(ours, theirs)


def test_patches_are_applied_in_order_and_reach_parameters_and_observations():
    first = [{"op": "replace", "path": "/observations/0/data/0", "value": 70.0}]
    bounds = {"name": "mu", "bounds": [[0.0, 0.25]]}
    second = [
        {"op": "test", "path": "/observations/0/data/0", "value": 70.0},
        {"op": "add", "path": "/parameters/-", "value": bounds},
    ]
    write("first", first)
    write("second", second)
    got = result("fit", "workspace.json", "-p", "first.json", "-p", "second.json")
    assert got["bestfit"]["mu"] == 0.25
    assert got["at_bound"] == ["mu"]


def test_fit(precise):
    model, data = pyhf_model()
    bestfit, value = pyhf.infer.mle.fit(data, model, return_fitted_val=True)
    got = result("fit", "workspace.json")
    assert list(got["bestfit"]) == got["labels"] == model.config.par_names
    assert list(got["uncertainty"]) == got["labels"]
    np.testing.assert_allclose(list(got["bestfit"].values()), bestfit, atol=1e-5)
    assert got["best_twice_nll"] == pytest.approx(float(value), abs=1e-8)
    covariance = np.linalg.inv(information(model, data, bestfit))
    uncertainty = np.sqrt(np.diag(covariance))
    # Second differences in steps of 1e-3.
    np.testing.assert_allclose(
        list(got["uncertainty"].values()), uncertainty, rtol=1e-4
    )
    np.testing.assert_allclose(
        got["corr_mat"], covariance / np.outer(uncertainty, uncertainty), atol=1e-4
    )
    assert got["at_bound"] == []
    # The saturated model, with both constraints at their best.
    saturated = -2 * scipy.stats.poisson.logpmf([53, 65], [53, 65]).sum()
    saturated -= 2 * scipy.stats.poisson.logpmf([100, 25], [100, 25]).sum()
    goodness = got["goodness_of_fit"]
    assert goodness["chi2"] == pytest.approx(float(value) - saturated, abs=1e-8)
    assert goodness["ndf"] == 1
    p_value = scipy.stats.chi2.sf(goodness["chi2"], 1)
    assert goodness["p_value"] == pytest.approx(p_value, rel=1e-9)


def information(model, data, params, step=1e-3):
    """Half the matrix of second differences of pyhf's twice_nll."""

    def twice_nll(shift):
        return float(pyhf.infer.mle.twice_nll(params + shift, data, model)[0])

    basis = step * np.eye(len(params))
    return 0.5 * np.array(
        [
            [
                (
                    twice_nll(a + b)
                    - twice_nll(a - b)
                    - twice_nll(b - a)
                    + twice_nll(-a - b)
                )
                / (4 * step**2)
                for a in basis
            ]
            for b in basis
        ]
    )


def test_fit_with_held_parameters(precise):
    model, data = pyhf_model()
    bestfit, value = pyhf.infer.mle.fixed_poi_fit(
        1.5, data, model, return_fitted_val=True
    )
    got = result("fit", "workspace.json", "--fix", "mu=1.5")
    np.testing.assert_allclose(list(got["bestfit"].values()), bestfit, atol=1e-5)
    assert got["best_twice_nll"] == pytest.approx(float(value), abs=1e-8)
    assert got["uncertainty"]["mu"] == 0


@pytest.mark.parametrize("solver", ["newton", "minuit", "jaxopt", "optimistix"])
def test_fit_with_another_solver(precise, solver):
    model, data = pyhf_model()
    bestfit, value = pyhf.infer.mle.fixed_poi_fit(
        0.5, data, model, return_fitted_val=True
    )
    got = result("fit", "workspace.json", "--fix", "mu=0.5", "--solver", solver)
    assert got["solver"] == solver
    # The distance to the minimum that certifies the fits of other packages.
    assert got["best_twice_nll"] == pytest.approx(float(value), abs=1e-5)
    # The same distance in units of uncertainties of 0.1 and 0.2.
    np.testing.assert_allclose(list(got["bestfit"].values()), bestfit, atol=1e-3)
    if solver == "newton":
        assert got == result("fit", "workspace.json", "--fix", "mu=0.5")


@pytest.mark.parametrize(
    ("solver", "package"),
    [("minuit", "iminuit"), ("jaxopt", "jaxopt"), ("optimistix", "optimistix")],
)
def test_a_solver_that_is_not_installed(monkeypatch, solver, package):
    monkeypatch.setitem(sys.modules, package, None)
    options = ["--solver", solver, "--measurement", "first"]
    done = invoke("fit", "workspace.json", *options)
    assert_one_line(done, 2, f"needs {package}: pip install 'diffana[solvers]'")


def test_significance(precise):
    model, data = pyhf_model()
    p0, expected = pyhf.infer.hypotest(
        0.0, data, model, test_stat="q0", return_expected_set=True
    )
    got = result("significance", "workspace.json")
    assert list(got) == ["p0", "significance", "p0_exp", "significance_exp"]
    assert got["p0"] == pytest.approx(float(p0), rel=1e-6)
    np.testing.assert_allclose(got["p0_exp"], np.array(expected), rtol=1e-6)


def counting(observed):
    """A bin without uncertainties, whose p-values are Poisson sums."""
    counted = copy.deepcopy(WORKSPACE)
    signal, background = counted["channels"][0]["samples"]
    signal["data"], background["data"], background["modifiers"] = [8.0], [12.0], []
    counted["observations"][0]["data"] = [observed]
    return counted


def test_cls_by_pseudo_experiments():
    write("counting", counting(13.0))
    options = ["--calctype", "toybased", "--toys", "1000", "--seed", "3"]
    got = result("cls", "counting.json", *options)
    exact = scipy.stats.poisson.cdf(13, 20.0) / scipy.stats.poisson.cdf(13, 12.0)
    assert abs(got["CLs_obs"] - exact) < 4 * got["CLs_obs_error"]
    # Binomial: √(0.066 · 0.934 / 1000) of the numerator, and less of the denominator.
    assert got["CLs_obs_error"] == pytest.approx(0.119 * exact, rel=0.1)
    assert np.all(np.diff(got["CLs_exp"]) >= 0)
    assert (got["n_toys"], got["n_failed"], got["seed"]) == (1000, 0, 3)
    assert got == result("cls", "counting.json", *options)


def test_significance_by_pseudo_experiments():
    write("counting", counting(19.0))
    got = result("significance", "counting.json", "--calctype", "toybased")
    exact = scipy.stats.poisson.sf(18, 12.0)
    assert abs(got["p0"] - exact) < 4 * got["p0_error"]
    assert got["significance"] == pytest.approx(-scipy.stats.norm.ppf(got["p0"]))


def test_a_ranking_for_a_strength_at_its_bound_says_so():
    deficit = copy.deepcopy(WORKSPACE)
    deficit["observations"][0]["data"] = [40.0, 45.0]
    write("deficit", deficit)
    done = invoke("ranking", "deficit.json", "--measurement", "first")
    assert done.exit_code == 0
    assert "mu is at its bound 0 and does not move" in done.stderr
    got = json.loads(done.stdout)
    assert got["poi_at_bound"]
    assert set(got["postfit_up"].values()) == {0.0}


@pytest.mark.slow
def test_limits_are_where_CLs_of_pyhf_is_the_level(precise, folder):
    model, data = pyhf_model()
    got = result("limit", "workspace.json", "--cl", "0.9", "--plot", "band.pdf")
    assert (got["poi"], got["failures"]) == ("mu", {})
    assert got["confidence_level"] == pytest.approx(0.9)
    # The slope of CLs is about 0.1 here, its error from pyhf's minimiser below 1e-6.
    at_limit = pyhf_cls(model, data, got["observed_limit"])
    assert at_limit["CLs_obs"] == pytest.approx(0.1, rel=1e-5)
    for band, limit in enumerate(got["expected_limit"]):
        at_limit = pyhf_cls(model, data, limit)
        assert at_limit["CLs_exp"][band] == pytest.approx(0.1, rel=1e-5)
    points = got["points"]
    assert points["poi_values"][-1] > got["expected_limit"][4]
    middle = len(points["poi_values"]) // 2
    theirs = pyhf_cls(model, data, points["poi_values"][middle])
    ours = {key: points[key][middle] for key in ("CLs_obs", "CLs_exp")}
    assert_same_cls(ours, theirs)
    assert (folder / "band.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.slow
def test_a_limit_beyond_the_bounds_is_missing_and_the_others_are_not():
    done = invoke("limit", "workspace.json", "--measurement", "second")
    assert done.exit_code == 1
    assert_error(done.stderr, "the expected limit, +2σ,", "bounds")
    got = json.loads(done.stdout)
    assert got["expected_limit"][4] is None
    assert 0 < got["expected_limit"][3] < 3.5
    assert list(got["failures"]) == ["the expected limit, +2σ,"]


def test_ranking(precise, folder):
    model, data = pyhf_model()
    got = result("ranking", "workspace.json", "--refit", "--plot", "ranking.svg")
    assert got["labels"] == ["flat[1]", "flat[0]"]
    bestfit = pyhf.infer.mle.fit(data, model)
    inits = model.config.suggested_init()
    assert got["poi_bestfit"] == pytest.approx(bestfit[0], abs=1e-5)
    # Poisson constraints on (50 / 5)² and (60 / 12)² events.
    for name, width, index in (("flat[0]", 0.1, 1), ("flat[1]", 0.2, 2)):
        assert got["constraint"][name] == pytest.approx(
            got["uncertainty"][name] / width
        )
        pull = (bestfit[index] - 1) / width
        assert got["pull"][name] == pytest.approx(pull, abs=1e-4)
        for kind, size in (("prefit", width), ("postfit", got["uncertainty"][name])):
            for side, sign in (("up", 1), ("down", -1)):
                held = list(inits)
                held[index] = bestfit[index] + sign * size
                fixed = [i == index for i in range(3)]
                refit = pyhf.infer.mle.fit(data, model, held, fixed_params=fixed)
                shift = got[f"{kind}_{side}"][name]
                assert shift == pytest.approx(refit[0] - bestfit[0], abs=1e-4)
    assert b"<svg" in (folder / "ranking.svg").read_bytes()


def test_scan(precise, folder):
    model, data = pyhf_model()
    _, lowest = pyhf.infer.mle.fit(data, model, return_fitted_val=True)
    range_ = ["--range", "0", "2", "--points", "5"]
    got = result("scan", "workspace.json", *range_, "--plot", "scan.png")
    assert got["values"] == {"mu": [0, 0.5, 1, 1.5, 2]}
    assert got["best_twice_nll"] == pytest.approx(float(lowest), abs=1e-8)
    for mu, height in zip(got["values"]["mu"], got["delta_twice_nll"], strict=True):
        _, value = pyhf.infer.mle.fixed_poi_fit(mu, data, model, return_fitted_val=True)
        assert height == pytest.approx(float(value - lowest), abs=1e-8)
    assert (folder / "scan.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_scan_of_a_plane_chooses_its_range(folder):
    options = ["--parameter", "mu", "--parameter", "flat[1]", "--points", "5"]
    got = result("scan", "workspace.json", *options, "--plot", "plane.pdf")
    mu, flat = got["values"].values()
    fitted = result("fit", "workspace.json")
    best, sigma = (fitted[key]["flat[1]"] for key in ("bestfit", "uncertainty"))
    np.testing.assert_allclose(flat, best + sigma * np.linspace(-3, 3, 5), rtol=1e-9)
    assert mu[0] == 0
    assert np.shape(got["delta_twice_nll"]) == (5, 5)
    assert np.min(got["delta_twice_nll"]) > 0
    assert (folder / "plane.pdf").exists()


@pytest.mark.slow
def test_intervals_from_the_profile(precise):
    model, data = pyhf_model()
    got = result("fit", "workspace.json", "--minos", "mu", "--minos", "flat[0]")
    assert list(got["minos"]) == ["mu", "flat[0]"]
    interval = got["minos"]["mu"]
    assert (interval["lower"], interval["lower_at_bound"]) == (0, True)
    edges = {"mu": [interval["upper"]]}
    edges["flat[0]"] = [got["minos"]["flat[0]"][end] for end in ("lower", "upper")]
    _, lowest = pyhf.infer.mle.fit(data, model, return_fitted_val=True)
    for index, name in enumerate(("mu", "flat[0]")):
        for edge in edges[name]:
            init = model.config.suggested_init()
            init[index] = edge
            fixed = [i == index for i in range(3)]
            _, value = pyhf.infer.mle.fit(
                data, model, init, fixed_params=fixed, return_fitted_val=True
            )
            assert value - lowest == pytest.approx(1, abs=1e-5)


def test_crosscheck():
    got = result("crosscheck", "workspace.json")
    ours, theirs = got["diffana"], got["pyhf"]
    # pyhf's default tolerance.
    assert got["difference"]["best_twice_nll"] == pytest.approx(0, abs=1e-6)
    assert ours["best_twice_nll"] == pytest.approx(theirs["best_twice_nll"], abs=1e-6)
    np.testing.assert_allclose(got["difference"]["CLs_exp"], 0, atol=1e-5)
    np.testing.assert_allclose(
        np.subtract(ours["CLs_exp"], theirs["CLs_exp"]),
        got["difference"]["CLs_exp"],
    )
    shifts = got["difference"]["bestfit"]
    assert list(shifts) == ["mu", "flat[0]", "flat[1]"]
    np.testing.assert_allclose(list(shifts.values()), 0, atol=1e-3)
    # The same arithmetic.
    assert abs(got["same_point"]["expected_actualdata"]) < 1e-14
    assert abs(got["same_point"]["twice_nll"]) < 1e-13
    assert got["failures"] == {}
    assert set(got["seconds"]) == {"fit", "cls"}
    for seconds in got["seconds"].values():
        assert set(seconds) == {"first", "again", "pyhf"}


def test_crosscheck_without_parameter_of_interest():
    got = result("crosscheck", "workspace.json", "--measurement", "blind")
    assert set(got["diffana"]) == {"best_twice_nll", "bestfit"}
    assert set(got["seconds"]) == {"fit"}


# what users get wrong


def broken(change):
    workspace = copy.deepcopy(WORKSPACE)
    del workspace["measurements"][1:]
    change(workspace)
    write("broken", workspace)
    return "broken.json"


def assert_one_line(done, code, *words):
    assert done.exit_code == code
    assert done.stdout == ""
    assert_error(done.stderr, *words)


def assert_error(stderr, *words):
    (line,) = stderr.splitlines()
    assert line.startswith("Error: ")
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("{'a': 1}", "not JSON: line 1, column 2"),
        ("[1, 2]", "not a workspace"),
        ("{}", "'channels' is a required property"),
        ('{"channels": []}', "channels: [] should be non-empty"),
    ],
)
def test_what_is_no_workspace(folder, text, reason):
    (folder / "wrong.json").write_text(text)
    assert_one_line(invoke("cls", "wrong.json"), 2, "wrong.json: ", reason)
    assert_one_line(invoke("cls", stdin=text), 2, "standard input: ")


def test_files_that_cannot_be_read(folder):
    (folder / "binary.json").write_bytes(bytes(range(256)))
    (folder / "empty").mkdir()
    for path in ("none.json", "empty", "binary.json"):
        assert_one_line(invoke("fit", path), 2, f"{path}: ")
    assert_one_line(invoke("fit", "workspace.json", "-p", "none.json"), 2, "none.json")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda w: w["observations"][0].update(data=[1.0]), "'SR': 2 bins, but 1"),
        (
            lambda w: w["observations"][0].update(data=[1.0, float("nan")]),
            "channel 'SR': bin 1: the observed count is nan",
        ),
        (
            lambda w: w["observations"][0].update(data=[-1.0, 3.0]),
            "channel 'SR': bin 0: the observed count is -1.0",
        ),
        (
            lambda w: w["channels"][0]["samples"][1].update(data=[1.0, float("inf")]),
            "channels[0].samples[1].data[1] is inf",
        ),
        (
            lambda w: w["channels"][0]["samples"][0].update(data=["x", 1.0]),
            "channels[0].samples[0].data[0]",
        ),
        (lambda w: w.update(version="3.0.0"), "version '3.0.0'"),
        (
            lambda w: w["observations"][0].update(name="CR"),
            "channel 'SR': no observation",
        ),
    ],
)
def test_the_place_is_named(change, place):
    path = broken(change)
    assert_one_line(invoke("cls", path), 2, f"{path}: ", place)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["cls", "--measurement", "third"], ["'third'", "first, second"]),
        (["cls", "--measurement", "blind"], ["no parameter of interest"]),
        (["significance", "--measurement", "blind"], ["no parameter of interest"]),
        (["cls", "--poi-test", "20"], ["'mu'", "20 is outside its bounds 0 and 10"]),
        (["cls", "--poi-test", "-1"], ["'mu'", "outside its bounds"]),
        (["cls", "--poi-test", "nan"], ["'mu'", "nan"]),
        (["cls", "--measurement", "second", "--poi-test", "6"], ["bounds 0 and 3.5"]),
        (["fit", "--fix", "nu=1"], ["no parameter 'nu'", "mu?"]),
        (["fit", "--fix", "flat=1"], ["did you mean flat[0], flat[1]?"]),
        (["fit", "--fix", "mu"], ["NAME=NUMBER"]),
        (["fit", "--fix", "mu=inf"], ["NAME=NUMBER"]),
        (["fit", "--fix", "mu=11"], ["outside its bounds 0 and 10"]),
        (["fit", "--fix", "mu=1", "--fix", "mu=2"], ["twice"]),
        (["fit", "-p", "patchset.json"], ["NAME is one of mass_100, mass_200"]),
        (["fit", "-p", "patchset.json:mass_3"], ["no patch 'mass_3'", "mass_100"]),
        (["fit", "-p", "foreign.json:mass_100"], ["foreign.json", "md5"]),
        (["fit", "-p", "patch.json:mass_100"], ["not a patch set"]),
        (["fit", "-p", "workspace.json"], ["neither a JSON patch nor a patch set"]),
        (["fit", "--minos", "nu"], ["no parameter 'nu'"]),
        (["fit", "--minos", "mu", "--fix", "mu=1"], ["'mu' is held"]),
        (["fit", "--minos", "mu", "--solver", "minuit"], ["newton", "not minuit"]),
        (["scan", "--parameter", "nu"], ["no parameter 'nu'"]),
        (["scan", "--parameter", "mu", "--parameter", "mu"], ["mu, mu"]),
        (["scan", "--range", "0", "11"], ["11 is outside its bounds"]),
        (["scan", "--range", "1", "1"], ["1 is not below 1"]),
        (["scan", "--range", "0", "1", "--range", "0", "1"], ["1 parameters", "2"]),
        (["fit", "--output-file", "none/fit.json"], ["there is no folder none"]),
        (["fit", "--output-file", "."], ["is a folder"]),
    ],
)
def test_wrong_options(argv, words):
    command, *options = argv
    if "--measurement" not in options:
        options += ["--measurement", "first"]
    assert_one_line(invoke(command, "workspace.json", *options), 2, *words)


@pytest.mark.parametrize("name", ["none/band.pdf", "band.jpeg", "band", "."])
@pytest.mark.parametrize("command", ["limit", "ranking", "scan"])
def test_a_figure_that_cannot_be_saved_is_refused_first(command, name):
    reason = "no folder none" if "none" in name else "must end in one of .pdf, .png"
    assert_one_line(
        invoke(command, "--plot", name, "workspace.json"), 2, f"{name}: ", reason
    )


def test_several_measurements_are_announced():
    done = invoke("fit", "workspace.json")
    assert done.exit_code == 0
    note = "workspace.json: measurement first of first, second, blind\n"
    assert done.stderr == note


def test_a_patch_that_does_not_apply():
    write("late", [*PATCH, {"op": "remove", "path": "/channels/7"}])
    done = invoke("fit", "workspace.json", "-p", "late.json")
    assert_one_line(done, 2, "late.json: operation 1 does not apply")
    write("late", [5])
    done = invoke("fit", "workspace.json", "-p", "late.json")
    assert_one_line(done, 2, "late.json: operation 0 does not apply")


def test_a_fit_without_certificate_has_no_number():
    def empty_signal_region(workspace):
        for sample in workspace["channels"][0]["samples"]:
            sample["data"] = [0.0, 10.0]

    path = broken(empty_signal_region)
    assert_one_line(invoke("cls", path), 1, "is not certified: ")


# where results go


def test_output_file(folder):
    options = ["--measurement", "first", "--output-file", "cls.json"]
    done = invoke("cls", "workspace.json", *options)
    assert (done.exit_code, done.output) == (0, "")
    assert set(json.loads((folder / "cls.json").read_text())) == {"CLs_obs", "CLs_exp"}


def on_a_terminal(*argv):
    """Exit code and output of the command on a pseudo-terminal."""
    shown, terminal = pty.openpty()
    environment = os.environ | {"COLUMNS": "90", "TERM": "dumb"}
    process = subprocess.Popen(
        [sys.executable, "-m", "diffana", *argv],
        stdout=terminal,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    os.close(terminal)
    text = b""
    with open(shown, "rb", buffering=0) as file, contextlib.suppress(OSError):  # noqa: PTH123
        # A pseudo-terminal ends with an error.
        while chunk := file.read(1024):
            text += chunk
    return process.wait(), text.decode()


@pytest.mark.slow
def test_a_terminal_gets_a_table_unless_it_asks_for_json():
    code, table = on_a_terminal("cls", "workspace.json")
    assert code == 0
    lines = [line.split() for line in table.splitlines()]
    assert lines[0] == ["CLs", "at", "mu", "=", "1"]
    assert [line[0] for line in lines[1:]] == ["observed"] + ["expected,"] * 5
    code, text = on_a_terminal("cls", "workspace.json", "--json")
    CLs = json.loads(text)
    assert float(lines[1][-1]) == pytest.approx(CLs["CLs_obs"], rel=1e-4)


def test_a_reader_that_goes_away_is_no_traceback():
    read, write_end = os.pipe()
    os.close(read)
    run = subprocess.run(
        [sys.executable, "-m", "diffana", "schema"],
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write_end)
    assert run.returncode == 1
    assert run.stderr == ""


def test_cls_imports_no_more_than_it_needs():
    code = (
        "import sys\n"
        "from diffana.cli import main\n"
        "try:\n"
        "    main(['cls', 'workspace.json', '--poi-test', '99'])\n"
        "except SystemExit as error:\n"
        "    assert error.code == 2\n"
        "heavy = {'matplotlib', 'rich', 'pydantic', 'optax', 'mplhep'}\n"
        "assert 'diffana.infer' in sys.modules\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
