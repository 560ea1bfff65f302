"""What the commands print."""

from collections.abc import Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from diffana.config import Config
from diffana.workflow.prepared import Prepared


def plan(
    config: Config, prepared: Prepared, *, n_weights: int, folder: Path
) -> RenderableType:
    """What a training is about to do."""
    events = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("region", "sample", "variation"):
        events.add_column(heading)
    for heading in ("train", "validation", "test", "yield"):
        events.add_column(heading, justify="right")
    parts = zip(prepared.train, prepared.validation, prepared.test, strict=True)
    for train, validation, test in parts:
        numbers = (np.count_nonzero(one.weight) for one in (train, validation, test))
        events.add_row(
            train.region,
            train.sample,
            train.variation,
            *(str(number) for number in numbers),
            f"{float(np.sum(train.weight)):.6g}",
        )
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
        events,
        *joined,
        Text(f"{len(parameters)} parameters: {_listed(parameters)}"),
        Text(
            f"loss {losses}; {n_weights} trainable numbers; {config.train.epochs} "
            f"epochs of {prepared.n_batches} updates, {steps} in all; seed "
            f"{config.general.seed}"
        ),
        Text(""),
    )


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
