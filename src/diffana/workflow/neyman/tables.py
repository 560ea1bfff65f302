"""What the commands on belts print on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


_SHOWN = 9
_MOST_LISTED = 5
_NUISANCE = {
    "none": "none",
    "profile": "profiled",
    "marginal": "averaged over their constraints",
    "mixed": "profiled above, averaged over their constraints below",
    "laplace": "averaged over their constraints, approximately",
}
_METHOD = {
    "empirical": "order statistics",
    "quantile": "quantile regression",
    "p-value": "regression of p-values",
    "universal": "the bound that needs no toys",
}


def belt(document: Mapping[str, Any]) -> RenderableType:
    """How a belt was made, and some of its critical values.

    Args:
        document: what `making.make` returned.
    """
    mu, critical = np.array(document["mu"], float), _critical(document["critical"])
    guard = ", corrected with toys kept back" * bool(document.get("guard"))
    method = _METHOD.get(document["method"], document["method"])
    description = _pairs(
        **_test(document),
        **{"critical values": f"{method}{guard}", "toys": _toys(document)},
    )
    shown = np.unique(np.linspace(0, mu.size - 1, _SHOWN).round().astype(int))
    table = _table(document["poi"], *map(_percent, document["levels"]), left=0)
    written = _decimals(mu)
    for i in shown:
        table.add_row(_fixed(mu[i], written), *(_fixed(c, 3) for c in critical[:, i]))
    notes = []
    if document.get("bound") is not None:
        table.add_row("bound", *(_fixed(c, 3) for c in _floats(document["bound"])))
        over = float(_floats(document.get("excess", np.nan)))
        if over > 0:
            notes.append(
                Text(
                    f"critical values from toys were above the bound by up to "
                    f"{over:.2g}; it was used instead"
                )
            )
    return Group(description, Text(""), table, *notes)


def interval(document: Mapping[str, Any]) -> RenderableType:
    """Confidence sets, the best fit, and what is known about the coverage.

    Args:
        document: what `intervals.interval` returned.
    """
    poi, written = document["poi"], _decimals(document["mu"])
    table = _table("level", f"set of {poi}", "length", left=2, notes=True)
    for one in document["sets"]:
        parts = [
            f"[{_fixed(lower, written)}, {_fixed(upper, written)}]"
            for lower, upper in one["segments"]
        ]
        table.add_row(
            _percent(one["level"]),
            # As a text: in brackets, rich would look for styles.
            Text(" ∪ ".join(parts) or "∅"),
            _fixed(one["length"], written),
            _note(one),
        )
    best = float(_floats(document.get("poi_hat", np.nan)))
    fitted = f"{poi} = {_fixed(best, written)}" if np.isfinite(best) else "none"
    description = _pairs(
        **{"data": document["data"], "best fit": fitted}, **_test(document)
    )
    return Group(table, Text(""), description)


def coverage(document: Mapping[str, Any]) -> RenderableType:
    """Coverage over true values, and whether it is what it should be.

    Args:
        document: what `studies.coverage` returned.
    """
    mu, levels = _floats(document["mu"]), document["levels"]
    names = [_percent(one["level"]) for one in levels]
    table = _table(f"true {document['poi']}", *names, left=0)
    written = _decimals(mu)
    for i, value in enumerate(mu):
        table.add_row(
            _fixed(value, written), *(_fraction_with_error(one, i) for one in levels)
        )
    verdicts = _table("level", "largest deviation", "at", "coverage is", left=1)
    verdicts.columns[-1].justify = "left"
    for name, one in zip(names, levels, strict=True):
        verdicts.add_row(
            name,
            _fixed(one["largest_deviation"], 4),
            _fixed(one["at"], written),
            Text(_verdict(one, mu, document["poi"])),
        )
    confidence = _percent(document["confidence"])
    failed = document.get("n_failed", 0)
    without = f", {failed} without certified fit counted as not covered" * bool(failed)
    return Group(
        table,
        Text(""),
        verdicts,
        Text(""),
        _pairs(
            toys=f"{_per_value(document)}{without}",
            errors=f"exact, at {confidence} for each value by itself, the larger side; "
            f"the band is at {confidence} for all values together",
            guarantee=document["guarantee"],
        ),
    )


def compare(document: Mapping[str, Any]) -> RenderableType:
    """Lengths of the sets of belts, and what each costs against the reference.

    Args:
        document: what `studies.compare` returned.
    """
    reference, mu, poi = document["reference"], document["mu"], document["poi"]
    belts = _table("belt", "statistic", "nuisance parameters", left=3)
    guarantees: dict[str, list[str]] = {}
    for name, one in document["belts"].items():
        belts.add_row(Text(name), Text(_statistic(one)), _nuisance(one))
        guarantees.setdefault(one["guarantee"], []).append(name)
    several = len(guarantees) > 1
    description = _pairs(
        toys=_per_value(document),
        guarantee="; ".join(
            text + f" ({', '.join(names)})" * several
            for text, names in guarantees.items()
        ),
    )
    parts: list[RenderableType] = [belts, Text(""), description]
    for one in document["levels"]:
        level, rows = _percent(one["level"]), one["belts"]
        others = {name: row["ratio"] for name, row in rows.items() if "ratio" in row}
        parts += [
            _heading(f"{level}: median length in {poi}"),
            _medians(poi, mu, rows),
            _heading(f"{level}: expected length relative to {reference}"),
            _ratios(poi, mu, others),
            Text(""),
            _extremes(poi, mu, others),
            *_empty(poi, _floats(mu), rows),
        ]
    return Group(*parts)


def _test(document: Mapping[str, Any]) -> dict[str, str]:
    return {
        "statistic": _statistic(document),
        "nuisance parameters": _nuisance(document),
        "scheme": document["scheme"],
        "guarantee": document["guarantee"],
    }


def _statistic(document: Mapping[str, Any]) -> str:
    name = document["statistic"].upper()
    if document.get("focus") is None:
        return name
    beyond = ", which goes on beyond the bounds" * (document.get("truncate") is False)
    return f"{name} with the focus {document['focus']}{beyond}"


def _nuisance(document: Mapping[str, Any]) -> str:
    treatment: str = document["nuisance"]
    return _NUISANCE.get(treatment, treatment)


def _toys(document: Mapping[str, Any]) -> str:
    n_failed = document.get("n_failed", 0)
    failed = f", {n_failed} without certified fit" * bool(n_failed)
    seconds = f"{_fixed(document['seconds'], 1)} s"
    if not document["n_toys"]:
        return f"none, {seconds}"
    return f"{document['n_toys']}{failed}, seed {document['seed']}, {seconds}"


def _per_value(document: Mapping[str, Any]) -> str:
    return f"{document['n_toys']} at each value, seed {document['seed']}"


def _note(one: Mapping[str, Any]) -> str:
    if one["empty"]:
        return "empty"
    lower, upper = one["hits_edge"]
    if lower and upper:
        return "reaches both ends of the tested range"
    if lower or upper:
        return f"reaches the {'lower' if lower else 'upper'} end of the tested range"
    return ""


def _fraction_with_error(one: Mapping[str, Any], i: int) -> str:
    value, lower, upper = (
        float(_floats(one[key][i])) for key in ("coverage", "lower", "upper")
    )
    return _with_error(value, max(value - lower, upper - value), 4)


def _verdict(one: Mapping[str, Any], mu: Float[np.ndarray, " point"], poi: str) -> str:
    if one["exact"] and one["covers"]:
        return "within the band"
    value, lower, upper = (
        _floats(one[key]) for key in ("coverage", "band_lower", "band_upper")
    )
    level = one["level"]
    if one["covers"]:
        return f"above the level {_where(mu[lower > level], poi)}, nowhere below it"
    # The one-sided test also finds points whose two-sided band contains the level.
    below = (upper < level) | (value == np.nanmin(value))
    return f"below the level {_where(mu[below], poi)}"


def _where(values: Float[np.ndarray, " point"], poi: str) -> str:
    shown = [f"{value:.4g}" for value in values[:_MOST_LISTED]]
    if values.size > _MOST_LISTED:
        shown.append(f"… ({values.size} values)")
    return f"at {poi} = {', '.join(shown)}"


def _medians(poi: str, mu: Sequence[float], belts: Mapping[str, Any]) -> Table:
    columns = {name: _floats(one["median"]) for name, one in belts.items()}
    written = _decimals(np.concatenate(list(columns.values())))
    return _over_true_values(
        poi,
        mu,
        {
            name: [_fixed(value, written) for value in values]
            for name, values in columns.items()
        },
    )


def _ratios(poi: str, mu: Sequence[float], ratios: Mapping[str, Any]) -> Table:
    return _over_true_values(
        poi,
        mu,
        {
            name: [
                _with_error(value, error, _error_decimals(one["mean_error"]))
                for value, error in zip(one["mean"], one["mean_error"], strict=True)
            ]
            for name, one in ratios.items()
        },
    )


def _extremes(poi: str, mu: Sequence[float], ratios: Mapping[str, Any]) -> Table:
    """What each belt gains at best, and what it costs at worst."""
    table = _table("", "smallest ratio", "at", "largest ratio", "at", left=1)
    written = _decimals(mu)
    for name, one in ratios.items():
        row = []
        decimals = _error_decimals(one["mean_error"])
        for extreme in (one["smallest"], one["largest"]):
            row.append(_with_error(extreme["value"], extreme["error"], decimals))
            row.append(Text(f"{poi} = {_fixed(extreme['mu'], written)}"))
        table.add_row(Text(name), *row)
    return table


def _over_true_values(
    poi: str, mu: Sequence[float], columns: Mapping[str, Sequence[str]]
) -> Table:
    table = _table(f"true {poi}", *columns, left=0)
    for column, cells in zip(table.columns[1:], columns.values(), strict=True):
        # Rather a name is folded than a number.
        column.min_width = max(map(len, cells), default=0)
    written = _decimals(mu)
    for value, *cells in zip(mu, *columns.values(), strict=True):
        table.add_row(_fixed(value, written), *cells)
    return table


def _empty(
    poi: str, mu: Float[np.ndarray, " point"], belts: Mapping[str, Any]
) -> list[Text]:
    """Belts with empty sets, whose lengths are short for a bad reason."""
    lines = []
    for name, one in belts.items():
        fraction = np.nan_to_num(_floats(one.get("empty", np.zeros(mu.size))))
        if fraction.max(initial=0.0) > 0:
            worst = int(fraction.argmax())
            lines.append(
                Text(
                    f"{name}: up to {100 * fraction[worst]:.3g} % of the sets have no "
                    f"length ({poi} = {mu[worst]:.4g})"
                )
            )
    return lines


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _pairs(**lines: str) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, text in lines.items():
        table.add_row(name, Text(str(text)))
    return table


def _table(*headings: str, left: int = 1, notes: bool = False) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, heading in enumerate(headings):
        table.add_column(
            Text(heading, overflow="fold"),
            justify="left" if column < left else "right",
            vertical="top",
        )
    if notes:
        table.add_column("")
    return table


def _percent(level: float) -> str:
    return f"{100 * level:.6g} %"


def _with_error(value: Any, error: Any, decimals: int) -> str:
    return f"{_fixed(value, decimals)} ± {_fixed(error, decimals)}"


def _fixed(value: Any, decimals: int) -> str:
    """A number with as many decimals; what JSON has no number for is nan."""
    return f"{float(_floats(value)):.{decimals}f}"


def _decimals(values: Sequence[float] | Float[np.ndarray, " value"]) -> int:
    """Decimals that show four digits of the largest number."""
    numbers = np.abs(_floats(values))
    largest = numbers[np.isfinite(numbers)].max(initial=0.0)
    return int(np.clip(3 - np.floor(np.log10(largest)), 0, 9)) if largest > 0 else 3


def _error_decimals(errors: Sequence[float]) -> int:
    """Decimals that show two digits of the largest error."""
    sizes = _floats(errors)
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    if not sizes.size:
        return 3
    return int(np.clip(1 - np.floor(np.log10(sizes.max())), 2, 5))


def _critical(rows: Any) -> Float[np.ndarray, "level point"]:
    """Critical values; files of results have null for infinite ones."""
    return np.array([[np.inf if c is None else c for c in row] for row in rows], float)


def _floats(values: Any) -> Float[np.ndarray, "..."]:
    return np.array(values, float)
