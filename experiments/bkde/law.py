"""The bandwidth with the smallest error of the gradient, and its rules."""

from typing import NamedTuple

import numpy as np

from experiments.bkde.errors import table


# Standard deviation of a flat density on [0, 1]: all that a binning tells.
BLIND = 12**-0.5


class Cell(NamedTuple):
    """Best bandwidth for one density, bin width and sample size, beside the rule.

    Attributes:
        density: its name.
        width: of the bin.
        size: number of events.
        deviation: standard deviation of the density.
        rough: width of the normal density that is as rough, see `Density.scales`.
        best: bandwidth of the smallest error.
        error: that smallest error, relative to the true gradient.
        rule: bandwidth by the rule, given the standard deviation.
        cost: error with it, relative to the smallest one.
        cost_rough: the same if the rule is given `rough`.
        cost_blind: the same if it is given `BLIND`.
    """

    density: str
    width: float
    size: int
    deviation: float
    rough: float
    best: float
    error: float
    rule: float
    cost: float
    cost_rough: float
    cost_blind: float


def rule(size, width, scale):
    """Bandwidth of the smallest error for a normal density of deviation `scale`.

    The gradient of a bin is the difference of the kernel density at its edges. Where
    the edges are apart by much more than a bandwidth, the variance falls like 1/(N h)
    and the bias grows like h², which gives N^(-1/5): with the factor 1.06 of Silverman
    for wide bins, and one that grows for bins narrower than the density, whose edges
    have nearly the same bias. Edges closer than a bandwidth share their fluctuations:
    the rule becomes that for the derivative of a density, N^(-1/7).
    """
    narrow = (16 / 15) ** 0.2 * (width / scale) ** -0.4
    factor = np.maximum((4 / 3) ** 0.2, narrow)
    return scale * np.minimum(factor * size**-0.2, (0.8 / size) ** (1 / 7))


def optimum(bandwidths, errors):
    """Bandwidth of the smallest error: a parabola through the lowest three points.

    Raises:
        ValueError: if the error still falls at an end.
    """
    x, lowest = np.log(bandwidths), int(np.argmin(errors))
    if lowest in (0, len(x) - 1):
        raise ValueError(f"the error still falls at bandwidth {bandwidths[lowest]:g}")
    near = slice(lowest - 1, lowest + 2)
    a, b, _ = np.polyfit(x[near], np.log(errors[near]), 2)
    return float(np.exp(-b / (2 * a)))


def cost(bandwidths, errors, chosen):
    """Error of a chosen bandwidth relative to that of the best one."""
    x, y = np.log(bandwidths), np.log(errors)
    return float(np.exp(np.interp(np.log(chosen), x, y) - np.min(y)))


def power_law(cells, scale):
    """Fit of best/s = c (width/s)^b size^a over cells.

    Args:
        cells: measurements.
        scale: which of their fields is s.

    Returns:
        The parameters (ln c, b, a).
    """
    solution, *_ = np.linalg.lstsq(*_logarithms(cells, scale), rcond=None)
    return solution


def residuals(cells, scale, parameters):
    """Logarithm of the best bandwidth above that of a power law, for each cell."""
    design, target = _logarithms(cells, scale)
    return target - design @ parameters


def _logarithms(cells, scale):
    s = np.array([getattr(cell, scale) for cell in cells])
    width = np.array([cell.width for cell in cells])
    size = np.array([cell.size for cell in cells], float)
    best = np.array([cell.best for cell in cells])
    columns = [np.ones(len(cells)), np.log(width / s), np.log(size)]
    return np.stack(columns, axis=1), np.log(best / s)


def measured(densities, edges, sizes, bandwidths, widths, budget):
    """A cell for each density, width (in narrow bins of `edges`) and size."""
    cells = []
    for name, density in densities.items():
        arguments = (density, edges, sizes, bandwidths, widths)
        wrong, _ = table(*arguments, budget=budget, seed=1)
        deviation, rough = density.scales()
        for row, n_bins in zip(wrong, widths, strict=True):
            width = n_bins * (edges[1] - edges[0])
            for error, size in zip(row, sizes, strict=True):
                rules = [rule(size, width, s) for s in (deviation, rough, BLIND)]
                costs = [cost(bandwidths, error, chosen) for chosen in rules]
                best, least = optimum(bandwidths, error), float(np.min(error))
                case = (name, width, size, deviation, rough, best, least)
                cells.append(Cell(*case, rules[0], *costs))
    return cells
