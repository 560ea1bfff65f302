"""Figures of a run with more samples than there are colours."""

from types import SimpleNamespace

import numpy as np
from matplotlib.figure import Figure

import tiny
from diffana import plot
from diffana.data.events import Events
from diffana.histogram import Histogram
from diffana.workflow import figures


EDGES = np.array([0.0, 0.5, 1.0])
BACKGROUNDS = [f"b{i}" for i in range(7)]


def settings():
    samples = [
        {"Name": name, "SamplePath": "background", "Yield": 100} for name in BACKGROUNDS
    ]
    signal = {"Name": "signal", "SamplePath": "signal", "Yield": 20}
    return tiny.parsed(tiny.document(Samples=[signal, *samples], Systematics=None))


def histogram(*values):
    values = np.array(values, float)
    return Histogram(edges=EDGES, sumw=values, sumw2=0.1 * values)


def test_the_smallest_samples_are_one_layer_with_their_variations(monkeypatch):
    found = {("signal", "nominal"): histogram(1, 5)}
    found |= {
        (name, "nominal"): histogram(50 - position, 20)
        for position, name in enumerate(BACKGROUNDS)
    }
    found["b6", "scale/up"] = histogram(54, 24)
    found["b6", "scale/down"] = histogram(34, 18)
    populations = [
        SimpleNamespace(
            name=SimpleNamespace(region="SR", sample=sample, variation=variation)
        )
        for sample, variation in found
    ]
    part = SimpleNamespace(populations=populations)
    drawn = {}

    def stacked(histograms, **options):
        drawn.update(options, histograms=histograms)

    monkeypatch.setattr(plot, "stacked_histogram", stacked)
    figures.draw_histogram(
        Figure(),
        settings(),
        SimpleNamespace(parts={"test": part}),
        SimpleNamespace(name="SR", summary="summary", edges=lambda: EDGES),
        SimpleNamespace(histograms=tuple(found.values())),
    )
    merged = "3 other backgrounds"
    assert list(drawn["histograms"]) == ["b0", "b1", "b2", "b3", merged, "signal"]
    assert drawn["signals"] == ["signal"]
    # Sums by hand of b4, b5 and b6.
    total = drawn["histograms"][merged]
    np.testing.assert_allclose(total.values(), [46 + 45 + 44, 60])
    np.testing.assert_allclose(total.variances(), [13.5, 6.0])
    ((layer, name),) = drawn["variations"]
    assert (layer, name) == (merged, "scale")
    up, down = drawn["variations"][layer, name]
    np.testing.assert_allclose(up.values(), [46 + 45 + 54, 64])
    np.testing.assert_allclose(down.values(), [46 + 45 + 34, 58])
    assert set(drawn["colours"]) == {*drawn["histograms"], "scale"}


def test_points_are_those_populations_that_can_be_told_apart():
    def events(sample, variation, size):
        return Events(
            features=np.zeros((2, 2)),
            weight=[size, 0.0],
            columns=("x", "y"),
            region="SR",
            sample=sample,
            variation=variation,
        )

    several = [
        events("b0", "scale/up", 9.0),
        events("b0", "nominal", 1.0),
        events("b1", "nominal", 3.0),
        events("signal", "nominal", 0.1),
    ]
    config = settings()
    shown = figures._told_apart(config, several)
    assert list(shown) == ["b1", "b0", "signal", "b0, scale/up"]
    many = [events(name, "nominal", 5.0) for name in BACKGROUNDS]
    assert len(figures._told_apart(config, [*several[:1], *many])) == 5
