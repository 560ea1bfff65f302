import numpy as np
import pytest
from matplotlib.figure import Figure

from diffana import plot


X = np.linspace(-3.0, 3.0, 25)


@pytest.fixture
def ax():
    with plot.style():
        figure = Figure(layout="constrained")
        yield figure.subplots()
        figure.canvas.draw()


def test_a_curve_and_the_levels_it_reaches(ax):
    drawn = plot.scan_curve(X, X**2, best=0.0, name="mu", ax=ax)
    np.testing.assert_array_equal(drawn.curve.get_ydata(), X**2)
    assert [line.get_ydata() for line in drawn.levels] == [[1, 1], [4, 4], [9, 9]]
    names = [text.get_text() for text in drawn.level_names]
    assert names == [r"$1\sigma$", r"$2\sigma$", r"$3\sigma$"]
    assert ax.get_xlim() == (-3, 3)
    assert ax.get_ylim()[1] > 9
    assert ax.get_xlabel() == "mu"


def test_gaps_and_a_steep_curve(ax):
    heights = 400 * X**2
    heights[4] = np.nan
    drawn = plot.scan_curve(X, heights, best=0.0, name="mu", ax=ax)
    assert len(drawn.levels) == 5
    assert np.isfinite(ax.get_ylim()).all()


def test_a_map_has_the_two_regions_of_a_gaussian(ax):
    y = np.linspace(-4.0, 4.0, 33)
    heights = X[:, None] ** 2 + (y / 1.3) ** 2
    drawn = plot.scan_map(
        X, y, heights, best=(0.0, 0.0), x_name="mu", y_name="theta", ax=ax
    )
    inner, outer = drawn.contours.get_paths()
    # On a Gaussian the regions are ellipses with half axes √level and 1.3 √level; the
    # lines are straight between grid points a quarter apart.
    for path, level in ((inner, 2.296), (outer, 6.180)):
        assert path.vertices[:, 0].max() == pytest.approx(np.sqrt(level), abs=0.02)
        assert path.vertices[:, 1].max() == pytest.approx(
            1.3 * np.sqrt(level), abs=0.02
        )
    assert ax.get_xlabel() == "mu"
    assert ax.get_ylabel() == "theta"


def test_a_map_that_reaches_no_region(ax):
    heights = 0.01 * (X[:, None] ** 2 + X**2)
    heights[0, 0] = np.nan
    drawn = plot.scan_map(X, X, heights, best=(0.0, 0.0), x_name="a", y_name="b", ax=ax)
    assert drawn.contours is None
    assert [text.get_text() for text in drawn.legend.get_texts()] == ["best fit"]
