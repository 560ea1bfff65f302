import io
import subprocess
import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from diffana import plot
from diffana.histogram import Histogram


EDGES = np.array([0.0, 1.0, 2.5, 3.0, 5.0])
COLOURS = plot.palette(["top", "fakes"], ["signal"], ["scale", "norm"])


@pytest.fixture(autouse=True)
def _open_figures():
    before, style = plt.get_fignums(), dict(mpl.rcParams)
    yield
    assert plt.get_fignums() == before
    assert dict(mpl.rcParams) == style


@pytest.fixture
def figure():
    with plot.style():
        figure = Figure()
        yield figure
        figure.canvas.draw()


def histogram(values, edges=EDGES):
    values = np.asarray(values, float)
    return Histogram(edges=edges, sumw=values, sumw2=0.1 * np.abs(values) + 0.2)


def stacked(figure, samples, variations=None, edges=EDGES):
    axes = plot.ratio_axes(figure)
    artists = plot.stacked_histogram(
        {name: histogram(values, edges) for name, values in samples.items()},
        signals=[name for name in samples if name == "signal"],
        variations={
            key: (histogram(up, edges), histogram(down, edges))
            for key, (up, down) in (variations or {}).items()
        },
        colours=COLOURS,
        observable="$m$ [GeV]",
        ax=axes.main,
        ax_ratio=axes.ratio,
    )
    return artists, axes


def heights(patch):
    values, _, baseline = patch.get_data()
    return values - baseline


def labels(legend):
    return [text.get_text() for text in legend.get_texts()]


# style


def test_importing_plot_touches_neither_pyplot_nor_fonts():
    script = (
        "import sys, matplotlib as mpl; before = mpl.rcParams.copy();"
        "import diffana.plot;"
        "assert 'matplotlib.pyplot' not in sys.modules;"
        "assert 'mplhep' not in sys.modules;"
        "assert mpl.rcParams.copy() == before"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_style_ends_with_its_context():
    before = dict(mpl.rcParams)
    with plot.style():
        assert mpl.rcParams["xtick.direction"] == "in"
        assert mpl.rcParams["font.family"][0] == "TeX Gyre Heros"
    assert dict(mpl.rcParams) == before


def test_every_colour_of_a_full_palette_differs():
    colours = plot.palette([*"abcde"], [*"fg"], [*"hij"])
    assert list(colours) == [*"abcdefghij"]
    assert len(set(colours.values())) == 10


def test_a_sample_keeps_its_colour_when_other_kinds_are_added():
    alone = plot.palette(["top", "fakes"])
    assert alone.items() <= COLOURS.items()


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        (([*"abcdef"],), "6 backgrounds, but only 5 colours"),
        (([], [*"abc"]), "3 signals, but only 2 colours"),
        (([], [], [*"abcd"]), "4 variations, but only 3 colours"),
        ((["top"], ["top"]), "'top' would have two colours"),
    ],
)
def test_a_palette_that_cannot_be_told_apart_is_refused(kinds, message):
    with pytest.raises(ValueError, match=message):
        plot.palette(*kinds)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, ""),
        ({"luminosity": 20.3}, r"20.3 fb$^{\mathrm{-1}}$"),
        ({"energy": 13.6}, "13.6 TeV"),
        ({"luminosity": 139, "energy": 13}, r"139 fb$^{\mathrm{-1}}$ (13 TeV)"),
    ],
)
def test_a_caption_says_what_it_is_given_and_no_more(figure, known, expected):
    ax = figure.add_subplot()
    caption = plot.label("Simulation", **known, ax=ax)
    assert caption.text.get_text() == ax.get_title(loc="left") == "Simulation"
    assert caption.dataset.get_text() == ax.get_title(loc="right") == expected


# training


def test_loss_curve_holds_the_losses_and_marks_refused_updates(figure):
    step = np.arange(1, 8)
    loss = np.array([3.0, 1.0, np.nan, 2.0, 9.0, np.nan, 1.0])
    refused = np.array([False, False, True, False, True, True, False])
    ax = figure.add_subplot()
    artists = plot.loss_curve(step, loss, refused, window=3, loss_name="ln CLs", ax=ax)
    np.testing.assert_array_equal(artists.updates.get_xdata(), step)
    np.testing.assert_array_equal(artists.updates.get_ydata(), loss)
    np.testing.assert_array_equal(artists.refused.get_xdata(), [3, 5, 6])
    # The loss 9 belongs to an update whose gradient was undefined.
    np.testing.assert_allclose(
        artists.running_mean.get_ydata(),
        [2.0, 2.0, 1.5, 2.0, 2.0, 1.0, 1.0],
        rtol=1e-15,  # sums of two or three numbers
    )
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Update", "ln CLs")
    assert labels(artists.legend) == ["each update", "mean of 3 updates", "refused"]


