"""The look that all figures share: style, colours, caption, panels."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.text import Text


# The ten colours of M. Petroff, arXiv:2107.02270, told apart with any colour vision.
_BACKGROUND = ("#3f90da", "#ffa90e", "#94a4a2", "#92dadb", "#b9ac70")
_SIGNAL = ("#bd1f01", "#a96b59")
_VARIATION = ("#832db6", "#e76300", "#717581")
MOST_BACKGROUNDS, MOST_SIGNALS = len(_BACKGROUND), len(_SIGNAL)

# What differs from the style of ROOT so that a figure fits one column of a journal.
_COLUMN_WIDTH = {
    "figure.figsize": (3.4, 2.7),
    "figure.dpi": 150,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.015,
    "figure.constrained_layout.hspace": 0.0,
    "savefig.dpi": 300,
    "font.size": 8,
    "font.family": ["TeX Gyre Heros", "DejaVu Sans"],
    "mathtext.fallback": "stixsans",
    "mathtext.default": "it",
    "axes.labelpad": 2,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.titlesize": 8,
    "axes.titlepad": 4,
    "axes.formatter.use_mathtext": True,
    "axes.unicode_minus": True,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "patch.linewidth": 1.2,
    "hatch.linewidth": 0.5,
    "legend.fontsize": 7,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
    "legend.labelspacing": 0.35,
    "legend.borderaxespad": 0.4,
    "xtick.labelsize": 8,
    "xtick.major.pad": 3,
    "xtick.major.size": 4.5,
    "xtick.minor.size": 2.5,
    "ytick.labelsize": 8,
    "ytick.major.pad": 3,
    "ytick.major.size": 4.5,
    "ytick.minor.size": 2.5,
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The house style, for everything created, drawn and saved in the context.

    Matplotlib looks for fonts only when a figure is drawn, hence also save it inside.

    Example:
        >>> with style():
        ...     font_size = matplotlib.rcParams["font.size"]
        >>> font_size
        8.0
    """
    # Importing it registers fonts, which must not happen to those who draw nothing.
    import mplhep

    with matplotlib.style.context([mplhep.style.ROOT, _COLUMN_WIDTH]):
        yield


def palette(
    backgrounds: Sequence[str],
    signals: Sequence[str] = (),
    variations: Sequence[str] = (),
) -> dict[str, str]:
    """Colour of each sample and variation, to be used in every figure.

    Args:
        backgrounds: names of at most five samples.
        signals: names of at most two samples.
        variations: at most three names of systematic uncertainties or of whatever else
            is drawn as a line.

    Raises:
        ValueError: if there are more names than colours that can be told apart, or a
            name stands for two things.

    Example:
        >>> palette(["background"], signals=["signal"])
        {'background': '#3f90da', 'signal': '#bd1f01'}
    """
    colours: dict[str, str] = {}
    for kind, names, available in (
        ("backgrounds", backgrounds, _BACKGROUND),
        ("signals", signals, _SIGNAL),
        ("variations", variations, _VARIATION),
    ):
        if len(names) > len(available):
            raise ValueError(
                f"{len(names)} {kind}, but only {len(available)} colours for them that "
                "can be told apart: merge some, or draw fewer"
            )
        for name, colour in zip(names, available, strict=False):
            if name in colours:
                raise ValueError(f"{name!r} would have two colours")
            colours[name] = colour
    return colours


class Caption(NamedTuple):
    """What `label` wrote.

    Attributes:
        text: above the axes, left.
        dataset: above the axes, right; empty if nothing is known of the data set.
    """

    text: Text
    dataset: Text


def label(
    text: str,
    *,
    luminosity: float | None = None,
    energy: float | None = None,
    ax: Axes,
) -> Caption:
    """Write above `ax` what the figure shows, as the experiments do.

    Args:
        text: status of the figure, for example "Simulation".
        luminosity: integrated luminosity that yields are scaled to, in fb⁻¹.
        energy: centre-of-mass energy of the collisions, in TeV.
        ax: the uppermost axes of the figure.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = Figure().add_subplot()
        >>> label("Simulation", luminosity=20.3, energy=8, ax=ax).text.get_text()
        'Simulation'
    """
    amount = "" if luminosity is None else rf"{luminosity:g} fb$^{{\mathrm{{-1}}}}$"
    collisions = "" if energy is None else f"{energy:g} TeV"
    if amount and collisions:
        collisions = f"({collisions})"
    return Caption(
        text=ax.set_title(text, loc="left", fontweight="bold"),
        dataset=ax.set_title(f"{amount} {collisions}".strip(), loc="right"),
    )


def literal(name: str) -> str:
    r"""A name in which matplotlib sees no formula.

    Example:
        >>> literal("pt_$x$")
        'pt_\\$x\\$'
    """
    return name.replace("$", r"\$")


class RatioAxes(NamedTuple):
    """A large panel and a small one below it with the same x axis.

    Attributes:
        main: the large panel.
        ratio: the small panel.
    """

    main: Axes
    ratio: Axes


def ratio_axes(figure: FigureBase) -> RatioAxes:
    """Divide an empty figure, or part of a figure, for `stacked_histogram`.

    Example:
        >>> from matplotlib.figure import Figure
        >>> main, ratio = ratio_axes(Figure())
        >>> main.get_subplotspec().rowspan, ratio.get_subplotspec().rowspan
        (range(0, 1), range(1, 2))
    """
    grid = figure.add_gridspec(2, 1, height_ratios=(3, 1.2), hspace=0)
    main = figure.add_subplot(grid[0])
    ratio = figure.add_subplot(grid[1], sharex=main)
    main.tick_params(labelbottom=False)
    return RatioAxes(main, ratio)
