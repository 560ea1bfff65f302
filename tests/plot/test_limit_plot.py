import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.path import Path
from scipy.stats import norm

from diffana import plot


POI = np.linspace(0.0, 3.0, 16)
BANDS = np.array([-2, -1, 0, 1, 2])
EXPECTED = norm.sf(POI[:, None] / 0.8 - BANDS) / norm.sf(-BANDS)
OBSERVED = norm.sf(POI / 0.8 - 0.7) / norm.sf(-0.7)


def band(ax=None, **options):
    with plot.style():
        figure = Figure()
        axes = ax or figure.subplots()
        drawn = plot.brazil_band(POI, OBSERVED, EXPECTED, ax=axes, **options)
        axes.figure.canvas.draw()
    return drawn, axes


def boundary(collection):
    """Corners of a band as a set of points."""
    (path,) = collection.get_paths()
    return {tuple(np.round(corner, 12)) for corner in path.vertices}


def points(y):
    return {tuple(np.round(corner, 12)) for corner in zip(POI, y, strict=True)}


def test_every_band_lies_between_its_quantiles():
    drawn, _ = band()
    for collection, low, high in ((drawn.two_sigma, 0, 4), (drawn.one_sigma, 1, 3)):
        corners = boundary(collection)
        assert points(EXPECTED[:, low]) | points(EXPECTED[:, high]) == corners
    np.testing.assert_array_equal(drawn.observed.get_ydata(), OBSERVED)
    np.testing.assert_array_equal(drawn.expected.get_ydata(), EXPECTED[:, 2])


def test_the_wider_band_is_behind_the_narrower_one():
    drawn, axes = band()
    order = axes.collections
    assert order.index(drawn.two_sigma) < order.index(drawn.one_sigma)


def test_limits_stand_where_the_curves_cross_the_level():
    crossing = np.interp(-0.1, -OBSERVED, POI)
    drawn, _ = band(level=0.1, observed_limit=crossing)
    assert list(drawn.limits) == ["observed"]
    assert drawn.limits["observed"].get_xdata() == [crossing, crossing]
    assert drawn.level.get_ydata() == [0.1, 0.1]
    labels = [text.get_text() for text in drawn.legend.get_texts()]
    assert labels[0] == f"Observed, limit {crossing:.3g}"
    assert labels[1] == "Expected"


def test_a_missing_point_leaves_a_gap():
    observed = OBSERVED.copy()
    observed[3] = np.nan
    with plot.style():
        drawn = plot.brazil_band(POI, observed, EXPECTED, ax=Figure().subplots())
    path = drawn.observed.get_path().cleaned(remove_nans=True)
    assert np.count_nonzero(path.codes == Path.MOVETO) == 2


@pytest.mark.parametrize("position", [0, 1])
def test_it_draws_on_the_axes_it_is_given(position):
    with plot.style():
        axes = Figure().subplots(1, 2)
        band(ax=axes[position], poi_name="$\\mu$ [pb]")
    assert axes[position].get_xlabel() == "$\\mu$ [pb]"
    assert not axes[1 - position].has_data()


def test_without_observed_data_nothing_is_called_observed():
    with plot.style():
        drawn = plot.brazil_band(POI, None, EXPECTED, ax=Figure().subplots())
    assert drawn.observed is None
    labels = [text.get_text() for text in drawn.legend.get_texts()]
    assert not any("Observed" in label for label in labels)
