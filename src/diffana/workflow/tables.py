"""What the commands print."""

from collections.abc import Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from diffana.analysis import NOMINAL
from diffana.config import Config
from diffana.workflow.prepared import Prepared


def plan(
    config: Config, prepared: Prepared, *, n_weights: int, folder: Path
) -> RenderableType:
    """What a training is about to do."""
    losses = " + ".join(
        loss.type if loss.weight == 1 else f"{loss.weight:g} {loss.type}"
        for loss in config.loss
    )
    model = prepared.analysis.model
    parameters = model.parameters.names
    regions = {region.name for region in config.regions}
    kept = tuple(c.name for c in model.layout.channels if c.name not in regions)
    joined = []
    if config.workspace is not None:
        text = f"{len(kept)} channels of {config.workspace.path} as published: "
        joined = [Text(text + _listed(kept))]
    steps = config.train.epochs * prepared.n_batches
    return Group(
        Text(f"Training {config.general.measurement} into {folder}", style="bold"),
        _events(prepared),
        *joined,
        Text(f"{len(parameters)} parameters: {_listed(parameters)}"),
        Text(
            f"loss {losses}; {n_weights} trainable numbers; {config.train.epochs} "
            f"epochs of {prepared.n_batches} updates, {steps} in all; seed "
            f"{config.general.seed}"
        ),
        Text(""),
    )


def _events(prepared: Prepared) -> Table:
    """Selected events of each part, and how much the variations change the yield."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("region", "sample"):
        table.add_column(heading)
    for heading in ("train", "validation", "test", "yield", "variations"):
        table.add_column(heading, justify="right")
    parts = ("train", "validation", "test")
    populations = (prepared.parts[part].populations for part in parts)
    rows = {
        train.name: (train, *others)
        for train, *others in zip(*populations, strict=True)
    }
    for (region, sample, variation), row in rows.items():
        if variation != NOMINAL:
            continue
        changes = [
            varied[0].sumw / row[0].sumw - 1
            for name, varied in rows.items()
            if name[:2] == (region, sample) and name.variation != NOMINAL
        ]
        table.add_row(
            region,
            sample,
            *(str(one.n_selected) for one in row),
            f"{row[0].sumw:.6g}",
            f"{len(changes)}: {min(changes):+.1%} to {max(changes):+.1%}"
            if changes
            else "none",
        )
    return table


def results(summary: Mapping[str, Any], folder: Path) -> RenderableType:
    """Final numbers, ours beside pyhf's."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("expected on test events")
    table.add_column("diffana", justify="right")
    table.add_column("pyhf", justify="right")
    ours, theirs = summary["diffana"], summary["pyhf"]
    bands = ("-2σ", "-1σ", "median", "+1σ", "+2σ")
    for i in (2, 0, 1, 3, 4):
        table.add_row(
            f"CLs at {summary['poi']} = {summary['poi_test']:g}, {bands[i]}",
            _number(ours["CLs_exp"][i]),
            _number(theirs["CLs_exp"][i]),
        )
    table.add_row("discovery p0", _number(ours["p0"]), _number(theirs["p0"]))
    table.add_row("significance [σ]", _sigma(ours["p0"]), _sigma(theirs["p0"]))
    table.add_row(
        f"uncertainty of {summary['poi']}",
        _number(ours["sigma_mu"]),
        _number(theirs["sigma_mu"]),
    )
    notes = [
        Text(f"pyhf gave up on {quantity}: {reason}")
        for quantity, reason in summary["failures"].items()
    ]
    return Group(
        Text(""),
        table,
        *notes,
        Text(
            f"Sharp cuts and bins; model of epoch {summary['epoch']}; "
            f"{folder}/workspace.json is ready for pyhf."
        ),
    )


def _number(value: float) -> str:
    return f"{value:.4g}"


def _sigma(p_value: float) -> str:
    return f"{-NormalDist().inv_cdf(p_value):.3f}" if 0 < p_value < 1 else "nan"


def _listed(names: tuple[str, ...]) -> str:
    shown = names if len(names) <= 8 else (*names[:7], "…")
    return ", ".join(shown)
