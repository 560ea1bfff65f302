"""What the commands on unbinned measurements print."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from diffana.analysis import NOMINAL
from diffana.assemble import nsbi as assembly
from diffana.workflow.nsbi.prepared import Prepared


if TYPE_CHECKING:
    from diffana.workflow.nsbi.diagnosis import Judged


def plan(prepared: Prepared, folder: Path) -> RenderableType:
    """What a training is about to do."""
    config, _, what = prepared
    section = config.ratios
    names = ", ".join(what.ratios) or "none"
    return Group(
        Text(f"Training {config.general.measurement} into {folder}", style="bold"),
        _events(prepared),
        Text(
            f"reference {' + '.join(config.reference)}; {len(what.ratios)} density "
            f"ratios: {names}"
        ),
        Text(
            f"loss {section.loss}; {section.members} networks each, at most "
            f"{section.epochs} epochs; seed {config.general.seed}"
        ),
        Text(""),
    )


def _events(prepared: Prepared) -> Table:
    """Selected events of each part, and how much the variations change the yield."""
    simulated = prepared.simulated
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("sample")
    for heading in (*assembly.PARTS, "yield", "variations"):
        table.add_column(heading, justify="right")
    for component in prepared.plan.components:
        piece = component.piece
        counts = (
            np.count_nonzero(assembly.weights(simulated.parts[part], piece))
            for part in assembly.PARTS
        )
        expected = simulated.expected(piece)
        changes = [
            simulated.expected(piece.varied(one.variation)) / expected - 1
            for one in simulated.whole
            if one.sample == piece.sample and one.variation != NOMINAL
        ]
        table.add_row(
            component.name,
            *map(str, counts),
            f"{-expected if piece.is_negative else expected:.6g}",
            f"{len(changes)}: {min(changes):+.1%} to {max(changes):+.1%}"
            if changes
            else "none",
        )
    return table


def results(summary: Mapping[str, Any], folder: Path) -> RenderableType:
    """The ratios of a training, and what there is to do with them."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("ratio")
    for heading in ("validation loss", "epoch", "mean over its denominator"):
        table.add_column(heading, justify="right")
    for name, facts in summary["ratios"].items():
        table.add_row(
            Text(name),
            f"{np.mean(facts['best_loss']):.5f}",
            ", ".join(map(str, np.asarray(facts["best_epoch"]).tolist())),
            f"{facts['mean']:.4f} ± {facts['mean_error']:.4f}"
            if "mean" in facts
            else "",
        )
    lifted = [
        Text(
            f"{one['component']}, {one['parameter']}: the interpolation was lifted at "
            f"{one['events']} of {summary['events']['reference']} reference events to "
            "stay positive"
        )
        for one in summary["lifted"]
    ]
    n_observed = summary["events"]["observed"]
    data = (
        "no observed events: commands take the expected ones"
        if n_observed is None
        else f"{n_observed} observed events"
    )
    return Group(
        Text(""),
        table,
        *lifted,
        Text(
            f"{folder}/likelihood.json: {len(summary['parameters'])} parameters, "
            f"{summary['events']['reference']} reference events, {data}."
        ),
        Text(f"Before it is used: diffana nsbi diagnose {folder}"),
    )


def comparison(result: Mapping[str, Any]) -> RenderableType:
    """Expected results of all methods of a comparison."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("method", "σ", "t ≤ 1", "t ≤ 3.84", "limit", "CPU [s]"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for one in result["methods"]:
        table.add_row(
            one["name"],
            _shown(one["uncertainty"]),
            *(_segments(one["intervals"][level]) for level in ("68", "95")),
            _shown(one["expected_limit"]),
            f"{one['cpu_seconds']:.1f}",
        )
    return Group(
        table,
        Text(""),
        Text(
            f"of {result['poi']}, on expected events; the limit at 95 % CL expects no "
            "signal"
        ),
    )


def _shown(value: float) -> str:
    return f"{value:.4g}" if np.isfinite(value) else "–"


def _segments(segments: Sequence[Sequence[float]]) -> str:
    return " and ".join(f"[{low:.3f}, {high:.3f}]" for low, high in segments) or "–"


_STYLE = {"pass": "green", "fail": "bold red", "not checked": "dim"}


def gates(judged: Sequence["Judged"]) -> RenderableType:
    """One row for each gate, with its verdict and the numbers behind it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("of", "gate", "verdict", "why"):
        table.add_column(heading)
    before = None
    for subject, gate in judged:
        # Text, since a name may hold brackets that rich would take for a style.
        table.add_row(
            Text("" if subject == before else subject),
            gate.name,
            Text(gate.verdict, style=_STYLE[gate.verdict]),
            Text(gate.summary),
        )
        before = subject
    return table
