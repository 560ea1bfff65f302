import numpy as np
import pytest

import tiny
from diffana import assemble
from diffana.assemble.sources import feature_columns
from diffana.config import references
from diffana.data import toys
from diffana.data.toys import gaussian_blobs
from diffana.errors import DataError


def by_name(events):
    return {(one.region, one.sample, one.variation): one for one in events}


TABLES = {
    "blobs": gaussian_blobs,
    "interference": toys.interference_tables,
    "smeared": toys.smeared_tables,
}


@pytest.mark.parametrize("kind", references.GENERATED)
def test_the_schema_knows_the_populations_and_columns_of_the_generators(kind):
    """The schema imports nothing heavy, so it has a list of its own."""
    populations, columns = references.GENERATED[kind]
    tables = TABLES[kind](n_events=1)
    assert tuple(tables) == populations
    assert {table.names[: len(columns)] for table in tables.values()} == {columns}


@pytest.mark.parametrize("kind", ["interference", "smeared"])
def test_generators_of_exact_problems_give_the_events_of_their_tables(kind):
    document = tiny.document(Generator={"Type": kind, "EventsPerSample": 50})
    populations, (first, second, *_) = references.GENERATED[kind]
    document["Observables"][0]["Inputs"] = [first, second]
    for sample, path in zip(document["Samples"], populations, strict=False):
        sample["SamplePath"] = path
    document["Systematics"] = []
    events = assemble.simulated_events(tiny.parsed(document))
    want = TABLES[kind](n_events=50, seed=3)
    for one, path in zip(events, populations, strict=False):
        np.testing.assert_array_equal(one.features[:, 1], want[path][second])


@pytest.fixture
def files(tmp_path):
    """A document on files with selections, weights and every kind of variation."""
    random = np.random.default_rng(3)

    def write(name, n_events, **extra):
        columns = {
            "pt": random.uniform(20.0, 100.0, n_events),
            "eta": random.normal(size=n_events),
            "w": random.uniform(0.1, 1.0, n_events),
            "kind": np.where(np.arange(n_events) % 3 == 0, "s", "b"),
        }
        np.savez(tmp_path / f"{name}.npz", **columns | extra)

    write("mixed", 300, w_up=random.uniform(0.1, 2.0, 300))
    write("more", 50, w_up=np.ones(50))
    write("other", 200)
    document = tiny.document()
    del document["Generator"]
    document["General"]["InputPath"] = f"{tmp_path}/{{SamplePath}}.npz"
    document["Observables"][0]["Inputs"] = ["pt", "eta"]
    document["Regions"] = [
        {
            "Name": "SR",
            "Observable": "summary",
            "Binning": [0.0, 0.5, 1.0],
            "Filter": "pt > 50",
        },
        {
            "Name": "CR",
            "Variable": "eta",
            "Binning": [-1.0, 0.0, 1.0],
            "Filter": "pt <= 50",
            "Flow": True,
        },
    ]
    document["Samples"] = [
        {
            "Name": "signal",
            "SamplePath": "mixed",
            "Preselection": "kind == 's'",
            "Weight": "w",
            "Yield": 12,
            "Regions": "SR",
        },
        {
            "Name": "background",
            "SamplePath": ["mixed", "more"],
            "Preselection": "kind == 'b'",
            "Weight": "2 * w",
        },
    ]
    document["Systematics"] = [
        {
            "Name": "model",
            "Type": "NormPlusShape",
            "Samples": "background",
            "Regions": "SR",
            "Up": {"SamplePath": "other"},
            "Down": {"Symmetrize": True},
        },
        {
            "Name": "weights",
            "Type": "NormPlusShape",
            "Samples": "background",
            "Up": {"Weight": "w_up"},
            "Down": {"Weight": "w"},
        },
    ]
    return tmp_path, document


def test_events_of_files(files):
    folder, document = files
    found = by_name(assemble.simulated_events(tiny.parsed(document)))
    assert set(found) == {
        ("SR", "signal", "nominal"),
        ("SR", "background", "nominal"),
        ("CR", "background", "nominal"),
        ("SR", "background", "model/up"),
        ("SR", "background", "weights/up"),
        ("SR", "background", "weights/down"),
        ("CR", "background", "weights/up"),
        ("CR", "background", "weights/down"),
    }
    mixed, more, other = (
        dict(np.load(folder / f"{name}.npz")) for name in ("mixed", "more", "other")
    )
    both = {name: np.concatenate([mixed[name], more[name]]) for name in mixed}

    signal = found["SR", "signal", "nominal"]
    own = (mixed["kind"] == "s") & (mixed["pt"] > 50)
    # The Yield is that of the sample before the selection of a region.
    scale = 12 / mixed["w"][mixed["kind"] == "s"].sum()
    np.testing.assert_allclose(signal.weight, scale * mixed["w"][own], rtol=1e-14)
    np.testing.assert_array_equal(signal.features[:, 0], mixed["pt"][own])
    assert signal.columns == ("pt", "eta")

    background = both["kind"] == "b"
    for region, keep in (("SR", both["pt"] > 50), ("CR", both["pt"] <= 50)):
        for variation, weight in (
            ("nominal", 2 * both["w"]),
            ("weights/up", both["w_up"]),
            ("weights/down", both["w"]),
        ):
            one = found[region, "background", variation]
            assert one.source == "background/nominal"
            np.testing.assert_array_equal(
                one.weight, np.where(keep, weight, 0.0)[background]
            )
    model = found["SR", "background", "model/up"]
    assert model.source == "background/model/up"
    own = (other["kind"] == "b") & (other["pt"] > 50)
    np.testing.assert_array_equal(model.weight, 2 * other["w"][own])


