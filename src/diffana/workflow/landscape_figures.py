"""The figures of a landscape: one per loss, and one that compares them."""

import io
import re
from collections.abc import Callable, Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diffana import plot, runs
from diffana.landscape import Landscape


def save_figures(
    run: runs.Run,
    landscape: Landscape,
    *,
    titles: Mapping[str, str],
    formats: Sequence[str],
) -> None:
    """Draw each loss, and all of them together, into the folder of `run`.

    Args:
        run: the run.
        landscape: losses on one axis or two.
        titles: what figures call the axes and the losses, by name.
        formats: file formats.
    """
    with plot.style():
        for number, name in enumerate(landscape.loss_names, start=1):
            _save(
                run,
                f"{number:02}_{_file_name(name)}",
                formats,
                lambda ax, name=name: draw_loss(landscape, name, titles=titles, ax=ax),
            )
        _save(
            run,
            "comparison",
            formats,
            lambda ax: draw_comparison(landscape, titles=titles, ax=ax),
            # The legend below takes a row for two losses.
            extra_height=0.17 * ((len(landscape.loss_names) + 1) // 2),
        )


def draw_loss(
    landscape: Landscape,
    name: str,
    *,
    titles: Mapping[str, str],
    target: tuple[float, float] | None = None,
    ax: Axes,
) -> plot.LandscapeMapArtists | plot.LandscapeCurveArtists:
    """Draw one loss with its minima: a map of two axes, a curve along one.

    Args:
        landscape: losses on one axis or two.
        name: the loss.
        titles: what figures call the axes and the losses, by name.
        target: a point of a map to mark with a cross.
        ax: where to draw.
    """
    axes, values = landscape.axis_values, landscape.values[name]
    minimum = landscape.minimum(name)
    places = np.zeros((0, len(axes))) if minimum is None else minimum.places
    names = [titles[axis] for axis in landscape.axis_names]
    if len(axes) == 1:
        return plot.landscape_curve(
            axes[0], values, minima=places, name=titles[name], x_name=names[0], ax=ax
        )
    return plot.landscape_map(
        axes[0],
        axes[1],
        values,
        minima=places,
        name=titles[name],
        x_name=names[0],
        y_name=names[1],
        target=target,
        ax=ax,
    )


def draw_comparison(
    landscape: Landscape,
    *,
    titles: Mapping[str, str],
    level: float = 0.1,
    ax: Axes,
) -> plot.LandscapeComparisonArtists:
    """Draw all losses, each mapped to [0, 1], with their minima.

    Args:
        landscape: losses on one axis or two.
        titles: what figures call the axes and the losses, by name.
        level: height of the contours of two axes.
        ax: where to draw.
    """
    minima = {name: landscape.minimum(name) for name in landscape.loss_names}
    found = {name: one.places for name, one in minima.items() if one is not None}
    return plot.landscape_comparison(
        {titles[name]: row for name, row in landscape.axes.items()},
        {titles[name]: landscape.normalised(name) for name in landscape.loss_names},
        minima={titles[name]: places for name, places in found.items()},
        level=level,
        ax=ax,
    )


def _save(
    run: runs.Run,
    name: str,
    formats: Sequence[str],
    draw: Callable[[Axes], object],
    *,
    extra_height: float = 0.0,
) -> None:
    width, height = mpl.rcParams["figure.figsize"]
    # Figure objects without pyplot leave the user's backend and figures alone.
    figure = Figure(figsize=(width, height + extra_height), layout="constrained")
    draw(figure.subplots())
    for suffix in formats:
        file = io.BytesIO()
        figure.savefig(file, format=suffix, dpi=200)
        run.write(f"figures/{name}.{suffix}", file.getvalue())


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or "loss"
