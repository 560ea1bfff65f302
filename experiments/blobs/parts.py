"""The parts of the study: which settings are trained with which methods."""

import dataclasses
from collections.abc import Mapping
from typing import Any


METHODS: Mapping[str, tuple[str, ...]] = {
    "bce": ("bce",),
    "bce_augmented": ("bce_augmented",),
    "cls": ("cls",),
    "p0": ("p0",),
    "sigma_mu": ("sigma_mu",),
    "cls+p0": ("cls", "p0"),
}


@dataclasses.dataclass(frozen=True)
class Part:
    """One table of the study.

    Attributes:
        name: short name.
        config: file with the settings of the thesis.
        changes: paths in that file -> values that stand there instead.
        methods: what is trained on, names in METHODS.
        log: whether p-values and uncertainties are minimised by their logarithm.
        epochs: passes over the events.
        seeds: how many of them a full study takes.
        published: table of the curves that were published for it, if there is one.
    """

    name: str
    config: str
    changes: Mapping[str, Any]
    methods: tuple[str, ...]
    log: bool
    epochs: int
    seeds: int = 9
    published: str | None = None

    def settings(self, method: str) -> dict[str, Any]:
        """Changes of the file for one method."""
        terms = [{"Type": term} for term in METHODS[method]]
        for term in terms:
            if not term["Type"].startswith("bce"):
                term["Log"] = self.log
        return {**self.changes, "Loss": terms, "Train.Epochs": self.epochs}


TWENTY = {"Regions.plane.Binning": [round(0.05 * i, 2) for i in range(21)]}
EDGES = {"Regions.plane.TrainableBinning": True}
# What the ablation undoes one by one.
TUNED: Mapping[str, Mapping[str, Any]] = {
    "open outer bins": {"Regions.plane.Flow": True},
    "clipped gradient": {"Train.Optimizer.ClipNorm": 1.0},
    "falling step size": {
        "Train.Optimizer.LearningRate": {
            "Type": "exponential",
            "Start": 4e-4,
            "End": 4e-5,
        }
    },
    "smooth activation": {"Observables.summary.Activation": "silu"},
    "trainable edges": {"Regions.plane.TrainableBinning": True},
    "scaled inputs": {"Observables.summary.Standardize": True},
}
_ALL_TUNED = {path: v for changes in TUNED.values() for path, v in changes.items()}
_THREE = ("cls", "p0", "sigma_mu")
_FIVE = ("bce", "bce_augmented", "cls", "p0", "sigma_mu")
_SIX = (*_FIVE, "cls+p0")


def _parts() -> list[Part]:
    parts = [
        Part(
            "wide",
            "wide.yaml",
            {},
            _FIVE,
            log=False,
            epochs=15,
            published="neos_paper_fig_curves.csv",
        ),
        Part("wide tuned", "wide.yaml", _ALL_TUNED, _SIX, log=True, epochs=15),
        Part(
            "deep 5",
            "deep.yaml",
            {},
            _SIX,
            log=False,
            epochs=100,
            published="neos_thesis_5bin_fixed_curves.csv",
        ),
        Part("deep 20", "deep.yaml", TWENTY, _SIX, log=False, epochs=100),
        Part("deep tuned", "deep.yaml", _ALL_TUNED, _SIX, log=True, epochs=50),
        Part("deep 5 edges", "deep.yaml", EDGES, _THREE, log=False, epochs=100),
        Part(
            "deep 20 edges", "deep.yaml", TWENTY | EDGES, _THREE, log=False, epochs=100
        ),
    ]
    for name, changes in TUNED.items():
        kept = {path: v for path, v in _ALL_TUNED.items() if path not in changes}
        parts.append(_ablation(f"without {name}", kept, log=True))
    parts.append(_ablation("without log", _ALL_TUNED, log=False))
    return parts


def _ablation(name: str, changes: Mapping[str, Any], *, log: bool) -> Part:
    return Part(name, "wide.yaml", changes, ("p0",), log=log, epochs=15, seeds=5)


PARTS: Mapping[str, Part] = {part.name: part for part in _parts()}
