"""What `diffana landscape` prints."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def table(summary: Mapping[str, Any], folder: Path) -> RenderableType:
    """The minimum of each loss, where it is, and how many points failed.

    Args:
        summary: what `landscape` returned.
        folder: where it wrote.
    """
    found = Table(box=None, pad_edge=False, header_style="bold")
    found.add_column("loss")
    for heading in ("minimum", "maximum", *summary["axes"], "points", "failed"):
        found.add_column(heading, justify="right")
    notes = []
    for name, one in summary["losses"].items():
        minimum = one["minimum"]
        places = [] if minimum is None else minimum["places"]
        found.add_row(
            name,
            "-" if minimum is None else f"{minimum['value']:.6g}",
            "-" if minimum is None else f"{one['maximum']:.6g}",
            *(_extent([place[axis] for place in places]) for axis in summary["axes"]),
            str(len(places)),
            str(one["failed_points"]),
        )
        notes += [
            Text(f"{name}: {count} points failed: {reason}")
            for reason, count in one["failures"].items()
        ]
    return Group(
        found,
        *notes,
        Text(f"Points: how many share the minimum. Arrays and figures are in {folder}"),
    )


def _extent(values: list[float]) -> str:
    if not values:
        return "-"
    low, high = min(values), max(values)
    return f"{low:.4g}" if low == high else f"{low:.4g} … {high:.4g}"
