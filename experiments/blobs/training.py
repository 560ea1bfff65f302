"""Trainings of the study, kept on disk as they end."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from diffana import config as configuration
from diffana.losses import P0, BinaryCrossEntropy, Cls, Constraint, SigmaMu
from diffana.workflow.history import History, follow
from experiments.blobs import figures
from experiments.blobs.parts import Part


HERE = Path(__file__).parent
METRICS = {
    "cls": Cls(log=False),
    "p0": P0(log=False),
    "sigma_mu": SigmaMu(),
    "constraint": Constraint(parameters=("background_mean",)),
    "bce": BinaryCrossEntropy(),
}


def train(part: Part, method: str, seeds: range, file: Path, *, learned: Path):
    """Histories of one method, as numbers; those in `file` are not made again."""
    done = json.loads(file.read_text()) if file.exists() else []
    base = configuration.load(HERE / part.config)
    for seed in seeds[len(done) :]:
        settings = part.settings(method) | {"General.Seed": seed}
        config = configuration.changed(base, settings)
        history = follow(config, metrics=METRICS)
        kept = ("seed", "validation", "test", "refused", "seconds")
        numbers = {name: getattr(history, name) for name in kept}
        done.append(numbers | {"contained": contained(history, method)})
        if seed < 2:
            figures.save_learned(config, history, part, method, learned)
        text = json.dumps(done, default=listed)
        file.with_suffix(".part").write_text(text)
        file.with_suffix(".part").replace(file)
        final = {name: f"{history.final(name):.3g}" for name in ("cls", "p0")}
        print(f"{part.name:14} {method:14} seed {seed} {final}", flush=True)
    return json.loads(json.dumps(done, default=listed))


def contained(history: History, method: str) -> list[float]:
    """Share of the yield of each population that the soft histogram holds."""
    analysis = history.chosen[figures.selection(method)]
    events = history.prepared.test
    found = analysis.histograms(events)
    return [
        float(histogram.sumw.sum() / one.weight.sum())
        for histogram, one in zip(found, events, strict=True)
    ]


def listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else dict(value)
