"""Figures of the study of cuts."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from diffana.plot import palette, style
from experiments.cut.model import COLUMNS


SAMPLES = palette(["background"], ["signal"])
LINES = ("#3f90da", "#ffa90e", "#832db6", "#94a4a2")


def draw(folder, events, thresholds, one, four):
    """Write all figures into `folder`."""
    with style():
        figures = {
            name: Figure() for name in ("events", "scan", "gradient", "descent", "four")
        }
        distribution(events, thresholds, one, ax=figures["events"].add_subplot())
        scan(thresholds, one, ax=figures["scan"].add_subplot())
        gradient(thresholds, one, ax=figures["gradient"].add_subplot())
        descent(thresholds, one, ax=figures["descent"].add_subplot())
        figures["four"].set_size_inches(3.4, 4.4)
        together(four, axes=figures["four"].subplots(3, 1, sharex=True))
        for name, figure in figures.items():
            figure.savefig(folder / f"{name}.png")


def distribution(events, thresholds, one, *, ax):
    """Stacked masses, with the best cut of the scan and the one of a descent."""
    edges = np.linspace(0, 4, 41)
    counts = {
        e.sample: np.histogram(np.array(e.features)[:, 0], edges, weights=e.weight)[0]
        for e in events
    }
    background, both = counts["background"], sum(counts.values())
    for values, name in ((both, "signal"), (background, "background")):
        ax.stairs(values, edges, fill=True, color=SAMPLES[name], label=name)
    best = thresholds[np.argmax(one["hard"])]
    ax.axvline(best, color="black", lw=0.8, label=f"best hard cut, {best:.3f}")
    end = one["soft"][10.0]["path"][-1]
    label = f"end of a descent, {end:.3f}"
    ax.axvline(end, color=LINES[2], lw=0.8, ls="--", label=label)
    ax.set(xlim=(0, 4), ylim=(0, None), xlabel="Mass", ylabel="Events / 0.1")
    ax.legend()


def scan(thresholds, one, *, ax):
    """Soft and hard significance of a cut at each threshold."""
    hard = {"color": "black", "ls": ":", "lw": 1.4, "zorder": 3}
    ax.plot(thresholds, one["hard"], **hard, label="hard cut")
    for (slope, found), colour in zip(one["soft"].items(), LINES, strict=True):
        ax.plot(thresholds, found["value"], color=colour, label=f"slope {slope:g}")
        top = np.argmax(found["value"])
        at = thresholds[top], found["value"][top]
        ax.plot(*at, color=colour, ls="", marker="o", mfc="white", ms=3.5, zorder=4)
    ax.set(xlim=thresholds[[0, -1]], ylim=(0, None))
    ax.set(xlabel="Lower cut on the mass", ylabel=r"$Z_A$ [$\sigma$]")
    ax.legend()


def gradient(thresholds, one, *, ax):
    """Derivative of each soft significance beside that for infinitely many events."""
    for (slope, found), colour in zip(one["soft"].items(), LINES, strict=True):
        ax.plot(thresholds, found["gradient"], color=colour, lw=0.9)
        ax.lines[-1].set_label(f"slope {slope:g}")
    hard = np.array(one["exact gradient"])
    ax.plot(thresholds, hard, color="black", ls="--", label="hard cut, exact")
    ax.axhline(0, color="0.6", lw=0.5, zorder=0)
    span = np.ptp(hard)
    ax.set(xlim=thresholds[[0, -1]], ylim=(hard.min() - 0.4 * span, None))
    ax.set(xlabel="Lower cut on the mass", ylabel=r"d$Z_A$ / d(cut)")
    ax.legend(loc="lower left")


def descent(thresholds, one, *, ax):
    """Threshold at each update."""
    for (slope, found), colour in zip(one["soft"].items(), LINES, strict=True):
        ax.plot(found["path"], color=colour, label=f"slope {slope:g}")
    best = thresholds[np.argmax(one["hard"])]
    ax.axhline(best, color="black", lw=0.8, ls="--", label="best hard cut")
    ax.set(xlabel="Update", ylabel="Lower cut on the mass")
    ax.set(xlim=(0, len(found["path"]) - 1))
    ax.legend(loc="lower right")


def together(four, *, axes):
    """Four thresholds at each update, and those of the best point on the grid."""
    rows, lines = (axes[0], axes[0], axes[1], axes[2]), []
    for (name, ends), colour in zip(four.items(), LINES, strict=False):
        for ax, path, best in zip(
            rows, ends["annealed"]["path"].T, ends["grid"]["at"], strict=True
        ):
            (line,) = ax.plot(path, color=colour)
            ax.axhline(best, color=colour, ls="--", lw=0.7)
        line.set_label({"counting": "on $Z_A$", "profiled": "with uncertainty"}[name])
        lines.append(line)
    for ax, column in zip(axes, COLUMNS, strict=True):
        ax.set_ylabel(f"Cut on {column}")
    axes[2].set(xlabel="Update", xlim=(0, len(path) - 1))
    dashed = Line2D([], [], color="0.4", ls="--", lw=0.7, label="best of the grid")
    axes[1].legend(handles=[*lines, dashed], loc="lower right")
    axes[0].figure.align_ylabels(list(axes))
