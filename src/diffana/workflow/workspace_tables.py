"""What the commands on published workspaces print on a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from diffana.workflow.published import BANDS


_RANKED = (
    "pull",
    "constraint",
    "prefit_up",
    "prefit_down",
    "postfit_up",
    "postfit_down",
)
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
    parts.append(
        Text(f"-2 ln L = {result['best_twice_nll']:.6f}, found by {result['solver']}")
    )
    parts += [
        Text(f"{name} = {_number(one['bestfit'])} ± {_number(one['uncertainty'])}")
        for name, one in result.get("squares", {}).items()
    ]
    if "goodness_of_fit" in result:
        chi2, ndf, p_value = result["goodness_of_fit"].values()
        parts.append(
            Text(f"χ² = {chi2:.4g} for {ndf} degrees of freedom, p = {p_value:.3g}")
        )
    parts += [
        Text(_interval(name, result["bestfit"][name], interval))
        for name, interval in result.get("minos", {}).items()
    ]
    strongest = _strongest(result)
    if strongest:
        parts += [
            Text(f"strongest correlations, of those above {_STRONG:g}"),
            strongest,
        ]
    return Group(*parts)


def cls(result: Mapping[str, Any], *, poi: str, poi_test: float) -> RenderableType:
    """Observed and expected CLs."""
    table = _observed_and_expected(
        f"CLs at {poi} = {poi_test:g}", {"": (result["CLs_obs"], result["CLs_exp"])}
    )
    return Group(table, *_toys(result, "CLs_obs"))


def significance(result: Mapping[str, Any]) -> RenderableType:
    """Observed and expected discovery p-value; only observed by pseudo-experiments."""
    if "p0_exp" not in result:
        table = _table("discovery", "observed")
        table.add_row("p0", _number(result["p0"]))
        table.add_row("significance [σ]", _number(result["significance"]))
        return Group(table, *_toys(result, "p0"))
    return _observed_and_expected(
        "discovery",
        {
            "p0": (result["p0"], result["p0_exp"]),
            "significance [σ]": (result["significance"], result["significance_exp"]),
        },
    )


def _toys(result: Mapping[str, Any], key: str) -> list[RenderableType]:
    """How well pseudo-experiments know a p-value; nothing for asymptotic results."""
    if "n_toys" not in result:
        return []
    failed = f", {result['n_failed']} without certified fit" * bool(result["n_failed"])
    return [
        Text(
            f"± {_number(result[f'{key}_error'])} by {result['n_toys']} "
            f"pseudo-experiments per hypothesis, seed {result['seed']}{failed}"
        )
    ]


def limit(result: Mapping[str, Any]) -> RenderableType:
    """Observed and expected upper limits."""
    rows = {result["poi"]: result, **result.get("squares", {})}
    named = len(rows) > 1
    of = "" if named else f" on {result['poi']}"
    return _observed_and_expected(
        f"upper limit{of}, {100 * result['confidence_level']:g} % CL",
        {
            name if named else "": (one["observed_limit"], one["expected_limit"])
            for name, one in rows.items()
        },
    )


def ranking(result: Mapping[str, Any], *, top: int) -> RenderableType:
    """The parameters with the largest impacts."""
    table = _table(
        "parameter",
        "pull",
        "constraint",
        "pre-fit up",
        "down",
        "post-fit up",
        "down",
    )
    for name in result["labels"][:top]:
        table.add_row(
            name,
            *(_number(result[column][name]) for column in _RANKED),
        )
    return Group(
        table,
        Text(""),
        Text(
            f"impacts on {result['poi']} = {_number(result['poi_bestfit'])} of each "
            "parameter raised and lowered"
        ),
    )


def scan(result: Mapping[str, Any]) -> RenderableType:
    """Every point of a scan of one parameter, or the range of a scan of two."""
    names, values = list(result["values"]), list(result["values"].values())
    best = ", ".join(f"{n} = {_number(v)}" for n, v in result["bestfit"].items())
    found = Text(f"best fit {best}; -2 ln L = {result['best_twice_nll']:.6f}")
    if len(names) == 1:
        table = _table(names[0], "-2 Δln L", left=0)
        for value, height in zip(values[0], result["delta_twice_nll"], strict=True):
            table.add_row(_number(value), _number(height))
        return Group(table, Text(""), found)
    table = _table("", *(_number(value) for value in values[1]))
    for value, row in zip(values[0], result["delta_twice_nll"], strict=True):
        table.add_row(_number(value), *(f"{height:.3g}" for height in row))
    title = Text(f"-2 Δln L: {names[0]} downwards, {names[1]} to the right")
    return Group(title, table, Text(""), found)


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
                f"{title}, {BANDS[i]}",
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
            f"expected, {BANDS[i]}",
            *(_number(expected[i]) for _, expected in columns.values()),
        )
    return table


def _interval(name: str, best: float, interval: Mapping[str, Any]) -> str:
    ends = [
        f"{sign}{_number(abs(interval[end] - best))}"
        + (" (bound)" if interval[f"{end}_at_bound"] else "")
        for sign, end in (("-", "lower"), ("+", "upper"))
    ]
    return f"{name} = {_number(best)} {' '.join(ends)} from the profile"


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
