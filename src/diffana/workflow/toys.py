"""Pseudo-experiments of a published workspace on many processes."""

import functools
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

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
        found: dict[int, Float[np.ndarray, " toy"]] = {}
        n_done = 0
        tasks = {
            i: (text, workspace.measurement, tuple(block))
            for i, block in enumerate(blocks)
        }
        for i, part in spread(crew, statistics, tasks):
            found[i] = part
            n_done += part.size
            on_block(n_done)
        return [found[i] for i in tasks]

    return evaluate


def spread(
    crew: farm.Farm, function: Callable[..., Any], tasks: Mapping[int, tuple]
) -> Iterator[tuple[int, Any]]:
    """Results of tasks with pseudo-experiments, in the order in which they end.

    Args:
        crew: the processes.
        function: what each does; importable by its name.
        tasks: arguments of each task, by its number.

    Raises:
        ToyError: if a task fails twice.
    """
    named = [farm.Task(str(i), arguments) for i, arguments in tasks.items()]
    for attempt in farm.attempts(crew, function, named):
        if attempt.failure is None:
            yield int(attempt.task.name), attempt.result
        elif attempt.is_last:
            raise ToyError(
                "pseudo-experiments cannot be computed: a process failed twice: "
                f"{attempt.failure.reason}"
            )


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
