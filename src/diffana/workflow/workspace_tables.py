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


def crosscheck(result: Mapping[str, Any], *, poi: str | None) -> RenderableType:
    """Our numbers, pyhf's, and what lies between them."""
    ours, theirs, between = (result[key] for key in ("diffana", "pyhf", "difference"))
    table = _table("", "diffana", "pyhf", "difference")

    def row(name: str, *values: float | None) -> None:
        table.add_row(name, *(_digits(value) for value in values[:2]), _gap(values[2]))

    row(
        "-2 ln L at the minimum",
        ours["best_twice_nll"],
        theirs["best_twice_nll"],
        between.get("best_twice_nll"),
    )
    fitted = theirs["bestfit"]
    if fitted is not None:
        shifts = between["bestfit"]
        furthest = max(shifts, key=lambda name: abs(shifts[name]))
        for name in dict.fromkeys([*([poi] if poi else []), furthest]):
            row(
                f"best fit of {name}; difference in σ",
                ours["bestfit"][name],
                fitted[name],
                shifts[name],
            )
    if poi:
        title, exp = f"CLs at {poi} = {result['poi_test']:g}", theirs["CLs_exp"]
        row(
            f"{title}, observed",
            ours["CLs_obs"],
            theirs["CLs_obs"],
            between.get("CLs_obs"),
        )
        for i in (2, 0, 1, 3, 4):
            row(
                f"{title}, {_BANDS[i]}",
                ours["CLs_exp"][i],
                exp and exp[i],
                exp and between["CLs_exp"][i],
            )
    parts: list[RenderableType] = [table, Text("")]
    if result["same_point"]:
        rates, value = result["same_point"].values()
        parts.append(
            Text(
                f"At pyhf's best fit the expected rates differ by {rates:.1e}, "
                f"-2 ln L by {value:.1e} (relative)."
            )
        )
    parts += [
        Text(f"pyhf gave up on {name}: {reason}")
        for name, reason in result["failures"].items()
    ]
    times = _table("seconds", "first call", "next call", "pyhf")
    for name, seconds in result["seconds"].items():
        times.add_row(
            name,
            *(_seconds(seconds.get(key)) for key in ("first", "again", "pyhf")),
        )
    return Group(*parts, Text(""), times)


def _digits(value: float | None) -> str:
    return "none" if value is None else f"{value:.8g}"


def _gap(value: float | None) -> str:
    return "" if value is None else f"{value:+.1e}"


def _seconds(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"


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
