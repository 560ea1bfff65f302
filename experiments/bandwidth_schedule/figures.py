"""Figure of the study: hard metrics and soft ones against the bandwidth."""

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from diffana.plot import style
from experiments.bandwidth_schedule.findings import hard, is_fixed, ratio


LABELS = {
    "cls": r"CL$_\mathrm{s}$",
    "p0": r"$p_\mathrm{0}$",
    "sigma_mu": r"$\sigma_\mu$",
}
FIXED, COLOURS = "#3f90da", ("#bd1f01", "#832db6", "#ffa90e")
FAR = 1e4


def draw(folder, bandwidth):
    """Write `bandwidth.png` into `folder`."""
    with style():
        width, height = mpl.rcParams["figure.figsize"]
        figure = Figure((2.2 * width, 1.7 * height), layout="constrained")
        axes = figure.subplots(2, len(bandwidth), sharex=True, squeeze=False)
        for column, (metric, settings) in enumerate(bandwidth.items()):
            above, below = axes[:, column]
            if metric != "sigma_mu":
                above.set_yscale("log")
                below.set_yscale("log")
            panel({name: hard(runs) for name, runs in settings.items()}, ax=above)
            panel({name: ratio(runs) for name, runs in settings.items()}, ax=below)
            mark_undefined(settings, ax=above)
            below.axhline(1.0, color="black", lw=0.7, ls=":")
            above.set_ylabel(f"Hard expected {LABELS[metric]}")
            below.set(xlabel="Fixed bandwidth", ylabel=f"Soft / hard {LABELS[metric]}")
        handles = axes[0, 0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper center", ncols=4)
        figure.savefig(folder / "bandwidth.png")


def panel(values, *, ax):
    """Median and range over the seeds: points if fixed, horizontal bands if not.

    An infinite value, which is an undefined metric, counts in the median and not in the
    range. Ranges are cut off at `FAR` times the medians, for the sake of the rest.
    """
    values = {name: found for name, found in values.items() if len(found)}
    middle = {name: np.median(found) for name, found in values.items()}
    shown = [value for value in middle.values() if np.isfinite(value)]
    floor, ceiling = min(shown) / FAR, max(shown) * FAR
    values = {
        name: np.clip(found[np.isfinite(found)], floor, ceiling)
        for name, found in values.items()
    }
    fixed = [name for name in values if is_fixed(name)]
    at = np.array([float(name) for name in fixed])
    ax.plot(
        at, [middle[name] for name in fixed], color=FIXED, marker="o", label="fixed"
    )
    lowest, highest = (
        [end(values[name]) for name in fixed] for end in (np.min, np.max)
    )
    ax.vlines(at, lowest, highest, color=FIXED)
    schedules = [name for name in values if not is_fixed(name)]
    for name, colour in zip(schedules, COLOURS, strict=False):
        found = values[name]
        ax.axhspan(found.min(), found.max(), color=colour, alpha=0.12, lw=0)
        ax.axhline(middle[name], color=colour, ls="--", label=name)


def mark_undefined(settings, *, ax):
    """Say how many seeds have no value at a fixed bandwidth, and set its ticks."""
    fixed = [name for name in settings if is_fixed(name)]
    for name in fixed:
        values = hard(settings[name])
        if number := int(np.sum(~np.isfinite(values))):
            ax.text(
                float(name),
                1.01,
                f"{number} of {len(values)} undefined",
                transform=ax.get_xaxis_transform(),
                color=FIXED,
                fontsize=6,
                ha="left",
                va="bottom",
            )
    ax.set_xscale("log")
    ax.set_xticks([float(name) for name in fixed], fixed)
    ax.xaxis.minorticks_off()
