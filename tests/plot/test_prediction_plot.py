"""Stacked predictions, their bands and data."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import poisson

from diffana import plot


EDGES = [0.0, 1.0, 3.0]
SAMPLES = {"top": [4.0, 10.0], "W": [2.0, 1.0], "signal": [1.0, 3.0]}
COLOURS = plot.palette(["top", "W"], ["signal"])


def drawn(data=None, samples=SAMPLES, uncertainty=(1.0, 2.0)):
    with plot.style():
        axes = plot.ratio_axes(Figure())
        found = plot.prediction(
            samples,
            uncertainty,
            edges=EDGES,
            signals=["signal"],
            colours=COLOURS,
            observable="m [GeV]",
            data=data,
            ax=axes.main,
            ax_ratio=axes.ratio,
        )
        axes.main.figure.canvas.draw()
    return found, axes


def points(container):
    line, _, (bars,) = container
    segments = np.array(bars.get_segments())
    return line.get_ydata(), segments[:, 0, 1], segments[:, 1, 1]


def test_samples_are_stacked_with_the_signal_on_top():
    found, _ = drawn()
    assert list(found.samples) == ["signal", "top", "W"]
    tops = {name: patch.get_data().values for name, patch in found.samples.items()}
    np.testing.assert_array_equal(tops["W"], [2, 1])
    np.testing.assert_array_equal(tops["top"], [6, 11])
    np.testing.assert_array_equal(tops["signal"], found.total.get_data().values)
    band = found.band.get_data()
    np.testing.assert_array_equal(band.values, [8, 16])
    np.testing.assert_array_equal(band.baseline, [6, 12])


def test_without_data_there_is_none():
    found, axes = drawn()
    assert (found.data, found.ratio.data, found.ratio.beyond) == (None, None, None)
    assert axes.ratio.get_ylabel() == "Rel. unc."
    texts = [text.get_text() for text in found.legend.get_texts()]
    assert texts == ["signal", "top", "W", "sum, unc."]


def test_data_have_central_poisson_intervals():
    found, axes = drawn(data=[0.0, 15.0])
    assert axes.ratio.get_ylabel() == "Data / pred."
    values, low, high = points(found.data)
    np.testing.assert_array_equal(values, [0, 15])
    # By definition: the chance of as many or more, as few or fewer, is the tail of one
    # standard deviation of a normal distribution.
    tail = 0.15865525393145707
    np.testing.assert_allclose(poisson.sf(14, low[1]), tail, rtol=1e-9)
    np.testing.assert_allclose(poisson.cdf([0, 15], high), tail, rtol=1e-9)
    assert low[0] == 0
    ratio, below, above = points(found.ratio.data)
    total = np.array([7.0, 14.0])
    np.testing.assert_allclose(ratio, values / total)
    np.testing.assert_allclose([below, above], [low / total, high / total])


def test_the_axis_reaches_as_far_as_the_data():
    _, axes = drawn(data=[100.0, 20.0])
    assert axes.main.get_ylim()[1] > 110


def test_data_beyond_the_panel_have_an_arrow():
    found, axes = drawn(data=[70.0, 14.0])
    assert axes.ratio.get_ylim() == (0.0, 2.0)
    above, below = found.ratio.beyond
    assert (len(above.get_xdata()), len(below.get_xdata())) == (1, 0)


def test_a_bin_without_prediction_has_no_ratio():
    samples = {"top": [0.0, 10.0]}
    found, _ = drawn(data=[1.0, 9.0], samples=samples)
    values = found.ratio.data.lines[0].get_ydata()
    assert np.isnan(values[0])
    assert values[1] == 0.9


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"samples": {}}, "no sample"),
        ({"samples": {"top": [1.0]}}, "sample 'top'"),
        ({"uncertainty": [1.0]}, "the uncertainty"),
        ({"data": [1.0, 2.0, 3.0]}, "the data"),
    ],
)
def test_bad_input_is_refused(options, reason):
    with pytest.raises(ValueError, match=reason):
        drawn(**options)
