import numpy as np
import pytest
from matplotlib.figure import Figure

from diffana import plot


GRID = np.linspace(-1.0, 1.0, 5)
BOWL = GRID[:, None] ** 2 + 2 * GRID**2


@pytest.fixture
def ax():
    return Figure().add_subplot()


def drawn_map(ax, values, minima, **options):
    return plot.landscape_map(
        GRID,
        2 * GRID,
        values,
        minima=minima,
        name="loss",
        x_name="u [events]",
        y_name="d [events]",
        ax=ax,
        **options,
    )


def test_a_map_shows_the_loss_its_minimum_and_a_target(ax):
    drawn = drawn_map(ax, BOWL, [[0.0, 0.0]], target=(0.5, 0.5))
    # The first axis is the abscissa.
    np.testing.assert_array_equal(drawn.mesh.get_array(), BOWL.T)
    assert drawn.minima.get_xydata().tolist() == [[0.0, 0.0]]
    assert drawn.target.get_xydata().tolist() == [[0.5, 0.5]]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("u [events]", "d [events]")


def test_a_map_leaves_points_without_a_value_out(ax):
    values = BOWL.copy()
    values[0, 1] = np.nan
    drawn = drawn_map(ax, values, [[0.0, 0.0]])
    assert np.ma.count_masked(drawn.mesh.get_array()) == 1
    assert drawn.mesh.get_array().mask[1, 0]


@pytest.mark.parametrize("value", [2.0, np.nan])
def test_a_map_of_nothing_to_see_marks_nothing(ax, value):
    drawn = drawn_map(ax, np.full((5, 5), value), np.zeros((0, 2)))
    assert drawn.contours is None
    assert drawn.minima is None
    ax.figure.canvas.draw()


def test_a_curve_marks_all_its_minima(ax):
    values = [1.0, 0.5, np.nan, 0.5, 2.0]
    drawn = plot.landscape_curve(
        GRID, values, minima=[[-0.5], [0.5]], name="loss", x_name="u", ax=ax
    )
    assert drawn.minima.get_xydata().tolist() == [[-0.5, 0.5], [0.5, 0.5]]


def test_a_comparison_names_each_loss_once(ax):
    losses = {"bowl": BOWL / 3, "flat": np.zeros((5, 5))}
    minima = {"bowl": [[0.0, 0.0]], "flat": [[0.0, 0.0], [1.0, 1.0]]}
    drawn = plot.landscape_comparison(
        {"u": GRID, "d": GRID}, losses, minima=minima, ax=ax
    )
    names = [text.get_text() for text in drawn.legend.get_texts()]
    assert names == ["bowl", "flat (constant)"]
    assert drawn.losses["flat"] is None
    assert drawn.losses["bowl"].levels.tolist() == [0.1]
    assert list(drawn.minima) == ["bowl"]


def test_many_losses_along_a_line_can_be_told_apart(ax):
    losses = {f"loss {n}": np.abs(GRID - 0.1 * n) for n in range(12)}
    drawn = plot.landscape_comparison({"u": GRID}, losses, minima={}, ax=ax)
    looks = {(line.get_color(), line.get_linestyle()) for line in drawn.losses.values()}
    assert len(looks) == 12
