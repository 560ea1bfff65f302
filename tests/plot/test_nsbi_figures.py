"""Figures of density ratios."""

import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure

from diffana import plot
from diffana.histogram import Histogram


def panels():
    return plot.ratio_axes(Figure())


def drawn_in_style(draw):
    with plot.style():
        figure = Figure()
        found = draw(figure)
        # Lays out the panels, which the canvas of a bare figure does not.
        figure.draw_without_rendering()
    return found


def histogram(sumw, edges=(0.0, 1.0, 2.0, 4.0)):
    return Histogram(edges=edges, sumw=sumw, sumw2=np.abs(np.asarray(sumw)))


def points(container):
    """Values of the points, and the ends of the error bars there are."""
    line, _, (bars,) = container.lines
    ends = np.array([bar[:, 1] for bar in bars.get_segments() if len(bar)])
    return line.get_ydata(), *ends.T


def assert_apart(texts):
    boxes = [text.get_window_extent() for text in texts]
    for first, second in itertools.combinations(boxes, 2):
        assert not first.overlaps(second)


# Calibration.


def test_calibration_is_drawn_with_its_errors_and_differences():
    def draw(figure):
        axes = plot.ratio_axes(figure)
        predicted, observed = [0.1, 0.5, 0.9], [0.15, np.nan, 0.8]
        return axes, plot.calibration_curve(
            predicted,
            observed,
            [0.01, 0.02, 0.03],
            ax=axes.main,
            ax_difference=axes.ratio,
        )

    axes, found = drawn_in_style(draw)
    values, low, high = points(found.points)
    np.testing.assert_array_equal(values, [0.15, np.nan, 0.8])
    np.testing.assert_allclose(high - low, [0.02, 0.06])
    values, low, _ = points(found.differences)
    np.testing.assert_allclose(values, [0.05, np.nan, -0.1])
    # The panel shows every error bar.
    bottom, top = axes.ratio.get_ylim()
    assert bottom < np.min(low)
    assert top == -bottom
    assert_apart([axes.main.yaxis.label, axes.ratio.yaxis.label])


def test_a_perfect_calibration_without_errors_can_be_drawn():
    axes = panels()
    plot.calibration_curve(
        [0.2, 0.8], [0.2, 0.8], [0.0, 0.0], ax=axes.main, ax_difference=axes.ratio
    )
    assert axes.ratio.get_ylim()[1] > 0


# Closure.


def closure(figure, *histograms):
    axes = plot.ratio_axes(figure)
    found = plot.feature_closure(
        *histograms, observable="m [GeV]", ax=axes.main, ax_ratio=axes.ratio
    )
    return axes, found


def test_distributions_are_normalised_and_compared():
    numerator, weighted = histogram([20, 60, 20]), histogram([4, 10, 6])
    axes, found = drawn_in_style(
        lambda figure: closure(figure, numerator, histogram([5, 3, 2]), weighted)
    )
    patches = (found.numerator, found.denominator)
    for patch, shape in zip(patches, ([0.2, 0.6, 0.2], [0.5, 0.3, 0.2]), strict=True):
        np.testing.assert_allclose(patch.get_data().values, shape)
    values, low, high = points(found.reweighted)
    np.testing.assert_allclose(values, [0.2, 0.5, 0.3])
    np.testing.assert_allclose((high - low) / 2, np.sqrt([4, 10, 6]) / 20)
    values, low, high = points(found.ratio)
    np.testing.assert_allclose(values, [1.0, 5 / 6, 1.5])
    shape = np.array([0.2, 0.6, 0.2])
    np.testing.assert_allclose((high - low) / 2, np.sqrt([4, 10, 6]) / 20 / shape)
    np.testing.assert_allclose(
        found.band.get_data().values - 1, 1 / np.sqrt([20, 60, 20])
    )
    assert axes.ratio.get_xlabel() == "m [GeV]"
    assert_apart([axes.main.yaxis.label, axes.ratio.yaxis.label])
    # The legend hides no point.
    legend = found.legend.get_window_extent()
    lowest = axes.main.transData.inverted().transform(legend.p0)[1]
    assert lowest > 0.6


