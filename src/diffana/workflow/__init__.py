"""What the commands do: files go in, results and reports come out.

They are imported when they are first used: the commands on published workspaces need
none of what training needs.
"""

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from diffana.workflow.comparison import compare as compare
    from diffana.workflow.evaluation import evaluate as evaluate
    from diffana.workflow.training import train as train
    from diffana.workflow.workspace import build_workspace as build_workspace

_HOMES = {
    "build_workspace": "workspace",
    "compare": "comparison",
    "evaluate": "evaluation",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
