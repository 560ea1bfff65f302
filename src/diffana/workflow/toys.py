"""Pseudo-experiments of a published workspace on many processes."""

import functools
import json
import zlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import Float

from diffana import infer
from diffana.errors import ToyError
from diffana.histfactory import HistFactory, from_workspace
from diffana.published import Published
from diffana.workflow import farm


def on_farm(
    crew: farm.Farm, workspace: Published, on_block: Callable[[int], None]
) -> Callable[[Sequence[infer.ToyBlock]], Iterable[Float[np.ndarray, " toy"]]]:
    """What computes blocks of pseudo-experiments with other processes.

    Args:
        crew: the processes.
        workspace: the workspace.
        on_block: called with the number of pseudo-experiments done.

    Returns:
        `evaluate` of `infer.toy_hypotest` and `infer.toy_discovery`. It raises ToyError
        if a block fails twice.
    """
    text = zlib.compress(json.dumps(workspace.specification).encode())

    def evaluate(blocks: Sequence[infer.ToyBlock]) -> list[Float[np.ndarray, " toy"]]:
        tasks = [
            farm.Task(str(i), (text, workspace.measurement, tuple(block)))
            for i, block in enumerate(blocks)
        ]
        found: dict[str, Float[np.ndarray, " toy"]] = {}
        n_done = 0
        for attempt in farm.attempts(crew, statistics, tasks):
            if attempt.failure is None:
                found[attempt.task.name] = attempt.result
                n_done += attempt.result.size
                on_block(n_done)
            elif attempt.is_last:
                raise ToyError(
                    "pseudo-experiments cannot be computed: a process failed twice: "
                    f"{attempt.failure.reason}"
                )
        return [found[task.name] for task in tasks]

    return evaluate


def statistics(
    text: bytes, measurement: str, block: tuple
) -> Float[np.ndarray, " toy"]:
    """The statistics of a block; this is what each process does.

    Args:
        text: the workspace, compressed JSON.
        measurement: name of the measurement.
        block: the fields of an `infer.ToyBlock`.
    """
    return infer.toy_statistics(_model(text, measurement), infer.ToyBlock(*block))


@functools.lru_cache(maxsize=1)
def _model(text: bytes, measurement: str) -> HistFactory:
    model, _ = from_workspace(json.loads(zlib.decompress(text)), measurement)
    return model
