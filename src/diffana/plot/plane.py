"""An observable as a function of two features."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.contour import QuadContourSet
from matplotlib.legend import Legend


class MapArtists(NamedTuple):
    """What `observable_map` drew.

    Attributes:
        mesh: values of the observable; the colours cover these and all finite edges.
        boundaries: contour lines at the bin edges; None if no edge is crossed.
        events: points of each population.
        colour_bar: scale of the values.
        legend: the legend; None without events.
    """

    mesh: QuadMesh
    boundaries: QuadContourSet | None
    events: dict[str, PathCollection]
    colour_bar: Colorbar
    legend: Legend | None


def observable_map(
    x: Float[ArrayLike, " x"],
    y: Float[ArrayLike, " y"],
    z: Float[ArrayLike, "y x"],
    *,
    edges: Float[ArrayLike, " edge"],
    events: Mapping[str, Float[ArrayLike, "event 2"]],
    colours: Mapping[str, str],
    observable: str,
    x_name: str,
    y_name: str,
    ax: Axes,
) -> MapArtists:
    """Draw an observable over the plane, with the boundaries of its bins and events.

    Args:
        x: grid points of the abscissa, increasing.
        y: grid points of the ordinate, increasing.
        z: the observable at each grid point, finite.
        edges: bin edges, increasing, in the unit of the observable; infinite ones and
            those that `z` does not cross bound nothing in the plane.
        events: points of each population; those outside the grid are not shown. Every
            event is drawn, so choose as many as can be seen.
        colours: colour of each population, see `palette`.
        observable: name and unit of the observable.
        x_name: name and unit of the abscissa.
        y_name: name and unit of the ordinate.
        ax: where to draw; it gives room to the colour bar.

    Example:
        >>> from matplotlib.figure import Figure
        >>> x, y = np.linspace(0, 1, 5), np.linspace(0, 1, 4)
        >>> drawn = observable_map(
        ...     x,
        ...     y,
        ...     x * y[:, None],
        ...     edges=[0.0, 0.25, 1.0],
        ...     events={"signal": np.ones((1, 2))},
        ...     colours={"signal": "red"},
        ...     observable="Network output",
        ...     x_name="$x$ [GeV]",
        ...     y_name="$y$ [GeV]",
        ...     ax=Figure().add_subplot(),
        ... )
        >>> drawn.boundaries.levels.tolist()
        [0.25]
    """
    x, y, z, edges = (np.asarray(values) for values in (x, y, z, edges))
    finite = edges[np.isfinite(edges)]
    # Light greys, on which the colours of the populations stand out.
    greys = LinearSegmentedColormap.from_list("greys", ["1.0", "0.55"])
    mesh = ax.pcolormesh(x, y, z, cmap=greys, shading="gouraud", rasterized=True)
    covered = np.append(finite, z)
    mesh.set_clim(covered.min(), covered.max())
    colour_bar = ax.figure.colorbar(mesh, ax=ax, label=observable, pad=0.02)
    crossed = finite[(finite > z.min()) & (finite < z.max())]
    boundaries = None
    if len(crossed):
        boundaries = ax.contour(x, y, z, levels=crossed, colors="black", linewidths=0.8)
        colour_bar.add_lines(boundaries)
    points = {
        name: ax.scatter(
            *np.asarray(positions).T,
            s=2.5,
            color=colours[name],
            linewidths=0,
            label=name,
            rasterized=True,
        )
        for name, positions in events.items()
    }
    ax.set(xlim=x[[0, -1]], ylim=y[[0, -1]], xlabel=x_name, ylabel=y_name)
    legend = None
    if points:
        # Below the plane: inside, it would hide events and boundaries.
        legend = ax.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.16),
            ncols=2,
            columnspacing=1.0,
            handletextpad=0.2,
            markerscale=3,
            frameon=False,
        )
    return MapArtists(mesh, boundaries, points, colour_bar, legend)
