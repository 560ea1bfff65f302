import numpy as np
import pytest
from matplotlib.figure import Figure

from diffana import plot
from diffana.plot import neyman


MU = np.linspace(0.0, 4.0, 41)
LEVELS = (0.6827, 0.9545)
CRITICAL = np.array([1.0 + 0.1 * MU, 4.0 - 0.2 * MU])
STATISTIC = (MU - 2.0) ** 2 / 0.5


@pytest.fixture
def ax():
    with plot.style():
        figure = Figure(layout="constrained")
        yield figure.subplots()
        figure.canvas.draw()


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def test_critical_values_of_every_level_below_their_bounds(ax):
    # -2 ln(1 - CL).
    bound = [2.2958, 6.1801]
    drawn = neyman.critical_values(
        MU,
        CRITICAL,
        LEVELS,
        bound=bound,
        poi_name="mu [pb]",
        statistic_name="FTS",
        ax=ax,
    )
    for curve, row in zip(drawn.curves, CRITICAL, strict=True):
        np.testing.assert_array_equal(curve.get_xydata(), np.column_stack([MU, row]))
    assert [line.get_ydata()[0] for line in drawn.bounds] == bound
    assert all(line.get_linestyle() == "--" for line in drawn.bounds)
    colours = [curve.get_color() for curve in drawn.curves]
    assert colours == [line.get_color() for line in drawn.bounds]
    assert len(set(colours)) == 2
    assert texts(drawn.legend)[:2] == ["68.27 % CL", "95.45 % CL"]
    assert "bound" in texts(drawn.legend)[2]
    assert ax.get_xlabel() == "mu [pb]"
    assert ax.get_ylabel() == "Critical value of FTS"
    assert ax.get_xlim() == (0, 4)
    assert ax.get_ylim()[0] == 0
    assert ax.get_ylim()[1] > max(bound)


def test_critical_values_without_a_bound_and_with_gaps(ax):
    critical = CRITICAL - 2.0
    critical[1, 7] = np.inf
    critical[1, 9] = np.nan
    drawn = neyman.critical_values(MU, critical, LEVELS, ax=ax)
    assert drawn.bounds == ()
    assert len(texts(drawn.legend)) == 2
    assert np.flatnonzero(np.isnan(drawn.curves[1].get_ydata())).tolist() == [7, 9]
    low, high = ax.get_ylim()
    assert low < np.nanmin(critical)
    assert np.isfinite(high)


def test_every_segment_of_a_set_has_a_bar_at_the_bottom(ax):
    segments = [[(0.5, 1.0), (2.0, 2.5)], [(0.3, 3.1)]]
    drawn = neyman.confidence_sets(MU, STATISTIC, CRITICAL, LEVELS, segments, ax=ax)
    for bars, parts, curve in zip(drawn.segments, segments, drawn.curves, strict=True):
        found = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars]
        np.testing.assert_allclose(found, parts, rtol=1e-15)
        for bar in bars:
            assert bar.get_transform().contains_branch(ax.get_xaxis_transform())
            assert tuple(bar.get_facecolor()) == pytest.approx(rgba(curve))
    tops = [bar.get_y() + bar.get_height() for bars in drawn.segments for bar in bars]
    _, lowest = ax.transAxes.inverted().transform(ax.transData.transform((0, 0)))
    assert max(tops) < lowest
    # The rows of the levels do not overlap.
    first, second = (bars[0] for bars in drawn.segments)
    assert second.get_y() + second.get_height() < first.get_y()
    assert drawn.notes == ()
    assert drawn.arrows == ((), ())


def rgba(curve):
    from matplotlib.colors import to_rgba

    return to_rgba(curve.get_color())


def test_arrows_are_where_a_set_reaches_an_end(ax):
    drawn = neyman.confidence_sets(
        MU,
        STATISTIC,
        CRITICAL,
        LEVELS,
        [[(0.0, 1.0)], [(0.0, 4.0)]],
        hits_edge=[(True, False), (True, True)],
        ax=ax,
    )
    found = [
        [(float(arrow.get_xdata()[0]), arrow.get_marker()) for arrow in row]
        for row in drawn.arrows
    ]
    assert found == [[(0.0, "<")], [(0.0, "<"), (4.0, ">")]]
    assert not any(arrow.get_clip_on() for row in drawn.arrows for arrow in row)


def test_an_empty_set_is_called_so(ax):
    drawn = neyman.confidence_sets(
        MU, STATISTIC + 2.0, CRITICAL, LEVELS, [[], [(1.5, 2.5)]], ax=ax
    )
    assert drawn.segments[0] == ()
    assert len(drawn.segments[1]) == 1
    assert [note.get_text() for note in drawn.notes] == ["empty"]
    assert drawn.notes[0].get_color() == drawn.curves[0].get_color()


def test_a_point_is_drawn_as_wide_as_a_line(ax):
    drawn = neyman.confidence_sets(
        MU, STATISTIC, CRITICAL, LEVELS, [[(2.0, 2.0)], [(1.0, 3.0)]], ax=ax
    )
    (bar,) = drawn.segments[0]
    assert bar.get_width() == 0
    assert bar.get_linewidth() > 0


