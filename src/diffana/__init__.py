"""End-to-end optimisation of particle-physics analyses.

`import diffana` is cheap; submodules are imported when they are first used, as in
`diffana.infer.hypotest(model, data)`.
"""

import importlib
from types import ModuleType


__version__ = "0.1.0"

_SUBMODULES = (
    "analysis",
    "assemble",
    "config",
    "data",
    "errors",
    "fit",
    "histfactory",
    "histogram",
    "infer",
    "landscape",
    "likelihood",
    "losses",
    "nsbi",
    "numerics",
    "observable",
    "plot",
    "runs",
    "stored",
    "train",
    "trainable",
    "workflow",
)


def __getattr__(name: str) -> ModuleType:
    if name in _SUBMODULES:
        return importlib.import_module(f"diffana.{name}")
    raise AttributeError(f"module 'diffana' has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["__version__", *_SUBMODULES]
