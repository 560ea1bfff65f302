"""Gaussian blobs in two dimensions."""

from collections.abc import Mapping, Sequence

from diffana.data._random import named_generator
from diffana.data.table import Table


# Simpson 2023, section 7.4, with the background means of its published example.
BLOB_MEANS: Mapping[str, tuple[float, float]] = {
    "signal": (-1.0, 1.0),
    "background": (1.0, -1.0),
    "background_up": (2.5, 2.0),
    "background_down": (-2.5, -1.5),
}


def gaussian_blobs(
    means: Mapping[str, Sequence[float]] = BLOB_MEANS,
    n_events: int = 2_500,
    seed: int = 0,
) -> dict[str, Table]:
    """Independent samples of two-dimensional normals of unit covariance.

    Each blob follows from (seed, name) alone: adding, removing or reordering blobs
    changes none of the others.

    Args:
        means: name of a blob -> its mean (x, y), in standard deviations.
        n_events: simulated events in each blob, > 0.
        seed: any integer.

    Returns:
        Name of a blob -> table with the columns x and y.

    Example:
        >>> blobs = gaussian_blobs(n_events=1_000, seed=1)
        >>> blobs["signal"].names, len(blobs["background_up"])
        (('x', 'y'), 1000)
    """
    if n_events < 1:
        raise ValueError(f"n_events has to be at least 1, not {n_events}")
    return {name: _blob(name, mean, n_events, seed) for name, mean in means.items()}


def _blob(name: str, mean: Sequence[float], n_events: int, seed: int) -> Table:
    mean_x, mean_y = mean
    noise = named_generator("gaussian_blobs", seed, name).normal(size=(2, n_events))
    return Table(
        {"x": mean_x + noise[0], "y": mean_y + noise[1]},
        origin=f"Gaussian blob {name!r}",
    )
