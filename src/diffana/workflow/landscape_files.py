"""A landscape as a file of arrays."""

import io
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffana.errors import RESULTS, RunError
from diffana.landscape import Landscape


def to_npz(landscape: Landscape) -> bytes:
    """Content of a `.npz` file, which `load` reads.

    It holds `axis_names` and `loss_names`, for each axis `axis_0`, ..., and for each
    loss on the grid `value_0`, ... and `reason_0`, ...: the reason why there is no
    value, or nothing.
    """
    arrays: dict[str, Any] = {
        "axis_names": np.array(list(landscape.axis_names)),
        "loss_names": np.array(list(landscape.loss_names)),
    }
    for index, row in enumerate(landscape.axis_values):
        arrays[f"axis_{index}"] = np.asarray(row)
    for index, name in enumerate(landscape.loss_names):
        arrays[f"value_{index}"] = np.asarray(landscape.values[name])
        arrays[f"reason_{index}"] = landscape.reasons(name)
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def load(path: Path) -> Landscape:
    """The landscape that a file holds.

    Args:
        path: what `diffana landscape` wrote as landscape.npz.

    Raises:
        RunError: if it cannot be read or is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        axes, losses = (arrays[key].tolist() for key in ("axis_names", "loss_names"))
        return Landscape(
            axis_names=tuple(axes),
            axis_values=tuple(
                jnp.asarray(arrays[f"axis_{i}"]) for i, _ in enumerate(axes)
            ),
            loss_names=tuple(losses),
            values={n: jnp.asarray(arrays[f"value_{i}"]) for i, n in enumerate(losses)},
            result={n: _codes(arrays[f"reason_{i}"]) for i, n in enumerate(losses)},
        )
    except OSError as error:
        reason = error.strerror or "not a file of arrays"
        raise RunError(f"{path} cannot be read: {reason}") from error
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"{path} holds no landscape") from error


def _codes(reasons: np.ndarray) -> RESULTS:
    """Result codes of their messages.

    Raises:
        ValueError: if a message is none that this version knows.
    """
    codes = np.zeros(reasons.shape, np.int32)
    known = {str(reason): code for reason, code in _known().items()}
    for reason in np.unique(reasons).tolist():
        if reason not in known:
            raise ValueError(reason)
        codes[reasons == reason] = known[reason]
    return jax.tree.map(lambda _: jnp.asarray(codes), RESULTS.successful)


def _known() -> dict[str, int]:
    def item(code: int) -> RESULTS:
        return jax.tree.map(lambda _: jnp.asarray(code), RESULTS.successful)

    return {RESULTS[item(code)]: code for code in range(len(RESULTS))}
