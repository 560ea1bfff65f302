import re

import numpy as np
import pytest
import uproot
from hypothesis import given, strategies as st

import ntuples
import tiny
from diffana import assemble, config as configuration
from diffana.errors import DataError


def analysis(document):
    return configuration.AnalysisConfig.model_validate(document)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ntuples")
    ntuples.plant(folder)
    return folder


def document(folder, template="R1_{SamplePath}.root"):
    shape = {"Type": "NormPlusShape", "Down": {"Symmetrize": True}}
    return {
        "General": {
            "Measurement": "sources",
            "POI": "mu",
            "InputPath": f"{folder}/{template}",
        },
        "Regions": [
            {"Name": "SR", "Variable": "b", "Binning": [0, 1, 2], "Filter": "n > 1"},
            {"Name": "CR", "Variable": "n", "Binning": [0, 4]},
        ],
        "Samples": [
            {"Name": "data", "Tree": "nominal", "SamplePath": "data", "Data": True},
            {"Name": "signal", "Tree": "nominal", "SamplePath": "s1", "Weight": "w"},
        ],
        "NormFactors": [{"Name": "mu", "Samples": "signal"}],
        "Systematics": [
            {"Name": "weights", "Up": {"Weight": "w_up"}} | shape,
            {"Name": "selection", "Up": {"Filter": "n > 2"}} | shape,
            {"Name": "tree", "Up": {"Tree": "folder/varied"}} | shape,
            {
                "Name": "both",
                "Regions": "SR",
                "Up": {"Tree": "folder/varied", "Weight": "w_up"},
            }
            | shape,
            {"Name": "files", "Up": {"SamplePath": ["s2", "s3"]}} | shape,
        ],
    }


def names(source):
    return [(one.variation, one.region.name) for one in source.members]


def test_events_in_one_place_are_one_source(folder):
    data, nominal, tree, files = assemble.sources(analysis(document(folder)))
    assert (data.name, data.sample.data) == ("data/nominal", True)
    assert names(data) == [("nominal", "SR"), ("nominal", "CR")]
    assert nominal.name == "signal/nominal"
    assert nominal.paths == (f"{folder}/R1_s1.root",)
    assert names(nominal) == [
        ("nominal", "SR"),
        ("nominal", "CR"),
        ("weights/up", "SR"),
        ("weights/up", "CR"),
        ("selection/up", "SR"),
        ("selection/up", "CR"),
    ]
    assert [one.filter for one in nominal.members[2:]] == [
        "n > 1",
        None,
        *["n > 2"] * 2,
    ]
    assert [one.weight for one in nominal.members[1:3]] == ["w", "w_up"]
    assert (tree.name, tree.tree) == ("signal/tree/up", "folder/varied")
    assert names(tree) == [("tree/up", "SR"), ("tree/up", "CR"), ("both/up", "SR")]
    assert files.name == "signal/files/up"
    assert files.paths == (f"{folder}/R1_s2.root", f"{folder}/R1_s3.root")


def test_regions_with_files_of_their_own_are_sources(folder):
    settings = document(folder, "{RegionPath}_{SamplePath}.root")
    settings["Systematics"] = [
        {
            "Name": "other",
            "Type": "NormPlusShape",
            "Up": {"RegionPath": "R1"},
            "Down": {"Symmetrize": True},
        }
    ]
    for region, path in zip(settings["Regions"], ("R1", "R2"), strict=True):
        region["RegionPath"] = path
    _, _, first, second = assemble.sources(analysis(settings))
    assert first.name == "signal/nominal/R1"
    # In the region SR the variation is made of the nominal events.
    assert names(first) == [("nominal", "SR"), ("other/up", "SR"), ("other/up", "CR")]
    assert (second.name, names(second)) == ("signal/nominal/R2", [("nominal", "CR")])
    assert second.paths == (f"{folder}/R2_s1.root",)


def test_paths_of_variations(folder):
    settings = document(folder, "{VariationPath}_{SamplePath}.root")
    settings["General"]["VariationPath"] = "R1"
    up = {"VariationPath": "R2"}
    settings["Systematics"] = [settings["Systematics"][0] | {"Up": up}]
    _, nominal, varied = assemble.sources(analysis(settings))
    assert nominal.paths == (f"{folder}/R1_s1.root",)
    assert varied.paths == (f"{folder}/R2_s1.root",)
    assert varied.name == "signal/weights/up"