def test_only_columns_that_a_file_needs_are_read(files):
    """Weights of one sample are no business of the files of another."""
    folder, document = files
    observed = {"pt": [60.0, 30.0], "eta": [0.5, 0.2]}
    np.savez(folder / "observed.npz", **observed)
    document["Samples"].append({"Name": "data", "SamplePath": "observed", "Data": True})
    config = tiny.parsed(document)
    found = by_name(assemble.observed_events(config))
    assert set(found) == {("SR", "data", "nominal"), ("CR", "data", "nominal")}
    np.testing.assert_array_equal(found["SR", "data", "nominal"].weight, [1, 0])
    np.testing.assert_array_equal(found["CR", "data", "nominal"].weight, [0, 1])
    assert len(assemble.simulated_events(config)) == 8


def test_input_files_are_listed_once(files):
    _, document = files
    names = [path.name for path in assemble.input_files(tiny.parsed(document))]
    assert names == ["mixed.npz", "more.npz", "other.npz"]
    assert assemble.input_files(tiny.parsed(tiny.document())) == ()


def test_generated_events_have_the_yield_asked_for():
    found = by_name(assemble.simulated_events(tiny.parsed(tiny.document())))
    blobs = gaussian_blobs(n_events=400, seed=3)
    for (_, sample, variation), one in found.items():
        direction = variation.removeprefix("mean/")
        name = sample if variation == "nominal" else f"{sample}_{direction}"
        x, y = one.features.T
        np.testing.assert_array_equal(x, blobs[name]["x"])
        np.testing.assert_array_equal(y, blobs[name]["y"])
        np.testing.assert_allclose(
            one.weight.sum(), {"signal": 20, "background": 100}[sample], rtol=1e-13
        )


def test_recomputed_features_start_from_recomputed_ones(tmp_path):
    """Both variations and the nominal events are the same rows."""
    random = np.random.default_rng(0)
    columns = {
        f"PRI_{name}": random.uniform(25.0, 60.0, 40)
        for name in ("tau_pt", "lep_pt", "met")
    } | {
        f"PRI_{name}_{angle}": random.uniform(-1.0, 1.0, 40)
        for name in ("tau", "lep", "met")
        for angle in ("eta", "phi")
    }
    del columns["PRI_met_eta"]
    rounded = {name: np.round(values, 2) for name, values in columns.items()}
    np.savez(tmp_path / "e.npz", DER_mass_vis=np.full(40, 90.0), **rounded)
    document = tiny.document()
    del document["Generator"]
    document["General"]["InputPath"] = f"{tmp_path}/{{SamplePath}}.npz"
    document["Observables"][0]["Inputs"] = ["PRI_tau_pt", "DER_mass_vis"]
    for sample in document["Samples"]:
        sample["SamplePath"] = "e"
    document["Systematics"] = [
        {
            "Name": "tes",
            "Type": "NormPlusShape",
            "Samples": "background",
            "Up": {"Transform": {"Type": "tau_energy_scale", "Factor": 1.03}},
            "Down": {"Transform": {"Type": "tau_energy_scale", "Factor": 0.97}},
        }
    ]
    found = by_name(assemble.simulated_events(tiny.parsed(document)))
    nominal, up, down = (
        found["SR", "background", name] for name in ("nominal", "tes/up", "tes/down")
    )
    assert nominal.source == up.source == down.source
    np.testing.assert_allclose(up.features[:, 0], 1.03 * nominal.features[:, 0])
    np.testing.assert_allclose(down.features[:, 0], 0.97 * nominal.features[:, 0])
    # The file says 90 GeV; the nominal mass is that of the momenta all the same.
    assert np.all(nominal.features[:, 1] != 90.0)
    np.testing.assert_allclose(
        up.features[:, 1], np.sqrt(1.03) * nominal.features[:, 1]
    )
    np.testing.assert_array_equal(up.weight, nominal.weight)
    # A sample without such a systematic keeps what the file says.
    assert np.all(found["SR", "signal", "nominal"].features[:, 1] == 90.0)


def test_undefined_features_are_filled(files):
    folder, document = files
    content = dict(np.load(folder / "other.npz"))
    content["eta"][:] = -999.0
    np.savez(folder / "other.npz", **content)
    document["Input"] = {"MissingValue": -999.0, "FillValue": 7.5}
    found = by_name(assemble.simulated_events(tiny.parsed(document)))
    assert np.all(found["SR", "background", "model/up"].features[:, 1] == 7.5)
    # A weight is never filled.
    document["Samples"][1]["Weight"] = "eta + 10"
    with pytest.raises(DataError, match=r"'eta \+ 10' is NaN .* for \d+ of \d+ events"):
        assemble.simulated_events(tiny.parsed(document))


def test_feature_columns_are_in_a_fixed_order():
    document = tiny.document()
    document["Regions"][0]["Cuts"] = [{"Variable": "y", "Above": 0.0}]
    document["Regions"].append(
        {"Name": "CR", "Variable": "x", "Binning": [0.0, 1.0, 2.0]}
    )
    assert feature_columns(tiny.parsed(document)) == ("x", "y")
