"""Events left after each step, against counts by hand."""

import jax
import numpy as np
import pytest

import tiny
from diffana import assemble
from diffana.assemble import cutflow
from diffana.errors import DataError


COLUMNS = ("x", "y", "kind", "size")


def table(random, n_events):
    x, y = random.normal(size=(2, n_events))
    kind = random.integers(0, 3, n_events).astype(float)
    return dict(
        zip(COLUMNS, (x, y, kind, random.uniform(0.5, 2, n_events)), strict=True)
    )


@pytest.fixture
def files(tmp_path):
    random = np.random.default_rng(11)
    tables = {}
    for name in ("signal", "background", "background_up", "background_down", "data"):
        tables[name] = table(random, 500)
        np.savez(tmp_path / f"{name}.npz", **tables[name])
    return tables


def settings(folder, **general):
    samples = [
        {"Name": "signal", "SamplePath": "signal", "Weight": "size", "Yield": 30},
        {
            "Name": "background",
            "SamplePath": "background",
            "Weight": "0.1 * size",
            "Preselection": "kind > 0",
        },
        {"Name": "data", "SamplePath": "data", "Data": True},
    ]
    document = tiny.document(
        General={
            "Measurement": "tiny",
            "POI": "mu",
            "InputPath": f"{folder}/{{SamplePath}}.npz",
            **general,
        },
        Samples=samples,
        Regions=[
            {
                "Name": "SR",
                "Observable": "summary",
                "Binning": [0.0, 0.5, 1.0],
                "Filter": "x > -0.5",
                "Cuts": [
                    {"Variable": "y", "Above": -1.0, "Slope": 4.0},
                    {"Variable": "x", "Below": 1.5, "Slope": 4.0, "Trainable": False},
                ],
            },
            {
                "Name": "CR",
                "Variable": "y",
                "Binning": [-1.0, 0.0, 1.0],
                "Filter": "x <= -0.5",
            },
        ],
    )
    del document["Generator"]
    return tiny.parsed(document)


def by_hand(columns, config, sample):
    """Masks of every step by region, and weights."""
    every = np.ones(500, bool)
    own = columns["kind"] > 0 if sample == "background" else every
    weight = {
        "signal": 30 * columns["size"] / columns["size"].sum(),
        "background": 0.1 * columns["size"],
        "data": np.ones(500),
    }[sample]
    x, y = columns["x"], columns["y"]
    inside = own & (x > -0.5)
    steps = {
        "SR": [every, own, inside, inside & (y >= -1), inside & (y >= -1) & (x < 1.5)],
        # Bins without flow: what is in none of them is outside the region.
        "CR": [every, own, own & (x <= -0.5) & (y >= -1) & (y < 1)],
    }
    return steps, weight


@pytest.mark.parametrize("chunk", [100_000, 64])
def test_counts_are_those_by_hand(files, tmp_path, monkeypatch, chunk):
    """Whatever the pieces the files are read in."""
    monkeypatch.setattr(cutflow, "_CHUNK", chunk)
    config = settings(tmp_path)
    analysis = assemble.analysis(config, assemble.simulated_events(config))
    found = cutflow.cutflows(config, analysis)
    assert [(one.region, one.sample) for one in found] == [
        (region, sample)
        for region in ("SR", "CR")
        for sample in ("signal", "background", "data")
    ]
    for one in found:
        masks, weight = by_hand(files[one.sample], config, one.sample)
        counts = [np.count_nonzero(mask) for mask in masks[one.region]]
        assert [step.n_events for step in one.steps] == counts
        # Sums of hundreds of numbers in another order.
        sums = [weight[mask].sum() for mask in masks[one.region]]
        np.testing.assert_allclose([s.sumw for s in one.steps], sums, rtol=1e-12)
    names = [step.name for step in found[0].steps]
    assert names[:3] == ["all events", "preselection", "filter of the region"]
    assert names[3:] == ["y ≥ -1", "x < 1.5"]


def test_trained_thresholds_count(files, tmp_path):
    import equinox as eqx

    config = settings(tmp_path)
    analysis = assemble.analysis(config, assemble.simulated_events(config))
    analysis = eqx.tree_at(
        lambda a: a.regions[0].cuts.cuts[0].threshold, analysis, jax.numpy.array(0.25)
    )
    step = cutflow.cutflows(config, analysis)[0].steps[3]
    x, y = files["signal"]["x"], files["signal"]["y"]
    assert step.name == "y ≥ 0.25"
    assert step.n_events == np.count_nonzero((x > -0.5) & (y >= 0.25))


def test_a_yield_without_weights_is_refused(files, tmp_path):
    config = settings(tmp_path)
    analysis = assemble.analysis(config, assemble.simulated_events(config))
    np.savez(tmp_path / "signal.npz", **files["signal"] | {"size": np.zeros(500)})
    with pytest.raises(DataError, match="'signal': its weights add up to 0"):
        cutflow.cutflows(config, analysis)