def test_a_ratio_beyond_the_panel_has_an_arrow_and_one_to_nothing_a_gap():
    numerator, weighted = histogram([1, 0, 99]), histogram([50, 20, 30])
    _, found = drawn_in_style(
        lambda figure: closure(figure, numerator, numerator, weighted)
    )
    values, _, _ = points(found.ratio)
    assert np.isnan(values[1])
    above, below = found.beyond
    assert (list(above.get_xdata()), len(below.get_xdata())) == ([0.5], 0)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (histogram([1, 1, 1], edges=(0.0, 1.0, 2.0, 3.0)), "differ in their edges"),
        (histogram([1, -2, 1]), "cannot be normalised"),
    ],
)
def test_histograms_that_cannot_be_compared_are_refused(other, reason):
    good = histogram([1, 1, 1])
    with pytest.raises(ValueError, match=reason):
        closure(Figure(), good, good, other)
    with pytest.raises(ValueError, match=reason):
        plot.log_ratio_distribution(good, other, ax=Figure().add_subplot())


def test_infinite_bins_are_refused():
    flow = histogram([1, 1, 1], edges=(0.0, 1.0, 2.0, np.inf))
    with pytest.raises(ValueError, match="finite edges"):
        closure(Figure(), flow, flow, flow)


# Log ratios.


def test_log_ratios_have_a_logarithmic_axis_that_shows_every_bin():
    def draw(figure):
        ax = figure.add_subplot()
        return ax, plot.log_ratio_distribution(
            histogram([1, 0, 999]), histogram([50, 40, 10]), ax=ax
        )

    ax, found = drawn_in_style(draw)
    assert ax.get_yscale() == "log"
    low, high = ax.get_ylim()
    assert low < 1e-3
    assert high > 0.999
    np.testing.assert_allclose(found.denominator.get_data().values, [0.5, 0.4, 0.1])
    legend = found.legend.get_window_extent()
    assert ax.transData.inverted().transform(legend.p0)[1] > 0.999


def test_a_negative_bin_has_a_linear_axis():
    ax = Figure().add_subplot()
    plot.log_ratio_distribution(histogram([3, -1, 4]), histogram([5, 4, 1]), ax=ax)
    assert ax.get_yscale() == "linear"


# Spread.


def test_spread_is_summarised_in_bins_of_equal_numbers_of_events():
    log_ratio = np.linspace(-1, 1, 1000)
    sigma = np.where(log_ratio < 0, 0.2, 0.4)
    ax = Figure().add_subplot()
    found = plot.ensemble_spread(log_ratio, sigma, n_members=4, n_bins=4, ax=ax)
    np.testing.assert_allclose(found.member.get_ydata(), [0.2, 0.2, 0.4, 0.4])
    np.testing.assert_allclose(found.mean.get_ydata(), [0.1, 0.1, 0.2, 0.2])
    np.testing.assert_allclose(
        found.member.get_xdata(), [-0.75, -0.25, 0.25, 0.75], atol=1e-3
    )
    assert found.legend.get_texts()[2].get_text() == "mean of 4"
    assert ax.get_ylim()[1] > 0.4


def test_the_band_holds_68_percent_of_the_events():
    sigma = np.random.default_rng(1).permutation(np.linspace(0, 1, 1001))
    ax = Figure().add_subplot()
    found = plot.ensemble_spread(np.zeros(1001), sigma, n_members=2, n_bins=1, ax=ax)
    heights = found.band.get_paths()[0].vertices[:, 1]
    assert heights.min() == pytest.approx(0.16)
    assert heights.max() == pytest.approx(0.84)


