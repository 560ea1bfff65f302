"""Figures of the study of a search for dark matter."""

import numpy as np
from matplotlib.figure import Figure

from diffana.plot import style
from experiments.neyman_lz.model import LEVELS, PUBLISHED, histograms
from experiments.neyman_lz.templates import SETTINGS
from experiments.regret_figure import COLOURS, regret_figure


PERCENT = ("68 %", "95 %")


def draw(folder, found):
    """Write all figures into `folder`."""
    with style():
        counts().savefig(folder / "histograms.png")
        comparison(found).savefig(folder / "published.png")
        coverage(found["first"]).savefig(folder / "coverage.png")
        panels = {
            percent: panel(found["first"], level)
            for level, percent in enumerate(PERCENT)
        }
        regret_figure(panels).savefig(folder / "regret.png")


def panel(one, level):
    """What a column of the regret figure shows."""
    tests = one["tests"]

    def of(key):
        return {name: np.array(test[key][level]) for name, test in tests.items()}

    return {
        "mu": np.array(one["mu"]),
        "lengths": of("mean length"),
        "ratios": of("regret"),
        "errors": of("regret error"),
        "reference": "LRS",
    }


def counts():
    """Expected events in bins of the ratio of signal and background."""
    figure = Figure(figsize=(6.6, 2.8))
    for ax, name in zip(figure.subplots(1, 2, sharey=True), SETTINGS, strict=True):
        numbers = histograms()[name]
        edges = numbers["edges"]
        ax.stairs(numbers["background"], edges, color="#3f90da", label="background")
        signal = 10 * np.array(numbers["signal"])
        ax.stairs(signal, edges, color="#bd1f01", label=r"signal, $\mu$ = 10")
        title = f"accidental events: {numbers['accidentals']:g}"
        ax.set(xlim=(edges[0], edges[-1]), yscale="log", ylim=(5e-3, 5e3))
        ax.set_xlabel(r"$\log_{10}(s/b)$")
        ax.set_title(title, loc="left")
        ax.legend()
    figure.axes[0].set_ylabel("Events / bin")
    return figure


def comparison(found):
    """Medians beside the published ones."""
    figure = Figure(figsize=(6.8, 4.6))
    axes = figure.subplots(2, 2).ravel()
    titles = {
        "length": "Median length",
        "lower": "Median lower edge",
        "upper": "Median upper edge",
    }
    for ax, ((quantity, true), columns) in zip(axes, PUBLISHED.items(), strict=True):
        places = [(test, level) for level in range(2) for test in columns]
        x = np.arange(len(places))
        published = [columns[test][level] for test, level in places]
        ax.plot(
            x, published, ls="", marker="_", ms=14, color="black", label="published"
        )
        for shift, (name, marker, colour) in zip(
            (-0.12, 0.12),
            (("first", "o", COLOURS[1]), ("second", "s", COLOURS[3])),
            strict=True,
        ):
            rows = [found[name]["tests"][test]["rows"] for test, _ in places]
            row = [one[f"{quantity} {true}"] for one in rows]
            levels = [level for _, level in places]
            ax.errorbar(
                x + shift,
                [one["median"][level] for one, level in zip(row, levels, strict=True)],
                [one["error"][level] for one, level in zip(row, levels, strict=True)],
                ls="",
                marker=marker,
                ms=3.5,
                color=colour,
                label=f"accidental events: {SETTINGS[name][0]:g}",
            )
        labels = [f"{test}\n{PERCENT[level]}" for test, level in places]
        ax.set_xticks(x, labels, fontsize=6, minor=False)
        ax.tick_params(axis="x", which="both", length=0)
        ax.set_title(rf"{titles[quantity]}, true $\mu$ = {true}", loc="left")
        ax.set_ylim(-0.5, 1.4 * max(ax.get_ylim()[1], 3))
    axes[0].legend(fontsize=6.5, loc="upper left")
    return figure


def coverage(one):
    """Fraction of toys whose set contains the true value, with simultaneous bands."""
    figure = Figure(figsize=(6.6, 2.8))
    mu = np.array(one["mu"])
    for level, ax in enumerate(figure.subplots(1, 2)):
        for (test, result), colour in zip(one["tests"].items(), COLOURS, strict=False):
            cover = result["coverage"][level]
            ax.plot(mu, cover["value"], color=colour, lw=1.0, label=test)
            ax.fill_between(
                mu, cover["lower"], cover["upper"], color=colour, alpha=0.12, lw=0
            )
        ax.axhline(LEVELS[level], color="black", lw=0.6, ls=":")
        spread = 0.1 if level == 0 else 0.04
        ax.set(xlim=mu[[0, -1]], xlabel=r"True $\mu$")
        ax.set(ylim=(LEVELS[level] - spread / 2, LEVELS[level] + spread))
        ax.set_title(PERCENT[level], loc="left")
    figure.axes[0].set_ylabel("Coverage")
    figure.axes[0].legend()
    return figure