def test_running_mean_is_undefined_where_every_update_was_refused(figure):
    loss = np.array([1.0, np.nan, np.nan, np.nan, 2.0])
    artists = plot.loss_curve(
        np.arange(5), loss, np.isnan(loss), window=3, ax=figure.add_subplot()
    )
    np.testing.assert_array_equal(
        artists.running_mean.get_ydata(), [1.0, 1.0, np.nan, 2.0, 2.0]
    )


def test_a_smooth_training_has_no_entry_for_refused_updates(figure):
    artists = plot.loss_curve(
        np.arange(3), np.ones(3), np.zeros(3, bool), ax=figure.add_subplot()
    )
    assert "refused" not in labels(artists.legend)


@pytest.mark.parametrize(
    ("name", "sign", "scale", "text"),
    [
        ("cls", 1, "log", "CL"),
        ("p0", 1, "log", "p_"),
        ("sigma_mu", 1, "linear", r"\sigma_\mu"),
        ("fisher", 1, "linear", "covariance"),
        ("loss", 1, "linear", "Loss"),
        ("significance", -1, "linear", "Z"),
        ("asimov_significance", -1, "linear", "Z_A"),
        ("purity", 1, "linear", "purity"),
    ],
)
def test_metric_curve_holds_the_values(figure, name, sign, scale, text):
    epoch, values = np.arange(1, 5), np.array([0.3, 0.2, np.nan, 0.1])
    ax = figure.add_subplot()
    artists = plot.metric_curve(epoch, values, name=name, selected=2, ax=ax)
    np.testing.assert_array_equal(artists.curve.get_xydata().T, [epoch, sign * values])
    np.testing.assert_array_equal(artists.selected.get_xydata(), [[2, sign * 0.2]])
    assert artists.selected_epoch.get_xdata() == [2, 2]
    assert ax.get_yscale() == scale
    assert text in ax.get_ylabel()
    assert ax.get_xlabel() == "Epoch"


def test_metric_curves_share_the_epochs_of_the_lowest_axes(figure):
    metrics = {"cls": np.array([0.1, 0.05]), "sigma_mu": np.array([0.5, 0.4])}
    axes = figure.subplots(2, 1)
    artists = plot.metric_curves([1, 2], metrics, selected=2, axes=axes)
    for name, values in metrics.items():
        np.testing.assert_array_equal(artists[name].curve.get_ydata(), values)
    assert [ax.get_xlabel() for ax in axes] == ["", "Epoch"]
    assert labels(axes[0].get_legend()) == ["selected: epoch 2"]
    assert axes[1].get_legend() is None


@pytest.mark.parametrize("values", [[np.nan, np.nan], [0.0, 0.0]])
def test_p_values_without_a_logarithm_are_drawn(figure, values):
    ax = figure.subplots()
    plot.metric_curve([1, 2], values, name="p0", selected=2, ax=ax)
    figure.savefig(io.BytesIO())
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), values)


def test_metrics_need_one_axes_each_and_a_selected_epoch(figure):
    axes = figure.subplots(1, 1, squeeze=False)[0]
    with pytest.raises(ValueError, match="zip"):
        plot.metric_curves([1], {"cls": [0.1], "p0": [0.1]}, selected=1, axes=axes)
    with pytest.raises(ValueError, match="'cls': it has no value for epoch 7"):
        plot.metric_curves([1], {"cls": [0.1]}, selected=7, axes=axes)


# stacked histogram


def test_stack_holds_every_yield_and_their_sum(figure):
    samples = {
        "top": [8.0, 4.0, 2.0, 1.0],
        "signal": [0.5, 1.0, 2.0, 3.0],
        "fakes": [2.0, 2.0, 1.0, 0.5],
    }
    total = np.sum(list(samples.values()), axis=0)
    artists, axes = stacked(figure, samples)
    assert list(artists.samples) == ["signal", "top", "fakes"]
    for name, values in samples.items():
        # Heights are differences of partial sums.
        np.testing.assert_allclose(heights(artists.samples[name]), values, rtol=1e-14)
        colour = artists.samples[name].get_facecolor()
        assert mpl.colors.same_color(colour, COLOURS[name])
    top, edges, _ = artists.samples["signal"].get_data()
    np.testing.assert_allclose(top, total, rtol=1e-14)
    np.testing.assert_array_equal(edges, EDGES)
    np.testing.assert_allclose(artists.total.get_data()[0], total, rtol=1e-14)
    np.testing.assert_array_equal(
        artists.signals["signal"].get_data()[0], samples["signal"]
    )
    # sumw2 = 0.1 |sumw| + 0.2 for each of the three samples.
    upper, _, lower = artists.band.get_data()
    uncertainty = np.sqrt(0.1 * total + 0.6)
    np.testing.assert_allclose(upper - total, uncertainty, rtol=1e-13)
    np.testing.assert_allclose(total - lower, uncertainty, rtol=1e-13)
    relative, _, _ = artists.ratio.band.get_data()
    np.testing.assert_allclose(relative - 1, uncertainty / total, rtol=1e-13)
    assert axes.main.get_ylabel() == "Events / bin"
    assert axes.ratio.get_xlabel() == "$m$ [GeV]"
    assert axes.main.get_xlim() == axes.ratio.get_xlim() == (0.0, 5.0)


