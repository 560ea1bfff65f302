"""Figures of the analysis with one bin."""

import numpy as np
from matplotlib.figure import Figure

from diffana.plot import palette, style
from experiments.one_bin.model import LARGEST, yields


COLOURS = palette(["shapesys", "none"], ["histosys"])
NAMES = {"shapesys": "Poisson", "histosys": "Gaussian", "none": "no uncertainty"}


def draw(folder, phi, scans, paths, p0):
    """Write all figures into `folder`."""
    with style():
        counts, scan, descent = (Figure() for _ in range(3))
        model_counts((2.0, 5.0, 9.0), ax=counts.add_subplot())
        p_values(phi, scans, paths, p0, ax=scan.add_subplot())
        trajectories(paths, axes=descent.subplots(2, 1, sharex=True))
        for name, figure in (("counts", counts), ("p0", scan), ("descent", descent)):
            figure.savefig(folder / f"{name}.png")


def model_counts(chosen, *, ax):
    """Expected events at some configurations, with the background's uncertainty."""
    colours = palette(["background"], ["signal"])
    place = np.arange(len(chosen))
    signal, background, uncertainty = (np.array(y) for y in yields(np.array(chosen)))
    ax.bar(place, background, 0.6, color=colours["background"], label="background")
    ax.bar(place, signal, 0.6, background, color=colours["signal"], label="signal")
    ax.bar(
        place,
        2 * uncertainty,
        0.6,
        background - uncertainty,
        fill=False,
        hatch="/////",
        lw=0,
        label="background uncertainty",
    )
    ax.set(ylabel="Expected events", ylim=(0, 95))
    ax.set_xticks(place, [rf"$\varphi$ = {phi:g}" for phi in chosen], minor=False)
    ax.tick_params(axis="x", which="both", length=0)
    ax.legend(ncols=2)


def p_values(phi, scans, paths, p0, *, ax):
    """The scan of each p-value, with the configuration each descent ended at."""
    for kind, values in scans.items():
        ax.plot(phi, values, color=COLOURS[kind], label=NAMES[kind])
        end = paths[kind][-1, 0]
        ax.plot(
            [end],
            [p0[kind]],
            color=COLOURS[kind],
            ls="",
            marker="o",
            mfc="white",
            clip_on=False,
            zorder=4,
        )
    ax.set_yscale("log")
    ax.set(xlim=(0, LARGEST), xlabel=r"$\varphi$", ylabel=r"Expected $p_\mathrm{0}$")
    ax.legend(
        title="circles: end of the descent,\njudged with the uncertainty",
        title_fontsize=7,
        alignment="left",
    )


def trajectories(paths, *, axes):
    """Configuration and background uncertainty at each update of the descents."""
    for kind, path in paths.items():
        first, *_ = axes[0].plot(path, color=COLOURS[kind], lw=0.8)
        first.set_label(NAMES[kind])
        _, _, uncertainty = yields(path)
        axes[1].plot(uncertainty, color=COLOURS[kind], lw=0.8)
    axes[0].set(ylabel=r"$\varphi$", ylim=(0, 11))
    axes[0].legend(loc="center right", bbox_to_anchor=(1, 0.68))
    axes[1].set(xlabel="Update", ylabel=r"$\sigma_b$ [events]", xlim=(0, len(path) - 1))
    axes[0].figure.align_ylabels(list(axes))
