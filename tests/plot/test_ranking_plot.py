import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure

from diffana import plot


NAMES = ["lumi", "scale", "norm", "gamma[0]"]
IMPACTS = {
    "prefit_up": np.array([0.02, -0.3, np.nan, 0.1]),
    "prefit_down": np.array([-0.02, 0.2, np.nan, -0.1]),
    "postfit_up": np.array([0.01, -0.2, 0.4, 0.05]),
    "postfit_down": np.array([-0.01, 0.15, -0.3, -0.05]),
}
PULL = np.array([0.1, -0.5, np.nan, 1.5])
CONSTRAINT = np.array([1.0, 0.6, np.nan, 0.9])


def ranking(names=NAMES, shifts=IMPACTS, pull=PULL, constraint=CONSTRAINT, **options):
    with plot.style():
        figure = Figure(figsize=(4.6, 4.3), layout="constrained")
        ax = figure.subplots()
        drawn = plot.ranking(
            names, pull=pull, constraint=constraint, **shifts, ax=ax, **options
        )
        figure.canvas.draw()
    return drawn, ax


def names_on(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def widths(bars):
    return [patch.get_width() for patch in bars.patches]


def test_the_largest_impact_is_on_top():
    drawn, ax = ranking()
    assert names_on(ax) == ["norm", "scale", "gamma[0]", "lumi"]
    bottom, top = ax.get_ylim()
    assert bottom > top
    order = [2, 1, 3, 0]
    for name, values in IMPACTS.items():
        np.testing.assert_array_equal(widths(getattr(drawn, name)), values[order])


def test_pulls_have_their_uncertainty_and_none_without_constraint():
    drawn, _ = ranking()
    points, _, (bars,) = drawn.pulls.lines
    np.testing.assert_array_equal(points.get_xdata(), PULL[[2, 1, 3, 0]])
    segment = bars.get_segments()[1]
    np.testing.assert_allclose(segment[:, 0], [-0.5 - 0.6, -0.5 + 0.6], rtol=1e-15)


def test_both_abscissae_have_their_zero_in_the_middle_and_show_everything():
    drawn, ax = ranking()
    for axes, reach in ((ax, 0.4), (drawn.pull_axes, 1.5 + 0.9)):
        low, high = axes.get_xlim()
        assert low == -high
        assert high > reach


def test_only_the_top_parameters_are_drawn_and_no_two_names_overlap():
    n = 130
    impact = np.linspace(1.0, 0.0, n)
    shifts = {name: -impact if "down" in name else impact for name in IMPACTS}
    _, ax = ranking(
        [f"staterror_signal_region[{i}]" for i in range(n)],
        shifts,
        np.zeros(n),
        np.ones(n),
    )
    assert len(names_on(ax)) == 20
    boxes = [label.get_window_extent() for label in ax.get_yticklabels()]
    # From top to bottom.
    for upper, lower in itertools.pairwise(boxes):
        assert lower.y1 < upper.y0


def test_the_two_abscissae_do_not_share_a_side():
    drawn, ax = ranking()

    def sides(axes):
        ticks = axes.xaxis.get_major_ticks()
        return {
            (tick.label1.get_visible(), tick.label2.get_visible()) for tick in ticks
        }

    assert sides(ax) == {(False, True)}
    assert sides(drawn.pull_axes) == {(True, False)}


@pytest.mark.parametrize("top", [1, 3, 50])
def test_top(top):
    _, ax = ranking(top=top)
    assert len(names_on(ax)) == min(top, 4)


def test_parameters_without_any_impact_can_be_drawn():
    zero = {name: np.zeros(4) for name in IMPACTS}
    missing = {name: np.full(4, np.nan) for name in IMPACTS}
    for shifts in (zero, missing):
        drawn, _ = ranking(shifts=shifts, pull=np.full(4, np.nan))
        assert len(drawn.postfit_up.patches) == 4
