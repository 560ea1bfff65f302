"""The figures of belts: critical values, confidence sets, coverage and lengths."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from diffana import plot, runs
from diffana.errors import RunError
from diffana.files import put_file
from diffana.plot import neyman as plots
from diffana.workflow.figures import save


_LONGEST_TITLE = 58


def belt(folder: Path, document: Mapping[str, Any]) -> None:
    """Draw the critical values of a belt into its folder.

    Args:
        folder: the belt.
        document: what `making.make` returned.
    """
    # Figure objects without pyplot leave the user's backend and figures alone.
    with plot.style():
        save(runs.Run(folder), "belt", lambda figure: draw_belt(figure, document))


def interval(folder: Path, document: Mapping[str, Any]) -> None:
    """Draw the statistic of data and its confidence sets into the folder of a belt.

    Args:
        folder: the belt.
        document: what `intervals.interval` returned.
    """
    with plot.style():
        save(
            runs.Run(folder), "interval", lambda figure: draw_interval(figure, document)
        )


def coverage(folder: Path, document: Mapping[str, Any]) -> None:
    """Draw the coverage of a belt, level by level, into its folder.

    Args:
        folder: the belt.
        document: what `studies.coverage` returned.
    """
    with plot.style():
        save(
            runs.Run(folder), "coverage", lambda figure: draw_coverage(figure, document)
        )


def compare(path: Path, document: Mapping[str, Any]) -> None:
    """Draw lengths of several belts, and what each costs against the reference.

    Args:
        path: file to create or replace, whose suffix chooses the format; or the folder
            of a belt, which gets `figures/compare` as PDF and PNG.
        document: what `studies.compare` returned.

    Raises:
        RunError: if the file cannot be written.
    """
    with plot.style():
        if path.is_dir():
            save(
                runs.Run(path), "compare", lambda figure: draw_compare(figure, document)
            )
            return
        figure = Figure(figsize=mpl.rcParams["figure.figsize"], layout="constrained")
        draw_compare(figure, document)
        content = io.BytesIO()
        figure.savefig(content, format=path.suffix[1:].lower())
    try:
        put_file(path, content.getvalue())
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}") from error


def draw_belt(figure: Figure, document: Mapping[str, Any]) -> None:
    """Draw critical values over tested values.

    Args:
        figure: an empty figure.
        document: what `making.make` returned.
    """
    drawn = plots.critical_values(
        document["mu"],
        _floats(document["critical"]),
        document["levels"],
        bound=document.get("bound"),
        poi_name=plot.literal(document["poi"]),
        statistic_name=document["statistic"].upper(),
        ax=figure.subplots(),
    )
    _title(drawn.legend, document)


def draw_interval(figure: Figure, document: Mapping[str, Any]) -> None:
    """Draw the statistic of data, critical values and confidence sets.

    Args:
        figure: an empty figure.
        document: what `intervals.interval` returned.
    """
    sets = document["sets"]
    best = document.get("poi_hat")
    drawn = plots.confidence_sets(
        document["mu"],
        _floats(document["statistic_obs"]),
        _floats(document["critical"]),
        [one["level"] for one in sets],
        [one["segments"] for one in sets],
        hits_edge=[one["hits_edge"] for one in sets],
        best=None if best is None else float(best),
        poi_name=plot.literal(document["poi"]),
        statistic_name=document["statistic"].upper(),
        ax=figure.subplots(),
    )
    _title(drawn.legend, document)


def draw_coverage(figure: Figure, document: Mapping[str, Any]) -> None:
    """Draw the coverage of each level over true values, one below the other.

    Args:
        figure: an empty figure, whose height is adapted.
        document: what `studies.coverage` returned.
    """
    levels = document["levels"]
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, (0.3 + 0.6 * len(levels)) * height)
    axes = figure.subplots(len(levels), 1, sharex=True, squeeze=False).ravel()
    for ax, one in zip(axes, levels, strict=True):
        plots.coverage(
            document["mu"],
            _floats(one["coverage"]),
            (_floats(one["lower"]), _floats(one["upper"])),
            (_floats(one["band_lower"]), _floats(one["band_upper"])),
            one["level"],
            confidence=document["confidence"],
            poi_name=plot.literal(document["poi"]),
            ax=ax,
        )
        ax.label_outer()
    axes[0].set_title(
        f"{document['n_toys']} toys at each value", loc="left", fontsize="small"
    )
    figure.align_ylabels(axes)


def draw_compare(figure: Figure, document: Mapping[str, Any]) -> None:
    """Draw median lengths above ratios of expected ones; levels side by side.

    Args:
        figure: an empty figure, whose size is adapted.
        document: what `studies.compare` returned.
    """
    levels, reference = document["levels"], document["reference"]
    width, height = figure.get_size_inches()
    figure.set_size_inches(0.9 * width * len(levels), 1.5 * height)
    axes = figure.subplots(
        2, len(levels), sharex=True, squeeze=False, height_ratios=(1.15, 1)
    )
    poi = plot.literal(document["poi"])
    curves: dict[str, Any] = {}
    for (above, below), one in zip(axes.T, levels, strict=True):
        belts = one["belts"]
        lengths = plots.lengths(
            document["mu"],
            {
                plot.literal(name): (_floats(b["median"]), _floats(b["median_error"]))
                for name, b in belts.items()
            },
            reference=plot.literal(reference),
            poi_name=poi,
            ax=above,
        )
        regret = plots.regret(
            document["mu"],
            {
                plot.literal(name): (
                    _floats(b["ratio"]["mean"]),
                    _floats(b["ratio"]["mean_error"]),
                )
                for name, b in belts.items()
                if name != reference
            },
            reference=plot.literal(reference),
            poi_name=poi,
            ax=below,
        )
        above.set_title(f"{100 * one['level']:.6g} % CL", loc="left", fontsize="small")
        above.set_xlabel("")
        curves = lengths.curves
        lengths.legend.remove()
        regret.legend.remove()
    for ax in axes[:, 1:].ravel():
        ax.set_ylabel("")
    figure.align_ylabels(axes[:, 0])
    room = _LONGEST_TITLE * len(levels) // (max(map(len, curves)) + 6)
    figure.legend(
        # Explicit labels: others are left out if they start with an underscore.
        list(curves.values()),
        list(curves),
        loc="outside upper center",
        ncols=min(len(curves), max(room, 1)),
        frameon=False,
    )


def _title(legend: Legend, document: Mapping[str, Any]) -> None:
    """Write the focus above the legend, as far as there is room."""
    focus = document.get("focus")
    if focus:
        text = f"Focus {focus}"
        if len(text) > _LONGEST_TITLE:
            text = f"{text[: _LONGEST_TITLE - 1]}…"
        legend.set_title(plot.literal(text))


def _floats(values: Any) -> np.ndarray:
    """Numbers; what JSON has no number for is nan."""
    return np.array(values, float)
