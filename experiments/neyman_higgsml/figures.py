"""Figures of the study of the Higgs challenge."""

import numpy as np
from matplotlib.figure import Figure

from diffana.plot import style
from experiments.neyman_higgsml.model import (
    BACKGROUND,
    EDGES,
    LEVELS,
    LUMINOSITY,
    PUBLISHED,
    SIGNAL,
)
from experiments.regret_figure import COLOURS, regret_figure


PERCENT = ("68 %", "95 %")


def draw(folder, rows):
    """Write all figures into `folder`."""
    found = rows[f"{LUMINOSITY:g}"]
    with style():
        histograms().savefig(folder / "histograms.png")
        comparison(rows).savefig(folder / "published.png")
        coverage(found).savefig(folder / "coverage.png")
        panels = {
            f"{name}, {percent}": panel(one, level)
            for name, one in found.items()
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


def histograms():
    """Signal, and background on a scale of its own."""
    figure = Figure(figsize=(6.6, 2.8))
    names = {"mass": "Mass by the MMC [GeV]", "visible mass": "Visible mass [GeV]"}
    for ax, (name, label) in zip(figure.subplots(1, 2), names.items(), strict=True):
        edges = EDGES[name]
        signal, background = np.array(SIGNAL[name]), np.array(BACKGROUND[name])
        ax.stairs(background / 100, edges, color="#3f90da", label="background / 100")
        ax.stairs(signal, edges, color="#bd1f01", label="signal")
        ax.set(
            xlabel=label, xlim=edges[[0, -1]], ylim=(0, 1.35 * background.max() / 100)
        )
        ax.set_ylabel(f"Events / {edges[1] - edges[0]:g} GeV")
        ax.legend()
    return figure


def comparison(rows):
    """Median lengths beside the published ones, relative to them."""
    figure = Figure(figsize=(6.6, 2.9))
    ax = figure.add_subplot()
    labels, place = [], 0
    markers = {f"{LUMINOSITY:g}": ("o", "black"), "1": ("s", "#94a4a2")}
    for name, tests in PUBLISHED.items():
        for test, values in tests.items():
            for level, wanted in enumerate(values):
                for luminosity, (marker, colour) in markers.items():
                    found = rows[luminosity][name]["tests"][test]
                    ax.errorbar(
                        place,
                        found["median"][level] / wanted,
                        found["error"][level] / wanted,
                        marker=marker,
                        color=colour,
                        ms=3.5,
                        label=f"luminosity factor {luminosity}" if not place else None,
                    )
                short = "vis." if name != "mass" else "mass"
                labels.append(f"{short} {test}\n{LEVELS[level]:.0%}")
                place += 1
    ax.axhspan(0.95, 1.05, color="#3f90da", alpha=0.2, lw=0, label="within 5 %")
    ax.set_xticks(range(place), labels, fontsize=5.5, minor=False)
    ax.tick_params(axis="x", which="both", length=0)
    ax.set(ylabel="Median length / published", ylim=(0.85, 1.25))
    ax.legend(ncols=3, fontsize=6.5)
    return figure


def coverage(found):
    """Fraction of toys whose set contains the true value, with simultaneous bands."""
    figure = Figure(figsize=(6.6, 3.6))
    axes = figure.subplots(2, 2, sharex=True)
    for column, (name, one) in zip(axes.T, found.items(), strict=True):
        mu = np.array(one["mu"])
        for level, ax in enumerate(column[::-1]):
            for (test, result), colour in zip(
                one["tests"].items(), COLOURS, strict=False
            ):
                cover = result["coverage"][level]
                ax.plot(mu, cover["value"], color=colour, lw=0.9, label=test)
            ax.fill_between(
                mu, cover["lower"], cover["upper"], color="#94a4a2", alpha=0.25, lw=0
            )
            ax.axhline(LEVELS[level], color="black", lw=0.6, ls=":")
            spread = 0.05 if level == 0 else 0.025
            ax.set(
                xlim=mu[[0, -1]], ylim=(LEVELS[level] - spread, LEVELS[level] + spread)
            )
        column[0].set_title(name, loc="left")
        column[1].set_xlabel(r"True $\mu$")
    for ax in axes[:, 0]:
        ax.set_ylabel("Coverage")
    axes[0, 0].legend(ncols=2, fontsize=5.5)
    return figure