def test_the_statistic_of_the_data_with_its_best_fit(ax):
    statistic = STATISTIC.copy()
    statistic[-1] = np.inf
    drawn = neyman.confidence_sets(
        MU,
        statistic,
        CRITICAL,
        LEVELS,
        [[(1.0, 3.0)], [(0.8, 3.2)]],
        best=2.0,
        poi_name="mu",
        statistic_name="LRS",
        ax=ax,
    )
    np.testing.assert_array_equal(drawn.observed.get_ydata()[:-1], STATISTIC[:-1])
    assert np.isnan(drawn.observed.get_ydata()[-1])
    assert drawn.best.get_xdata() == [2.0, 2.0]
    assert texts(drawn.legend) == [
        "data",
        "best fit",
        "critical, 68.27 %",
        "critical, 95.45 %",
    ]
    assert ax.get_xlabel() == "mu"
    assert ax.get_ylabel() == "LRS"
    assert ax.get_ylim()[1] > CRITICAL.max()
    # Nothing is measured where the bars are.
    assert min(ax.get_yticks()) >= 0
    assert min(ax.get_yticks(minor=True)) >= 0


@pytest.mark.parametrize("best", [None, np.nan, 7.0])
def test_a_best_fit_out_of_the_range_is_not_drawn(ax, best):
    drawn = neyman.confidence_sets(
        MU, STATISTIC, CRITICAL, LEVELS, [[(1, 3)], [(1, 3)]], best=best, ax=ax
    )
    assert drawn.best is None
    assert "best fit" not in texts(drawn.legend)


def test_data_far_above_all_critical_values_are_seen(ax):
    drawn = neyman.confidence_sets(
        MU, STATISTIC + 50.0, CRITICAL, LEVELS, [[], []], ax=ax
    )
    low, high = ax.get_ylim()
    assert low < CRITICAL.min() < drawn.observed.get_ydata().min() < high
    assert len(drawn.notes) == 2


def intervals(container):
    """Lower and upper ends of error bars."""
    (bars,) = container.lines[2]
    # A gap has none.
    return np.array([one[:, 1] for one in bars.get_segments() if np.ndim(one) == 2])


def test_coverage_with_errors_of_each_point_and_of_all(ax):
    fraction = np.array([0.67, 0.70, 0.69])
    each = fraction - 0.02, fraction + 0.03
    both = fraction - 0.04, fraction + 0.05
    drawn = neyman.coverage(
        [0.0, 1.0, 2.0], fraction, each, both, 0.6827, poi_name="mu", ax=ax
    )
    np.testing.assert_array_equal(drawn.points.lines[0].get_ydata(), fraction)
    # The ends are the value minus and plus an error: one rounding each.
    np.testing.assert_allclose(intervals(drawn.points), np.transpose(each), rtol=1e-14)
    (path,) = drawn.band.get_paths()
    corners = {tuple(corner) for corner in path.vertices}
    for edge in both:
        assert set(zip([0.0, 1.0, 2.0], edge, strict=True)) <= corners
    assert drawn.level.get_ydata() == [0.6827, 0.6827]
    assert texts(drawn.legend) == ["toys, 95 % each", "95 %, all points", "68.27 % CL"]
    assert ax.get_xlabel() == "True mu"
    assert ax.get_ylabel() == "Coverage"
    low, high = ax.get_ylim()
    assert low < both[0].min()
    assert high > both[1].max()


def test_coverage_at_a_single_value_that_is_always_covered(ax):
    drawn = neyman.coverage([1.0], [1.0], ([0.99], [1.0]), ([0.98], [1.0]), 0.95, ax=ax)
    (path,) = drawn.band.get_paths()
    assert np.ptp(path.vertices[:, 0]) > 0
    assert ax.get_xlim()[0] < 1.0 < ax.get_xlim()[1]


BELTS = {
    "narrow": ([0.8, 1.2, np.nan], [0.05, 0.05, np.nan]),
    "wide": ([0.9, 1.0, 1.1], [0.04, 0.04, 0.04]),
    "lrs": ([1.0, 1.1, 1.1], [0.02, 0.02, 0.02]),
}


def test_lengths_of_all_belts(ax):
    drawn = neyman.lengths(
        [0, 1, 2], BELTS, reference="lrs", poi_name="mass [GeV]", ax=ax
    )
    for name, (value, error) in BELTS.items():
        np.testing.assert_array_equal(drawn.curves[name].lines[0].get_ydata(), value)
        wanted = np.transpose([np.subtract(value, error), np.add(value, error)])
        shown = intervals(drawn.curves[name])
        np.testing.assert_array_equal(shown, wanted[: len(shown)])
    assert drawn.curves["lrs"].lines[0].get_color() == "black"
    assert texts(drawn.legend) == list(BELTS)
    assert ax.get_xlabel() == "True mass [GeV]"
    assert ax.get_ylabel() == "Median length in mass [GeV]"
    assert ax.get_ylim()[0] == 0
    assert ax.get_ylim()[1] > 1.25


def test_ratios_around_one_in_the_colours_of_the_lengths(ax):
    with plot.style():
        lengths = neyman.lengths(
            [0, 1, 2], BELTS, reference="lrs", ax=Figure().subplots()
        )
    others = {name: BELTS[name] for name in ("narrow", "wide")}
    drawn = neyman.regret([0, 1, 2], others, reference="lrs", ax=ax)
    assert drawn.unity.get_ydata() == [1.0, 1.0]
    for name, curve in drawn.curves.items():
        line, other = curve.lines[0], lengths.curves[name].lines[0]
        np.testing.assert_array_equal(line.get_ydata(), others[name][0])
        assert line.get_color() == other.get_color()
        assert line.get_marker() == other.get_marker()
    assert texts(drawn.legend) == ["narrow", "wide", "lrs"]
    assert ax.get_ylabel() == "Ratio of mean lengths"
    low, high = ax.get_ylim()
    assert low < 0.75
    assert high > 1.25


def test_a_name_may_start_with_an_underscore(ax):
    drawn = neyman.lengths([0, 1, 2], {"_first": BELTS["wide"]}, ax=ax)
    assert texts(drawn.legend) == ["_first"]