def test_members_that_agree_exactly_can_be_drawn_but_not_no_events():
    ax = Figure().add_subplot()
    plot.ensemble_spread([0.0, 1.0], [0.0, 0.0], n_members=2, ax=ax)
    with pytest.raises(ValueError, match="no events"):
        plot.ensemble_spread([], [], n_members=2, ax=ax)


# Scans.


def test_a_scan_shows_both_curves_and_their_difference():
    mu = np.linspace(0, 2, 5)
    exact = 4 * (mu - 1) ** 2
    learned = exact + np.array([0.3, 0.0, 0.0, np.nan, -0.1])

    def draw(figure):
        axes = plot.ratio_axes(figure)
        return axes, plot.asimov_scan(
            mu, learned, exact, ax=axes.main, ax_difference=axes.ratio
        )

    axes, found = drawn_in_style(draw)
    np.testing.assert_array_equal(found.learned.get_ydata(), learned)
    np.testing.assert_array_equal(found.exact.get_ydata(), exact)
    np.testing.assert_allclose(found.difference.get_ydata(), learned - exact)
    heights = found.band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (-0.1, 0.1)
    assert axes.ratio.get_ylim()[1] > 0.3
    assert axes.main.get_ylim()[1] > 4.3
    assert_apart([axes.main.yaxis.label, axes.ratio.yaxis.label])


def test_the_threshold_is_always_seen():
    axes = panels()
    plot.asimov_scan(
        [0, 1], [0, 1e-9], [0, 0], threshold=0.5, ax=axes.main, ax_difference=axes.ratio
    )
    assert axes.ratio.get_ylim()[1] > 0.5


# Pulls.


def pulls(pull, names=None, **options):
    n_ratios = len(pull)

    def draw(figure):
        figure.set_size_inches(4.6, 0.6 + 0.16 * min(n_ratios, 40))
        ax = figure.add_subplot()
        return ax, plot.normalisation_pulls(
            names or [f"ratio {index}" for index in range(n_ratios)],
            mean=1 + 0.002 * np.asarray(pull),
            standard_error=np.full(n_ratios, 0.002),
            pull=pull,
            ax=ax,
            **options,
        )

    return drawn_in_style(draw)


def test_pulls_are_drawn_and_those_outside_marked():
    ax, found = pulls([1.0, -5.0, 3.0, 0.2])
    np.testing.assert_array_equal(found.points.lines[0].get_xdata(), [1, -5, 3, 0.2])
    np.testing.assert_array_equal(found.beyond.get_xdata(), [-5, 3])
    low, high = ax.get_xlim()
    # The error bar of the largest pull is seen.
    assert low < -6
    assert high == -low
    assert [text.get_text() for text in found.means][1] == "0.9900 ± 0.0020"
    bottom, top = ax.get_ylim()
    assert bottom > top


def test_the_largest_pulls_keep_their_order():
    ax, _ = pulls([1.0, 0.1, -4.0, 0.5], top=2, names=["a", "b", "$c", "d"])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", r"\$c"]


def test_names_and_numbers_of_many_ratios_do_not_overlap():
    pull = np.random.default_rng(1).normal(size=100)
    ax, found = pulls(pull, [f"signal / reference, scale_{i}_up" for i in range(100)])
    assert len(found.means) == 40
    assert_apart(found.means)
    assert_apart(ax.get_yticklabels())
    # The numbers lie beside the axes and in the figure.
    boxes = [text.get_window_extent() for text in found.means]
    assert min(box.x0 for box in boxes) > ax.get_window_extent().x1
    assert max(box.x1 for box in boxes) <= ax.figure.bbox.x1


def test_numbers_have_two_digits_of_their_error():
    ax = Figure().add_subplot()
    found = plot.normalisation_pulls(
        ["a", "b", "c"],
        mean=[1.23456, 0.5, 1.0],
        standard_error=[0.00314, 12.3, 0.0],
        pull=[1, 0, 0],
        ax=ax,
    )
    texts = [text.get_text() for text in found.means]
    assert texts == ["1.2346 ± 0.0031", "0 ± 12", "1 ± 0"]
