"""What the commands on published workspaces print on a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


_BANDS = ("-2σ", "-1σ", "median", "+1σ", "+2σ")
_STRONG = 0.3
_MOST_CORRELATIONS = 10


def fit(result: Mapping[str, Any]) -> RenderableType:
    """Best fit of every parameter, and the strongest correlations."""
    table = _table("parameter", "best fit", "uncertainty", notes=True)
    for name, value in result["bestfit"].items():
        uncertainty = result["uncertainty"][name]
        note = "at its bound" if name in result["at_bound"] else "held"
        table.add_row(
            name, _number(value), _number(uncertainty), "" if uncertainty else note
        )
    parts: list[RenderableType] = [table, Text("")]
    parts.append(Text(f"-2 ln L = {result['best_twice_nll']:.6f}"))
    strongest = _strongest(result)
    if strongest:
        parts += [
            Text(f"strongest correlations, of those above {_STRONG:g}"),
            strongest,
        ]
    return Group(*parts)


def cls(result: Mapping[str, Any], *, poi: str, poi_test: float) -> RenderableType:
    """Observed and expected CLs."""
    return _observed_and_expected(
        f"CLs at {poi} = {poi_test:g}", {"": (result["CLs_obs"], result["CLs_exp"])}
    )


def significance(result: Mapping[str, Any]) -> RenderableType:
    """Observed and expected discovery p-value."""
    return _observed_and_expected(
        "discovery",
        {
            "p0": (result["p0"], result["p0_exp"]),
            "significance [σ]": (result["significance"], result["significance_exp"]),
        },
    )


def _observed_and_expected(
    title: str, columns: Mapping[str, tuple[float, list[float]]]
) -> Table:
    table = _table(title, *columns)
    table.add_row("observed", *(_number(observed) for observed, _ in columns.values()))
    for i in (2, 0, 1, 3, 4):
        table.add_row(
            f"expected, {_BANDS[i]}",
            *(_number(expected[i]) for _, expected in columns.values()),
        )
    return table


def _strongest(result: Mapping[str, Any]) -> Table | None:
    labels, matrix = result["labels"], result["corr_mat"]
    pairs = [
        (abs(matrix[i][j]), i, j)
        for i in range(len(labels))
        for j in range(i)
        if abs(matrix[i][j]) > _STRONG
    ]
    if not pairs:
        return None
    table = _table("", "", "correlation", left=2)
    for _, i, j in sorted(pairs, reverse=True)[:_MOST_CORRELATIONS]:
        table.add_row(labels[j], labels[i], f"{matrix[i][j]:.3f}")
    return table


def _table(*headings: str, left: int = 1, notes: bool = False) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, heading in enumerate(headings):
        table.add_column(heading, justify="left" if column < left else "right")
    if notes:
        table.add_column("")
    return table


def _number(value: float) -> str:
    return f"{value:.5g}"
