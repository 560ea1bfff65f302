"""Figures of the study of binned kernel density estimates."""

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from diffana.plot import style
from experiments.bkde.law import rule


HARD, SOFT, TRUE = "#94a4a2", "#3f90da", "#bd1f01"


def curves(path, found, *, name, span):
    """Yield or gradient of the central bin against the mean, for sizes x bandwidths.

    Args:
        path: file to write.
        found: (size, bandwidth) -> arrays "mu", "hard", "soft" and "true".
        name: label of the ordinate.
        span: multiple of the true range that the ordinate covers.
    """
    sizes, bandwidths = (list(dict.fromkeys(key)) for key in zip(*found, strict=True))
    with style():
        figure = Figure(figsize=(7.0, 5.6))
        axes = figure.subplots(len(sizes), len(bandwidths), sharex=True, sharey=True)
        for (size, bandwidth), one in found.items():
            row, column = sizes.index(size), bandwidths.index(bandwidth)
            ax = axes[row, column]
            ax.plot(one["mu"], one["hard"], color=HARD, lw=0.6, label="histogram")
            ax.plot(one["mu"], one["soft"], color=SOFT, label="bKDE")
            ax.plot(one["mu"], one["true"], color=TRUE, ls="--", lw=1, label="true")
            middle, half = np.mean(one["true"]), np.ptp(one["true"]) / 2
            ax.set(xlim=one["mu"][[0, -1]])
            ax.set_ylim(middle - span * half, middle + span * half)
            ax.set_title(f"{size} events, bandwidth {bandwidth:g}")
            ax.set_xlabel(r"$\mu$" if row == len(sizes) - 1 else "")
            ax.set_ylabel(name if column == 0 else "")
        axes[-1, -1].legend(loc="lower left", fontsize=6)
        figure.savefig(path)


def shape(path, events, edges, bandwidths, estimates, truth):
    """Histograms of a sample beside their smooth versions, as densities."""
    widths = np.diff(edges)
    with style():
        figure = Figure(figsize=(7.0, 2.4))
        axes = figure.subplots(1, len(bandwidths), sharey=True)
        centres = (edges[1:] + edges[:-1]) / 2
        hard, _ = np.histogram(events, edges)
        for ax, bandwidth, soft in zip(axes, bandwidths, estimates, strict=True):
            ax.stairs(
                hard / len(events) / widths,
                edges,
                fill=True,
                color="0.85",
                label="histogram",
            )
            ax.stairs(soft / widths, edges, color=SOFT, label="bKDE")
            ax.plot(centres, truth / widths, color=TRUE, ls="", marker=".", ms=4)
            ax.lines[-1].set_label("true")
            ax.set(xlim=edges[[0, -1]], xlabel="$x$")
            ax.set_title(f"bandwidth {bandwidth / widths[0]:g} bin widths")
        axes[0].set(ylabel="Density", ylim=(0, None))
        axes[-1].legend(fontsize=6)
        figure.savefig(path)


def error_map(path, sizes, bandwidths, errors, chosen):
    """Mean relative error of the gradient over bandwidth and sample size.

    Bandwidths are in units of the bin width.
    """
    best = bandwidths[np.argmin(errors, axis=1)]
    with style():
        figure = Figure(figsize=(4.4, 3.2))
        ax = figure.add_subplot()
        scale = LogNorm(max(errors.min(), 0.02), min(errors.max(), 5.0))
        mesh = ax.pcolormesh(bandwidths, sizes, errors, norm=scale, shading="nearest")
        figure.colorbar(mesh, label="Mean relative error of the gradient", extend="max")
        ax.plot(best, sizes, color="#ffa90e", ls="", marker="o", label="best")
        ax.plot(chosen, sizes, color="white", lw=1.2, label="rule")
        ax.set(xscale="log", yscale="log", ylabel="Events")
        ax.set(xlabel="Bandwidth / bin width")
        ax.set_xlim(bandwidths[[0, -1]])
        ax.legend(loc="upper right", labelcolor="white")
        figure.savefig(path)


def law(path, cells):
    """Best bandwidth against the rule, and the cost of a rule without the right scale.

    Args:
        path: file to write.
        cells: group of densities -> what `law.measured` returned.
    """
    markers, colours = "os^Dv<>P", (SOFT, TRUE, HARD, "#832db6", "#e76300", "#ffa90e")
    with style():
        figure = Figure(figsize=(7.0, 3.0))
        left, right = figure.subplots(1, 2)
        smooth = [*cells["fitted"], *cells["tested"]]
        names = list(dict.fromkeys(cell.density for cell in smooth))
        for index, name in enumerate(names):
            mine = [cell for cell in smooth if cell.density == name]
            look = {"marker": markers[index], "color": colours[index]}
            look |= {"ls": "", "ms": 3, "label": name}
            chosen = [rule(cell.size, cell.width, cell.rough) for cell in mine]
            left.plot(chosen, [cell.best for cell in mine], **look)
            # Side by side: the sizes are the same for all.
            size = np.array([cell.size for cell in mine]) * 1.1 ** (index - 3)
            right.plot(size, [cell.cost for cell in mine], **look)
        ends = np.array([0.04, 0.8])
        left.plot(ends, ends, color="black", lw=0.6)
        left.set(xscale="log", yscale="log", xlabel="Bandwidth by the rule")
        left.set(ylabel="Bandwidth of the smallest error")
        left.set_title("scale: roughness of the density")
        right.axhline(1, color="black", lw=0.6)
        right.set(xscale="log", yscale="log", xlabel="Events")
        right.set(ylabel="Error by the rule / smallest error")
        right.set_title("scale: its standard deviation")
        right.set_yticks([1, 2, 5], ["1", "2", "5"])
        right.minorticks_off()
        left.set_xticks([0.05, 0.1, 0.2, 0.5], ["0.05", "0.1", "0.2", "0.5"])
        left.set_yticks([0.05, 0.1, 0.2, 0.5], ["0.05", "0.1", "0.2", "0.5"])
        left.minorticks_off()
        left.legend(fontsize=6)
        figure.savefig(path)