def test_variations_act_on_the_samples_they_belong_to(figure):
    samples = {"top": [8.0, 4.0, 2.0, 1.0], "fakes": [2.0, 2.0, 1.0, 0.5]}
    top, fakes = (np.array(samples[name]) for name in ("top", "fakes"))
    artists, _ = stacked(
        figure,
        samples,
        {
            ("top", "scale"): (1.1 * top, 0.8 * top),
            ("fakes", "scale"): (1.3 * fakes, 0.9 * fakes),
            ("fakes", "norm"): (2 * fakes, 0 * fakes),
        },
    )
    expected = {
        "scale": (1.1 * top + 1.3 * fakes, 0.8 * top + 0.9 * fakes),
        "norm": (top + 2 * fakes, top),
    }
    assert list(artists.variations) == list(expected)
    for name, (up, down) in expected.items():
        drawn, ratios = artists.variations[name], artists.ratio.variations[name]
        for step, ratio, values in (
            (drawn.up, ratios.up, up),
            (drawn.down, ratios.down, down),
        ):
            np.testing.assert_allclose(step.get_data()[0], values, rtol=1e-14)
            np.testing.assert_allclose(
                ratio.get_data()[0], values / (top + fakes), rtol=1e-14
            )
            assert mpl.colors.same_color(step.get_edgecolor(), COLOURS[name])
        assert drawn.up.get_linestyle() != drawn.down.get_linestyle()
    assert labels(artists.legend) == [
        "top",
        "fakes",
        "sum, MC stat. unc.",
        "scale, up",
        "scale, down",
        "norm, up",
        "norm, down",
    ]


def test_negative_and_empty_bins_hide_nothing(figure):
    samples = {"top": [5.0, 0.0, -3.0, 3.0], "fakes": [4.0, 0.0, 2.0, -1.0]}
    up = [6.0, 1.0, -1.0, 9.0]
    artists, axes = stacked(figure, samples, {("top", "scale"): (up, [0, 0, 0, -5])})
    tops = {name: patch.get_data()[0] for name, patch in artists.samples.items()}
    bases = {name: patch.get_data()[2] for name, patch in artists.samples.items()}
    np.testing.assert_array_equal(bases["fakes"], np.zeros(4))
    np.testing.assert_array_equal(tops["fakes"], samples["fakes"])
    np.testing.assert_array_equal(bases["top"], [4.0, 0.0, 0.0, 0.0])
    np.testing.assert_array_equal(tops["top"], [9.0, 0.0, -3.0, 3.0])
    np.testing.assert_array_equal(artists.total.get_data()[0], [9.0, 0.0, -1.0, 2.0])
    assert axes.main.get_yscale() == "linear"
    low, high = axes.main.get_ylim()
    assert low < -6  # the downward variation of the last bin
    assert high > 10
    ratio = artists.ratio.variations["scale"]
    np.testing.assert_array_equal(ratio.up.get_data()[0], [10 / 9, np.nan, np.nan, 4.0])
    np.testing.assert_array_equal(
        np.isnan(artists.ratio.band.get_data()[0]), [False, True, True, False]
    )
    above, below = artists.ratio.beyond["scale"]
    assert axes.ratio.get_ylim() == (0.0, 2.0)
    np.testing.assert_array_equal(above.get_xdata(), [4.0])
    np.testing.assert_array_equal(below.get_xdata(), [4.0])


@pytest.mark.parametrize(
    ("samples", "scale"),
    [
        ({"top": [90.0, 4.0, 2.0, 1.0]}, "linear"),
        ({"top": [110.0, 4.0, 2.0, 1.0]}, "log"),
        ({"top": [110.0, 4.0, 0.0, 1.0]}, "log"),
        ({"top": [110.0, 4.0, -0.1, 1.0]}, "linear"),
        ({"top": [110.0, 90.0, 80.0, 70.0], "signal": [0.0, 0.0, 0.1, 0.4]}, "log"),
        ({"top": [110.0, 90.0, 80.0, 70.0], "signal": [0.0, 0.0, 0.1, 4.0]}, "linear"),
        ({"top": [0.0, 0.0, 0.0, 0.0]}, "linear"),
    ],
)
def test_the_scale_follows_the_yields(figure, samples, scale):
    artists, axes = stacked(figure, samples)
    assert axes.main.get_yscale() == scale
    total = artists.total.get_data()[0]
    low, high = axes.main.get_ylim()
    assert low < total[total > 0].min(initial=np.inf)
    assert high > total.max()
    if scale == "linear":
        assert low == 0 or total.min() < 0


