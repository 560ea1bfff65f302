"""Figures of the study: metrics by epoch, and what single trainings have learned."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from diffana import plot
from diffana.workflow.figures import draw_histogram, draw_observable
from diffana.workflow.history import History


SHOWN = ("cls", "p0", "sigma_mu", "constraint")
# Names of the curves in tables read off the published figures -> ours.
PUBLISHED = {
    "BCE": "bce",
    "BCE_aug": "bce_augmented",
    "neos_CLs": "cls",
    "CLs": "cls",
    "p0": "p0",
    "INFERNO_sigma_mu": "sigma_mu",
    "sigma_mu": "sigma_mu",
    "p0+CLs": "cls+p0",
}
PANELS = {"cls": "CLs", "p0": "p0", "sigma_mu": "sigma_mu"}
PANELS["constraint"] = "(1-sigma_gamma)^2"


def selection(method: str) -> str:
    """Metric that chooses the epoch of a method in figures."""
    return {"bce_augmented": "bce", "cls+p0": "cls"}.get(method, method)


def save_learned(config, history: History, part, method: str, folder: Path) -> None:
    """Histogram and observable of one training, both on test events."""
    prepared = history.prepared
    analysis = history.chosen[selection(method)].hard
    outputs = analysis.forward(jax.tree.map(jnp.asarray, prepared.test))
    (region,) = analysis.regions
    name = f"{part.name}.{method}.{history.seed}".replace(" ", "_")
    with plot.style():
        for kind, draw, last in (
            ("histogram", draw_histogram, outputs),
            ("observable", draw_observable, analysis),
        ):
            figure = Figure(mpl.rcParams["figure.figsize"], layout="constrained")
            draw(figure, config, prepared, region, last)
            save(figure, folder / f"{kind}.{name}.png")


def save_curves(
    part,
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    folder: Path,
    published: Path | None = None,
) -> None:
    """Test metrics after every epoch, median and range over the seeds.

    Args:
        part: the part of the study.
        histories: of each method, one per seed.
        folder: where the figure goes.
        published: table of published curves, drawn dashed beside ours.
    """
    colours = plot.series_colours(list(histories))
    with plot.style():
        width, height = mpl.rcParams["figure.figsize"]
        figure = Figure((1.6 * width, 1.5 * height), layout="constrained")
        axes = figure.subplots(2, 2, sharex=True).ravel()
        for ax, metric in zip(axes, SHOWN, strict=True):
            curves = {
                method: plot.Curves(
                    np.arange(1, part.epochs + 1),
                    np.array([one["test"][metric] for one in found], float),
                )
                for method, found in histories.items()
            }
            plot.metric_bands(curves, metric=metric, colours=colours, ax=ax)
            for method, (epoch, values) in (
                published_curves(published, metric).items() if published else ()
            ):
                if method in colours:
                    ax.plot(epoch, values, color=colours[method], ls="--", lw=1)
        for ax in axes[:2]:
            ax.set_xlabel("")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left")
        name = part.name.replace(" ", "_")
        save(figure, folder / f"curves.{name}.png")


def published_curves(table: Path, metric: str) -> dict[str, np.ndarray]:
    """Epochs and values of each method in one panel of a published figure."""
    found: dict[str, list[tuple[float, float]]] = {}
    with table.open() as file:
        for row in csv.DictReader(file):
            if row["panel"] == PANELS[metric] and row["strategy"] in PUBLISHED:
                point = float(row["epoch"]), float(row["value"])
                found.setdefault(PUBLISHED[row["strategy"]], []).append(point)
    return {method: np.array(points).T for method, points in found.items()}


def save(figure: Figure, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
