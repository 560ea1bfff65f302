"""Figures of the four exact problems."""

import numpy as np
from matplotlib.figure import Figure

from diffana.plot import style
from experiments.neyman_exact.belts import LEVELS
from experiments.neyman_exact.toys import TRUE
from experiments.regret_figure import COLOURS, STYLES, regret_figure


PERCENT = ("68 %", "95 %")


def draw(folder, found, checks):
    """Write all figures into `folder`."""
    with style():
        for level, percent in zip(LEVELS, PERCENT, strict=True):
            panels = {
                f"{one['title']}, {percent}": panel(one, level)
                for one in found.values()
            }
            regret_figure(panels).savefig(folder / f"regret_{percent[:2]}.png", dpi=200)
        coverage(found).savefig(folder / "coverage.png", dpi=200)
        learned(found).savefig(folder / "learned.png", dpi=200)
        toys(checks["toys"]).savefig(folder / "toys.png")


def panel(one, level):
    """What a column of the regret figure shows."""
    lengths = {name: belt["length"] for name, belt in one["belts"][level].items()}
    return {
        "mu": one["mu"],
        "lengths": lengths,
        "ratios": {name: row / lengths["LRS"] for name, row in lengths.items()},
        "reference": "LRS",
    }


def coverage(found):
    """Exact coverage of all belts at 68 %."""
    figure = Figure(figsize=(0.6 + 3.0 * len(found), 2.6))
    axes = figure.subplots(1, len(found))
    for ax, one in zip(axes, found.values(), strict=True):
        for (name, belt), colour, line in zip(
            one["belts"][LEVELS[0]].items(), COLOURS, STYLES, strict=False
        ):
            ax.plot(
                one["mu"], belt["coverage"], color=colour, ls=line, lw=0.9, label=name
            )
        ax.axhline(LEVELS[0], color="black", lw=0.6, ls=":")
        ax.set(xlim=one["mu"][[0, -1]], xlabel=r"True $\mu$", ylim=(0.66, 0.86))
        ax.set_title(one["title"], loc="left")
    axes[0].set_ylabel("Coverage of 68 % sets")
    axes[0].legend()
    return figure


def learned(found):
    """Density of the learned focus of each problem."""
    figure = Figure(figsize=(0.6 + 3.0 * len(found), 2.6))
    axes = figure.subplots(1, len(found))
    for ax, one in zip(axes, found.values(), strict=True):
        for level, percent, colour in zip(LEVELS, PERCENT, COLOURS[1:], strict=False):
            mu, log_weight = (np.asarray(row) for row in one["learned"][level].values())
            density = np.exp(log_weight) / (mu[1] - mu[0])
            ax.plot(mu, density, color=colour, lw=1.0, label=percent)
        ax.axvspan(*one["mu"][[0, -1]], color="#94a4a2", alpha=0.15, lw=0)
        ax.set(xlim=(mu[0], mu[-1]), ylim=(0, None), xlabel=r"$\mu$")
        ax.set_title(one["title"], loc="left")
    axes[0].set_ylabel("Learned focus")
    axes[0].legend(title="grey: true values counted", title_fontsize=6)
    return figure


def toys(checks):
    """Coverage of critical values from toys, and median lengths, with closed forms."""
    figure = Figure(figsize=(6.6, 2.8))
    first, second = figure.subplots(1, 2)
    for row, (percent, level) in enumerate(zip(PERCENT, LEVELS, strict=True)):
        colour = COLOURS[1 + row]
        error = checks["covered"][row] - level
        first.plot(checks["mu"], error, color=colour, lw=0.8, label=percent)
        second.errorbar(
            TRUE,
            checks["median"][row],
            checks["median error"][row],
            color=colour,
            ls="",
            marker="o",
            ms=3,
            label=f"toys, {percent}",
        )
        second.plot(
            TRUE, checks["closed median"][row], color="black", lw=0, marker="_", ms=12
        )
    first.axhline(0, color="black", lw=0.6, ls=":")
    first.set(xlabel=r"Tested $\mu$", ylabel="Coverage minus level", xlim=(-12, 12))
    second.set(
        xlabel=r"True $\mu$", ylabel="Median length", xlim=(-0.5, TRUE[-1] + 0.5)
    )
    second.plot([], [], color="black", lw=0, marker="_", ms=12, label="closed form")
    first.legend()
    second.legend()
    return figure