def test_patterns_match_files_in_the_order_of_their_names(folder):
    settings = document(folder, "{SamplePath}")
    del settings["Systematics"]
    settings["Samples"][0]["SamplePath"] = "R?_data.root"
    settings["Samples"][1]["SamplePath"] = ["R2_s[12].root", "R1_s*.root"]
    data, signal = assemble.sources(analysis(settings))
    assert data.paths == (f"{folder}/R1_data.root", f"{folder}/R2_data.root")
    order = ("R2_s1", "R2_s2", "R1_s1", "R1_s2", "R1_s3")
    assert signal.paths == tuple(f"{folder}/{name}.root" for name in order)
    found = assemble.input_files(analysis(settings))
    assert [path.stem for path in found] == ["R1_data", "R2_data", *order]


def test_patterns_that_cannot_be_meant(folder):
    settings = document(folder, "{SamplePath}")
    settings["Samples"][0]["SamplePath"] = "R1_data.root"
    settings["Samples"][1]["SamplePath"] = "R1_z*.root"
    del settings["Systematics"]
    message = f"{folder}/R1_z*.root: no file matches this pattern"
    with pytest.raises(DataError, match=re.escape(message)):
        assemble.sources(analysis(settings))
    settings["Samples"][1]["SamplePath"] = ["R1_s1.root", "R1_s?.root"]
    message = (
        f"sample 'signal': {folder}/R1_s1.root is matched by '{folder}/R1_s1.root' and "
        f"by '{folder}/R1_s?.root', and would be read twice"
    )
    with pytest.raises(DataError, match=re.escape(message)):
        assemble.input_files(analysis(settings))


def test_a_name_with_brackets_is_a_name(tmp_path):
    folder = tmp_path / "mass[125]"
    folder.mkdir()
    with uproot.recreate(folder / "s.root") as file:
        columns = {name: np.arange(6.0) for name in ("b", "n", "w")}
        file.mktree("nominal", {name: np.float64 for name in columns})
        file["nominal"].extend(columns)
    settings = document(folder, "{SamplePath}.root")
    del settings["Systematics"]
    settings["Samples"] = [settings["Samples"][1] | {"SamplePath": "s"}]
    (source,) = assemble.sources(analysis(settings))
    assert source.paths == (f"{folder}/s.root",)


@given(size=st.integers(1, 500), seed=st.integers(0, 30))
def test_populations_of_chunks_are_those_of_the_whole(folder, size, seed):
    config = analysis(ntuples.configuration(folder, seed))
    whole = {one.name: one for one in assemble.simulated_events(config)}
    for source in assemble.sources(config):
        if source.sample.data:
            continue
        parts = [
            events
            for table in assemble.chunks(config, source, size)
            if (events := assemble.populations(config, source, table))
        ]
        for members in zip(*parts, strict=True):
            expected = whole.pop(members[0].name)
            assert {one.source for one in members} == {expected.source}
            for field in ("features", "weight"):
                joined = np.concatenate([getattr(one, field) for one in members])
                np.testing.assert_array_equal(joined, getattr(expected, field))
    assert whole == {}


def test_a_yield_can_be_applied_after_all_chunks(folder):
    settings = document(folder)
    settings["Samples"][1] |= {"Yield": 30, "Preselection": "n < 6"}
    config = analysis(settings)
    whole = {one.name: one for one in assemble.simulated_events(config)}
    for source in assemble.sources(config)[1:]:
        tables = list(assemble.chunks(config, source, 70))
        total = sum(assemble.sum_of_weights(source, table) for table in tables)
        parts = [
            assemble.scaled(source, assemble.populations(config, source, table), total)
            for table in tables
        ]
        for members in zip(*parts, strict=True):
            weight = np.concatenate([one.weight for one in members])
            # The sum of some hundred weights in another order.
            np.testing.assert_allclose(
                weight, whole[members[0].name].weight, rtol=1e-13, atol=0
            )


def test_generated_events_come_in_chunks_too():
    config = tiny.parsed(tiny.document())
    whole = {one.name: one for one in assemble.simulated_events(config)}
    for source in assemble.sources(config):
        tables = list(assemble.chunks(config, source, 150))
        assert [len(table) for table in tables] == [150, 150, 100]
        parts = [assemble.populations(config, source, table) for table in tables]
        joined = np.concatenate([part[0].features for part in parts])
        np.testing.assert_array_equal(joined, whole[parts[0][0].name].features)


