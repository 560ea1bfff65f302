import json
import pathlib

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner

import tiny
from diffana import assemble, config as configuration
from diffana.cli import main
from diffana.errors import RunError
from diffana.workflow.landscape import scene
from diffana.workflow.landscape_files import load
from diffana.workflow.prepared import prepare


WORKSPACE = (
    pathlib.Path(__file__).parents[2]
    / "experiments"
    / "two_bin_landscape"
    / "workspace.json"
)
SHAPE = {"Type": "histosys", "Channel": "two_bins", "Sample": "background"}
ON_WORKSPACE = {
    "Workspace": {"Path": str(WORKSPACE)},
    "Losses": [
        {"Name": "sigma", "Label": r"$\sigma_\mu$", "Loss": {"Type": "sigma_mu"}},
        {"Type": "asimov_significance"},
    ],
    "Axes": [
        {
            "Name": "u",
            "Range": [-5, 5],
            "Points": 3,
            "Moves": {**SHAPE, "Modifier": "shape", "Side": "Hi", "Direction": [1, -1]},
        },
        {
            "Name": "d",
            "Range": [0, 5],
            "Points": 2,
            "Moves": {**SHAPE, "Modifier": "shape", "Side": "Lo", "Direction": [-1, 1]},
        },
    ],
}
LINE = {"Name": "t", "Range": [-1, 1], "Points": 3}
CUTS = {"Cuts": [{"Variable": "y", "Above": -2.5, "Slope": 4.0}]}


def run(document, folder, out, *options):
    path = tiny.written(document, folder / "landscape.yaml")
    argv = ["landscape", str(path), "--out", str(out), *options]
    return CliRunner().invoke(main, argv)


def on_analysis(folder, moves, losses=({"Type": "sigma_mu", "Log": False},), **changes):
    """A landscape of the tiny analysis, with a cut and three bins."""
    region = {"Name": "SR", "Observable": "summary", "Binning": [0.0, 0.3, 0.6, 1.0]}
    document = tiny.document(Regions=[{**region, **CUTS}])
    path = tiny.written(document, folder / "tiny.yaml")
    return {
        "Analysis": str(path),
        "Losses": list(losses),
        "Axes": [{**LINE, "Moves": moves}],
        **changes,
    }


def scanned(document):
    return scene(configuration.parse_landscape(json.dumps(document))).landscape()


def test_a_landscape_of_a_workspace_from_end_to_end(tmp_path, compiled):
    out = tmp_path / "out"
    result = run(ON_WORKSPACE, tmp_path, out, "--plot", "png")
    assert result.exit_code == 0, result.output
    assert "sigma" in result.stdout
    assert sorted(path.name for path in out.iterdir()) == [
        "config.yaml",
        "figures",
        "landscape.json",
        "landscape.npz",
        "provenance.json",
    ]
    figures = sorted(path.name for path in (out / "figures").iterdir())
    assert figures == ["01_sigma.png", "02_asimov_significance.png", "comparison.png"]
    found = load(out / "landscape.npz")
    assert found.axis_names == ("u", "d")
    assert found.values["sigma"].shape == (3, 2)
    summary = json.loads((out / "landscape.json").read_text())
    # Equal templates do nothing: (0, 0) and (-5, 5).
    places = summary["losses"]["sigma"]["minimum"]["places"]
    assert places == [{"u": -5.0, "d": 5.0}, {"u": 0.0, "d": 0.0}]
    assert summary["losses"]["sigma"]["failures"] == {}
    provenance = json.loads((out / "provenance.json").read_text())
    assert [one["path"] for one in provenance["inputs"]] == [str(WORKSPACE)]
    # Nothing is overwritten, and nothing half written is left.
    again = run(ON_WORKSPACE, tmp_path, out)
    assert again.exit_code == 2
    assert "never overwrites" in again.stderr
    assert not list(tmp_path.glob(".out*"))


def test_a_random_direction_starts_at_the_analysis(tmp_path, compiled):
    found = scanned(on_analysis(tmp_path, {"Type": "random_direction"}))
    config = configuration.load(tmp_path / "tiny.yaml")
    prepared = prepare(config)
    metric = assemble.hard_metrics(config)["sigma_mu"]
    evaluate = eqx.filter_jit(prepared.trainer.evaluate)
    want = evaluate(metric, prepared.analysis, prepared.train)
    values = found.values["sigma_mu"]
    # The same sums, compiled in another way; the network is in float32.
    np.testing.assert_allclose(values[1], want.value, rtol=1e-5)
    assert len(set(np.asarray(values).tolist())) == 3


