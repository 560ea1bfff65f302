"""The figure of the study: tests of μ by every method, on both expectations."""

import numpy as np
from matplotlib.figure import Figure

from diffana.plot import palette, style
from experiments.nsbi_vs_binned.measures import EXCLUDED, INTERVAL
from experiments.nsbi_vs_binned.tables import chosen


SHOWN = (
    "best variable",
    "classifier",
    "trained on σ",
    "fixed observable",
    "parametrised",
    "unbinned",
    "exact likelihood",
)
TITLES = {"interference": "Interference", "smeared": "Smeared mixture"}


def draw(folder, found):
    """Write the figure into `folder`."""
    colours = palette(SHOWN[:3], SHOWN[3:6], SHOWN[6:])
    with style():
        figure = Figure(figsize=(9.6, 3.9 * len(found)), layout="constrained")
        axes = figure.subplots(len(found), 2, squeeze=False)
        for row, (name, rows) in zip(axes, found.items(), strict=True):
            for ax, key, mu in zip(row, ("t", "t_background"), (1, 0), strict=True):
                tests(rows, key, colours, ax=ax)
                ax.set_title(f"{TITLES[name]}, expected at μ = {mu}", loc="left")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4)
        figure.savefig(folder / "tests.png", dpi=150)


def tests(rows, key, colours, *, ax):
    """Square root of t(μ), nuisance parameters profiled; the first seed."""
    for method in SHOWN:
        for row in chosen(rows, method, fixed=False)[:1]:
            mu = np.array(row["measured"]["mu"])
            t = np.array(row["measured"][key])
            ax.plot(
                mu,
                np.sqrt(np.maximum(t, 0.0)),
                color=colours[method],
                ls="--" if method == "exact likelihood" else "-",
                lw=1.2,
                label=method,
            )
    for level in (INTERVAL, EXCLUDED):
        ax.axhline(np.sqrt(level), color="0.5", lw=0.8, ls=":")
    limits = {"t": (0.0, 2.0), "t_background": (0.0, 1.0)}[key]
    if max(row["measured"]["mu"][-1] for row in rows) > 5:
        limits = (0.0, 4.0)
    ax.set(xlabel="μ", ylabel="√t(μ)", xlim=limits, ylim=(0.0, 4.5))
