"""The correlation matrix of parameters."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colorbar import Colorbar
from matplotlib.text import Text


_MOST_NUMBERS = 15


class CorrelationArtists(NamedTuple):
    """What `correlation_matrix` drew.

    Attributes:
        cells: coloured squares, row by row from the top.
        numbers: the coefficients in per cent; none for more than 15 parameters, where
            they cannot be read.
        colours: the colour bar.
    """

    cells: QuadMesh
    numbers: list[Text]
    colours: Colorbar


def correlation_matrix(
    names: Sequence[str], matrix: Float[ArrayLike, "par par"], *, ax: Axes
) -> CorrelationArtists:
    """Draw correlation coefficients as colours, the first parameter at the top left.

    Args:
        names: parameters.
        matrix: their correlation coefficients, from -1 to 1.
        ax: where to draw; best 0.16 inches high for each parameter, plus 1 inch.

    Raises:
        ValueError: if the matrix has another shape than there are names.

    Example:
        >>> from matplotlib.figure import Figure
        >>> drawn = correlation_matrix(
        ...     ["mu", "scale"], [[1.0, -0.3], [-0.3, 1.0]], ax=Figure().add_subplot()
        ... )
        >>> [text.get_text() for text in drawn.numbers]
        ['100', '−30', '−30', '100']
    """
    values, size = np.asarray(matrix, float), len(names)
    if values.shape != (size, size):
        raise ValueError(f"{size} parameters, but a matrix of shape {values.shape}")
    cells = ax.pcolormesh(values, cmap="RdBu_r", vmin=-1, vmax=1)
    ax.set_aspect("equal")
    ax.set_ylim(size, 0)
    middles = np.arange(size) + 0.5
    ax.set_xticks(middles, list(names), rotation=90)
    ax.set_yticks(middles, list(names))
    ax.tick_params(which="both", length=0)
    ax.minorticks_off()
    numbers = [
        ax.text(
            column + 0.5,
            row + 0.5,
            f"{100 * value:.0f}".replace("-", "−").replace("−0", "0"),
            ha="center",
            va="center",
            fontsize="small" if size < 8 else "xx-small",
            color="white" if abs(value) > 0.6 else "black",
        )
        for row, line in enumerate(values)
        for column, value in enumerate(line)
        if size <= _MOST_NUMBERS
    ]
    colours = ax.figure.colorbar(cells, ax=ax, label="Correlation", pad=0.02)
    return CorrelationArtists(cells, numbers, colours)