@pytest.mark.parametrize("hard", [False, True])
def test_the_line_to_another_analysis_ends_there(tmp_path, compiled, hard):
    document = on_analysis(tmp_path, {"Type": "towards", "Run": "other"}, Hard=hard)
    config = configuration.parse_landscape(json.dumps(document))
    settings = configuration.load(tmp_path / "tiny.yaml")
    prepared = prepare(settings)
    general = settings.general.model_copy(update={"seed": 4})
    reseeded = settings.model_copy(update={"general": general})
    other = assemble.analysis(reseeded, prepared.train)
    build = assemble.of_analysis(
        config,
        settings,
        prepared.analysis,
        prepared.train,
        signal=("signal",),
        others={"other": other},
    )

    @eqx.filter_jit
    def yields(build, at):
        return build({"t": at})[0].templates.nominal

    for at, analysis in ((0.0, prepared.analysis), (1.0, other)):
        want = (analysis.hard if hard else analysis)(prepared.train)
        # Differences of float32 weights round, and a sharp bin may gain an event.
        np.testing.assert_allclose(
            yields(build, jnp.asarray(at)),
            want.templates.nominal,
            rtol=1e-5,
            atol=0.51 if hard else 0.0,
        )
    assert not np.allclose(
        other(prepared.train).templates.nominal,
        prepared.analysis(prepared.train).templates.nominal,
        rtol=0.01,
    )


def test_edges_out_of_order_have_no_value(tmp_path, compiled):
    axis = {
        **LINE,
        "Range": [0.2, 0.8],
        "Moves": {"Type": "edge", "Region": "SR", "Index": 1},
    }
    for hard in (False, True):
        document = on_analysis(tmp_path, None, Axes=[axis], Hard=hard)
        found = scanned(document)
        # The next edge is at 0.6.
        assert np.isnan(found.values["sigma_mu"]).tolist() == [False, False, True]


def test_a_sharp_cut_counts_events(tmp_path, compiled):
    """A threshold above all events leaves no signal to measure."""
    moves = {"Type": "cut", "Region": "SR", "Variable": "y"}
    axis = {**LINE, "Range": [-50, 50], "Points": 2, "Moves": moves}
    found = scanned(on_analysis(tmp_path, None, Axes=[axis], Hard=True))
    assert np.isnan(found.values["sigma_mu"]).tolist() == [False, True]
    assert len(found.failures("sigma_mu")) == 1


@pytest.mark.parametrize(
    ("moves", "losses", "message"),
    [
        (
            {"Type": "edge", "Region": "SR", "Index": 3},
            [{"Type": "p0"}],
            "Axes[0].Moves.Index: 3 is not an inner edge; they are 1 to 2",
        ),
        (
            {"Type": "cut", "Region": "CR", "Variable": "y"},
            [{"Type": "p0"}],
            "Axes[0].Moves.Region: no region 'CR'; there are SR",
        ),
        (
            {"Type": "cut", "Region": "SR", "Variable": "x"},
            [{"Type": "p0"}],
            "Axes[0].Moves: region 'SR' has no such cuts on 'x'; it cuts on y",
        ),
        (
            [{"Type": "edge", "Region": "SR", "Index": 1}] * 2,
            [{"Type": "p0"}],
            "Axes[0].Moves[1]: moves what Axes[0].Moves[0] moves",
        ),
        (
            {"Type": "random_direction", "Observable": "net"},
            [{"Type": "p0"}],
            "Axes[0].Moves: no network 'net'; there are summary",
        ),
        (
            {"Type": "random_direction"},
            [{"Type": "fisher", "Parameters": "nu"}],
            "Losses[0].Parameters: the model has no parameter 'nu'",
        ),
        (
            {"Type": "towards", "Run": "nowhere"},
            [{"Type": "p0"}],
            "nowhere is not a run folder",
        ),
    ],
)
def test_what_does_not_fit_an_analysis_is_named(tmp_path, moves, losses, message):
    out = tmp_path / "out"
    result = run(on_analysis(tmp_path, moves, losses), tmp_path, out)
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [f"Error: {message}"]
    assert not out.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Channel": "SR"}, "Axes[0].Moves: no channel 'SR'; there are two_bins"),
        (
            {"Modifier": "mean"},
            "Axes[0].Moves: channel 'two_bins', sample 'background': 0 modifiers of "
            "type 'histosys' named 'mean'",
        ),
        (
            {"Direction": [1, 2, 3]},
            "Axes[0].Moves.Direction: 3 numbers, but the template has 2",
        ),
    ],
)
def test_what_does_not_fit_a_workspace_is_named(tmp_path, changes, message):
    first, second = ON_WORKSPACE["Axes"]
    axes = [{**first, "Moves": {**first["Moves"], **changes}}, second]
    result = run({**ON_WORKSPACE, "Axes": axes}, tmp_path, tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [f"Error: {message}"]


def test_a_run_and_the_line_to_another(finished, compiled):
    """Towards itself nothing changes."""
    document = {
        "Run": str(finished),
        "Losses": [{"Type": "sigma_mu"}],
        "Axes": [{**LINE, "Moves": {"Type": "towards", "Run": str(finished)}}],
        "Events": "validation",
        "Hard": True,
    }
    values = np.asarray(scanned(document).values["sigma_mu"])
    np.testing.assert_array_equal(values, values[1])
    records = [
        json.loads(line)
        for line in (finished / "metrics.jsonl").read_text().splitlines()
    ]
    best = [record["validation"]["loss"] for record in records if record["best"]][-1]
    # The loss of that run is the logarithm, too; float32 networks compiled anew.
    np.testing.assert_allclose(values[1], best, rtol=1e-5)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "landscape.npz"
    with pytest.raises(RunError, match="cannot be read"):
        load(path)
    path.write_bytes(b"no arrays")
    with pytest.raises(RunError, match="landscape"):
        load(path)