def test_bins_of_a_variable_are_half_open_and_hold_what_is_defined(tmp_path):
    values = np.array([-1.0, 0.0, 1.0, 2.0, np.nan, 3.0])
    np.savez(tmp_path / "s.npz", x=values)
    settings = document(tmp_path, "{SamplePath}.npz")
    del settings["Systematics"]
    settings["Samples"] = [{"Name": "signal", "SamplePath": "s"}]
    region = {"Name": "R", "Variable": "x", "Binning": [0, 1, 2]}
    settings["Regions"] = [region]
    (found,) = assemble.simulated_events(analysis(settings))
    np.testing.assert_array_equal(found.features[:, 0], [0.0, 1.0])
    np.testing.assert_array_equal(found.weight, [1.0, 1.0])
    # Open bins hold everything, and what is undefined is filled.
    settings["Regions"] = [region | {"Flow": True}]
    settings["Input"] = {"FillValue": 0.5}
    (found,) = assemble.simulated_events(analysis(settings))
    np.testing.assert_array_equal(found.features[:, 0], [-1, 0, 1, 2, 0.5, 3])


def test_regions_need_only_their_own_columns(tmp_path):
    """The files of a sample that is in one region have no columns of the other."""
    np.savez(tmp_path / "s.npz", x=np.linspace(0.1, 1.9, 5))
    np.savez(tmp_path / "b.npz", y=np.linspace(0.1, 1.9, 7), x=np.ones(7))
    settings = document(tmp_path, "{SamplePath}.npz")
    del settings["Systematics"]
    settings["Regions"] = [
        {"Name": "R", "Variable": "x", "Binning": [0, 1, 2]},
        {"Name": "Q", "Variable": "y*y", "Binning": [0, 1, 4]},
    ]
    settings["Samples"] = [
        {"Name": "signal", "SamplePath": "s", "Regions": "R"},
        {"Name": "background", "SamplePath": "b"},
    ]
    signal, *background = assemble.simulated_events(analysis(settings))
    assert signal.columns == ("x", "y*y")
    np.testing.assert_array_equal(signal.features[:, 1], 0.0)
    for one in background:
        np.testing.assert_array_equal(one.features[:, 1], np.linspace(0.1, 1.9, 7) ** 2)


def test_weights_of_events_that_no_region_wants_do_not_matter(tmp_path):
    np.savez(tmp_path / "s.npz", x=[0.5, 1.5, 7.0], w=[1.0, 2.0, np.nan])
    settings = document(tmp_path, "{SamplePath}.npz")
    del settings["Systematics"]
    settings["Regions"] = [{"Name": "R", "Variable": "x", "Binning": [0, 1, 2]}]
    settings["Samples"] = [{"Name": "signal", "SamplePath": "s", "Weight": "w"}]
    (found,) = assemble.simulated_events(analysis(settings))
    np.testing.assert_array_equal(found.weight, [1.0, 2.0])
    settings["Regions"][0]["Binning"] = [0, 1, 10]
    with pytest.raises(DataError, match="'w' is NaN or infinite for 1 of 3 events"):
        assemble.simulated_events(analysis(settings))


def test_columns_that_one_of_the_files_lacks_are_withheld(tmp_path):
    """Where transforms make all columns be read, files need not agree on the others."""
    momenta = {f"PRI_{name}_pt": np.full(4, 30.0) for name in ("tau", "lep")}
    momenta |= {f"PRI_{name}_phi": np.linspace(0, 1, 4) for name in ("tau", "lep")}
    momenta |= {"PRI_met": np.full(4, 20.0), "PRI_met_phi": np.zeros(4)}
    np.savez(tmp_path / "a.npz", only_a=np.ones(4), **momenta)
    np.savez(tmp_path / "b.npz", **momenta)
    settings = document(tmp_path, "{SamplePath}.npz")
    settings["Regions"] = [
        {"Name": "R", "Variable": "PRI_tau_pt", "Binning": [0, 30, 60]}
    ]
    settings["Samples"] = [{"Name": "signal", "SamplePath": ["a", "b"]}]
    scale = {"Transform": {"Type": "tau_energy_scale", "Factor": 1.1}}
    settings["Systematics"] = [
        {
            "Name": "tes",
            "Type": "NormPlusShape",
            "Up": scale,
            "Down": {"Symmetrize": True},
        }
    ]
    nominal, up = assemble.simulated_events(analysis(settings))
    np.testing.assert_allclose(up.features, 1.1 * nominal.features, rtol=1e-14)
    assert len(nominal) == 8
    settings["Samples"][0]["Weight"] = "only_a"
    with pytest.raises(DataError, match=r"no column 'only_a': .*b\.npz has none"):
        assemble.simulated_events(analysis(settings))
