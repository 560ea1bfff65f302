"""The figures of the commands on published workspaces."""

import contextlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diffana import plot
from diffana.errors import RunError
from diffana.files import put_file


def limit(path: Path, limits: Mapping[str, Any], points: Mapping[str, Any]) -> None:
    """Save the Brazil band.

    Args:
        path: file to create or replace; its suffix chooses the format.
        limits: what `published.limit` returned.
        points: what `published.brazil` returned.

    Raises:
        RunError: if the file cannot be written.
    """
    with _saved(path) as ax:
        draw_limit(limits, points, ax=ax)


def draw_limit(
    limits: Mapping[str, Any],
    points: Mapping[str, Any],
    *,
    observed: bool = True,
    ax: Axes,
) -> None:
    """Draw the Brazil band.

    Args:
        limits: what `published.limit` returned.
        points: what `published.brazil` returned.
        observed: whether the observed CLs is drawn, too.
        ax: where to draw, inside `plot.style()`.
    """
    plot.brazil_band(
        points["poi_values"],
        points["CLs_obs"] if observed else None,
        points["CLs_exp"],
        level=1 - limits["confidence_level"],
        observed_limit=_finite(limits["observed_limit"]) if observed else None,
        expected_limit=_finite(limits["expected_limit"][2]),
        poi_name=plot.literal(limits["poi"]),
        ax=ax,
    )


def ranking(path: Path, ranked: Mapping[str, Any], *, top: int) -> None:
    """Save the ranking of the `top` parameters; otherwise as `limit`."""
    with _saved(path, ranking_size(ranked, top=top)) as ax:
        draw_ranking(ranked, top=top, ax=ax)


def ranking_size(ranked: Mapping[str, Any], *, top: int) -> tuple[float, float]:
    """Width and height, in inches, of the figure of a ranking."""
    shown = ranked["labels"][:top]
    longest = max(map(len, shown), default=0)
    # The names, beside bars and legend.
    return 2.6 + 0.065 * min(longest, 60), 1.3 + 0.17 * max(len(shown), 2)


def draw_ranking(ranked: Mapping[str, Any], *, top: int, ax: Axes) -> None:
    """Draw the ranking of the `top` parameters.

    Args:
        ranked: what `profiles.ranking` returned.
        top: how many parameters to draw at most.
        ax: where to draw, inside `plot.style()`.
    """
    columns = (
        "pull",
        "constraint",
        "prefit_up",
        "prefit_down",
        "postfit_up",
        "postfit_down",
    )
    plot.ranking(
        [plot.literal(name) for name in ranked["labels"]],
        **{column: np.array(list(ranked[column].values())) for column in columns},
        poi_name=plot.literal(ranked["poi"]),
        top=top,
        ax=ax,
    )


def scan(path: Path, scanned: Mapping[str, Any]) -> None:
    """Save a scan over one or two parameters; otherwise as `limit`."""
    names, values = list(scanned["values"]), list(scanned["values"].values())
    best = list(scanned["bestfit"].values())
    with _saved(path) as ax:
        if len(names) == 1:
            plot.scan_curve(
                values[0],
                scanned["delta_twice_nll"],
                best=best[0],
                name=plot.literal(names[0]),
                ax=ax,
            )
        else:
            plot.scan_map(
                values[0],
                values[1],
                scanned["delta_twice_nll"],
                best=best,
                x_name=plot.literal(names[0]),
                y_name=plot.literal(names[1]),
                ax=ax,
            )


@contextlib.contextmanager
def _saved(path: Path, size: tuple[float, float] | None = None) -> Iterator[Axes]:
    with plot.style():
        figure = Figure(size or mpl.rcParams["figure.figsize"], layout="constrained")
        yield figure.subplots()
        content = io.BytesIO()
        figure.savefig(content, format=path.suffix[1:].lower())
        try:
            put_file(path, content.getvalue())
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {error.strerror}") from error


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
