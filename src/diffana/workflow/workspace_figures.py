"""The figures of the commands on published workspaces."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diffana import plot
from diffana.errors import RunError


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
        plot.brazil_band(
            points["poi_values"],
            points["CLs_obs"],
            points["CLs_exp"],
            level=1 - limits["confidence_level"],
            observed_limit=_finite(limits["observed_limit"]),
            expected_limit=_finite(limits["expected_limit"][2]),
            poi_name=_literal(limits["poi"]),
            ax=ax,
        )


def ranking(path: Path, ranked: Mapping[str, Any], *, top: int) -> None:
    """Save the ranking of the `top` parameters; otherwise as `limit`."""
    columns = (
        "pull",
        "constraint",
        "prefit_up",
        "prefit_down",
        "postfit_up",
        "postfit_down",
    )
    shown = ranked["labels"][:top]
    longest = max(map(len, shown), default=0)
    # Inches: the names, beside bars and legend.
    size = (2.6 + 0.065 * min(longest, 60), 1.3 + 0.17 * max(len(shown), 2))
    with _saved(path, size) as ax:
        plot.ranking(
            [_literal(name) for name in ranked["labels"]],
            **{column: np.array(list(ranked[column].values())) for column in columns},
            poi_name=_literal(ranked["poi"]),
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
                name=_literal(names[0]),
                ax=ax,
            )
        else:
            plot.scan_map(
                values[0],
                values[1],
                scanned["delta_twice_nll"],
                best=best,
                x_name=_literal(names[0]),
                y_name=_literal(names[1]),
                ax=ax,
            )


@contextlib.contextmanager
def _saved(path: Path, size: tuple[float, float] | None = None) -> Iterator[Axes]:
    with plot.style():
        figure = Figure(size or mpl.rcParams["figure.figsize"], layout="constrained")
        yield figure.subplots()
        try:
            figure.savefig(path, format=path.suffix[1:].lower())
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {error.strerror}") from error


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _literal(name: str) -> str:
    """A parameter name in which matplotlib sees no formula."""
    return name.replace("$", r"\$")