def test_the_legend_covers_no_bin(figure):
    samples = {"signal": [1.0, 2.0, 3.0, 4.0], "top": [20.0, 20.0, 20.0, 20.0]}
    up = [22.0, 22.0, 22.0, 22.0]
    artists, axes = stacked(figure, samples, {("top", "scale"): (up, samples["top"])})
    figure.canvas.draw()
    lowest = artists.legend.get_window_extent().y0
    highest = axes.main.transData.transform((0, artists.band.get_data()[0].max()))[1]
    assert highest < lowest


def test_infinite_edges_are_drawn_with_the_width_of_the_neighbour(figure):
    artists, axes = stacked(
        figure, {"top": [3.0, 2.0, 1.0]}, edges=[-np.inf, 0.2, 0.6, np.inf]
    )
    _, edges, _ = artists.samples["top"].get_data()
    np.testing.assert_allclose(edges, [-0.2, 0.2, 0.6, 1.0], atol=1e-15)
    np.testing.assert_allclose(axes.main.get_xlim(), (-0.2, 1.0), atol=1e-15)


@pytest.mark.parametrize(
    ("samples", "signals", "variations", "message"),
    [
        ({}, [], {}, "there is no sample"),
        ({"top": [1, 2]}, ["higgs"], {}, "no sample 'higgs'; there are 'top'"),
        ({"top": [1, 2]}, [], {("fakes", "scale"): [1, 2]}, "no sample 'fakes'"),
        ({"top": [1, 2], "fakes": [1, 2, 3]}, [], {}, "'fakes': its edges are not"),
        ({"top": [1, np.nan]}, [], {}, "'top', bin 1: yield nan"),
        ({"top": [1, 2]}, [], {("top", "scale"): [np.inf, 2]}, "scale up, bin 0"),
    ],
)
def test_what_cannot_be_drawn_is_named(figure, samples, signals, variations, message):
    def make(values):
        return histogram(values, np.arange(len(values) + 1.0))

    axes = plot.ratio_axes(figure)
    with pytest.raises(ValueError, match=message):
        plot.stacked_histogram(
            {name: make(values) for name, values in samples.items()},
            signals=signals,
            variations={k: (make(v), make(v)) for k, v in variations.items()},
            colours=COLOURS,
            observable="",
            ax=axes.main,
            ax_ratio=axes.ratio,
        )


# map


def draw_map(figure, z, edges, events):
    return plot.observable_map(
        np.linspace(-1, 1, 5),
        np.linspace(0, 3, 4),
        z,
        edges=edges,
        events=events,
        colours=COLOURS,
        observable="Network output",
        x_name="$x$ [GeV]",
        y_name="$y$",
        ax=figure.add_subplot(),
    )


def test_map_holds_values_bin_edges_and_events(figure):
    z = np.linspace(0.1, 0.9, 20).reshape(4, 5)
    events = {"signal": np.array([[0.5, 1.0], [0.0, 2.0]]), "top": np.ones((1, 2))}
    artists = draw_map(figure, z, [-np.inf, 0.05, 0.2, 0.8, np.inf], events)
    ax = artists.mesh.axes
    np.testing.assert_array_equal(artists.mesh.get_array(), z)
    assert artists.mesh.get_clim() == (0.05, 0.9)
    np.testing.assert_array_equal(artists.boundaries.levels, [0.2, 0.8])
    for name, points in events.items():
        np.testing.assert_array_equal(artists.events[name].get_offsets(), points)
        colour = artists.events[name].get_facecolor()[0]
        assert mpl.colors.same_color(colour, COLOURS[name])
    assert labels(artists.legend) == ["signal", "top"]
    assert artists.colour_bar.ax.get_ylabel() == "Network output"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("$x$ [GeV]", "$y$")
    assert ax.get_xlim() == (-1, 1)
    assert ax.get_ylim() == (0, 3)


@pytest.mark.parametrize("edges", [[0.0, 0.2, 1.0], [-np.inf, np.inf]])
def test_a_constant_observable_has_no_boundaries(figure, edges):
    artists = draw_map(figure, np.full((4, 5), 0.5), edges, {})
    assert artists.boundaries is None
    assert artists.legend is None
